//! Tuples and values out of the token, and many questions at once.

use portcullis_common::clock::{Mono, Now, Wall};
use portcullis_common::filter::{Filter, Step};
use portcullis_common::memory::MemoryHost;
use portcullis_common::request::Request;
use serde_json::{Value, json};

use super::{Rebac, Stream};

const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user]
type document
  relations
    define viewer: [group#member, user, user with cleared]
    define owner: [user]
    define editor: owner or editor_too
    define editor_too: [user]
condition cleared(level: int, roles: list<string>, flags: map<bool>, staff: bool) {
  level > 3 && \"auditor\" in roles && flags.eu && staff
}
";

fn config() -> Value {
    let with = json!({"level": "{claim.level}", "roles": "{claim.roles}", "flags": "{claim.flags}", "staff": "{claim.staff}"});
    json!({
        "engine": {"embedded": {"model": MODEL, "tuples": [
            "document:1#viewer@group:eng#member",
            "document:2#owner@user:ann",
            {"user": "user:ann", "relation": "viewer", "object": "document:3", "condition": {"name": "cleared"}},
        ]}},
        "rules": [
            {"match": {"path": "/documents/{id}"}, "checks": {"all": [{
                "subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}",
                "tuples": [{"user": "user:{subject}", "relation": "member", "object": "group:{claim.groups}"}],
                "context": with,
            }]}},
        ],
        "batch": {
            "path": "/.well-known/checks", "subject": "user:{subject}", "max_checks": 3,
            "tuples": [{"user": "user:{subject}", "relation": "member", "object": "group:{claim.groups}"}],
            "context": {"level": "{claim.level}"},
        },
        "unmatched": "deny",
    })
}

fn host(claims: &[(&str, &str)]) -> MemoryHost {
    let host = MemoryHost::default();
    host.set_property("portcullis.jwt-auth.subject", "ann");
    for (name, value) in claims {
        host.set_property(&format!("portcullis.jwt-auth.claim.{name}"), *value);
    }
    host
}

fn send(config: &Value, host: &MemoryHost, method: &str, path: &str) -> Step<super::Pending> {
    let mut filter = Rebac::configure(config.to_string().as_bytes(), host).unwrap_or_else(|e| panic!("{e}"));
    let request: Request = [(":method", method), (":path", path), (":authority", "a")].into_iter().collect();
    filter.on_request(&mut Stream::default(), &request, &Now::at(Wall(0), Mono(0)), host)
}

fn asks(claims: &[(&str, &str)], path: &str) -> (u16, &'static str) {
    match send(&config(), &host(claims), "GET", path) {
        Step::Allow(_) => (200, ""),
        Step::Reply(reply) => (reply.status, reply.details),
        _ => (0, "waits"),
    }
}

#[test]
fn groups_in_the_token_are_tuples_of_the_question() {
    let many = |n: usize| {
        json!((0..n).map(|n| format!("g{n}")).chain(["eng".to_owned()]).collect::<Vec<_>>()).to_string()
    };
    for (groups, expected) in [
        ("[\"ops\",\"eng\"]", (200, "")),
        ("\"eng\"", (200, "")),
        ("[\"ops\"]", (403, "relation_denied")),
        ("[]", (403, "relation_denied")),
        ("null", (403, "relation_denied")),
        ("[\"eng\",\"eng\"]", (200, "")),
        (&*many(99), (200, "")),
        // With the first hundred it would be another question.
        (&*many(100), (403, "too_many_tuples")),
        (&*many(1000), (403, "too_many_tuples")),
        // None may stand for somebody else, nor is the rest asked without it.
        ("[\"eng\",\"*\"]", (403, "value_invalid")),
        ("[\"eng\",\"a#member\"]", (403, "value_invalid")),
        ("[\"eng\",\"a b\"]", (403, "value_invalid")),
        ("[\"eng\",\"\"]", (403, "value_invalid")),
        ("[\"eng\",null]", (403, "value_invalid")),
        ("[\"eng\",[\"x\"]]", (403, "value_invalid")),
        ("{\"eng\":true}", (403, "value_invalid")),
    ] {
        assert_eq!(asks(&[("groups", groups)], "/documents/1"), expected, "{groups}");
    }
    assert_eq!(asks(&[], "/documents/1"), (403, "relation_denied"));
    // Who says the same twice says it once.
    let mut twice = config();
    let own = &mut twice["rules"][0]["checks"]["all"][0]["tuples"];
    *own = json!([own[0], own[0]]);
    let step = send(&twice, &host(&[("groups", &many(60))]), "GET", "/documents/1");
    assert!(matches!(step, Step::Allow(_)), "{step:?}");
}

#[test]
fn values_keep_the_types_that_they_have_in_the_token() {
    let all = [("level", "4"), ("roles", "[\"auditor\"]"), ("flags", "{\"eu\":true}"), ("staff", "true")];
    assert_eq!(asks(&all, "/documents/3"), (200, ""));
    for (name, value, expected) in [
        ("level", "3", "relation_denied"),
        ("level", "\"4\"", ""),
        ("level", "4.5", "condition_unresolved"),
        ("roles", "[]", "relation_denied"),
        ("roles", "\"auditor\"", "condition_unresolved"),
        ("roles", "[1]", "condition_unresolved"),
        ("flags", "{\"eu\":false}", "relation_denied"),
        ("flags", "{\"eu\":1}", "condition_unresolved"),
        // Whole numbers may be text, as in OpenFGA, truths not.
        ("staff", "\"true\"", "condition_unresolved"),
        ("staff", "null", "condition_unresolved"),
        ("staff", "{\"a\":1,\"a\":2}", "value_invalid"),
    ] {
        let claims: Vec<(&str, &str)> =
            all.iter().map(|(n, v)| (*n, if *n == name { value } else { *v })).collect();
        assert_eq!(asks(&claims, "/documents/3").1, expected, "{name} {value}");
    }
}

#[test]
fn what_is_text_by_nature_is_read_by_the_parameters_type() {
    let all = [("level", "4"), ("roles", "[\"auditor\"]"), ("flags", "{\"eu\":true}"), ("staff", "\"true\"")];
    let mut config = config();
    for (template, path, expected) in [
        ("{query.staff}", "/documents/3?staff=true", ""),
        ("{query.staff}", "/documents/3?staff=false", "relation_denied"),
        ("{query.staff}", "/documents/3?staff=TRUE", "condition_unresolved"),
        ("{query.staff}", "/documents/3", "condition_unresolved"),
        ("{claim.staff}", "/documents/3?staff=true", "condition_unresolved"),
    ] {
        config["rules"][0]["checks"]["all"][0]["context"]["staff"] = json!(template);
        let said = match send(&config, &host(&all), "GET", path) {
            Step::Allow(_) => "",
            Step::Reply(reply) => reply.details,
            other => panic!("{other:?}"),
        };
        assert_eq!(said, expected, "{template} {path}");
    }
}

#[test]
fn many_questions_are_answered_at_once() {
    let batch = |query: &str| match send(
        &config(),
        &host(&[("groups", "[\"eng\"]")]),
        "GET",
        &format!("/.well-known/checks{query}"),
    ) {
        Step::Reply(reply) => {
            if reply.status == 200 {
                assert!(reply.headers.contains(&("cache-control".into(), b"no-store".to_vec())));
                assert!(reply.headers.contains(&("content-type".into(), b"application/json".to_vec())));
            }
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            (reply.status, if reply.status == 200 { body["checks"].clone() } else { body["reason"].clone() })
        }
        other => panic!("{other:?}"),
    };
    let (status, answers) =
        batch("?check=viewer@document:1&check=editor%40document%3A2&x=y&check=owner@document:1");
    assert_eq!(status, 200);
    assert_eq!(
        answers,
        json!([
            {"relation": "viewer", "object": "document:1", "allowed": true},
            {"relation": "editor", "object": "document:2", "allowed": true},
            {"relation": "owner", "object": "document:1", "allowed": false},
        ])
    );
    // A condition without its values is a no: an error would say that there is a tuple.
    let (_, answers) = batch("?check=viewer@document:3&check=viewer@document:4");
    assert_eq!((&answers[0]["allowed"], &answers[1]["allowed"]), (&json!(false), &json!(false)));
    for bad in [
        "viewer",
        "viewer@",
        "@document:1",
        "reader@document:1",
        "viewer@robot:1",
        "viewer@document:*",
        "viewer@document:a%20b",
        "viewer@document:1%23owner",
        "",
        "%FF",
    ] {
        let (status, answers) = batch(&format!("?check={bad}&check=viewer@document:1"));
        assert_eq!(status, 200, "{bad}");
        assert_eq!(
            (&answers[0], &answers[1]["allowed"]),
            (&json!({"error": "value_invalid"}), &json!(true)),
            "{bad}"
        );
    }
    for query in ["", "?", "?x=1", "?check=viewer@document:1"] {
        let expected = if query.contains("check") { 200 } else { 400 };
        assert_eq!(batch(query).0, expected, "{query}");
    }
    assert_eq!(batch(&format!("?{}", "check=viewer@document:1&".repeat(4))), (400, json!("value_invalid")));
}

#[test]
fn what_takes_too_long_is_answered_as_an_object_that_is_not_there() {
    let mut tuples: Vec<String> =
        (0..200).map(|n| format!("document:wide#viewer@group:{n}#member")).collect();
    tuples.push("document:deep#viewer@group:a0#member".into());
    tuples.extend((0..40).map(|n| format!("group:a{n}#member@group:a{}#member", n + 1)));
    tuples.push("document:mine#viewer@user:ann".into());
    let config = json!({
        "engine": {"embedded": {
            "model": "model\n  schema 1.1\ntype user\ntype group\n  relations\n    define member: [user, group#member]\ntype document\n  relations\n    define viewer: [user, group#member]\n",
            "tuples": tuples,
            "max_steps": 100,
        }},
        "rules": [{"match": {}, "checks": "none"}],
        "unmatched": "deny",
        "batch": {"path": "/b", "subject": "user:{subject}"},
    });
    let answers = |objects: &[&str]| {
        let query: Vec<String> = objects.iter().map(|o| format!("check=viewer@document:{o}")).collect();
        let path = format!("/b?{}", query.join("&"));
        let Step::Reply(reply) = send(&config, &host(&[]), "GET", &path) else { panic!() };
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let list = body["checks"].as_array().unwrap().clone();
        list.iter().map(|answer| answer["allowed"].as_bool()).collect::<Vec<_>>()
    };
    assert_eq!(
        answers(&["wide", "deep", "none", "mine"]),
        [Some(false), Some(false), Some(false), Some(true)]
    );
    // Whether the others are there changes no answer.
    for other in ["wide", "none"] {
        let mut all = vec![other; 9];
        all.extend(["none", "mine"]);
        assert_eq!(answers(&all)[9..], [Some(false), Some(true)], "{other}");
    }
}

#[test]
fn the_endpoint_is_its_own_whatever_the_mode_and_takes_get_alone() {
    let path = "/.well-known/checks?check=owner@document:2";
    let reply = |config: &Value, host: &MemoryHost, method: &str| match send(config, host, method, path) {
        Step::Reply(reply) => (reply.status, reply.details),
        Step::Allow(_) => (0, "passes"),
        _ => (0, "waits"),
    };
    let (plain, nobody) = (config(), MemoryHost::default());
    assert_eq!(reply(&plain, &host(&[]), "HEAD"), (200, "batch"));
    for method in ["POST", "OPTIONS", "get"] {
        assert_eq!(reply(&plain, &host(&[]), method), (405, "method_not_allowed"), "{method}");
    }
    assert_eq!(reply(&plain, &nobody, "GET"), (401, "subject_missing"));
    let mut shadow = config();
    shadow["mode"] = json!("shadow");
    assert_eq!(reply(&shadow, &host(&[]), "GET"), (200, "batch"));
    assert_eq!(reply(&shadow, &nobody, "GET"), (401, "subject_missing"));
    // No request for it reaches the upstream, a preflight neither.
    let mut passing = config();
    passing["preflights"] = json!("pass");
    let preflight: Request = [
        (":method", "OPTIONS"),
        (":path", path),
        (":authority", "a"),
        ("origin", "https://app.test"),
        ("access-control-request-method", "GET"),
    ]
    .into_iter()
    .collect();
    assert!(preflight.is_preflight());
    let mut filter = Rebac::configure(passing.to_string().as_bytes(), &nobody).unwrap();
    let now = Now::at(Wall(0), Mono(0));
    let Step::Reply(refused) = filter.on_request(&mut Stream::default(), &preflight, &now, &nobody) else {
        panic!("it passes")
    };
    assert_eq!((refused.status, refused.details), (405, "method_not_allowed"));
    assert!(refused.headers.contains(&("cache-control".into(), b"no-store".to_vec())));
    let mut off = config();
    off["enabled"] = json!(false);
    assert_eq!(reply(&off, &host(&[]), "GET"), (0, "passes"));
    // Any other spelling is for the rules.
    let Step::Reply(other) = send(&plain, &host(&[]), "GET", "/.well-known/checks/") else { panic!() };
    assert_eq!(other.details, "unmatched");
}

#[test]
fn what_is_asked_with_is_checked() {
    for (place, value, path, problem) in [
        (
            "/rules/0/checks/all/0/tuples/0/user",
            json!("user:{header.x}"),
            "rules[0].checks.all[0].tuples[0].user",
            "from_client",
        ),
        (
            "/rules/0/checks/all/0/tuples/0/object",
            json!("group:{query.g}"),
            "rules[0].checks.all[0].tuples[0].object",
            "from_client",
        ),
        (
            "/rules/0/checks/all/0/tuples/0/object",
            json!("robot:{claim.g}"),
            "rules[0].checks.all[0].tuples[0].object",
            "no type robot",
        ),
        (
            "/rules/0/checks/all/0/tuples/0/relation",
            json!("owner"),
            "rules[0].checks.all[0].tuples[0]",
            "no relation owner",
        ),
        (
            "/rules/0/checks/all/0/tuples/0/user",
            json!("group:{claim.g}#member"),
            "rules[0].checks.all[0].tuples[0]",
            "cannot be given",
        ),
        (
            "/rules/0/checks/all/0/tuples/0/user",
            json!("user:{path.user}"),
            "rules[0].checks.all[0].tuples[0].user",
            "path.user is no capture",
        ),
        (
            "/rules/0/checks/all/0/tuples/0/object",
            json!("group:{path.group}"),
            "rules[0].checks.all[0].tuples[0].object",
            "path.group is no capture",
        ),
        (
            "/rules/0/checks/all/0/context/level",
            json!("{path.level}"),
            "rules[0].checks.all[0].context.level",
            "path.level is no capture",
        ),
        ("/rules/0/match", json!({}), "rules[0].checks.all[0].object", "path.id is no capture"),
        ("/batch/subject", json!("user:{header.x}"), "batch.subject", "not verified"),
        ("/batch/subject", json!("user:ann"), "batch.subject", "not verified"),
        ("/batch/path", json!("checks"), "batch.path", "plain form"),
        ("/batch/path", json!("/a//b"), "batch.path", "plain form"),
        ("/batch/path", json!("/a?b"), "batch.path", "plain form"),
        ("/batch/max_checks", json!(101), "batch.max_checks", "range"),
        ("/batch/context/level", json!("{path.id}"), "batch", "no rule matches here"),
        ("/batch/tuples/0/object", json!("group:{cookie.g}"), "batch.tuples[0].object", "from_client"),
    ] {
        let mut config = config();
        *config.pointer_mut(place).unwrap() = value;
        let error = Rebac::configure(config.to_string().as_bytes(), &MemoryHost::default()).unwrap_err();
        assert_eq!(error.path(), path, "{error}");
        assert!(error.problem().contains(problem), "{error}");
    }
}
