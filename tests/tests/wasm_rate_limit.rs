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
    let config = json!({"limits": [{"name": "l", "key": ["{client.ip}"], "in_flight": 2, "lease": "10s"}]});
    let plugin = start(&world, &config);
    let in_flight = || world.metric(&["portcullis_limited_requests_in_flight"]);
    let (a, _) = plugin.request("GET", "/", &[]);
    let (b, _) = plugin.request("GET", "/", &[]);
    assert_eq!((in_flight(), plugin.vm().tick_millis()), (2, 250));
    let reply = ask(&plugin).reply();
    assert_eq!((reply.status, reply.header("retry-after")), (429, "1"));
    assert_eq!(
        reply.header("ratelimit-policy"),
        "\"l.in_flight\";q=2;qu=\"concurrent-requests\"",
        "a refusal names what is taken"
    );
    a.end();
    assert_eq!(in_flight(), 1);
    drop(b);
    assert_eq!(in_flight(), 0);
    plugin.tick();
    assert_eq!(plugin.vm().tick_millis(), 0, "nothing is held, nothing ticks");
}

#[test]
fn a_vm_that_died_holds_its_places_for_one_lease_and_a_long_stream_for_as_long_as_its_vm_ticks() {
    let world = World::default();
    let config = json!({"limits": [{"name": "l", "key": ["everyone"], "in_flight": 2, "lease": "10s"}]});
    let (dead, alive) = (start(&world, &config), start(&world, &config));
    let (lost, _) = dead.request("GET", "/", &[]);
    let (long, _) = alive.request("GET", "/", &[]);
    for _ in 0..9 {
        assert_eq!(ask(&alive).reply().status, 429);
        world.advance(SECOND);
        alive.tick();
    }
    world.advance(2 * SECOND);
    let (short, went) = alive.request("GET", "/", &[]);
    assert_eq!(went, Went::On, "the dead one's place is free");
    assert_eq!(ask(&alive).reply().status, 429, "the long one's is not");
    drop((short, long, lost));
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

/// Asks from this subject, with these headers more.
fn ask_as(plugin: &Plugin, subject: &str, headers: &[(&str, &str)]) -> Went {
    plugin.vm().set_property("portcullis.jwt-auth.subject", subject);
    plugin.request("GET", "/", headers).1
}

fn passed(times: usize, mut one: impl FnMut() -> Went) -> usize {
    (0..times).filter(|_| one() == Went::On).count()
}

#[test]
fn several_rates_and_several_limits_on_one_key_are_one_exchange() {
    let world = World::default();
    let config = json!({"headers": "none", "limits": [
        {"name": "a", "key": ["{subject}"], "rates": [{"rate": "10/second"}, {"rate": "4/hour"}]},
        {"name": "b", "key": ["{subject}"], "rate": "6/minute"}
    ]});
    let plugin = start(&world, &config);
    assert_eq!(ask_as(&plugin, "ann", &[]), Went::On);
    plugin.vm().reset_counts();
    assert_eq!(ask_as(&plugin, "ann", &[]), Went::On);
    let calls = plugin.vm().host_calls();
    assert_eq!((calls["proxy_get_shared_data"], calls["proxy_set_shared_data"]), (1, 1));
    assert_eq!(passed(9, || ask_as(&plugin, "ann", &[])), 2);
    let reply = ask_as(&plugin, "ann", &[]).reply();
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["violated-policies"], json!(["a.2"]));
    assert_eq!(reply.header("retry-after"), "900", "a quarter of an hour for one of four an hour");
    world.advance(20 * 60 * SECOND);
    assert_eq!(ask_as(&plugin, "ann", &[]), Went::On, "what was refused cost b nothing");
}

#[test]
fn numbers_go_by_plan_and_single_values_before_plans() {
    let config = json!({"limits": [{
        "name": "l", "key": ["{subject}"], "rate": "2/hour",
        "plans": {"from": "header.x-plan", "from_client": true, "tiers": {"gold": {"rate": "5/hour"}}},
        "overrides": {"values": {"bob": {"rate": "1/hour"}}}
    }]});
    let plugin = start(&World::default(), &config);
    assert_eq!(passed(9, || ask_as(&plugin, "ann", &[])), 2);
    assert_eq!(passed(9, || ask_as(&plugin, "eve", &[("x-plan", "gold")])), 5);
    assert_eq!(passed(9, || ask_as(&plugin, "joe", &[("x-plan", "lead")])), 2);
    assert_eq!(passed(9, || ask_as(&plugin, "bob", &[("x-plan", "gold")])), 1);
}

#[test]
fn lists_come_before_counting() {
    let config = json!({"limits": [{
        "name": "l", "key": ["everyone"], "rate": "1/hour",
        "allow": [{"from": "subject", "values": ["robot"]}, {"from": "client.ip", "values": ["198.51.100.0/24"]}],
        "deny": [{"from": "subject", "values": ["eve"]}, {"from": "client.ip", "values": ["203.0.113.0/24"]}]
    }]});
    let plugin = start(&World::default(), &config);
    assert_eq!(passed(5, || ask_as(&plugin, "robot", &[])), 5);
    let reply = ask_as(&plugin, "eve", &[]).reply();
    assert_eq!((reply.status, reply.reason().as_str()), (403, "denied"));
    assert_eq!(passed(5, || ask_as(&plugin, "ann", &[])), 1);
    for (address, want) in
        [("198.51.100.9:1", Some(200)), ("203.0.113.9:1", Some(403)), ("192.0.2.9:1", None)]
    {
        plugin.vm().set_property("source\0address", address);
        let got = match ask_as(&plugin, "ann", &[]) {
            Went::On => Some(200),
            Went::Answered(reply) => Some(reply.status).filter(|s| *s != 429),
            Went::Waits => None,
        };
        assert_eq!(got, want, "{address}");
    }
}

#[test]
fn a_cost_that_clients_name_is_clamped_and_costs_the_most_where_it_is_no_number() {
    let config = json!({"limits": [{
        "name": "l", "key": ["{subject}"], "rate": "10/hour",
        "cost": {"from": "header.x-cost", "from_client": true, "max": 5}
    }]});
    let plugin = start(&World::default(), &config);
    for (cost, passes) in
        [("3", 3), ("0", 9), ("-1", 2), ("99", 2), ("18446744073709551616", 2), ("x", 2), ("", 2)]
    {
        let subject = format!("of {cost}");
        assert_eq!(passed(9, || ask_as(&plugin, &subject, &[("x-cost", cost)])), passes, "{cost:?}");
    }
    assert_eq!(passed(9, || ask_as(&plugin, "absent", &[])), 2);
    assert_eq!(passed(9, || ask_as(&plugin, "twice", &[("x-cost", "1"), ("x-cost", "1")])), 2);
}

#[test]
fn an_own_rule_for_addresses_reads_from_the_right() {
    let config = json!({
        "forwarded": {"trusted": ["10.0.0.0/8"]},
        "limits": [{"name": "l", "key": ["{client.ip/32,64}"], "rate": "1/hour"}]
    });
    let plugin = start(&World::default(), &config);
    let from = |list: &str| match plugin.request("GET", "/", &[("x-forwarded-for", list)]).1 {
        Went::Answered(reply) => reply.status,
        _ => 200,
    };
    assert_eq!(from("198.51.100.1, 10.0.0.1"), 200);
    assert_eq!(from("1.1.1.1, 198.51.100.1, 10.0.0.1"), 429, "what is forged stands further left");
    assert_eq!(from("198.51.100.2, 10.0.0.1"), 200);
    assert_eq!(from("198.51.100.3, forged, 10.0.0.1"), 403);
}

#[test]
fn only_failures_count_where_that_is_configured() {
    let config = json!({"limits": [{
        "name": "guessing", "key": ["{client.ip}"], "rate": "3/hour", "settle": {"statuses": ["401", "403"]}
    }]});
    let plugin = start(&World::default(), &config);
    let answer = |verdict: Option<&str>, headers: &[(&str, &str)]| {
        let (stream, went) = plugin.request("GET", "/", &[]);
        if went == Went::On {
            if let Some(verdict) = verdict {
                stream.set_property("portcullis.jwt-auth.verdict", verdict);
            }
            stream.respond(headers);
            stream.end();
        }
        went == Went::On
    };
    for _ in 0..20 {
        assert!(answer(None, &[(":status", "200")]));
        assert!(answer(Some("allow;;r;9"), &[(":status", "500")]));
        assert!(answer(
            None,
            &[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")]
        ));
    }
    assert!(answer(None, &[(":status", "401")]));
    assert!(answer(Some("shadow_deny;token_invalid;r;9"), &[(":status", "200")]), "the verdict comes first");
    assert!(answer(None, &[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "16")]));
    assert!(!answer(None, &[(":status", "200")]));
}

#[test]
fn an_answer_says_what_it_cost_and_none_keeps_the_reservation() {
    let config = json!({"limits": [{
        "name": "tokens", "key": ["{subject}"], "rate": "100/hour",
        "cost": {"fixed": 10}, "settle": {"header": "x-tokens", "absent": "nothing", "max": 1000}
    }]});
    let world = World::default();
    let plugin = start(&world, &config);
    let left = |subject: &str, answer: Option<&[(&str, &str)]>| {
        plugin.vm().set_property("portcullis.jwt-auth.subject", subject);
        let (stream, _) = plugin.request("GET", "/", &[]);
        if let Some(headers) = answer {
            stream.respond(headers);
        }
        stream.end();
        let (stream, went) = plugin.request("GET", "/", &[]);
        match went {
            Went::Answered(reply) => reply.header("ratelimit").to_owned(),
            _ => stream.respond(&[(":status", "200")]).into_iter().find(|(n, _)| n == "ratelimit").unwrap().1,
        }
    };
    assert!(left("a", Some(&[(":status", "200"), ("x-tokens", "35")])).starts_with("\"tokens\";r=55"));
    assert!(left("b", Some(&[(":status", "200"), ("x-tokens", "3")])).starts_with("\"tokens\";r=87"));
    assert!(left("c", Some(&[(":status", "200")])).starts_with("\"tokens\";r=90"));
    assert!(left("d", None).starts_with("\"tokens\";r=80"));
    assert!(
        left("e", Some(&[(":status", "200"), ("x-tokens", "5000")])).starts_with("\"tokens\";r=0;t=32"),
        "at most 1000"
    );
    assert_eq!(world.metric(&["portcullis_settled_cost_total"]), 1_038);
}

#[test]
fn a_quota_of_the_calendar_ends_at_midnight_and_steps_of_the_clock_add_nothing() {
    let config = json!({"limits": [{
        "name": "daily", "key": ["everyone"], "rate": "3/day", "algorithm": "calendar", "accept_loss_on_restart": true
    }]});
    let world = World::default();
    let plugin = start(&world, &config);
    assert_eq!(passed(9, || ask(&plugin)), 3);
    for seconds in [1_767_225_600 - 90_000, 1_767_225_600 + 3_600, 1_767_225_600 - 10] {
        world.set_wall_seconds(seconds);
        assert_eq!(passed(9, || ask(&plugin)), 0, "the wall clock at {seconds}");
        let late = start(&world, &config);
        assert_eq!(passed(9, || ask(&late)), 0, "a worker that came with the clock at {seconds}");
    }
    world.advance(86_400 * SECOND);
    assert_eq!(passed(9, || ask(&plugin)), 3);
}

#[test]
fn numbers_may_change_without_a_fresh_start_and_what_cannot_is_logged() {
    let world = World::default();
    let limit = |rate: &str, more: Value| {
        let mut limit = json!({"name": "l", "key": ["{client.ip}"], "rate": rate});
        limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"limits": [limit]})
    };
    let plugin = start(&world, &limit("4/hour", json!({})));
    assert_eq!(passed(9, || ask(&plugin)), 4);
    let mut wider = limit("5/hour", json!({}));
    wider["limits"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "m", "key": ["{client.ip}"], "rate": "9/minute"}));
    let plugin = start(&world, &wider);
    assert!(passed(9, || ask(&plugin)) <= 1, "what was counted counts on");
    assert!(!plugin.vm().log().contains("starts afresh"), "{}", plugin.vm().log());
    let plugin = start(&world, &limit("4/minute", json!({"algorithm": "sliding_window"})));
    assert!(plugin.vm().log().contains("l starts afresh"), "{}", plugin.vm().log());
    assert_eq!(passed(9, || ask(&plugin)), 4);
}

#[test]
fn a_redirected_request_is_charged_once_and_the_header_alone_buys_nothing() {
    let plugin = start(&World::default(), &config());
    let forged = [("x-envoy-original-url", "http://api.test/")];
    assert_eq!(passed(9, || plugin.request("GET", "/", &forged).1), 3, "forged");
    let world = World::default();
    let plugin = start(&world, &config());
    for _ in 0..9 {
        let pseudo = [(":method", "GET"), (":path", "/"), (":authority", "a.test")];
        let stream = plugin.stream(pseudo.iter().chain(&forged).copied());
        stream.set_property("portcullis.rate-limit.verdict", "allow;;per-client;3");
        assert_eq!(stream.request(), Went::On);
    }
    assert_eq!(passed(9, || ask(&plugin)), 3);
}

#[test]
fn refusals_look_as_configured() {
    let mut config = config();
    config["refusals"] =
        json!({"retry_jitter": "30s", "envoy_ratelimited": true, "grpc_status": "unavailable"});
    let plugin = start(&World::default(), &config);
    assert_eq!(passed(3, || ask(&plugin)), 3);
    let reply = ask(&plugin).reply();
    let retry: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=31).contains(&retry), "{retry}");
    assert_eq!(reply.header("x-envoy-ratelimited"), "true");
    let grpc = plugin.request("POST", "/p.S/M", &[("content-type", "application/grpc")]).1.reply();
    assert_eq!(grpc.grpc, 14);
}

#[test]
fn every_header_is_a_structured_field() {
    let config = json!({"limits": [
        {"name": "several", "key": ["{subject}"], "rates": [
            {"rate": "2/second"},
            {"rate": "9/month", "algorithm": "calendar", "accept_loss_on_restart": true},
            {"rate": "5/minute", "algorithm": "sliding_window"}
        ]},
        {"name": "flights-1_x", "key": ["everyone"], "in_flight": 3}
    ]});
    let world = World::default();
    let plugin = start(&world, &config);
    plugin.vm().set_property("portcullis.jwt-auth.subject", "ann");
    let mut seen = 0;
    let mut held = Vec::new();
    for _ in 0..6 {
        let (stream, went) = plugin.request("GET", "/", &[]);
        let headers = match went {
            Went::Answered(reply) => reply.headers,
            _ => stream.respond(&[(":status", "200")]),
        };
        held.push(stream);
        for (name, value) in headers.iter().filter(|(n, _)| n.starts_with("ratelimit")) {
            let list = sfv::Parser::new(value).parse::<sfv::List>();
            let list = list.unwrap_or_else(|e| panic!("{name}: {value}: {e}"));
            let [sfv::ListEntry::Item(item)] = list.as_slice() else {
                panic!("{name}: {value}: not one item")
            };
            assert!(item.bare_item.as_string().is_some(), "{name}: {value}: not a string");
            let needed = if name == "ratelimit" { "r" } else { "q" };
            let number = item.params.get(needed).and_then(sfv::BareItem::as_integer);
            assert!(number.is_some(), "{name}: {value}: no {needed}");
            seen += 1;
        }
        world.advance(SECOND);
    }
    assert_eq!(seen, 12);
}

#[test]
fn a_vm_that_is_made_anew_goes_on_where_the_old_one_was() {
    let world = World::default();
    let plugin = start(&world, &config());
    assert_eq!(passed(2, || ask(&plugin)), 2);
    drop(plugin);
    let plugin = start(&world, &config());
    assert_eq!(passed(9, || ask(&plugin)), 1);
}

#[test]
fn a_table_tells_how_full_it_is_and_why_it_could_not_answer() {
    let world = World::default();
    let mut config = config();
    config["store"] = json!({"size": "4KiB"});
    config["limits"][0]["key"] = json!(["{header.x-key}"]);
    let plugin = start(&world, &config);
    for n in 0..600 {
        plugin.request("GET", "/", &[("x-key", n.to_string().as_str())]);
    }
    // The mean of three looks, the first of them at an empty table.
    assert_eq!(world.metric(&["portcullis_store_load_percent"]), 67);
    assert!(world.metric(&["portcullis_store_evictions_total"]) > 0);
    world.advance(3_600 * SECOND);
    plugin.vm().fail("proxy_set_shared_data", 8);
    plugin.request("GET", "/", &[("x-key", "another")]);
    assert_eq!(world.metric(&["portcullis_store_failures_total", "cause=.=contended"]), 1);
}

/// Two budgets for one subject, and what is left of them after an answer.
struct Budgets {
    plugin: Plugin,
    world: World,
}

impl Budgets {
    fn new() -> Budgets {
        let budget = |name: &str, pointers: &[&str], absent: &str| {
            json!({
                "name": name, "key": ["{subject}"], "rate": "1000/hour", "cost": {"fixed": 10},
                "settle": {"json": pointers, "absent": absent, "max": 500}
            })
        };
        let config = json!({"settle_window": "1KiB", "limits": [
            budget("in", &["/usage/input_tokens", "/message/usage/input_tokens"], "nothing"),
            budget("out", &["/usage/output_tokens"], "max")
        ]});
        let world = World::default();
        let plugin = Vm::new(&world, "rate-limit-body").configure(config.to_string()).unwrap();
        Budgets { plugin, world }
    }

    fn settled(&self) -> (i64, i64) {
        let of = |rule| self.world.metric(&["portcullis_settled_cost_total", rule]);
        (of("rule=.=in"), of("rule=.=out"))
    }

    /// What an answer with these headers and this body in two pieces settles.
    fn after(headers: &[(&str, &str)], body: &[u8], ends: bool) -> (i64, i64) {
        let budgets = Budgets::new();
        budgets.plugin.vm().set_property("portcullis.jwt-auth.subject", "ann");
        let (stream, went) = budgets.plugin.request("POST", "/v1/messages", &[]);
        assert_eq!(went, Went::On);
        let headers: Vec<_> = [(":status", "200")].iter().chain(headers).copied().collect();
        stream.respond(&headers);
        let (front, back) = body.split_at(body.len() / 2);
        stream.respond_body(front, false);
        stream.respond_body(back, ends);
        let settled = budgets.settled();
        stream.end();
        if ends { settled } else { budgets.settled() }
    }
}

#[test]
fn numbers_in_a_body_settle_separate_budgets_and_their_absence_what_is_written() {
    let json = [("content-type", "application/json")];
    let events = [("content-type", "text/event-stream")];
    let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let both = br#"{"usage":{"input_tokens":25,"output_tokens":15}}"#;
    assert_eq!(Budgets::after(&json, both, true), (25, 15));
    assert_eq!(
        Budgets::after(&json, br#"{"usage":{"output_tokens":9000}}"#, true),
        (0, 500),
        "at most the most"
    );
    assert_eq!(Budgets::after(&json, b"{}", true), (0, 500));
    assert_eq!(Budgets::after(&json, b"", true), (0, 500));
    assert_eq!(Budgets::after(&gzip, both, true), (0, 500), "nobody unpacks it");
    assert_eq!(Budgets::after(&[], both, true), (0, 500), "nobody says that it is JSON");
    let far = format!("{{\"x\":\"{}\",\"usage\":{{\"output_tokens\":5}}}}", "x".repeat(1_100));
    assert_eq!(Budgets::after(&json, far.as_bytes(), true), (0, 500), "behind the window");
    let stream = b"data: {\"message\":{\"usage\":{\"input_tokens\":25}}}\n\ndata: {\"usage\":{\"output_tokens\":3}}\n\ndata: [DONE]\n\n";
    assert_eq!(Budgets::after(&events, stream, true), (25, 3));
    // It breaks off: what it said counts, if that is more than was reserved.
    assert_eq!(Budgets::after(&events, &stream[..90], false), (25, 10));
    assert_eq!(Budgets::after(&events, &stream[..20], false), (0, 0), "the reservations stay");
    assert_eq!(Budgets::after(&events, stream, false), (25, 3), "all was said");
}

#[test]
fn what_a_body_said_is_charged_to_its_own_budget() {
    let budgets = Budgets::new();
    budgets.plugin.vm().set_property("portcullis.jwt-auth.subject", "ann");
    for n in 0..3 {
        let (stream, went) = budgets.plugin.request("POST", "/", &[]);
        assert_eq!(went, Went::On, "{n}");
        stream.respond(&[(":status", "200"), ("content-type", "application/json")]);
        stream.respond_body(br#"{"usage":{"input_tokens":1,"output_tokens":400}}"#, true);
        stream.end();
    }
    let body: Value = serde_json::from_slice(&ask(&budgets.plugin).reply().body).unwrap();
    assert_eq!(body["violated-policies"], json!(["out"]), "1,200 of 1,000 are spent there, 3 of 1,000 here");
}

#[test]
fn the_lean_module_refuses_what_it_cannot_see_by_name() {
    let config = json!({"limits": [
        {"name": "a", "key": ["k"], "rate": "9/hour"},
        {"name": "b", "key": ["k"], "rate": "9/hour", "settle": {"json": ["/n"], "absent": "reserved", "max": 5}}
    ]});
    let error = Vm::new(&World::default(), "rate-limit").configure(config.to_string()).map(drop).unwrap_err();
    assert!(error.contains("rate-limit: limits[1].settle.json: this module sees no bodies"), "{error}");
    assert!(error.contains("rate-limit-body.wasm"), "{error}");
    let lean = Vm::new(&World::default(), "rate-limit");
    assert!(!lean.exports("proxy_on_response_body"));
}

#[test]
fn pointers_and_their_window_are_bounded() {
    let limit = |n: usize| json!({"name": format!("l{n}"), "key": ["k"], "rate": "9/hour", "settle": {"json": vec!["/n"; 8], "absent": "reserved", "max": 5}});
    let refused = |config: Value| {
        Vm::new(&World::default(), "rate-limit-body").configure(config.to_string()).map(drop).unwrap_err()
    };
    let error = refused(json!({"limits": (0..5).map(limit).collect::<Vec<_>>()}));
    assert!(error.contains("limits[4].settle.json: 40 pointers with those before it"), "{error}");
    let error =
        refused(json!({"settle_window": "1MiB", "limits": [{"name": "l", "key": ["k"], "rate": "9/hour"}]}));
    assert!(error.contains("settle_window: without settle.json; leave it out"), "{error}");
}

#[test]
fn only_bodies_that_settle_something_are_read_and_only_as_far_as_they_do() {
    let config = json!({"headers": "none", "limits": [
        {"name": "l", "key": ["everyone"], "rate": "9/hour"},
        {"name": "m", "match": {"path": "/chat"}, "key": ["everyone"], "rate": "9/hour", "settle": {"json": ["/n"], "absent": "reserved", "max": 5}}
    ]});
    let plugin = Vm::new(&World::default(), "rate-limit-body").configure(config.to_string()).unwrap();
    for (path, kind, reads) in
        [("/", "application/json", 0), ("/chat", "text/html", 0), ("/chat", "application/json", 2)]
    {
        let (stream, _) = plugin.request("GET", path, &[]);
        stream.respond(&[(":status", "200"), ("content-type", kind)]);
        plugin.vm().reset_counts();
        // Behind the end of the text nothing counts.
        for piece in [&b"{\"n\":"[..], b"2}", b" ", b"\n"] {
            stream.respond_body(piece, false);
        }
        let calls = plugin.vm().host_calls();
        assert_eq!(
            calls.get("proxy_get_buffer_bytes").copied().unwrap_or(0),
            reads,
            "{path} {kind}: {calls:?}"
        );
        stream.end();
    }
}
