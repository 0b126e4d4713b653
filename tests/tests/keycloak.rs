//! jwt-auth behind a real Keycloak: discovery, four algorithms, rotation under load, a disabled key, logout and expiry, and the
//! guide.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap, cluster};
use portcullis_tests::client::{Response, ask};
use portcullis_tests::envoy::Envoy;
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::keycloak::Keycloak;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{markdown, paths};
use serde_json::{Value, json};

const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

/// The guide's realm under another name.
fn realm(name: &str, algorithm: &str, lifespan: u32) -> Value {
    let text = std::fs::read(paths::root().join("envoy/guides/demo-realm.json")).unwrap();
    let mut realm: Value = serde_json::from_slice(&text).unwrap();
    realm["realm"] = name.into();
    realm["defaultSignatureAlgorithm"] = algorithm.into();
    realm["accessTokenLifespan"] = lifespan.into();
    realm
}

/// An Envoy for one realm.
async fn gate(keycloak: &Keycloak, upstream: &Upstream, realm: &str, more: Value) -> Envoy {
    let host = keycloak.address().to_string();
    let mut keys = json!({
        "discovery": format!("{}/.well-known/openid-configuration", keycloak.issuer(realm)),
        "clusters": {host: "keycloak"},
        "wait": "20s",
        "refetch_interval": "1s"
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config = json!({
        "providers": {"keycloak": {
            "issuer": keycloak.issuer(realm),
            "audiences": ["orders"],
            "algorithms": ALGORITHMS,
            "clock_skew": "0s",
            "keys": keys,
            "roles": ["claim.realm_access.roles"]
        }},
        "rules": [{"match": {}, "require": {"any": ["keycloak"], "roles": ["buyer"]}}],
        "unmatched": "deny"
    });
    let listener = Listener::new("l").plugin(&Plugin::new("jwt-auth", config));
    let mut config = bootstrap(upstream.address(), &[listener]);
    let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
    clusters.push(cluster("keycloak", keycloak.address(), false));
    Envoy::start(&config).await
}

async fn knock(envoy: &Envoy, token: &str) -> Response {
    ask(envoy.address(), "GET", "/orders/1").bearer(token).send().await
}

fn header(token: &str) -> Value {
    use base64::Engine;
    let part = token.split('.').next().unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// One Keycloak for all, for it takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keycloak() {
    let mut realms: Vec<Value> = ALGORITHMS.map(|a| realm(&a.to_lowercase(), a, 300)).into();
    realms.extend([realm("demo", "RS256", 300), realm("short", "RS256", 3)]);
    let keycloak = Arc::new(Keycloak::start(&realms).await);
    let upstream = Upstream::start().await;
    every_algorithm(&keycloak, &upstream).await;
    one_realm_is_not_another(&keycloak, &upstream).await;
    rotation_and_a_disabled_key(&keycloak, &upstream).await;
    logout_and_expiry(&keycloak, &upstream).await;
    the_guide(&keycloak, &upstream).await;
}

async fn every_algorithm(keycloak: &Keycloak, upstream: &Upstream) {
    for algorithm in ALGORITHMS {
        let realm = algorithm.to_lowercase();
        let envoy = gate(keycloak, upstream, &realm, json!({})).await;
        let token = keycloak.token(&realm).await;
        assert_eq!(header(&token)["alg"], algorithm);
        let answer = knock(&envoy, &token).await;
        assert_eq!(answer.status, 200, "{algorithm}: {}", answer.text());
        let (signed, _) = token.rsplit_once('.').unwrap();
        let other = keycloak.token(&realm).await;
        let forged = format!("{signed}.{}", other.rsplit_once('.').unwrap().1);
        assert_eq!(knock(&envoy, &forged).await.reason(), "token_invalid", "{algorithm}");
    }
}

async fn one_realm_is_not_another(keycloak: &Keycloak, upstream: &Upstream) {
    let envoy = gate(keycloak, upstream, "rs256", json!({})).await;
    assert_eq!(knock(&envoy, &keycloak.token("demo").await).await.reason(), "token_invalid");
    // Metadata of one realm for the issuer of another.
    let wrong = format!("{}/.well-known/openid-configuration", keycloak.issuer("demo"));
    let envoy = gate(keycloak, upstream, "rs256", json!({"discovery": wrong, "wait": "0s"})).await;
    envoy.wait_for_log("the metadata are another issuer's").await;
    assert_eq!(knock(&envoy, &keycloak.token("rs256").await).await.reason(), "keys_unavailable");
}

async fn rotation_and_a_disabled_key(keycloak: &Arc<Keycloak>, upstream: &Upstream) {
    let envoy =
        Arc::new(gate(keycloak, upstream, "rs256", json!({"max_fresh": "2s", "min_fresh": "1s"})).await);
    let old = keycloak.token("rs256").await;
    assert_eq!(knock(&envoy, &old).await.status, 200);
    let over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (keycloak, envoy) = (Arc::clone(keycloak), Arc::clone(&envoy));
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            tokio::spawn(async move {
                let mut kids = BTreeSet::new();
                while !over.load(Ordering::SeqCst) || kids.len() < 2 {
                    let token = keycloak.token("rs256").await;
                    let answer = knock(&envoy, &token).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    if kids.insert(header(&token)["kid"].as_str().unwrap().to_owned()) {
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                }
                kids.len()
            })
        })
        .collect();
    envoy.wait_until("some load", async || served.load(Ordering::SeqCst) == 2).await;
    let realm = keycloak.admin("GET", "/rs256", None).await.json();
    let component = json!({
        "name": "newer",
        "providerId": "rsa-generated",
        "providerType": "org.keycloak.keys.KeyProvider",
        "parentId": realm["id"],
        "config": {"priority": ["1000"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"]}
    });
    keycloak.admin("POST", "/rs256/components", Some(&component)).await;
    let before = header(&old)["kid"].clone();
    envoy
        .wait_until("a rotation", async || {
            let token = keycloak.token("rs256").await;
            header(&token)["kid"] != before && knock(&envoy, &token).await.status == 200
        })
        .await;
    over.store(true, Ordering::SeqCst);
    for task in load {
        assert_eq!(task.await.unwrap(), 2, "served by the old key and by the new one");
    }
    assert_eq!(knock(&envoy, &old).await.status, 200, "the old key is still published");
    // Every key by the old name is switched off.
    let keys = keycloak.admin("GET", "/rs256/keys", None).await.json();
    let listed = keys["keys"].as_array().unwrap();
    let provider = listed.iter().find(|key| key["kid"] == before).unwrap()["providerId"].as_str().unwrap();
    let path = format!("/rs256/components/{provider}");
    let mut component = keycloak.admin("GET", &path, None).await.json();
    component["config"]["enabled"] = json!(["false"]);
    component["config"]["active"] = json!(["false"]);
    keycloak.admin("PUT", &path, Some(&component)).await;
    envoy
        .wait_until("the old key gone", async || knock(&envoy, &old).await.reason() == "token_invalid")
        .await;
    assert_eq!(knock(&envoy, &keycloak.token("rs256").await).await.status, 200);
}

async fn logout_and_expiry(keycloak: &Keycloak, upstream: &Upstream) {
    let envoy = gate(keycloak, upstream, "short", json!({})).await;
    let tokens = keycloak.tokens("short").await;
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let form = format!("client_id=orders-web&refresh_token={refresh}");
    assert_eq!(keycloak.form("/realms/short/protocol/openid-connect/logout", &form).await.status, 204);
    let again = keycloak.grant("short", &format!("grant_type=refresh_token&{form}")).await;
    assert_eq!(again.status, 400, "{}", again.text());
    // Nothing is asked of Keycloak, so a token that is out lives until its end, and no longer.
    envoy.wait_until("its end", async || knock(&envoy, access).await.reason() == "token_invalid").await;
    assert_eq!(knock(&envoy, &keycloak.token("short").await).await.status, 200);
}

/// The guide's commands print what it shows.
async fn the_guide(keycloak: &Keycloak, upstream: &Upstream) {
    let here = keycloak.address();
    let text = std::fs::read_to_string(paths::root().join("envoy/keycloak.yaml")).unwrap();
    let example = examples::parse(&text.replace("127.0.0.1:8180", &here.to_string())).unwrap();
    let mut example = examples::with_ports(example, Ports::free(upstream.address()));
    for cluster in example["static_resources"]["clusters"].as_array_mut().unwrap() {
        if cluster["name"] == "keycloak" {
            let place =
                "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
            *cluster.pointer_mut(place).unwrap() = here.port().into();
        }
    }
    let envoy = Envoy::start(&example).await;
    let page = markdown::Page::read("envoy/guides/keycloak.md");
    let blocks = page.blocks();
    let mut ran = 0;
    for (n, block) in blocks.iter().enumerate().filter(|(_, block)| block.info == "sh keycloak") {
        let script = block
            .text
            .replace("127.0.0.1:8180", &here.to_string())
            .replace("127.0.0.1:10000", &envoy.address().to_string())
            .replace("dist/token", &envoy.folder().join("token").display().to_string());
        let output =
            tokio::task::block_in_place(|| Command::new("sh").arg("-c").arg(&script).output().unwrap());
        let shown = &blocks[n + 1].text;
        assert_eq!(&String::from_utf8_lossy(&output.stdout), shown, "{script}");
        ran += 1;
    }
    assert_eq!(ran, 2, "the guide's commands were not found");
}
