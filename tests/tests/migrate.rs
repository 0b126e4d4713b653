//! The guide that puts old beside new: what it shows is what the import writes, and where Envoy can run the old one, it and ours answer
//! the same requests with the same status codes and hand on the same headers.

use portcullis_check::find::File;
use portcullis_check::import::import;
use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
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
    let forged = format!("{}x", &valid[..valid.len() - 1]);
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

#[test]
fn the_gateways_of_others_are_shown_in_yaml() {
    for name in ["kong", "apisix"] {
        let (theirs, _, _) = pair(name);
        assert!(examples::parse(&theirs).unwrap()["consumers"].is_array(), "{name}");
    }
}
