//! Five hundred requests through jwt-auth and rebac in a real Envoy, each decided as a real OpenFGA decides it.

use fastrand::Rng;
use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::engines::openfga::Openfga;
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::tokens::{self, Signer};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

const SEED: u64 = 9;
const REQUESTS: usize = 500;
const USERS: u32 = 12;
const GROUPS: u32 = 6;
const FOLDERS: u32 = 8;
const DOCUMENTS: u32 = 24;

/// Groups in groups, folders in folders, and documents in them; some may see only with a level, and some are kept out.
const MODEL: &str = "model
  schema 1.1

type user

type group
  relations
    define member: [user, group#member]

type folder
  relations
    define owner: [user]
    define parent: [folder]
    define viewer: [user, group#member] or owner or viewer from parent

type document
  relations
    define blocked: [user, group#member]
    define editor: [user, group#member with cleared] or owner
    define folder: [folder]
    define owner: [user]
    define viewer: ([user with cleared, user:*] or editor or viewer from folder) but not blocked

condition cleared(level: int, needed: int) {
  level >= needed
}
";

/// One request, and the question that it is.
struct Asked {
    user: String,
    level: Option<u32>,
    method: &'static str,
    path: String,
    relation: &'static str,
    object: String,
}

fn tuples(random: &mut Rng) -> Vec<Value> {
    let mut all = Vec::new();
    let mut add = |user: String, relation: &str, object: String, needed: Option<u32>| {
        let mut tuple = json!({"user": user, "relation": relation, "object": object});
        if let Some(needed) = needed {
            tuple["condition"] = json!({"name": "cleared", "context": {"needed": needed}});
        }
        let same = |t: &Value| ["user", "relation", "object"].iter().all(|k| t[*k] == tuple[*k]);
        if !all.iter().any(same) {
            all.push(tuple);
        }
    };
    for user in 0..USERS {
        add(format!("user:u{user}"), "member", format!("group:g{}", random.u32(0..GROUPS)), None);
    }
    for group in 1..GROUPS {
        // Upwards only: no group is in itself.
        let inner = format!("group:g{group}#member");
        add(inner, "member", format!("group:g{}", random.u32(0..group)), None);
    }
    for folder in 0..FOLDERS {
        let this = || format!("folder:f{folder}");
        if folder > 0 {
            add(format!("folder:f{}", random.u32(0..folder)), "parent", this(), None);
        }
        add(format!("user:u{}", random.u32(0..USERS)), "owner", this(), None);
        if random.bool() {
            add(format!("group:g{}#member", random.u32(1..GROUPS)), "viewer", this(), None);
        }
    }
    for document in 0..DOCUMENTS {
        let this = || format!("document:d{document}");
        add(format!("folder:f{}", random.u32(0..FOLDERS)), "folder", this(), None);
        add(format!("user:u{}", random.u32(0..USERS)), "owner", this(), None);
        for _ in 0..2 {
            let needed = Some(random.u32(1..6));
            add(format!("user:u{}", random.u32(0..USERS)), "viewer", this(), needed);
            add(format!("group:g{}#member", random.u32(1..GROUPS)), "editor", this(), needed);
        }
        if random.f64() < 0.2 {
            add(format!("user:u{}", random.u32(0..USERS)), "blocked", this(), None);
        }
        if random.f64() < 0.1 {
            add("user:*".into(), "viewer", this(), None);
        }
    }
    all
}

fn requests(random: &mut Rng) -> Vec<Asked> {
    let one = |_| {
        let user = format!("u{}", random.u32(0..USERS + 1));
        let level = (random.f64() < 0.7).then(|| random.u32(0..6));
        let (method, path, relation, object) = match random.u32(0..4) {
            0 => ("GET", "folders", "viewer", format!("f{}", random.u32(0..FOLDERS))),
            1 => ("PUT", "documents", "editor", format!("d{}", random.u32(0..DOCUMENTS))),
            _ => ("GET", "documents", "viewer", format!("d{}", random.u32(0..DOCUMENTS + 2))),
        };
        let path = format!("/{path}/{object}");
        let object =
            if path.starts_with("/f") { format!("folder:{object}") } else { format!("document:{object}") };
        Asked { user, level, method, path, relation, object }
    };
    (0..REQUESTS).map(one).collect()
}

/// What the server says: the status and the reason that the filter answers in its place.
async fn decided(server: &Openfga, asked: &Asked) -> (u16, &'static str) {
    let context = asked.level.map_or_else(|| json!({}), |level| json!({"level": level}));
    let subject = format!("user:{}", asked.user);
    match server.check(&subject, asked.relation, &asked.object, &context).await {
        Some(true) => (200, ""),
        Some(false) => (403, "relation_denied"),
        None => (403, "condition_unresolved"),
    }
}

fn chain(signer: &Signer, tuples: &[Value]) -> Listener {
    let check = |relation: Value, kind: &str| {
        json!({"all": [{
            "subject": "user:{subject}",
            "relation": relation,
            "object": format!("{kind}:{{path.id}}"),
            "context": {"level": "{claim.level}"}
        }]})
    };
    Listener::new("l")
        .plugin(&Plugin::new(
            "jwt-auth",
            json!({
                "providers": {"corp": {
                    "issuer": "https://id.test",
                    "audiences": ["orders"],
                    "algorithms": ["ES256"],
                    "keys": {"jwks": {"keys": [signer.jwk()]}}
                }},
                "rules": [{"match": {}, "require": {"any": ["corp"]}}],
                "unmatched": "deny",
                "publish": ["claim.level"]
            }),
        ))
        .plugin(&Plugin::new(
            "rebac",
            json!({
                "engine": {"embedded": {"model": MODEL, "tuples": tuples}},
                "rules": [
                    {"match": {"path": "/folders/{id}"}, "checks": check(json!("viewer"), "folder")},
                    {
                        "match": {"path": "/documents/{id}"},
                        "checks": check(json!({"GET": "viewer", "PUT": "editor"}), "document")
                    }
                ],
                "unmatched": "deny"
            }),
        ))
}

#[tokio::test]
async fn each_request_is_decided_as_a_real_server_decides_it() {
    println!("seed {SEED}");
    let mut random = Rng::with_seed(SEED);
    let (tuples, requests) = (tuples(&mut random), requests(&mut random));
    let server = Openfga::start(MODEL, &[]).await;
    // A hundred at a time are its limit.
    for tuples in tuples.chunks(100) {
        server.write(tuples).await;
    }
    let mut expected = Vec::new();
    for asked in &requests {
        expected.push(decided(&server, asked).await);
    }
    for (word, least) in [("", 20), ("relation_denied", 20), ("condition_unresolved", 5)] {
        let there = expected.iter().filter(|(_, reason)| *reason == word).count();
        assert!(there * 100 >= REQUESTS * least, "{there} of {REQUESTS} are {word:?}: choose another seed");
    }
    let signer = Signer::p256("corp");
    let upstream = Upstream::start().await;
    for workers in [1, 4] {
        let options = Options { workers, ..Options::default() };
        let envoy =
            Envoy::start_with(&bootstrap(upstream.address(), &[chain(&signer, &tuples)]), &options).await;
        for (asked, expected) in requests.iter().zip(&expected) {
            let mut claims = tokens::claims();
            claims["sub"] = asked.user.as_str().into();
            if let Some(level) = asked.level {
                claims["level"] = level.into();
            }
            let token = signer.token("ES256", &claims);
            let answer = ask(envoy.address(), asked.method, &asked.path).bearer(&token).send().await;
            let what = format!("{} {} by {} at {:?}", asked.method, asked.path, asked.user, asked.level);
            let got = (answer.status, if answer.status == 200 { String::new() } else { answer.reason() });
            assert_eq!((got.0, got.1.as_str()), *expected, "{workers} workers: {what}");
        }
    }
}
