use portcullis_common::clock::{Mono, Now, Wall};
use portcullis_common::filter::{Filter, Step};
use portcullis_common::headers::Headers;
use portcullis_common::memory::MemoryHost;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use serde_json::{Value, json};

use super::{Rebac, Stream};

const MODEL: &str = "model
  schema 1.1
type user
type document
  relations
    define owner: [user]
    define viewer: [user, user with at_night] or owner
condition at_night(now: timestamp, from: ipaddress) {
  now.getHours() >= 20 && from.in_cidr(\"10.0.0.0/8\")
}
";

fn config() -> Value {
    json!({
        "engine": {"embedded": {"model": MODEL, "tuples": [
            "document:1#viewer@user:ann",
            "document:1#owner@user:bob",
            {"user": "user:eve", "relation": "viewer", "object": "document:1", "condition": {"name": "at_night"}},
        ]}},
        "rules": [
            {"match": {"path": "/health"}, "checks": "none"},
            {"match": {"path": "/hidden/{id}"}, "hide": true, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
            ]}},
            {"name": "documents", "match": {"path": "/documents/{id}"}, "checks": {"all": [{
                "subject": "user:{subject}",
                "relation": {"GET": "viewer", "PUT": "owner"},
                "object": "document:{path.id}",
                "context": {"from": "{client.ip}"},
                "now": "now",
            }]}},
            {"match": {"path": "/either/{id}"}, "checks": {"any": [
                {"subject": "user:{subject}", "relation": "owner", "object": "document:{path.id}"},
                {"subject": "user:{header.x-user}", "from_client": true, "relation": "viewer", "object": "document:{path.id}"},
            ]}},
            {"match": {"path": "/told/{id}"}, "checks": {"all": [
                {"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}
            ]}},
        ],
        "unmatched": "deny",
        "explain": {"when": {"subject": ["ann", "bob"]}},
    })
}

fn filter(config: &Value) -> Rebac {
    Rebac::configure(config.to_string().as_bytes(), &MemoryHost::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Request {
    let mut headers = vec![(":method", method), (":path", path), (":authority", "a")];
    headers.extend(more);
    let pairs = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    Request { headers: Headers::parse(Headers::encode(pairs)).unwrap(), ends: true }
}

/// What becomes of a request of `subject`: 200, or status and reason.
fn ask(filter: &mut Rebac, subject: &str, request: &Request) -> (u16, &'static str) {
    let host = MemoryHost::default();
    if !subject.is_empty() {
        host.set_property("portcullis.jwt-auth.subject", subject);
    }
    host.set_property("source\0address", "10.0.0.9:1234");
    // 2024-01-01T21:00:00Z
    let now = Now::at(Wall(1_704_142_800_000_000_000), Mono(0));
    match filter.on_request(&mut Stream::default(), request, &now, &host) {
        Step::Allow(_) => (200, ""),
        Step::Reply(reply) => (reply.status, reply.details),
        _ => (0, "waits"),
    }
}

#[test]
fn requests_are_questions() {
    let mut filter = filter(&config());
    let get = |path: &str| request("GET", path, &[]);
    for (subject, request, expected) in [
        ("ann", get("/documents/1"), (200, "")),
        ("bob", get("/documents/1?x=y"), (200, "")),
        ("eve", get("/documents/1"), (200, "")),
        ("zoe", get("/documents/1"), (403, "relation_denied")),
        ("ann", get("/documents/2"), (403, "relation_denied")),
        ("ann", request("HEAD", "/documents/1", &[]), (200, "")),
        ("ann", request("PUT", "/documents/1", &[]), (403, "relation_denied")),
        ("bob", request("PUT", "/documents/1", &[]), (200, "")),
        ("bob", request("DELETE", "/documents/1", &[]), (403, "relation_denied")),
        ("", get("/documents/1"), (401, "subject_missing")),
        ("", get("/health"), (200, "")),
        ("ann", get("/elsewhere"), (403, "unmatched")),
        ("ann", get("/documents/../health"), (400, "ambiguous_path")),
        ("ann", request("get", "/documents/1", &[]), (400, "ambiguous_method")),
        ("bob", request("Put", "/documents/1", &[]), (400, "ambiguous_method")),
        ("", request("get", "/health", &[]), (400, "ambiguous_method")),
        ("ann", get("/hidden/1"), (200, "")),
        ("zoe", get("/hidden/1"), (404, "not_found")),
        ("eve", get("/hidden/1"), (404, "not_found")),
        ("eve", get("/told/1"), (403, "condition_unresolved")),
        ("zoe", request("GET", "/either/1", &[("x-user", "ann")]), (200, "")),
        ("zoe", request("GET", "/either/1", &[("x-user", "zoe")]), (403, "relation_denied")),
        ("bob", get("/either/1"), (200, "")),
        ("zoe", get("/either/1"), (403, "value_missing")),
    ] {
        assert_eq!(ask(&mut filter, subject, &request), expected, "{subject} {request:?}");
    }
}

#[test]
fn no_cache_keeps_that_something_is_hidden() {
    let mut filter = filter(&config());
    let now = Now::at(Wall(1_704_142_800_000_000_000), Mono(0));
    let mut kept = |path: &str| {
        let host = MemoryHost::default();
        host.set_property("portcullis.jwt-auth.subject", "zoe");
        let step = filter.on_request(&mut Stream::default(), &request("GET", path, &[]), &now, &host);
        let Step::Reply(reply) = step else { panic!("{path}: it passes") };
        let no_store = reply.headers.contains(&("cache-control".into(), b"no-store".to_vec()));
        (reply.status, no_store)
    };
    assert_eq!((kept("/hidden/1"), kept("/documents/1")), ((404, true), (403, false)));
}

#[test]
fn a_value_never_becomes_another_subject_or_object() {
    let mut filter = filter(&config());
    for subject in ["*", "a#owner", "x:y", "a b", "\u{1}"] {
        let (status, reason) = ask(&mut filter, subject, &request("GET", "/documents/1", &[]));
        assert_eq!((status, reason), (403, "value_invalid"), "{subject:?}");
    }
    for id in ["*", "1%23owner", "a%3Ab"] {
        let (status, _) = ask(&mut filter, "ann", &request("GET", &format!("/documents/{id}"), &[]));
        assert_ne!(status, 200, "{id}");
    }
}

#[test]
fn shadow_lets_pass_and_chosen_callers_are_told() {
    let mut shadow = config();
    shadow["mode"] = json!("shadow");
    assert_eq!(ask(&mut filter(&shadow), "zoe", &request("GET", "/documents/1", &[])), (200, ""));
    let host = MemoryHost::default();
    host.set_property("portcullis.jwt-auth.subject", "ann");
    let now = Now::at(Wall(0), Mono(0));
    let step = filter(&config()).on_request(
        &mut Stream::default(),
        &request("PUT", "/documents/1", &[]),
        &now,
        &host,
    );
    let Step::Reply(reply) = step else { panic!("passed") };
    let told = reply.headers.iter().find(|(name, _)| &**name == "x-portcullis-explain").unwrap();
    let told = String::from_utf8(told.1.clone()).unwrap();
    assert!(
        told.contains("source=embedded") && told.ends_with("asked=\"document:1#owner@user:ann\""),
        "{told}"
    );
    let step = filter(&config()).on_request(
        &mut Stream::default(),
        &request("GET", "/documents/1", &[]),
        &now,
        &host,
    );
    let Step::Allow(edits) = step else { panic!("refused") };
    let told = String::from_utf8(edits.facts[0].1.to_vec()).unwrap();
    assert!(told.ends_with("by=\"document:1#viewer@user:ann\""), "{told}");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_where_it_does() {
    let check = "/rules/2/checks/all/0";
    for (place, value, path, problem) in [
        (
            "/engine/embedded/model",
            json!("model\n  schema 1.1\ntype user\n  relation"),
            "engine.embedded.model",
            "line 4, column 3",
        ),
        (
            "/engine/embedded/tuples/1",
            json!("document:1#reader@user:bob"),
            "engine.embedded.tuples[1]",
            "no relation reader",
        ),
        ("/engine/embedded/tuples/0", json!("nonsense"), "engine.embedded.tuples[0]", "not a tuple"),
        ("/rules/2/checks", json!({"any": []}), "rules[2].checks.any", "empty"),
        ("/rules/2/checks", json!({}), "rules[2].checks", "exactly one"),
        (
            &format!("{check}/subject"),
            json!("robot:{subject}"),
            "rules[2].checks.all[0].subject",
            "no type robot",
        ),
        (
            &format!("{check}/subject"),
            json!("{subject}"),
            "rules[2].checks.all[0].subject",
            "no type in front",
        ),
        (
            &format!("{check}/subject"),
            json!("user:{header.x-user}"),
            "rules[2].checks.all[0].subject",
            "from_client",
        ),
        (
            &format!("{check}/object"),
            json!("document:{path.id}{path.id}"),
            "rules[2].checks.all[0].object",
            "side by side",
        ),
        (
            &format!("{check}/object"),
            json!("document:{path.doc}"),
            "rules[2].checks.all[0].object",
            "path.doc is no capture",
        ),
        (
            &format!("{check}/subject"),
            json!("user:{path.user}"),
            "rules[2].checks.all[0].subject",
            "path.user is no capture",
        ),
        (
            &format!("{check}/relation"),
            json!("reader"),
            "rules[2].checks.all[0].relation",
            "no relation reader",
        ),
        (
            &format!("{check}/relation"),
            json!({"get": "viewer"}),
            "rules[2].checks.all[0].relation.get",
            "capitals",
        ),
        (
            &format!("{check}/context"),
            json!({"hour": "1"}),
            "rules[2].checks.all[0].context.hour",
            "parameter",
        ),
        (
            &format!("{check}/context"),
            json!({"now": "claim.now"}),
            "rules[2].checks.all[0].context.now",
            "write \"{claim.now}\"",
        ),
        (&format!("{check}/now"), json!("then"), "rules[2].checks.all[0].now", "parameter"),
    ] {
        let mut config = config();
        *config.pointer_mut(place).unwrap() = value;
        let error = Rebac::configure(config.to_string().as_bytes(), &MemoryHost::default()).unwrap_err();
        assert_eq!(error.path(), path, "{error}");
        assert!(error.problem().contains(problem), "{error}");
    }
    assert_eq!(Reason::RelationDenied.spec().status, 403);
}
