//! Tuples that are fetched, as requests see them.

use portcullis_common::clock::{Mono, Now, Wall};
use portcullis_common::filter::{Answer, Event, Filter, RootStep, Step};
use portcullis_common::memory::{MemoryHost, SharedData};
use portcullis_common::request::Request;
use serde_json::{Value, json};

use super::{Rebac, Stream};

const MODEL: &str = "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]\n";
const ANN: &str = "document:1#viewer@user:ann\n";

fn config() -> Value {
    json!({
        "engine": {"embedded": {"model": MODEL, "tuples": {
            "url": "http://tuples.test/all", "clusters": {"tuples.test": "tuples"},
            "refresh": "30s", "stale": "60s", "wait": "2s",
        }}},
        "rules": [
            {"match": {"path": "/health"}, "checks": "none"},
            {"match": {"path": "/open/{id}"}, "on_error": "allow", "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
            ]}},
            {"match": {"path": "/documents/{id}"}, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
            ]}},
        ],
        "batch": {"path": "/.well-known/checks", "subject": "user:{subject}"},
        "unmatched": "deny",
    })
}

/// A worker, and the second that it is.
struct Vm {
    filter: Rebac,
    host: MemoryHost,
    seconds: u64,
    calls: Vec<u64>,
}

impl Vm {
    fn new(shared: &SharedData, dice: u8) -> Vm {
        let host = MemoryHost::sharing(shared);
        host.roll(dice);
        host.set_property("portcullis.jwt-auth.subject", "ann");
        let filter = Rebac::configure(config().to_string().as_bytes(), &host).unwrap();
        Vm { filter, host, seconds: 1, calls: Vec::new() }
    }

    fn now(&self) -> Now {
        Now::at(Wall(0), Mono(self.seconds * 1_000_000_000))
    }

    /// Takes steps; whether they wake those who wait.
    fn take(&mut self, steps: Vec<RootStep>) -> bool {
        self.calls.extend(steps.iter().filter_map(|step| match step {
            RootStep::Call { tag, .. } => Some(*tag),
            _ => None,
        }));
        steps.iter().any(|step| matches!(step, RootStep::Wake(_)))
    }

    fn tick(&mut self, seconds: u64) -> bool {
        self.seconds = seconds;
        let steps = self.filter.on_tick(&self.now(), &self.host);
        self.take(steps)
    }

    fn gets(&mut self, status: u16, body: impl Into<Vec<u8>>) -> bool {
        let tag = self.calls.pop().expect("a call");
        let answer = Answer::Http { status, response: Vec::new(), body: body.into() };
        let steps = self.filter.on_event(Event::Answered { tag, answer }, &self.now(), &self.host);
        let woken = self.take(steps);
        while self.filter.hurries() {
            let seconds = self.seconds;
            self.tick(seconds);
        }
        woken
    }

    /// What becomes of a request: status and reason; 200 if it passes, 0 if it waits.
    fn asks(&mut self, path: &str) -> (u16, String) {
        let request: Request =
            [(":method", "GET"), (":path", path), (":authority", "a")].into_iter().collect();
        let now = self.now();
        match self.filter.on_request(&mut Stream::default(), &request, &now, &self.host) {
            Step::Allow(edits) => {
                (200, edits.verdict.map(|v| v.outcome.word().to_owned()).unwrap_or_default())
            }
            Step::Reply(reply) => (reply.status, reply.details.to_owned()),
            Step::Wait(..) => (0, "waits".to_owned()),
            Step::Call(..) => (0, "calls".to_owned()),
        }
    }
}

fn said(status: u16, text: &str) -> (u16, String) {
    (status, text.to_owned())
}

#[test]
fn requests_wait_for_the_first_tuples_and_for_no_longer_than_they_may() {
    let shared = SharedData::default();
    let mut a = Vm::new(&shared, 1);
    assert!(a.filter.keeps_watch());
    assert_eq!(a.asks("/health"), said(200, "skip"));
    assert_eq!(a.asks("/documents/1"), said(0, "waits"));
    assert_eq!(a.asks("/.well-known/checks?check=viewer@document:1"), said(0, "waits"));
    a.tick(1);
    // One that waited, and is woken in vain, waits on; one whose time is over does not.
    let request: Request =
        [(":method", "GET"), (":path", "/documents/1"), (":authority", "a")].into_iter().collect();
    let Step::Wait(_, most, pending) =
        a.filter.on_request(&mut Stream::default(), &request, &a.now(), &a.host)
    else {
        panic!()
    };
    assert_eq!(most.as_secs(), 2);
    a.tick(2);
    let now = a.now();
    let again =
        a.filter.on_answer(&mut Stream::default(), &request, pending, vec![Answer::Woken], &now, &a.host);
    let Step::Wait(_, left, pending) = again else { panic!("{again:?}") };
    assert_eq!(left.as_secs(), 1);
    let over =
        a.filter.on_answer(&mut Stream::default(), &request, pending, vec![Answer::Timeout], &now, &a.host);
    let Step::Reply(reply) = over else { panic!("{over:?}") };
    assert_eq!((reply.status, reply.details), (503, "tuples_unavailable"));
    assert!(reply.headers.iter().any(|(name, value)| &**name == "retry-after" && value == b"1"));
    // Another worker fetches nothing, and has what the first one got at its next request.
    let mut b = Vm::new(&shared, 2);
    b.tick(2);
    assert!(b.calls.is_empty());
    assert!(a.gets(200, ANN));
    assert_eq!(a.asks("/documents/1"), said(200, "allow"));
    assert_eq!(a.asks("/documents/2"), said(403, "relation_denied"));
    b.asks("/documents/1");
    b.tick(3);
    assert_eq!(b.asks("/documents/1"), said(200, "allow"));
    assert_eq!(a.host.metric("portcullis_rebac_tuples.plugin=.=rebac;.;"), 1);
    assert_eq!(a.host.metric("portcullis_rebac_tuple_fetches_total.plugin=.=rebac;.;outcome=.=new;.;"), 1);
}

#[test]
fn a_bad_document_replaces_nothing_until_the_stale_window_is_over() {
    let shared = SharedData::default();
    let mut a = Vm::new(&shared, 0);
    a.tick(1);
    a.gets(200, ANN);
    let mut at = 1;
    for (status, body) in
        [(200, "document:1#viewer@user:bob"), (200, "[]x"), (500, "[]"), (200, "document:1#owner@user:ann\n")]
    {
        at += 40;
        if at > 90 {
            break;
        }
        a.tick(at);
        a.gets(status, body);
        assert_eq!(a.asks("/documents/1"), said(200, "allow"), "{at}: {body}");
    }
    // Fresh for 30 seconds and stale for 60.
    a.tick(92);
    a.gets(503, "");
    assert_eq!(a.asks("/documents/1"), said(503, "tuples_unavailable"));
    assert_eq!(a.asks("/open/1"), said(200, "error"));
    assert_eq!(a.asks("/.well-known/checks?check=viewer@document:1"), said(503, "tuples_unavailable"));
    assert!(a.host.metric("portcullis_rebac_errors_total.plugin=.=rebac;.;cause=.=unavailable;.;") >= 3);
    a.tick(200);
    a.gets(200, "[\"document:2#viewer@user:ann\"]");
    assert_eq!(a.asks("/documents/1"), said(403, "relation_denied"));
    assert_eq!(a.asks("/documents/2"), said(200, "allow"));
}

#[test]
fn a_crowd_does_not_wait_without_bound_and_whoever_leaves_makes_room() {
    let mut a = Vm::new(&SharedData::default(), 0);
    let request: Request =
        [(":method", "GET"), (":path", "/documents/1"), (":authority", "a")].into_iter().collect();
    let now = a.now();
    let mut streams: Vec<Stream> = (0..1025).map(|_| Stream::default()).collect();
    let mut ask =
        |stream: &mut Stream| matches!(a.filter.on_request(stream, &request, &now, &a.host), Step::Wait(..));
    let waiting = streams.iter_mut().map(&mut ask).filter(|waits| *waits).count();
    assert_eq!(waiting, 1024);
    streams.truncate(1000);
    assert!(ask(&mut Stream::default()));
    assert_eq!(a.host.metric("portcullis_rebac_waits_total.plugin=.=rebac;.;outcome=.=refused;.;"), 1);
}

#[test]
fn what_the_client_lacks_refuses_also_where_errors_pass() {
    let mut a = Vm::new(&SharedData::default(), 0);
    a.host.set_property("portcullis.jwt-auth.subject", "ann#owner");
    assert_eq!(a.asks("/open/1"), said(403, "value_invalid"));
}

#[test]
fn a_model_of_its_own_has_tuples_of_its_own() {
    let shared = SharedData::default();
    let mut a = Vm::new(&shared, 0);
    a.tick(1);
    a.gets(200, ANN);
    let mut other = config();
    other["engine"]["embedded"]["model"] = json!(MODEL.replace("[user]", "[user, user:*]"));
    let mut b = Vm::new(&shared, 1);
    b.filter = Rebac::configure(other.to_string().as_bytes(), &b.host).unwrap();
    b.tick(1);
    assert_eq!(b.calls.len(), 1, "it fetches for itself");
    // The same configuration again has them at once: that is what a reload is.
    let mut c = Vm::new(&shared, 2);
    assert_eq!(c.asks("/documents/1").0, 200.min(c.asks("/documents/1").0));
    c.tick(1);
    assert!(c.calls.is_empty());
    assert_eq!(c.asks("/documents/1"), said(200, "allow"));
}

#[test]
fn where_tuples_come_from_is_checked() {
    for (field, value, path, problem) in [
        ("url", json!("tuples.test/all"), "url", "not a URL"),
        ("url", json!(null), "url", "missing"),
        ("clusters", json!({"other.test": "x"}), "clusters", "no cluster for tuples.test"),
        ("clusters", json!({"tuples.test": "x", "other.test": "y"}), "clusters", "other.test"),
        ("clusters", json!({"tuples.test": ""}), "clusters", "no cluster"),
        ("refresh", json!("1ms"), "refresh", "bounds"),
        ("timeout", json!("2m"), "timeout", "bounds"),
        ("wait", json!("2m"), "wait", "bounds"),
        ("max_size", json!("33MiB"), "max_size", "bounds"),
    ] {
        let mut config = config();
        config["engine"]["embedded"]["tuples"][field] = value;
        let error = Rebac::configure(config.to_string().as_bytes(), &MemoryHost::default()).unwrap_err();
        assert_eq!(error.path(), format!("engine.embedded.tuples.{path}"), "{error}");
        assert!(error.problem().contains(problem), "{error}");
    }
}
