//! An engine outside the filter, as a script.

use portcullis_common::clock::{Mono, Now, Wall};
use portcullis_common::filter::{Answer, Callout, Event, Filter, RootStep, Step};
use portcullis_common::memory::MemoryHost;
use portcullis_common::request::Request;
use serde_json::{Value, json};

use super::{Pending, Rebac, Stream};

const MS: u64 = 1_000_000;

/// A worker with its clock.
struct Vm {
    filter: Rebac,
    host: MemoryHost,
    now: u64,
}

/// What became of a request.
#[derive(Debug)]
enum Went {
    Passed,
    Refused(u16, &'static str, Vec<(String, String)>),
    Calls(Vec<Callout>, Pending),
    Waits(u64, Pending),
}

impl Went {
    fn said(&self) -> (u16, &'static str) {
        match self {
            Went::Passed => (200, ""),
            Went::Refused(status, reason, _) => (*status, reason),
            Went::Calls(..) => (0, "calls"),
            Went::Waits(..) => (0, "waits"),
        }
    }

    fn calls(self) -> (Vec<Callout>, Pending) {
        match self {
            Went::Calls(callouts, pending) => (callouts, pending),
            other => panic!("{other:?}"),
        }
    }

    fn waits(self) -> (u64, Pending) {
        match self {
            Went::Waits(key, pending) => (key, pending),
            other => panic!("{other:?}"),
        }
    }
}

fn config() -> Value {
    json!({
        "engine": {"openfga": {
            "cluster": "openfga",
            "store": "01JF3ZK8W6X2Q9V5T7B4N1M0PC",
            "model": "01JF3ZK8W6X2Q9V5T7B4N1M0PD",
            "token": {"value": "hush"},
            "calls": {"retries": 0},
        }},
        "rules": [
            {"match": {"path": "/documents/{id}"}, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
            ]}},
            {"match": {"path": "/both/{id}"}, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"},
                {"subject": "user:{subject}", "relation": "editor", "object": "document:{path.id}"},
            ]}},
            {"match": {"path": "/either/{id}"}, "checks": {"any": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"},
                {"subject": "user:{header.x-user}", "from_client": true, "relation": "editor", "object": "document:{path.id}"},
            ]}},
            {"match": {"path": "/hidden/{id}"}, "hide": true, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
            ]}},
            {"match": {"path": "/open/{id}"}, "on_error": "allow", "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
            ]}},
        ],
        "unmatched": "deny",
        "explain": {"when": {"subject": "ann"}},
    })
}

fn spicedb() -> Value {
    let mut config = config();
    config["engine"] =
        json!({"spicedb": {"cluster": "spicedb", "protocol": "http", "token": {"value": "hush"}}});
    config["freshness"] = json!({"header": "x-zedtoken", "per_second": 2});
    config
}

impl Vm {
    fn new(config: &Value) -> Vm {
        let host = MemoryHost::default();
        host.set_property("portcullis.jwt-auth.subject", "ann");
        let filter = Rebac::configure(config.to_string().as_bytes(), &host).unwrap_or_else(|e| panic!("{e}"));
        Vm { filter, host, now: 1_000 * MS }
    }

    fn clock(&self) -> Now {
        Now::at(Wall(self.now), Mono(self.now))
    }

    fn went(step: Step<Pending>) -> Went {
        match step {
            Step::Allow(_) => Went::Passed,
            Step::Reply(reply) => {
                let headers = reply.headers.iter();
                let headers = headers.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v).into_owned()));
                Went::Refused(reply.status, reply.details, headers.collect())
            }
            Step::Call(callouts, pending) => Went::Calls(callouts, pending),
            Step::Wait(key, _, pending) => Went::Waits(key, pending),
        }
    }

    fn send(&mut self, method: &str, path: &str, more: &[(&str, &str)]) -> Went {
        let request: Request = [(":method", method), (":path", path), (":authority", "a")]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        let now = self.clock();
        Vm::went(self.filter.on_request(&mut Stream::default(), &request, &now, &self.host))
    }

    fn get(&mut self, path: &str) -> Went {
        self.send("GET", path, &[])
    }

    fn answer(&mut self, pending: Pending, answers: Vec<Answer>) -> Went {
        let request: Request =
            [(":method", "GET"), (":path", "/"), (":authority", "a")].into_iter().collect();
        let now = self.clock();
        Vm::went(self.filter.on_answer(&mut Stream::default(), &request, pending, answers, &now, &self.host))
    }

    /// Asks, and answers each of its calls so.
    fn asked(&mut self, path: &str, answer: &Answer) -> (u16, &'static str) {
        let (callouts, pending) = self.get(path).calls();
        self.answer(pending, vec![answer.clone(); callouts.len()]).said()
    }

    fn tick(&mut self) -> Vec<RootStep> {
        let now = self.clock();
        self.filter.on_tick(&now, &self.host)
    }

    fn event(&mut self, tag: u64, answer: Answer) -> Vec<RootStep> {
        let now = self.clock();
        self.filter.on_event(Event::Answered { tag, answer }, &now, &self.host)
    }

    fn counted(&self, name: &str) -> i64 {
        self.host.metrics().iter().filter(|(n, _)| n.contains(name)).map(|(_, v)| v).sum()
    }
}

fn http(status: u16, body: &str) -> Answer {
    Answer::Http { response: Vec::new(), status, body: body.as_bytes().to_vec() }
}

fn allowed(yes: bool) -> Answer {
    http(200, &json!({"allowed": yes, "resolution": ""}).to_string())
}

fn body(callout: &Callout) -> Value {
    let Callout::Http { body, .. } = callout else { panic!("{callout:?}") };
    serde_json::from_slice(body).unwrap()
}

#[test]
fn a_question_is_asked_once_and_remembered() {
    let mut vm = Vm::new(&config());
    let (callouts, pending) = vm.send("GET", "/documents/1", &[("traceparent", "00-a-b-01")]).calls();
    let [Callout::Http { cluster, headers, timeout, .. }] = callouts.as_slice() else { panic!() };
    assert_eq!((&**cluster, timeout.as_millis()), ("openfga", 200));
    assert!(headers.contains(&("authorization".into(), "Bearer hush".into())));
    assert!(headers.contains(&("traceparent".into(), "00-a-b-01".into())));
    assert_eq!(
        body(&callouts[0])["tuple_key"],
        json!({"user": "user:ann", "relation": "viewer", "object": "document:1"})
    );
    assert_eq!(vm.answer(pending, vec![allowed(true)]).said(), (200, ""));
    assert_eq!(vm.asked("/documents/2", &allowed(false)), (403, "relation_denied"));
    for _ in 0..3 {
        assert_eq!(vm.get("/documents/1").said(), (200, ""));
        assert_eq!(vm.get("/documents/2").said(), (403, "relation_denied"));
    }
    assert_eq!(vm.counted("source=.=cache"), 6);
    // A no is forgotten before a yes.
    vm.now += 2_000 * MS;
    assert_eq!(vm.get("/documents/2").said(), (0, "calls"));
    assert_eq!(vm.get("/documents/1").said(), (200, ""));
    vm.now += 8_000 * MS;
    assert_eq!(vm.get("/documents/1").said(), (0, "calls"));
}

#[test]
fn all_questions_of_a_request_go_in_one_call() {
    let mut vm = Vm::new(&config());
    let (callouts, pending) = vm.get("/both/1").calls();
    assert_eq!(callouts.len(), 1);
    assert_eq!(body(&callouts[0])["checks"].as_array().unwrap().len(), 2);
    let answers = http(200, r#"{"result":{"0":{"allowed":true},"1":{"allowed":false}}}"#);
    assert_eq!(vm.answer(pending, vec![answers]).said(), (403, "relation_denied"));
    // Each is remembered by itself.
    assert_eq!(vm.get("/documents/1").said(), (200, ""));
    assert_eq!(vm.get("/both/1").said(), (403, "relation_denied"));
    assert_eq!(vm.get("/either/1").said(), (200, ""));
    // What cannot be asked is asked of nobody where all have to hold, and does not hinder the other where any may.
    let (callouts, pending) = vm.get("/either/2").calls();
    assert_eq!(body(&callouts[0])["tuple_key"]["relation"], "viewer");
    assert_eq!(vm.answer(pending, vec![allowed(false)]).said(), (403, "value_missing"));
}

#[test]
fn kinds_of_errors_are_told_apart_and_none_is_remembered() {
    let mut vm = Vm::new(&config());
    let coded = |code: &str, message: &str| http(400, &json!({"code": code, "message": message}).to_string());
    for (answer, expected) in [
        (coded("validation_error", "invalid 'user'"), (403, "value_invalid")),
        (coded("validation_error", "relation 'document#viewer' not found"), (500, "mapping_refused")),
        (coded("authorization_model_not_found", ""), (500, "model_refused")),
        (coded("authorization_model_resolution_too_complex", ""), (503, "check_too_long")),
        (http(401, "{}"), (503, "credentials_refused")),
        (http(404, "{}"), (500, "model_refused")),
        (http(200, "{}"), (503, "engine_unavailable")),
        (http(200, r#"{"allowed":"yes"}"#), (503, "engine_unavailable")),
        (http(503, ""), (503, "engine_unavailable")),
        (Answer::Timeout, (503, "engine_unavailable")),
        (Answer::Reset, (503, "engine_unavailable")),
    ] {
        assert_eq!(vm.asked("/documents/1", &answer), expected, "{answer:?}");
        let away = expected.1 == "engine_unavailable";
        let open = if away { (200, "") } else { expected };
        assert_eq!(vm.asked("/open/1", &answer), open, "{answer:?}");
        // What failed before does not count, once there was an answer.
        assert_eq!(vm.asked("/documents/other", &http(401, "{}")), (503, "credentials_refused"));
    }
    assert_eq!(vm.asked("/documents/1", &allowed(true)), (200, ""));
    assert_eq!(vm.counted("cause=.=garbled"), 4);
}

#[test]
fn whatever_an_engine_says_of_an_object_is_hidden_as_if_there_were_none() {
    let mut vm = Vm::new(&config());
    let mut spicedb = Vm::new(&spicedb());
    let said = |code: u64, message: &str| http(400, &json!({"code": code, "message": message}).to_string());
    let validation = json!({"code": "validation_error", "message": "it has a value that does not fit"});
    assert_eq!(vm.asked("/hidden/1", &http(400, &validation.to_string())), (404, "not_found"));
    for (message, code, told) in [
        ("max depth exceeded: this usually indicates", 9, (503, "check_too_long")),
        ("type error for parameters for caveat `c`: no", 3, (403, "condition_unresolved")),
        ("evaluation error for caveat c: division by zero", 3, (403, "condition_unresolved")),
        ("something else", 3, (403, "value_invalid")),
    ] {
        assert_eq!(spicedb.asked("/documents/1", &said(code, message)), told, "{message}");
        assert_eq!(spicedb.asked("/hidden/1", &said(code, message)), (404, "not_found"), "{message}");
    }
    // What no engine was asked about tells nothing of an object.
    assert_eq!(vm.get("/hidden/nobody%20knows").said(), (403, "value_invalid"));
}

#[test]
fn a_condition_without_its_values_names_them_to_those_who_are_told() {
    let mut vm = Vm::new(&config());
    let message =
        "tuple 'document:1#viewer@user:ann (condition early)' is missing context parameters '[hour]'";
    let answer = http(400, &json!({"code": "validation_error", "message": message}).to_string());
    let (_, pending) = vm.get("/documents/1").calls();
    let Went::Refused(status, reason, headers) = vm.answer(pending, vec![answer]) else { panic!() };
    assert_eq!((status, reason), (403, "condition_unresolved"));
    let told = &headers.iter().find(|(name, _)| name == "x-portcullis-explain").unwrap().1;
    assert!(told.contains("source=engine") && told.ends_with("lacks=\"hour\""), "{told}");
}

#[test]
fn what_several_ask_is_asked_once_and_the_first_wakes_the_others() {
    let mut vm = Vm::new(&config());
    let (_, first) = vm.get("/documents/1").calls();
    let waiting: Vec<(u64, Pending)> = (0..10).map(|_| vm.get("/documents/1").waits()).collect();
    assert_eq!(vm.answer(first, vec![allowed(true)]).said(), (200, ""));
    assert_eq!(vm.filter.wakes(), [waiting[0].0]);
    for (_, pending) in waiting {
        assert_eq!(vm.answer(pending, vec![Answer::Woken]).said(), (200, ""));
    }
    assert_eq!(vm.counted("source=.=shared"), 10);
}

#[test]
fn ten_that_wait_survive_the_end_of_the_first() {
    let mut vm = Vm::new(&config());
    let (_, first) = vm.get("/documents/1").calls();
    let waiting: Vec<(u64, Pending)> = (0..10).map(|_| vm.get("/documents/1").waits()).collect();
    drop(first);
    vm.now += 50 * MS;
    let steps = vm.tick();
    let [RootStep::Call { tag, .. }] = steps.as_slice() else { panic!("{steps:?}") };
    assert!(vm.tick().is_empty(), "it is asked once");
    assert_eq!(vm.event(*tag, allowed(true)), [RootStep::Wake(waiting[0].0)]);
    for (_, pending) in waiting {
        assert_eq!(vm.answer(pending, vec![Answer::Woken]).said(), (200, ""));
    }
    // Nobody waits: nobody asks.
    let (_, first) = vm.get("/documents/2").calls();
    drop(first);
    assert!(vm.tick().is_empty());
    assert_eq!(vm.get("/documents/2").said(), (0, "calls"));
}

#[test]
fn a_call_that_did_not_reach_the_engine_is_repeated_inside_the_deadline() {
    let mut config = config();
    config["engine"]["openfga"]["calls"]["retries"] = json!(2);
    let mut vm = Vm::new(&config);
    let (_, pending) = vm.get("/documents/1").calls();
    let (_, pending) = vm.answer(pending, vec![Answer::Reset]).waits();
    vm.now += 50 * MS;
    let (callouts, pending) = vm.answer(pending, vec![Answer::Timeout]).calls();
    assert_eq!(callouts[0].timeout().as_millis(), 150);
    assert_eq!(vm.answer(pending, vec![allowed(true)]).said(), (200, ""));
    // Nor did what a proxy on the way says of an engine that it does not reach.
    for status in [502, 503, 504] {
        let (_, pending) = vm.get("/documents/3").calls();
        let (_, pending) = vm.answer(pending, vec![http(status, "")]).waits();
        let (_, pending) = vm.answer(pending, vec![Answer::Timeout]).calls();
        assert_eq!(vm.answer(pending, vec![http(401, "")]).said(), (503, "credentials_refused"));
    }
    for status in [201, 302, 422, 429, 500] {
        let (_, pending) = vm.get("/documents/3").calls();
        assert_eq!(
            vm.answer(pending, vec![http(status, "{}")]).said(),
            (503, "engine_unavailable"),
            "{status}"
        );
        assert_eq!(vm.asked("/documents/4", &http(401, "")), (503, "credentials_refused"));
    }
    let (_, pending) = vm.get("/documents/3").calls();
    let large = http(200, &"x".repeat((1 << 20) + 1));
    assert_eq!(vm.answer(pending, vec![large]).said(), (503, "engine_unavailable"));
    assert_eq!(vm.counted("cause=.=status"), 5);
    assert_eq!(vm.asked("/documents/4", &http(401, "")), (503, "credentials_refused"));
    // What the engine said is not repeated, and no call begins that cannot end in time.
    let (_, pending) = vm.get("/documents/2").calls();
    assert_eq!(vm.answer(pending, vec![http(401, "")]).said(), (503, "credentials_refused"));
    let (_, pending) = vm.get("/documents/2").calls();
    vm.now += 190 * MS;
    assert_eq!(vm.answer(pending, vec![Answer::Reset]).said(), (503, "engine_unavailable"));
}

#[test]
fn an_engine_that_fails_again_and_again_is_left_alone() {
    let mut vm = Vm::new(&config());
    for _ in 0..5 {
        assert_eq!(vm.asked("/documents/1", &Answer::Timeout), (503, "engine_unavailable"));
    }
    assert_eq!(vm.get("/documents/1").said(), (503, "engine_unavailable"));
    assert_eq!(vm.get("/open/1").said(), (200, ""));
    assert_eq!(vm.get("/open/nobody%20knows").said(), (403, "value_invalid"));
    vm.now += 1_000 * MS;
    let (_, leaves) = vm.get("/documents/1").calls();
    assert_eq!(vm.get("/documents/2").said(), (503, "engine_unavailable"));
    // Who leaves before the answer came does not keep the others out.
    drop(leaves);
    let (_, pending) = vm.get("/documents/1").calls();
    assert_eq!(vm.get("/documents/2").said(), (503, "engine_unavailable"));
    assert_eq!(vm.answer(pending, vec![allowed(true)]).said(), (200, ""));
    assert_eq!(vm.get("/documents/2").said(), (0, "calls"));
}

#[test]
fn what_is_over_serves_while_the_engine_is_away_only_if_that_is_written() {
    let mut config = config();
    config["cache"] = json!({"stale": "30s", "jitter": 0});
    let mut vm = Vm::new(&config);
    assert_eq!(vm.asked("/documents/1", &allowed(true)), (200, ""));
    assert_eq!(vm.asked("/documents/2", &allowed(false)), (403, "relation_denied"));
    vm.now += 20_000 * MS;
    assert_eq!(vm.asked("/documents/1", &Answer::Timeout), (200, ""));
    assert_eq!(vm.asked("/documents/2", &Answer::Timeout), (403, "relation_denied"));
    assert_eq!(vm.asked("/documents/1", &http(401, "")), (503, "credentials_refused"));
    vm.now += 20_000 * MS;
    assert_eq!(vm.asked("/documents/1", &Answer::Timeout), (503, "engine_unavailable"));
}

#[test]
fn what_changes_things_is_answered_freshly_also_where_nothing_is_written() {
    let mut vm = Vm::new(&config());
    assert_eq!(vm.asked("/documents/1", &allowed(true)), (200, ""));
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let (callouts, pending) = vm.send(method, "/documents/1", &[]).calls();
        assert_eq!(body(&callouts[0])["consistency"], "HIGHER_CONSISTENCY", "{method}");
        assert_eq!(vm.answer(pending, vec![allowed(false)]).said(), (403, "relation_denied"), "{method}");
    }
    assert_eq!(vm.get("/documents/1").said(), (403, "relation_denied"));
}

#[test]
fn openfga_answers_freshly_by_method_and_by_header() {
    let mut config = config();
    config["freshness"] = json!({"header": "x-fresh", "per_second": 1});
    let mut vm = Vm::new(&config);
    assert_eq!(vm.asked("/documents/1", &allowed(true)), (200, ""));
    for (method, header) in [("POST", &[][..]), ("GET", &[("x-fresh", "1")][..])] {
        let (callouts, pending) = vm.send(method, "/documents/1", header).calls();
        assert_eq!(body(&callouts[0])["consistency"], "HIGHER_CONSISTENCY");
        // Nobody joins it, and what it brings is the newest that there is.
        assert_eq!(vm.send("POST", "/documents/1", &[]).said(), (0, "calls"));
        assert_eq!(vm.answer(pending, vec![allowed(false)]).said(), (403, "relation_denied"));
        assert_eq!(vm.get("/documents/1").said(), (403, "relation_denied"));
    }
    assert_eq!(vm.send("GET", "/documents/1", &[("x-fresh", "1")]).said(), (429, "freshness_limited"));
    assert_eq!(vm.send("GET", "/documents/1", &[("x-fresh", "a b")]).said(), (400, "freshness_invalid"));
    assert_eq!(
        vm.send("POST", "/documents/1", &[]).said(),
        (0, "calls"),
        "methods are not the client's whim"
    );
}

#[test]
fn spicedb_is_at_least_as_fresh_as_the_token_that_a_client_presents() {
    let has = |yes: bool| {
        let word = if yes { "PERMISSIONSHIP_HAS_PERMISSION" } else { "PERMISSIONSHIP_NO_PERMISSION" };
        http(200, &json!({"checkedAt": {"token": "new"}, "permissionship": word}).to_string())
    };
    let mut vm = Vm::new(&spicedb());
    assert_eq!(vm.asked("/documents/1", &has(true)), (200, ""));
    let token = [("x-zedtoken", "GhUKEzE3")];
    let (callouts, pending) = vm.send("GET", "/documents/1", &token).calls();
    assert_eq!(body(&callouts[0])["consistency"], json!({"atLeastAsFresh": {"token": "GhUKEzE3"}}));
    assert_eq!(vm.answer(pending, vec![has(false)]).said(), (403, "relation_denied"));
    // With the same token it is remembered, and those without one profit.
    assert_eq!(vm.send("GET", "/documents/1", &token).said(), (403, "relation_denied"));
    assert_eq!(vm.get("/documents/1").said(), (403, "relation_denied"));
    // Other tokens cost calls, and those are counted.
    let (_, pending) = vm.send("GET", "/documents/1", &[("x-zedtoken", "b")]).calls();
    assert_eq!(
        vm.answer(pending, vec![http(400, r#"{"code":3,"message":"bad token"}"#)]).said(),
        (400, "freshness_invalid")
    );
    assert_eq!(vm.send("GET", "/documents/1", &[("x-zedtoken", "c")]).said(), (429, "freshness_limited"));
    assert_eq!(vm.send("GET", "/documents/1", &token).said(), (403, "relation_denied"), "remembered");
    let (callouts, _) = vm.send("DELETE", "/documents/1", &[]).calls();
    assert_eq!(body(&callouts[0])["consistency"], json!({"fullyConsistent": true}));
}

#[test]
fn no_token_takes_away_the_freshness_of_a_write_or_outlives_a_newer_answer() {
    let says =
        |word: &str| http(200, &json!({"permissionship": format!("PERMISSIONSHIP_{word}")}).to_string());
    let (yes, no) = (says("HAS_PERMISSION"), says("NO_PERMISSION"));
    let token = [("x-zedtoken", "old")];
    for newer in ["NO_PERMISSION", "CONDITIONAL_PERMISSION"] {
        let mut vm = Vm::new(&spicedb());
        let (_, pending) = vm.send("GET", "/documents/1", &token).calls();
        assert_eq!(vm.answer(pending, vec![yes.clone()]).said(), (200, ""));
        assert_eq!(vm.send("GET", "/documents/1", &token).said(), (200, ""), "remembered");
        let (callouts, pending) = vm.send("DELETE", "/documents/1", &token).calls();
        assert_eq!(body(&callouts[0])["consistency"], json!({"fullyConsistent": true}));
        assert_eq!(vm.answer(pending, vec![says(newer)]).said().0, 403);
        for header in [&token[..], &[]] {
            assert_ne!(vm.send("GET", "/documents/1", header).said(), (200, ""), "{newer} {header:?}");
        }
    }
    // A newer token's no counts for the older one, too; the budget is for clients' tokens, not for methods.
    let mut vm = Vm::new(&spicedb());
    for (header, answer, expected) in [("a", &yes, 200), ("b", &no, 403)] {
        let (_, pending) = vm.send("GET", "/documents/1", &[("x-zedtoken", header)]).calls();
        assert_eq!(vm.answer(pending, vec![answer.clone()]).said().0, expected);
    }
    assert_eq!(vm.send("GET", "/documents/1", &[("x-zedtoken", "a")]).said(), (429, "freshness_limited"));
    assert_eq!(vm.get("/documents/1").said(), (403, "relation_denied"));
    assert_eq!(vm.send("POST", "/documents/1", &token).said(), (0, "calls"));
    assert_eq!(vm.send("POST", "/documents/1", &[("x-zedtoken", "a b")]).said(), (400, "freshness_invalid"));
}

#[test]
fn requests_wait_for_the_token_that_the_engine_is_shown() {
    let mut config = config();
    let openfga = config["engine"]["openfga"].as_object_mut().unwrap();
    openfga.remove("token");
    let credentials = json!({"cluster": "id", "url": "https://id.test/token", "client_id": "c", "client_secret": {"value": "s"}});
    openfga.insert("client_credentials".into(), credentials);
    let mut vm = Vm::new(&config);
    assert!(vm.filter.keeps_watch());
    let (_, pending) = vm.get("/documents/1").waits();
    let steps = vm.tick();
    let [RootStep::Call { tag, .. }] = steps.as_slice() else { panic!("{steps:?}") };
    let token = http(200, r#"{"access_token":"fetched","token_type":"Bearer","expires_in":60}"#);
    let woken = vm.event(*tag, token);
    assert!(matches!(woken.as_slice(), [RootStep::Wake(_)]), "{woken:?}");
    let (callouts, pending) = vm.answer(pending, vec![Answer::Woken]).calls();
    let Callout::Http { headers, .. } = &callouts[0] else { panic!() };
    assert!(headers.contains(&("authorization".into(), "Bearer fetched".into())));
    assert_eq!(vm.answer(pending, vec![allowed(true)]).said(), (200, ""));
    // Without one there is no answer.
    let mut vm = Vm::new(&config);
    let (_, pending) = vm.get("/documents/1").waits();
    vm.now += 250 * MS;
    assert_eq!(vm.answer(pending, vec![Answer::Timeout]).said(), (503, "engine_unavailable"));
}

#[test]
fn a_plugin_that_is_switched_off_asks_nobody() {
    let mut config = config();
    let openfga = config["engine"]["openfga"].as_object_mut().unwrap();
    openfga.remove("token");
    let credentials = json!({"cluster": "id", "url": "https://id.test/token", "client_id": "c", "client_secret": {"value": "s"}});
    openfga.insert("client_credentials".into(), credentials);
    openfga.insert("watch".into(), json!({}));
    config["enabled"] = false.into();
    let mut vm = Vm::new(&config);
    assert!(!vm.filter.keeps_watch());
    assert!(vm.tick().is_empty());
    assert_eq!(vm.get("/documents/1").said(), (200, ""));
}

#[test]
fn a_change_that_is_heard_of_voids_what_was_remembered_and_what_is_on_its_way() {
    use crate::remote::epoch::Floor;
    let mut vm = Vm::new(&config());
    assert_eq!(vm.asked("/documents/1", &allowed(true)), (200, ""));
    let (_, before) = vm.get("/documents/2").calls();
    let until = Mono(vm.now + 10_000 * MS);
    vm.filter.client.as_mut().unwrap().memory.epoch.invalidate(Floor::FreshUntil(until));
    let (callouts, _) = vm.get("/documents/1").calls();
    assert_eq!(body(&callouts[0])["consistency"], "HIGHER_CONSISTENCY");
    // A question that left before is joined by nobody and remembered by nobody.
    let (_, after) = vm.get("/documents/2").calls();
    assert_eq!(vm.answer(before, vec![allowed(true)]).said(), (200, ""));
    assert_eq!(vm.get("/documents/2").said(), (0, "waits"));
    assert_eq!(vm.answer(after, vec![allowed(false)]).said(), (403, "relation_denied"));
    assert_eq!(vm.get("/documents/2").said(), (403, "relation_denied"));
}

#[test]
fn a_configuration_that_cannot_be_asked_is_refused_where_it_is_wrong() {
    let own = json!([{"user": "user:{subject}", "relation": "member", "object": "group:{claim.group}"}]);
    for (base, place, value, path) in [
        (config(), "/engine/openfga/store", json!("x"), "engine.openfga.store"),
        (config(), "/engine/openfga/token", json!({"value": "a b"}), "engine.openfga.token"),
        (config(), "/engine/openfga/calls", json!({"timeout": "11s"}), "engine.openfga.calls.timeout"),
        (spicedb(), "/engine/spicedb/cluster", json!("a b"), "engine.spicedb.cluster"),
        (
            spicedb(),
            "/rules/0/checks/all/0",
            json!({"subject": "user:{subject}", "relation": "view", "object": "document:{path.id}", "tuples": own}),
            "rules[0].checks.all[0].tuples",
        ),
        (config(), "/engine", json!({}), "engine"),
    ] {
        let mut config = base;
        *config.pointer_mut(place).unwrap() = value;
        let error = Rebac::configure(config.to_string().as_bytes(), &MemoryHost::default()).unwrap_err();
        assert_eq!(error.path(), path, "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}

fn beside(what: &str) -> Value {
    let mut config = config();
    config["engine"]["embedded"] = json!({
        "model": "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]\n    define editor: [user]\n",
        "tuples": ["document:1#viewer@user:ann"],
    });
    config["engine"][what] = json!(true);
    config["freshness"] = json!({"header": "x-fresh"});
    config
}

#[test]
fn while_the_engine_is_away_the_one_inside_answers_if_that_is_written() {
    let mut vm = Vm::new(&beside("fallback"));
    assert_eq!(vm.asked("/documents/1", &Answer::Timeout), (200, ""));
    assert_eq!(vm.asked("/documents/2", &Answer::Timeout), (403, "relation_denied"));
    assert_eq!(vm.asked("/open/2", &Answer::Timeout), (403, "relation_denied"));
    // What has to be fresh it does not answer: its tuples may be older than the write that the client knows of.
    for (method, more) in [("POST", &[][..]), ("DELETE", &[]), ("GET", &[("x-fresh", "now")])] {
        let (_, pending) = vm.send(method, "/documents/1", more).calls();
        let went = vm.answer(pending, vec![Answer::Timeout]).said();
        assert_eq!(went, (503, "engine_unavailable"), "{method} {more:?}");
        assert_eq!(vm.asked("/documents/other", &http(401, "")), (503, "credentials_refused"));
    }
    // It says nothing against what the engine says, and what it says is not remembered.
    assert_eq!(vm.asked("/documents/1", &http(401, "")), (503, "credentials_refused"));
    assert_eq!(vm.asked("/documents/1", &allowed(false)), (403, "relation_denied"));
    for _ in 0..5 {
        assert_eq!(vm.asked("/documents/3", &Answer::Timeout), (403, "relation_denied"));
    }
    assert_eq!(vm.get("/documents/3").said(), (403, "relation_denied"), "left alone");
    vm.now += 2_000 * MS;
    assert_eq!(vm.asked("/documents/3", &allowed(true)), (200, ""));
}

#[test]
fn two_engines_are_compared_and_the_one_outside_counts() {
    let mut vm = Vm::new(&beside("compare"));
    assert_eq!(vm.asked("/documents/1", &allowed(true)), (200, ""));
    assert_eq!(vm.asked("/documents/2", &allowed(true)), (200, ""));
    assert_eq!(vm.asked("/documents/3", &Answer::Timeout), (503, "engine_unavailable"));
    assert_eq!(vm.get("/documents/2").said(), (200, ""));
    assert_eq!((vm.counted("outcome=.=same"), vm.counted("outcome=.=different")), (1, 1));
}

#[test]
fn an_engine_inside_beside_one_outside_needs_something_to_do() {
    let mut idle = beside("fallback");
    idle["engine"]["fallback"] = json!(false);
    let mut alone = beside("compare");
    alone["engine"].as_object_mut().unwrap().remove("openfga");
    alone.as_object_mut().unwrap().remove("freshness");
    for (config, path) in [(idle, "engine.embedded"), (alone, "engine.compare")] {
        let error = Rebac::configure(config.to_string().as_bytes(), &MemoryHost::default()).unwrap_err();
        assert_eq!(error.path(), path, "{error}");
    }
}
