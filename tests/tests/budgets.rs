//! What a warm request may cost: host calls of every kind, and WebAssembly instructions in wasmtime's fuel. This is the hard
//! gate; microseconds are for `make bench`.

use std::collections::BTreeMap;

use portcullis_common::headers::Headers;
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::wasm::{Plugin, Vm, Went, World};
use serde_json::{Value, json};

const USUAL: [(&str, &str); 5] = [
    ("user-agent", "curl/8.0"),
    ("accept", "*/*"),
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-proto", "http"),
    ("x-request-id", "6f5f1c1e-0a2b-4c4d-8e8f-90a1b2c3d4e5"),
];

/// The host calls of the last of several requests, and its fuel.
fn warm(plugin: &Plugin, one: impl Fn()) -> (BTreeMap<&'static str, u64>, u64) {
    for _ in 0..5 {
        one();
    }
    plugin.vm().reset_counts();
    one();
    (plugin.vm().host_calls(), plugin.vm().fuel())
}

fn costs(
    what: &str,
    (calls, fuel): (BTreeMap<&'static str, u64>, u64),
    want: &[(&'static str, u64)],
    most: u64,
) {
    println!("{what}: {fuel} fuel, {calls:?}");
    assert_eq!(calls, want.iter().copied().collect(), "{what}");
    assert!(fuel <= most, "{what}: {fuel} fuel, budget {most}");
}

fn jwt_auth(world: &World, hand_on: bool) -> Plugin {
    let mut config = json!({
        "providers": {"corp": {
            "issuer": "https://id.test",
            "audiences": ["orders"],
            "algorithms": ["RS256"],
            "keys": {"jwks": {"keys": [Signer::rsa("rsa").jwk()]}},
            "forward_token": !hand_on
        }},
        "rules": [{"name": "api", "match": {"path": "/api/**"}, "require": {"any": ["corp"]}}],
        "unmatched": "deny"
    });
    if hand_on {
        config["providers"]["corp"]["claim_headers"] = json!({"x-user": "{subject}"});
        config["publish"] = json!(["claim.aud"]);
    }
    world.set_wall_seconds(tokens::now());
    Vm::new(world, "jwt-auth").configure(config.to_string()).unwrap()
}

#[test]
fn a_remembered_token() {
    let bearer = format!("Bearer {}", Signer::rsa("rsa").token("RS256", &tokens::claims()));
    for (hand_on, want, fuel) in [
        (
            false,
            &[
                ("proxy_get_header_map_pairs", 1),
                ("proxy_get_current_time_nanoseconds", 2),
                ("proxy_set_property", 2),
                ("proxy_increment_metric", 1),
            ][..],
            12_000,
        ),
        (
            true,
            &[
                ("proxy_get_header_map_pairs", 1),
                ("proxy_get_current_time_nanoseconds", 2),
                ("proxy_set_property", 3),
                ("proxy_increment_metric", 1),
                ("proxy_replace_header_map_value", 1),
                ("proxy_remove_header_map_value", 1),
            ],
            14_500,
        ),
    ] {
        let plugin = jwt_auth(&World::default(), hand_on);
        let headers: Vec<_> = USUAL.into_iter().chain([("authorization", bearer.as_str())]).collect();
        let cost = warm(&plugin, || assert_eq!(plugin.request("GET", "/api/orders", &headers).1, Went::On));
        costs(&format!("jwt-auth, remembered, handed on: {hand_on}"), cost, want, fuel);
    }
}

#[test]
fn a_question_of_three_tuples() {
    let mut tuples: Vec<String> =
        (0..2000).map(|n| format!("document:{n}#parent@folder:{}", n % 100)).collect();
    tuples.extend((0..100).map(|n| format!("folder:{n}#viewer@group:{}#member", n % 10)));
    tuples.extend((0..1000).map(|n| format!("group:{}#member@user:{n}", n % 10)));
    let config = json!({
        "engine": {"embedded": {"tuples": tuples, "model": "model
  schema 1.1
type user
type group
  relations
    define member: [user]
type folder
  relations
    define viewer: [group#member]
type document
  relations
    define parent: [folder]
    define viewer: viewer from parent
"}},
        "rules": [{"match": {"path": "/api/{id}"}, "checks": {"all": [
            {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
        ]}}],
        "unmatched": "deny",
    });
    let plugin = Vm::new(&World::default(), "rebac").configure(config.to_string()).unwrap();
    plugin.vm().set_property("portcullis.jwt-auth.subject", "777");
    let want = [
        ("proxy_get_header_map_pairs", 1),
        ("proxy_get_property", 1),
        ("clock_time_get", 2),
        ("proxy_set_property", 1),
        ("proxy_increment_metric", 1),
    ];
    let one = || assert_eq!(plugin.request("GET", "/api/1007", &USUAL).1, Went::On);
    costs("rebac, three tuples among 3,100", warm(&plugin, one), &want, 22_000);
}

#[test]
fn a_remembered_decision() {
    let config = json!({
        "engine": {"openfga": {
            "cluster": "openfga", "store": "01JF3ZK8W6X2Q9V5T7B4N1M0PC", "model": "01JF3ZK8W6X2Q9V5T7B4N1M0PD"
        }},
        "rules": [{"match": {"path": "/api/{id}"}, "checks": {"all": [
            {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
        ]}}],
        "unmatched": "deny",
    });
    let plugin = Vm::new(&World::default(), "rebac").configure(config.to_string()).unwrap();
    plugin.vm().set_property("portcullis.jwt-auth.subject", "777");
    let (stream, went) = plugin.request("GET", "/api/1007", &USUAL);
    assert_eq!(went, Went::Waits);
    let call = plugin.vm().callouts().pop().expect("a call");
    plugin.answer_http(call.token, &[(":status", "200")], br#"{"allowed":true}"#);
    assert_eq!(stream.went(), Went::On);
    stream.end();
    // No call to anybody, no shared data.
    let want = [
        ("proxy_get_header_map_pairs", 1),
        ("proxy_get_property", 1),
        ("clock_time_get", 2),
        ("proxy_set_property", 1),
        ("proxy_increment_metric", 2),
    ];
    let one = || assert_eq!(plugin.request("GET", "/api/1007", &USUAL).1, Went::On);
    costs("rebac, a remembered decision", warm(&plugin, one), &want, 13_500);
}

#[test]
fn a_limit_on_a_subject() {
    let world = World::default();
    let config = json!({"headers": "none", "limits": [
        {"name": "per-user", "match": {"path": "/api/**"}, "key": ["{subject}"], "rate": "1000/second"}
    ]});
    let plugin = Vm::new(&world, "rate-limit").configure(config.to_string()).unwrap();
    plugin.vm().set_property("portcullis.jwt-auth.subject", "ann");
    let one = || {
        let (stream, went) = plugin.request("GET", "/api/orders", &USUAL);
        assert_eq!(went, Went::On);
        stream.end();
    };
    let want = [
        ("proxy_get_header_map_pairs", 1),
        ("proxy_get_property", 1),
        ("proxy_get_shared_data", 1),
        ("proxy_set_shared_data", 1),
        ("clock_time_get", 2),
        ("proxy_set_property", 1),
        ("proxy_increment_metric", 1),
    ];
    costs("rate-limit on a subject", warm(&plugin, one), &want, 15_500);
    // With headers for clients: one more callback, and one write for each header.
    let mut config = config;
    config["headers"] = "draft".into();
    let plugin = Vm::new(&World::default(), "rate-limit").configure(config.to_string()).unwrap();
    plugin.vm().set_property("portcullis.jwt-auth.subject", "ann");
    let one = || {
        let (stream, went) = plugin.request("GET", "/api/orders", &USUAL);
        assert_eq!(went, Went::On);
        assert_eq!(stream.respond(&[(":status", "200")]).len(), 3);
        stream.end();
    };
    let more = [("proxy_replace_header_map_value", 2)];
    let want: Vec<_> = want.into_iter().chain(more).collect();
    costs("rate-limit on a subject, with headers", warm(&plugin, one), &want, 21_000);
}

/// What Envoy's `expr_evaluate` would answer for a GET of `/documents/7`, and these facts.
fn evaluated(facts: &[&str]) -> Vec<u8> {
    let number = u64::to_le_bytes;
    let (ok, none, total, upstream, sent) =
        (number(200), number(0), number(5_000_000), number(3_000_000), number(9));
    let mut items: Vec<&[u8]> =
        vec![b"GET", b"/documents/7", &ok, b"via_upstream", &none, &total, &upstream, &none, &sent];
    items.extend(facts.iter().map(|fact| fact.as_bytes()));
    Headers::encode(items.into_iter().map(|item| (item, &b""[..])))
}

#[test]
fn a_counted_request() {
    let pseudo = [(":method", "GET"), (":path", "/documents/7"), (":authority", "api.test")];
    let least = json!({"routes": ["/health", "/documents/{id}"]});
    let most = json!({
        "routes": ["/health", "/documents/{id}"],
        "plugins": ["jwt-auth", "limit"],
        "consumers": {"from": "claim.azp", "allow": ["web"], "tier": {"from": "claim.plan", "allow": ["gold"]}},
        "slos": [{"route": "/documents/{id}", "availability": "99.9%", "latency": {"under": "1s", "objective": "99%"}, "apdex": "1s"}],
        "log": {"slow": "1m", "failures": true}
    });
    let facts = ["allow;;docs;120", "allow;;l;20", "\"web\"", "\"gold\""];
    for (what, config, facts, updates, records, fuel) in
        [("metrics", &least, &[][..], 2, 3, 8_000), ("metrics, everything", &most, &facts[..], 8, 6, 16_000)]
    {
        let world = World::default();
        let vm = Vm::new(&world, "metrics");
        let answer = evaluated(facts);
        vm.on_foreign(move |f, _| Ok(if f == "expr_create" { vec![1, 0, 0, 0] } else { answer.clone() }));
        let plugin = vm.configure(config.to_string()).unwrap();
        let one = || {
            let stream = plugin.stream(pseudo.iter().chain(&USUAL).copied());
            stream.log();
            stream.end();
        };
        let want = [
            ("proxy_call_foreign_function", 1),
            ("proxy_set_property", 1),
            ("proxy_increment_metric", updates),
            ("proxy_record_metric", records),
        ];
        costs(what, warm(&plugin, one), &want, fuel);
        assert_eq!(world.metric(&["portcullis_requests_total", "route=.=/documents/{id}", "code=.=200"]), 6);
    }
    // Without the fact, and a POST, whose content type is looked at.
    for (method, fact, reads) in [("GET", false, false), ("POST", true, true)] {
        let vm = Vm::new(&World::default(), "metrics");
        let answer =
            Headers::encode([(method.as_bytes(), &b""[..])].into_iter().chain([(&[0][..], &b""[..]); 8]));
        vm.on_foreign(move |f, _| Ok(if f == "expr_create" { vec![1, 0, 0, 0] } else { answer.clone() }));
        let plugin = vm.configure(json!({"routes": [], "route_fact": fact}).to_string()).unwrap();
        let one = || plugin.stream(pseudo).log();
        let calls = warm(&plugin, one).0;
        assert_eq!(calls.contains_key("proxy_set_property"), fact, "{calls:?}");
        assert_eq!(calls.contains_key("proxy_get_property"), reads, "{calls:?}");
    }
    // A host without expressions.
    let world = World::default();
    let plugin = Vm::new(&world, "metrics").configure(least.to_string()).unwrap();
    let one = || {
        let stream = plugin.stream(pseudo.iter().chain(&USUAL).copied());
        for (name, value) in [
            ("response\0code", 200_u64),
            ("request\0duration", 5_000_000),
            ("response\0backend_latency", 3_000_000),
        ] {
            stream.set_property(name, value.to_le_bytes());
        }
        stream.set_property("response\0code_details", "via_upstream");
        stream.log();
        stream.end();
    };
    let want = [
        ("proxy_get_header_map_pairs", 1),
        ("proxy_get_property", 7),
        ("proxy_set_property", 1),
        ("proxy_increment_metric", 1),
        ("proxy_record_metric", 3),
    ];
    costs("metrics, no expressions", warm(&plugin, one), &want, 12_000);
    assert_eq!(world.metric(&["portcullis_requests_total", "route=.=/documents/{id}", "code=.=200"]), 6);
}

#[test]
fn ten_thousand_routes_cost_what_ten_do() {
    let routes = |n: usize| -> Vec<Value> {
        (0..n)
            .map(|i| json!({"match": {"path": format!("/service-{i:05}/items/{{id}}")}, "require": "none"}))
            .collect()
    };
    let hosts = |n: usize| -> Vec<Value> {
        (0..n).map(|i| json!({"match": {"hosts": [format!("service-{i:05}.test")], "path": "/items/{id}"}, "require": "none"})).collect()
    };
    let start = |rules: Vec<Value>| {
        let mut config = json!({
            "providers": {"corp": {
                "issuer": "https://id.test", "audiences": "any", "algorithms": ["RS256"],
                "keys": {"jwks": {"keys": [Signer::rsa("rsa").jwk()]}}
            }},
            "unmatched": "allow"
        });
        config["rules"] = rules.into();
        Vm::new(&World::default(), "jwt-auth").configure(config.to_string()).unwrap()
    };
    let fuel = |plugin: &Plugin, path: &str, host: &str| {
        let pseudo = [(":method", "GET"), (":path", path), (":authority", host)];
        let one = || assert_eq!(plugin.stream(pseudo.iter().chain(&USUAL).copied()).request(), Went::On);
        warm(plugin, one).1
    };
    let (few, many) = (start(routes(10)), start(routes(10_000)));
    let (few_hosts, many_hosts) = (start(hosts(10)), start(hosts(10_000)));
    // What everything but the match costs: a rule without a path, the only one.
    let rest = start(vec![json!({"match": {}, "require": "none"})]);
    for (what, path, host, few, many) in [
        ("hit", "/service-00009/items/1", "a.test", &few, &many),
        ("hit, last", "/service-09999/items/1", "a.test", &few, &many),
        ("first", "/service-00000/items/1", "a.test", &few, &many),
        ("miss", "/service-x0000/items/1", "a.test", &few, &many),
        ("near miss", "/service-00009/other/1", "a.test", &few, &many),
        ("host hit", "/items/1", "service-00009.test", &few_hosts, &many_hosts),
        ("host miss", "/items/1", "service-x0000.test", &few_hosts, &many_hosts),
    ] {
        let rest = fuel(&rest, path, host);
        let path_of_few = path.replace("09999", "00009");
        let (a, b) =
            (fuel(few, &path_of_few, host) as f64 - rest as f64, fuel(many, path, host) as f64 - rest as f64);
        println!("{what}: besides {rest} fuel, {a} among 10, {b} among 10,000");
        assert!(b <= (a * 1.2).max(a + 60.0), "{what}: {a} among 10, {b} among 10,000");
    }
}
