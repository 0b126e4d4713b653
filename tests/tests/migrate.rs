//! The guide that puts old beside new: what it shows is what the import writes, and where Envoy can run the old one, it and ours answer
//! the same requests with the same status codes and hand on the same headers.

use portcullis_check::find::File;
use portcullis_check::import::import;
use portcullis_check::import::wrap::{self, Form};
use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap, cluster};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::markdown::Page;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, examples};
use serde_json::{Value, json};

/// The old configuration called `name`, and the filter and configuration of the new one behind it.
fn pair(name: &str) -> (String, String, Value) {
    let blocks = Page::read("envoy/guides/migrate.md").blocks();
    let at = blocks.iter().position(|b| b.info == format!("yaml theirs={name}")).expect("the pair");
    let ours = blocks[at..].iter().find(|b| b.info.starts_with("yaml plugin=")).expect("our side");
    let filter = ours.info.trim_start_matches("yaml plugin=").to_owned();
    (blocks[at].text.clone(), filter, examples::parse(&ours.text).unwrap())
}

#[test]
fn what_is_shown_is_what_the_import_writes() {
    for name in ["jwt_authn", "local_ratelimit", "istio"] {
        let (theirs, filter, ours) = pair(name);
        let (found, _) = import(&File { name: name.into(), text: theirs }).unwrap();
        let [imported] = found.as_slice() else { panic!("{name}: {} results", found.len()) };
        assert_eq!((imported.which.filter(), &imported.config), (&*filter, &ours), "{name}");
    }
}

/// An Envoy with the old filters, and one with ours.
async fn both(name: &str, upstream: &Upstream) -> [Envoy; 2] {
    let (theirs, filter, ours) = pair(name);
    let old = examples::parse(&theirs).unwrap();
    let old = old.as_array().unwrap().iter().fold(Listener::new("old"), |l, f| l.filter(f.clone()));
    let new = Listener::new("new").plugin(&Plugin::new(&filter, ours));
    [
        Envoy::start(&bootstrap(upstream.address(), &[old])).await,
        Envoy::start(&bootstrap(upstream.address(), &[new])).await,
    ]
}

#[tokio::test]
async fn jwt_authn_and_ours_let_the_same_pass() {
    let upstream = Upstream::start().await;
    let envoys = both("jwt_authn", &upstream).await;
    let (valid, expired) = (demo::token("ann", 600), demo::token("ann", -600));
    // Not at the end, where some bits of the last character mean nothing to jwt_authn.
    let (front, end) = valid.split_at(valid.len() - 20);
    let forged = format!("{front}{}{}", if end.starts_with('A') { 'B' } else { 'A' }, &end[1..]);
    for (method, path, token, status) in [
        ("GET", "/health", None, 200),
        ("GET", "/healthy", None, 401),
        ("GET", "/orders/1", None, 401),
        ("GET", "/orders/1", Some(&valid), 200),
        ("GET", "/orders/1", Some(&expired), 401),
        ("GET", "/orders/1", Some(&forged), 401),
        ("GET", "/catalog/1", None, 200),
        ("GET", "/catalog", Some(&valid), 200),
        ("GET", "/catalog/1", Some(&forged), 401),
        ("POST", "/", Some(&valid), 200),
    ] {
        let mut handed = Vec::new();
        for envoy in &envoys {
            let mut request = ask(envoy.address(), method, path).header("x-user", "root");
            if let Some(token) = token {
                request = request.bearer(token);
            }
            let answer = request.send().await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
            if status == 200 && path != "/health" {
                let headers = &answer.json()["headers"];
                handed.push(json!([headers["x-user"], headers["x-jwt-payload"], headers["authorization"]]));
            }
        }
        assert!(handed.windows(2).all(|two| two[0] == two[1]), "{path}: {handed:?}");
    }
    for envoy in &envoys {
        let preflight = ask(envoy.address(), "OPTIONS", "/orders/1").header("origin", "https://a.test");
        assert_eq!(preflight.header("access-control-request-method", "PUT").send().await.status, 200);
    }
}

/// The trial that the guide advises: ours in shadow in front, the old one behind. Also what happens without `forward_token`, and that the
/// old one can stay there switched off.
#[tokio::test]
async fn both_stand_in_one_chain_while_they_are_compared() {
    let upstream = Upstream::start().await;
    let (theirs, filter, mut ours) = pair("jwt_authn");
    let old = examples::parse(&theirs).unwrap()[0].clone();
    let mut off = old.clone();
    off["disabled"] = true.into();
    let token = demo::token("ann", 600);
    ours["mode"] = "shadow".into();
    let taking = ours.clone();
    ours["providers"]["demo"]["forward_token"] = true.into();
    for (name, ours, old, statuses) in [
        ("trial", &ours, &old, [200, 401]),
        ("without forward_token", &taking, &old, [401, 401]),
        ("old one off", &ours, &off, [200, 200]),
    ] {
        let listener = Listener::new("both").plugin(&Plugin::new(&filter, ours.clone())).filter(old.clone());
        let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
        let with = ask(envoy.address(), "GET", "/orders/1").bearer(&token).send().await.status;
        let without = ask(envoy.address(), "GET", "/orders/1").send().await.status;
        assert_eq!([with, without], statuses, "{name}");
        if name == "trial" {
            let shown = envoy.prometheus().await;
            let shadowed =
                |l: &str| l.starts_with("portcullis_decisions_total{") && l.contains("token_missing");
            let refused = |l: &str| l.contains("jwt_authn_denied{") && l.ends_with(" 1");
            assert!(shown.lines().any(shadowed) && shown.lines().any(refused), "{shown}");
        }
    }
}

/// What the import writes for others' prefixes and audiences, beside the others: whatever they refuse is refused.
#[tokio::test]
async fn no_import_lets_more_pass() {
    let upstream = Upstream::start().await;
    let token = |aud: &str| demo::token_with("ann", 600, &json!({"aud": aud}));
    let (orders, billing) = (token("orders"), token("billing"));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters/check/tests/imports");
    for (name, both, paths) in [
        (
            "jwt_authn_prefix",
            5,
            &["/api/1", "/apiv2/x", "/apix", "/morex", "/most-of-all/1", "/apiv2/health", "/open"]
                as &[&str],
        ),
        (
            "jwt_authn_audiences",
            5,
            &["/billing", "/billing/1", "/both/1", "/orders/1", "/nobody/1", "/nobody/else"],
        ),
        ("jwt_authn_routes", 2, &["/admin/1", "/free"]),
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        let whole = examples::parse(&text).unwrap();
        let mut old = Listener::new("old").filter(whole["http_filters"][0].clone());
        let routes = &whole["route_config"]["virtual_hosts"][0]["routes"];
        if routes.is_array() {
            old = old.routes(routes.clone());
        }
        let (found, _) = import(&File { name: name.into(), text }).unwrap();
        let new = Plugin::new("jwt-auth", found[0].config.clone());
        let new = Listener::new("new").plugin(&new);
        let old = Envoy::start(&bootstrap(upstream.address(), &[old])).await;
        let new = Envoy::start(&bootstrap(upstream.address(), &[new])).await;
        let mut passed = 0;
        for path in paths {
            for token in [None, Some(&orders), Some(&billing)] {
                let mut statuses = Vec::new();
                for envoy in [&old, &new] {
                    let request = ask(envoy.address(), "GET", path);
                    let request = if let Some(token) = token { request.bearer(token) } else { request };
                    statuses.push(request.send().await.status);
                }
                let who = token.map(|t| if *t == orders { "orders" } else { "billing" });
                assert!(statuses[0] == 200 || statuses[1] != 200, "{name}: {path}, {who:?}: {statuses:?}");
                passed += usize::from(statuses == [200, 200]);
            }
        }
        assert_eq!(passed, both, "{name}: what passes in both");
    }
}

/// GET covers HEAD here and not there: what HEAD gets is the same all the same.
#[tokio::test]
async fn head_gets_what_it_got() {
    let upstream = Upstream::start().await;
    let token = demo::token("ann", 600);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters/check/tests/imports");
    let text = std::fs::read_to_string(folder.join("jwt_authn_head.yaml")).unwrap();
    let old = Listener::new("old").filter(examples::parse(&text).unwrap()["http_filters"][0].clone());
    let (found, _) = import(&File { name: "head".into(), text }).unwrap();
    let new = Listener::new("new").plugin(&Plugin::new("jwt-auth", found[0].config.clone()));
    let envoys = [
        Envoy::start(&bootstrap(upstream.address(), &[old])).await,
        Envoy::start(&bootstrap(upstream.address(), &[new])).await,
    ];
    let mut refused = 0;
    for path in ["/", "/public", "/docs", "/docs/1", "/docs/open", "/same/1", "/never", "/other"] {
        for method in ["GET", "HEAD", "POST"] {
            for token in [None, Some(&token)] {
                let mut statuses = Vec::new();
                for envoy in &envoys {
                    let request = ask(envoy.address(), method, path);
                    let request = if let Some(token) = token { request.bearer(token) } else { request };
                    statuses.push(request.send().await.status);
                }
                assert_eq!(statuses[0], statuses[1], "{method} {path}, token: {}", token.is_some());
                refused += usize::from(method == "HEAD" && statuses[1] == 401);
            }
        }
    }
    assert_eq!(refused, 5, "HEAD without a token: /public, /docs, /docs/1, /same/1 and /other");
}

/// Istio's policies refuse HEAD where they list GET, and preflights like anything else: so do the rules on the page.
#[tokio::test]
async fn head_and_preflights_pass_no_further_than_in_istio() {
    let upstream = Upstream::start().await;
    let (_, filter, mut ours) = pair("istio");
    let provider = &mut ours["providers"]["issuer-0"];
    for field in ["issuer", "keys", "algorithms"] {
        provider[field] = pair("jwt_authn").2["providers"]["demo"][field].clone();
    }
    let envoy = Envoy::start(&bootstrap(
        upstream.address(),
        &[Listener::new("new").plugin(&Plugin::new(&filter, ours))],
    ))
    .await;
    let gold = demo::token_with("ann", 600, &json!({"plan": "gold"}));
    for (method, path, token, status) in [
        ("GET", "/orders/1", true, 200),
        ("HEAD", "/orders/1", true, 403),
        ("HEAD", "/orders/1", false, 401),
        ("HEAD", "/orders/", true, 403),
        ("HEAD", "/health", false, 200),
        ("OPTIONS", "/admin/secret", false, 403),
        ("OPTIONS", "/orders/1", false, 403),
    ] {
        let request = ask(envoy.address(), method, path)
            .header("origin", "https://a.test")
            .header("access-control-request-method", "PUT");
        let request = if token { request.bearer(&gold) } else { request };
        assert_eq!(request.send().await.status, status, "{method} {path}, token: {token}");
    }
}

/// What begins with `/open/` is not `/open`. The result is taken as it is printed for `http_filters`.
#[tokio::test]
async fn a_prefix_that_ends_in_a_slash_is_the_same_here() {
    let upstream = Upstream::start().await;
    let name = "jwt_authn_below.yaml";
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters/check/tests/imports");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let old = Listener::new("old").filter(examples::parse(&text).unwrap()["http_filters"][0].clone());
    let (found, lefts) = import(&File { name: name.into(), text }).unwrap();
    assert!(lefts.iter().all(|left| left.field.starts_with("providers.")), "{lefts:?}");
    let printed = examples::parse(&wrap::text(&found, name, Form::HttpFilters)).unwrap();
    let new = Listener::new("new").filter(printed["http_filters"][0].clone());
    let envoys = [
        Envoy::start(&bootstrap(upstream.address(), &[old])).await,
        Envoy::start(&bootstrap(upstream.address(), &[new])).await,
    ];
    for (path, status) in [
        ("/open", 401),
        ("/open/", 200),
        ("/open/1/2", 200),
        ("/openly", 401),
        ("/shop", 200),
        ("/shop/", 401),
        ("/shop/1", 401),
        ("/shops", 401),
    ] {
        for (n, envoy) in envoys.iter().enumerate() {
            let answer = ask(envoy.address(), "GET", path).send().await;
            assert_eq!(answer.status, status, "{path}, {n}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn local_ratelimit_and_ours_count_alike() {
    let upstream = Upstream::start().await;
    for envoy in both("local_ratelimit", &upstream).await {
        let mut seen = Vec::new();
        for _ in 0..5 {
            let answer = ask(envoy.address(), "GET", "/").send().await;
            seen.push((answer.status, answer.header("x-ratelimit-remaining")));
        }
        let seen: Vec<(u16, &str)> = seen.iter().map(|(status, left)| (*status, left.as_str())).collect();
        assert_eq!(seen, [(200, "2"), (200, "1"), (200, "0"), (429, "0"), (429, "0")]);
    }
}

#[tokio::test]
async fn rbac_on_metadata_and_ours_let_the_same_pass() {
    let upstream = Upstream::start().await;
    let envoys = both("rbac", &upstream).await;
    let (gold, free) = (demo::token_with("ann", 600, &json!({"plan": "gold"})), demo::token("ann", 600));
    let elsewhere = demo::token_with("ann", 600, &json!({"aud": "elsewhere"}));
    for (path, token, statuses) in [
        ("/orders/1", Some(&free), [200, 200]),
        ("/orders/1", None, [401, 401]),
        ("/reports/1", Some(&gold), [200, 200]),
        ("/reports/1", Some(&free), [403, 403]),
        ("/reports/1", None, [401, 401]),
        ("/elsewhere", Some(&gold), [403, 403]),
        // The difference that the guide names.
        ("/orders/1", Some(&elsewhere), [403, 401]),
    ] {
        for (envoy, status) in envoys.iter().zip(statuses) {
            let request = ask(envoy.address(), "GET", path);
            let request = if let Some(token) = token { request.bearer(token) } else { request };
            let answer = request.send().await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
        }
    }
}

/// What such a service comes to: 200 for this token at this path, else 403.
async fn authz(path: &'static str, token: String) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                head.push(byte);
            }
            let head = String::from_utf8_lossy(&head);
            let allowed = head.starts_with(&format!("GET /check{path} ")) && head.contains(&token);
            let status = if allowed { "200 OK" } else { "403 Forbidden" };
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn ext_authz_and_ours_let_the_same_pass() {
    let upstream = Upstream::start().await;
    let (ann, bob) = (demo::token("ann", 600), demo::token("bob", 600));
    let (theirs, filter, ours) = pair("ext_authz");
    let old = examples::parse(&theirs).unwrap();
    let mut old = bootstrap(upstream.address(), &[Listener::new("old").filter(old[0].clone())]);
    let service = authz("/documents/1", ann.clone()).await;
    old["static_resources"]["clusters"].as_array_mut().unwrap().push(cluster("authz", service, false));
    let gate = Plugin::new("jwt-auth", pair("jwt_authn").2);
    let new = Listener::new("new").plugin(&gate).plugin(&Plugin::new(&filter, ours));
    let envoys = [Envoy::start(&old).await, Envoy::start(&bootstrap(upstream.address(), &[new])).await];
    for (method, path, token, status) in [
        ("GET", "/documents/1", &ann, 200),
        ("GET", "/documents/1", &bob, 403),
        ("GET", "/documents/2", &ann, 403),
        ("DELETE", "/documents/1", &ann, 403),
        ("GET", "/elsewhere", &ann, 403),
    ] {
        for envoy in &envoys {
            let answer = ask(envoy.address(), method, path).bearer(token).send().await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        }
    }
}

#[test]
fn the_gateways_of_others_are_shown_in_yaml() {
    for name in ["kong", "apisix"] {
        let (theirs, _, _) = pair(name);
        assert!(examples::parse(&theirs).unwrap()["consumers"].is_array(), "{name}");
    }
}
