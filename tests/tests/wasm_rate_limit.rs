//! rate-limit as a module, in the in-process host.

use portcullis_tests::wasm::{Plugin, Vm, Went, World};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

fn config() -> Value {
    json!({"limits": [{"name": "per-client", "key": ["{client.ip}"], "rate": "10/second", "burst": 3}]})
}

fn start(world: &World, config: &Value) -> Plugin {
    let vm = Vm::new(world, "rate-limit");
    vm.set_property("source\0address", "192.0.2.7:1234");
    vm.configure(config.to_string()).unwrap()
}

fn ask(plugin: &Plugin) -> Went {
    plugin.request("GET", "/", &[]).1
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    let world = World::default();
    let plugin = start(&world, &config());
    for _ in 0..3 {
        assert_eq!(ask(&plugin), Went::On);
    }
    let reply = ask(&plugin).reply();
    assert_eq!(
        (reply.status, reply.reason().as_str(), reply.header("retry-after")),
        (429, "rate_limited", "1")
    );
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["violated-policies"], json!(["per-client"]));
    world.advance(SECOND / 10);
    assert_eq!(ask(&plugin), Went::On);
    assert!(matches!(ask(&plugin), Went::Answered(_)));
}

#[test]
fn several_workers_share_one_bucket() {
    let world = World::default();
    let workers: Vec<Plugin> = (0..4).map(|_| start(&world, &config())).collect();
    let admitted = (0..20).filter(|n| ask(&workers[n % 4]) == Went::On).count();
    assert_eq!(admitted, 3);
}

#[test]
fn two_plugins_of_one_name_under_one_vm_id_do_not_share() {
    let world = World::default();
    let other = |name: &str| {
        let vm = Vm::new(&world, "rate-limit");
        vm.set_property("source\0address", "192.0.2.7:1234");
        vm.set_property("plugin_name", name);
        vm.configure(config().to_string()).unwrap()
    };
    let (a, b) = (other("first"), other("second"));
    for plugin in [&a, &b] {
        assert_eq!((0..9).filter(|_| ask(plugin) == Went::On).count(), 3);
    }
}

#[test]
fn clients_learn_where_they_stand() {
    let world = World::default();
    let plugin = start(&world, &config());
    let (stream, _) = plugin.request("GET", "/", &[]);
    let headers = stream.respond(&[(":status", "200")]);
    assert!(headers.contains(&("ratelimit-policy".into(), "\"per-client\";q=10;w=1".into())), "{headers:?}");
    assert!(headers.contains(&("ratelimit".into(), "\"per-client\";r=2;t=1".into())), "{headers:?}");
    let mut config = config();
    config["headers"] = "x-ratelimit".into();
    let plugin = start(&World::default(), &config);
    let (stream, _) = plugin.request("GET", "/", &[]);
    let headers = stream.respond(&[(":status", "200")]);
    assert!(headers.contains(&("x-ratelimit-remaining".into(), "2".into())), "{headers:?}");
    config["headers"] = "none".into();
    let plugin = start(&World::default(), &config);
    let (stream, _) = plugin.request("GET", "/", &[]);
    assert_eq!(stream.respond(&[(":status", "200")]).len(), 1);
}

#[test]
fn what_is_held_is_given_back_when_the_stream_ends() {
    let world = World::default();
    let plugin = start(&world, &config());
    let in_flight = || world.metric(&["portcullis_limited_requests_in_flight"]);
    let (a, _) = plugin.request("GET", "/", &[]);
    let (b, _) = plugin.request("GET", "/", &[]);
    assert_eq!(in_flight(), 2);
    a.end();
    assert_eq!(in_flight(), 1);
    drop(b);
    assert_eq!(in_flight(), 0);
}

#[test]
fn missing_values_do_what_the_configuration_says() {
    let limit = |missing: Value| json!({"limits": [{"name": "l", "key": ["{subject}"], "rate": "1/minute", "missing": missing}]});
    for (missing, first, second) in [
        (json!("deny"), Some("value_missing"), Some("value_missing")),
        (json!("skip"), None, None),
        (json!({"value": "nobody"}), None, Some("rate_limited")),
        (json!({"key": ["{client.ip}"]}), None, Some("rate_limited")),
    ] {
        let plugin = start(&World::default(), &limit(missing.clone()));
        for want in [first, second] {
            let reason = match ask(&plugin) {
                Went::Answered(reply) => Some(reply.reason()),
                _ => None,
            };
            assert_eq!(reason.as_deref(), want, "{missing}");
        }
    }
}

#[test]
fn an_unreadable_path_counts_as_matched() {
    let config = json!({"limits": [{"name": "login", "match": {"path": "/login"}, "key": ["everyone"], "rate": "2/minute"}]});
    let plugin = start(&World::default(), &config);
    let mut passed = 0;
    for path in ["/login", "//login", "/x/../login", "/%6cogin", "/login%zz", "/login;v=1", "/LOGIN"] {
        passed += usize::from(plugin.request("POST", path, &[]).1 == Went::On);
    }
    assert_eq!(passed, 3, "two of the six spellings, and the one that is another path");
}

#[test]
fn a_refusal_gives_back_what_earlier_limits_charged() {
    let config = json!({"limits": [
        {"name": "wide", "key": ["everyone"], "rate": "5/minute"},
        {"name": "narrow", "key": ["{client.ip}"], "rate": "1/minute"}
    ]});
    let world = World::default();
    let plugin = start(&world, &config);
    assert_eq!(ask(&plugin), Went::On);
    for _ in 0..10 {
        assert_eq!(ask(&plugin).reply().status, 429);
    }
    let other = Vm::new(&world, "rate-limit");
    other.set_property("source\0address", "192.0.2.8:1");
    let other = other.configure(config.to_string()).unwrap();
    assert_eq!(ask(&other), Went::On, "the refused ones did not use up the wide limit");
}

#[test]
fn a_store_that_fails_refuses_or_lets_pass_as_configured_and_counts() {
    let world = World::default();
    let plugin = start(&world, &config());
    plugin.vm().fail("proxy_get_shared_data", 10);
    let reply = ask(&plugin).reply();
    assert_eq!(
        (reply.status, reply.reason().as_str(), reply.header("retry-after")),
        (503, "store_unavailable", "1")
    );
    let mut config = config();
    config["on_error"] = "allow".into();
    let plugin = start(&world, &config);
    plugin.vm().fail("proxy_get_shared_data", 10);
    assert_eq!(ask(&plugin), Went::On);
    assert_eq!(world.metric(&["outcome=.=error", "reason=.=store_unavailable"]), 1);
    plugin.vm().fail("proxy_get_shared_data", 0);
    plugin.vm().fail("proxy_set_shared_data", 8);
    assert_eq!(ask(&plugin), Went::On, "thirty-two conflicts in a row");
    assert_eq!(world.metric(&["outcome=.=error"]), 2);
}

#[test]
fn a_host_that_cannot_count_refuses_the_configuration() {
    let vm = Vm::new(&World::default(), "rate-limit");
    vm.fail("proxy_set_shared_data", 12);
    let error = vm.configure(config().to_string()).map(drop).unwrap_err();
    assert!(error.contains("this host has no shared data"), "{error}");
}

#[test]
fn shadow_counts_and_lets_pass() {
    let world = World::default();
    let mut config = config();
    config["mode"] = "shadow".into();
    let plugin = start(&world, &config);
    for _ in 0..5 {
        assert_eq!(ask(&plugin), Went::On);
    }
    assert_eq!(world.metric(&["outcome=.=shadow_deny"]), 2);
}

#[test]
fn clocks_that_step_change_nothing() {
    let world = World::default();
    let plugin = start(&world, &config());
    for _ in 0..3 {
        ask(&plugin);
    }
    for seconds in [0, 4_000_000_000] {
        world.set_wall_seconds(seconds);
        assert!(matches!(ask(&plugin), Went::Answered(_)), "the wall clock at {seconds}");
    }
}
