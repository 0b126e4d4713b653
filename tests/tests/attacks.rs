//! Attacks on file against token validation, each on a real Envoy. `filters/jwt-auth/README.md` lists them by these names.

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::{ask, raw};
use portcullis_tests::envoy::{Envoy, Options};
use portcullis_tests::gate::{Gate, config, config_with};
use portcullis_tests::tokens::{self, Signer, b64, claims};
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

fn rsa() -> Signer {
    Signer::rsa("rsa")
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A token whose header has `more` in it, signed by the right key.
fn header(more: Value) -> String {
    let mut header = json!({"alg": "RS256", "kid": "rsa"});
    for (name, value) in more.as_object().unwrap() {
        header[name] = value.clone();
    }
    rsa().with_header(&header, &claims())
}

/// A configuration that has to be refused, with `line` in the log.
async fn is_refused(config: Value, line: &str) {
    let upstream = Upstream::start().await;
    let listener = Listener::new("l").plugin(&Plugin::new("jwt-auth", config));
    let refused = Envoy::try_start(&bootstrap(upstream.address(), &[listener]), &Options::default()).await;
    let log = refused.map(drop).unwrap_err().0;
    assert!(log.contains(line), "{log}");
}

#[tokio::test]
async fn alg_none_in_any_spelling() {
    let gate = Gate::start(config()).await;
    gate.accepts(&rsa().token("RS256", &claims())).await;
    for name in ["none", "None", "NONE", "nOnE", "null", ""] {
        let front = format!("{}.{}", b64(format!(r#"{{"alg":"{name}"}}"#)), b64(claims().to_string()));
        gate.refuses(&format!("{front}."), "token_malformed").await;
        gate.refuses(&format!("{front}.AA"), "token_invalid").await;
        let signature = rsa().sign("RS256", front.as_bytes());
        gate.refuses(&format!("{front}.{}", b64(signature)), "token_invalid").await;
    }
}

#[tokio::test]
async fn hmac_with_a_public_key_as_its_secret() {
    let gate = Gate::start(config()).await;
    let jwk = rsa().jwk();
    let text = |name: &str| jwk[name].as_str().unwrap().to_owned();
    for secret in [jwk.to_string(), text("n"), format!("{}{}", text("n"), text("e"))] {
        for algorithm in ["HS256", "HS384", "HS512"] {
            for kid in ["rsa", "ec", ""] {
                let token = Signer::hmac(kid, secret.as_bytes()).token(algorithm, &claims());
                gate.refuses(&token, "token_invalid").await;
            }
        }
    }
    let mixed = json!({"jwks": {"keys": [rsa().jwk(), Signer::hmac("h", &[7; 32]).jwk()]}});
    is_refused(config_with(&[("/providers/corp/keys", mixed)]), "secrets and public keys in one set").await;
}

#[tokio::test]
async fn an_algorithm_outside_of_the_issuers_set() {
    let gate = Gate::start(config()).await;
    for algorithm in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        gate.refuses(&rsa().token(algorithm, &claims()), "token_invalid").await;
    }
    // The header says one algorithm, the key made another.
    let crossed = rsa().with_header(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    gate.refuses(&crossed, "token_invalid").await;
    let crossed = Signer::p256("ec").with_header(&json!({"alg": "RS256", "kid": "rsa"}), &claims());
    gate.refuses(&crossed, "token_invalid").await;
    assert_eq!(gate.causes().await.get("algorithm"), Some(&5));
}

#[tokio::test]
async fn an_algorithm_that_the_key_does_not_name() {
    let mut key = rsa().jwk();
    key["alg"] = "RS256".into();
    let changes = [
        ("/providers/corp/algorithms", json!(["RS256", "PS256"])),
        ("/providers/corp/keys/jwks/keys", json!([key])),
    ];
    let gate = Gate::start(config_with(&changes)).await;
    gate.accepts(&rsa().token("RS256", &claims())).await;
    gate.refuses(&rsa().token("PS256", &claims()), "token_invalid").await;
}

#[tokio::test]
async fn ed25519_is_the_other_name_of_eddsa() {
    let signer = Signer::ed25519("ed");
    let changes = [
        ("/providers/corp/algorithms", json!(["EdDSA"])),
        ("/providers/corp/keys/jwks/keys", json!([signer.jwk()])),
    ];
    let gate = Gate::start(config_with(&changes)).await;
    gate.accepts(&signer.with_header(&json!({"alg": "EdDSA", "kid": "ed"}), &claims())).await;
    gate.accepts(&signer.with_header(&json!({"alg": "Ed25519", "kid": "ed"}), &claims())).await;
    gate.refuses(&signer.with_header(&json!({"alg": "Ed448", "kid": "ed"}), &claims()), "token_invalid")
        .await;
}

#[tokio::test]
async fn a_kid_is_a_name_and_nothing_else() {
    let gate = Gate::start(config()).await;
    for kid in [
        "../../dev/null",
        "' OR 1=1 --",
        "rsa\u{0}",
        "RSA",
        "rsa ",
        "https://evil.test/jwks",
        "${jndi:ldap://x}",
    ] {
        gate.refuses(&header(json!({"kid": kid})), "token_invalid").await;
    }
    gate.refuses(&header(json!({"kid": "k".repeat(257)})), "token_malformed").await;
    for kid in [json!(7), json!(["rsa"]), json!({"a": 1}), json!(null), json!(true)] {
        gate.refuses(&header(json!({"kid": kid})), "token_malformed").await;
    }
}

#[tokio::test]
async fn two_keys_with_one_kid() {
    let keys = json!([rsa().jwk(), Signer::other_rsa("rsa").jwk()]);
    is_refused(config_with(&[("/providers/corp/keys/jwks/keys", keys)]), "another key has the same kid")
        .await;
}

#[tokio::test]
async fn a_token_without_kid_is_tried_with_few_keys() {
    // The right key is the ninth that fits.
    let mut keys: Vec<Value> = (0..8).map(|n| Signer::other_rsa(&format!("k{n}")).jwk()).collect();
    keys.push(rsa().jwk());
    let gate = Gate::start(config_with(&[("/providers/corp/keys/jwks/keys", keys.into())])).await;
    gate.accepts(&rsa().token("RS256", &claims())).await;
    gate.refuses(&rsa().with_header(&json!({"alg": "RS256"}), &claims()), "token_invalid").await;
}

#[tokio::test]
async fn a_key_that_the_token_brings_along() {
    let gate = Gate::start(config()).await;
    let thief = Signer::other_rsa("rsa");
    for more in [
        json!({"jwk": thief.jwk()}),
        json!({"jku": format!("http://{}/jwks", gate.upstream.address())}),
        json!({"x5u": format!("http://{}/chain", gate.upstream.address())}),
        json!({"x5c": ["MIIB"]}),
    ] {
        let mut header = json!({"alg": "RS256", "kid": "rsa"});
        for (name, value) in more.as_object().unwrap() {
            header[name] = value.clone();
        }
        gate.refuses(&thief.with_header(&header, &claims()), "token_invalid").await;
    }
    assert_eq!(gate.upstream.seen(), 0, "nothing was fetched");
}

#[tokio::test]
async fn an_issuer_of_the_tokens_own_choosing() {
    let gate = Gate::start(config()).await;
    for issuer in [
        json!("https://evil.test"),
        json!("https://id.test/"),
        json!("https://id.test#"),
        json!("HTTPS://ID.TEST"),
        json!(["https://id.test"]),
        json!(null),
        json!(format!("http://{}", gate.upstream.address())),
    ] {
        gate.refuses(&rsa().token("RS256", &with(json!({"iss": issuer}))), "token_invalid").await;
    }
    assert_eq!(gate.upstream.seen(), 0, "nothing was fetched");
}

#[tokio::test]
async fn another_issuers_key() {
    let mut other = config()["providers"]["corp"].clone();
    other["issuer"] = "https://other.test".into();
    other["keys"]["jwks"]["keys"] = json!([Signer::other_rsa("rsa").jwk()]);
    let changes = [
        ("/providers/other", other),
        ("/rules/0/require", json!({"any": ["corp", "other"]})),
        ("/shared_namespace", json!(true)),
    ];
    let gate = Gate::start(config_with(&changes)).await;
    let elsewhere = with(json!({"iss": "https://other.test"}));
    gate.accepts(&Signer::other_rsa("rsa").token("RS256", &elsewhere)).await;
    gate.refuses(&rsa().token("RS256", &elsewhere), "token_invalid").await;
    gate.refuses(&Signer::other_rsa("rsa").token("RS256", &claims()), "token_invalid").await;
}

#[tokio::test]
async fn crit_and_unencoded_payloads() {
    let gate = Gate::start(config()).await;
    for crit in [json!(["exp"]), json!([]), json!("exp"), json!(["b64"]), json!({})] {
        gate.refuses(&header(json!({"crit": crit})), "token_malformed").await;
    }
    gate.refuses(&header(json!({"b64": false})), "token_malformed").await;
    gate.refuses(&header(json!({"b64": false, "crit": ["b64"]})), "token_malformed").await;
}

#[tokio::test]
async fn another_kind_of_token() {
    let gate = Gate::start(config()).await;
    for typ in ["JWT", "jwt", "application/jwt", "at+jwt", "application/AT+JWT"] {
        gate.accepts(&header(json!({"typ": typ}))).await;
    }
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "token-introspection+jwt", "JOSE+JSON", "", "jwt "]
    {
        gate.refuses(&header(json!({"typ": typ})), "token_invalid").await;
    }
    let access = with(json!({"client_id": "web", "jti": "1"}));
    let at = |typ: &str, claims: &Value| {
        rsa().with_header(&json!({"alg": "RS256", "kid": "rsa", "typ": typ}), claims)
    };
    let strict = Gate::start(config_with(&[("/providers/corp/profile", json!("rfc9068"))])).await;
    strict.accepts(&at("at+jwt", &access)).await;
    strict.refuses(&at("JWT", &access), "token_invalid").await;
    strict.refuses(&at("at+jwt", &claims()), "token_invalid").await;
    let mut logout = access.clone();
    logout["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    strict.refuses(&at("at+jwt", &logout), "token_invalid").await;
    let id = Gate::start(config_with(&[("/providers/corp/profile", json!("oidc"))])).await;
    id.accepts(&at("JWT", &claims())).await;
    id.refuses(&at("at+jwt", &access), "token_invalid").await;
    id.refuses(&at("JWT", &with(json!({"azp": "somebody else"}))), "token_invalid").await;
}

#[tokio::test]
async fn a_jwe_or_a_nested_token() {
    let gate = Gate::start(config()).await;
    let genuine = rsa().token("RS256", &claims());
    let jwe = b64(r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"zip":"DEF"}"#);
    gate.refuses(&format!("{jwe}.AA.AA.AA.AA"), "token_malformed").await;
    gate.refuses(&header(json!({"enc": "A128GCM"})), "token_malformed").await;
    gate.refuses(&header(json!({"zip": "DEF"})), "token_malformed").await;
    // A token as the payload of a token.
    let nested = rsa().sign_text("RS256", r#"{"alg":"RS256","kid":"rsa","cty":"JWT"}"#, genuine.as_bytes());
    gate.refuses(&nested, "token_malformed").await;
}

#[tokio::test]
async fn the_json_serialization_and_other_shapes() {
    let gate = Gate::start(config()).await;
    let genuine = rsa().token("RS256", &claims());
    let parts: Vec<&str> = genuine.split('.').collect();
    let json = json!({"payload": parts[1], "protected": parts[0], "signature": parts[2]});
    gate.refuses(&json.to_string(), "token_malformed").await;
    for bad in [
        format!(".{genuine}"),
        format!("{genuine}."),
        format!("{}..{}", parts[0], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}..{}.{}", parts[0], parts[1], parts[2]),
        format!("{genuine}.{}", parts[2]),
        "..".to_owned(),
        "a".to_owned(),
        format!("{genuine} {genuine}"),
        format!("\"{genuine}\""),
    ] {
        gate.refuses(&bad, "token_malformed").await;
    }
}

#[tokio::test]
async fn base64_that_is_not_canonical() {
    let gate = Gate::start(config()).await;
    let genuine = rsa().token("RS256", &claims());
    let (front, signature) = genuine.rsplit_once('.').unwrap();
    // 256 bytes leave four bits in the last character that no byte owns.
    let last = signature.chars().last().unwrap();
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = ALPHABET.chars().nth(ALPHABET.find(last).unwrap() + 1).unwrap();
    let body = &signature[..signature.len() - 1];
    for bad in [
        format!("{front}.{body}{next}"),
        format!("{genuine}="),
        format!("{genuine}=="),
        format!("{front}.{}", signature.replace('-', "+").replace('_', "/")),
        format!("{front}.{body}\t{last}"),
        genuine.replacen('.', "=.", 1),
        format!("{front}.{body}%{last}"),
    ] {
        if bad != genuine {
            gate.refuses(&bad, "token_malformed").await;
        }
    }
}

#[tokio::test]
async fn members_that_stand_twice() {
    let gate = Gate::start(config()).await;
    let now = tokens::now();
    let payload = |more: &str| {
        format!(r#"{{"iss":"https://id.test","aud":"orders","sub":"ann","exp":{},{more}}}"#, now + 600)
    };
    let plain = r#"{"alg":"RS256","kid":"rsa"}"#;
    gate.accepts(&rsa().sign_text("RS256", plain, payload(r#""x":1"#).as_bytes())).await;
    for (header, payload) in [
        (plain, payload(r#""sub":"root""#)),
        (plain, payload(r#""s\u0075b":"root""#)),
        (plain, payload(r#""org":{"id":1,"id":2}"#)),
        (plain, payload(r#""list":[{"a":1,"a":1}]"#)),
        (r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#, payload(r#""x":1"#)),
        (r#"{"alg":"RS256","kid":"rsa","\u006bid":"ec"}"#, payload(r#""x":1"#)),
    ] {
        gate.refuses(&rsa().sign_text("RS256", header, payload.as_bytes()), "token_malformed").await;
    }
}

#[tokio::test]
async fn tokens_that_are_too_large_or_too_deep() {
    let gate = Gate::start(config()).await;
    gate.accepts(&rsa().token("RS256", &with(json!({"pad": "x".repeat(8 << 10)})))).await;
    gate.refuses(&rsa().token("RS256", &with(json!({"pad": "x".repeat(16 << 10)}))), "token_malformed").await;
    gate.refuses(&"a".repeat(60 << 10), "token_malformed").await;
    gate.refuses(&header(json!({"pad": "x".repeat(5 << 10)})), "token_malformed").await;
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let payload = |inner: &str| {
        format!(
            r#"{{"iss":"https://id.test","aud":"orders","sub":"a","exp":{},"x":{inner}}}"#,
            tokens::now() + 600
        )
    };
    let sign = |inner: &str| rsa().sign_text("RS256", r#"{"alg":"RS256"}"#, payload(inner).as_bytes());
    gate.accepts(&sign(&deep(30))).await;
    gate.refuses(&sign(&deep(33)), "token_malformed").await;
    gate.refuses(&sign(&deep(4_000)), "token_malformed").await;
    gate.refuses(&sign(&format!("[{}0]", "0,".repeat(4_200))), "token_malformed").await;
    gate.refuses(&sign("1e999"), "token_malformed").await;
    let not_utf8 = [payload("1").as_bytes(), &[0xff]].concat();
    gate.refuses(&rsa().sign_text("RS256", r#"{"alg":"RS256"}"#, &not_utf8), "token_malformed").await;
}

#[tokio::test]
async fn ecdsa_signatures_that_are_none() {
    let gate = Gate::start(config()).await;
    let signer = Signer::p256("ec");
    let genuine = signer.token("ES256", &claims());
    gate.accepts(&genuine).await;
    let (front, signature) = genuine.rsplit_once('.').unwrap();
    // The order of the curve.
    let order: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| {
            let hex = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
            u8::from_str_radix(&hex[at..at + 2], 16).unwrap()
        })
        .collect();
    let one = [vec![0; 31], vec![1]].concat();
    let zero = vec![0; 32];
    for forged in [
        [zero.clone(), zero.clone()].concat(),
        [zero.clone(), one.clone()].concat(),
        [one.clone(), zero.clone()].concat(),
        [order.clone(), one.clone()].concat(),
        [one.clone(), order.clone()].concat(),
        [order.clone(), order.clone()].concat(),
        vec![0xff; 64],
        vec![1],
        vec![0; 63],
        vec![0; 65],
        vec![0; 132],
        // ASN.1, as other protocols have it.
        vec![0x30, 6, 2, 1, 1, 2, 1, 1],
    ] {
        gate.refuses(&format!("{front}.{}", b64(forged)), "token_invalid").await;
    }
    gate.refuses(&format!("{front}.AAAA{signature}"), "token_invalid").await;
}

#[tokio::test]
async fn keys_that_are_weak_or_none() {
    let mut even = rsa().jwk();
    even["e"] = "AQ".into();
    let mut short = rsa().jwk();
    short["n"] = b64([0xc3; 128]).into();
    let mut off_curve = Signer::p256("ec").jwk();
    off_curve["y"] = off_curve["x"].clone();
    let mut cut = Signer::p256("ec").jwk();
    let y = cut["y"].as_str().expect("text").to_owned();
    cut["y"] = y[..42].into();
    let mut private = rsa().jwk();
    private["d"] = "AQAB".into();
    let small_order = json!({"kty": "OKP", "crv": "Ed25519", "x": b64([0; 32])});
    for (key, algorithm, line) in [
        (even, "RS256", "keys[0].e: not 65537; write AQAB"),
        (short, "RS256", "keys[0].n: too short, too long or even; write"),
        (off_curve, "ES256", "keys[0].y: with x no point of the curve; copy"),
        (cut, "ES256", "keys[0].y: 42 characters; write 43 characters of base64url for P-256"),
        (small_order, "EdDSA", "keys[0].x: no point of Ed25519, or one of small order; make"),
        (
            json!({"kty": "oct", "k": b64([7; 16])}),
            "HS256",
            "keys[0].k: shorter than the hash; write at least 32 bytes",
        ),
        (private, "RS256", "keys[0].d: the key's private part; remove it"),
    ] {
        let changes = [
            ("/providers/corp/keys/jwks/keys", json!([key])),
            ("/providers/corp/algorithms", json!([algorithm])),
        ];
        is_refused(config_with(&changes), line).await;
    }
    let secret = json!({"secret": {"value": "short"}});
    let changes = [("/providers/corp/keys", secret), ("/providers/corp/algorithms", json!(["HS256"]))];
    is_refused(config_with(&changes), "shorter than the hash").await;
}

#[tokio::test]
async fn a_key_for_encryption() {
    let mut encryption = Signer::other_rsa("enc").jwk();
    encryption["use"] = "enc".into();
    let mut signing_only = Signer::p384("ops").jwk();
    signing_only["key_ops"] = json!(["sign"]);
    let keys = json!([rsa().jwk(), encryption, signing_only]);
    let gate = Gate::start(config_with(&[("/providers/corp/keys/jwks/keys", keys)])).await;
    gate.accepts(&rsa().token("RS256", &claims())).await;
    gate.refuses(&Signer::other_rsa("enc").token("RS256", &claims()), "token_invalid").await;
}

#[tokio::test]
async fn dates_that_are_none() {
    let gate = Gate::start(config()).await;
    let now = tokens::now();
    gate.accepts(&rsa().token("RS256", &with(json!({"exp": now as f64 + 60.5, "iat": now as f64 - 0.5}))))
        .await;
    for changes in [
        json!({"exp": null}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": now - 60}),
        json!({"exp": (now + 600).to_string()}),
        json!({"exp": [now + 600]}),
        json!({"exp": true}),
        json!({"nbf": now + 600}),
        json!({"nbf": "x"}),
        json!({"iat": now + 600}),
        json!({"iat": "yesterday"}),
    ] {
        gate.refuses(&rsa().token("RS256", &with(changes)), "token_invalid").await;
    }
    let brief = Gate::start(config_with(&[("/providers/corp/max_lifetime", json!("10m"))])).await;
    brief.accepts(&rsa().token("RS256", &with(json!({"exp": now + 500})))).await;
    brief.refuses(&rsa().token("RS256", &claims()), "token_invalid").await;
    brief
        .refuses(&rsa().token("RS256", &with(json!({"exp": now + 500, "iat": null}))), "token_invalid")
        .await;
    brief.refuses(&rsa().token("RS256", &with(json!({"exp": 1e30}))), "token_invalid").await;
}

#[tokio::test]
async fn audiences_that_are_not_ours() {
    let gate = Gate::start(config()).await;
    gate.accepts(&rsa().token("RS256", &with(json!({"aud": ["x", "orders"]})))).await;
    for audience in [
        json!("Orders"),
        json!("orders "),
        json!([]),
        json!(null),
        json!(7),
        json!({"orders": 1}),
        json!(["x"]),
        json!(["orders", 7]),
    ] {
        gate.refuses(&rsa().token("RS256", &with(json!({"aud": audience}))), "token_invalid").await;
    }
}

#[tokio::test]
async fn claims_of_the_wrong_type_or_place() {
    let require = json!({
        "any": ["corp"],
        "scopes": ["orders:write"],
        "claims": [{"value": "claim.org.id", "equals": "7"}]
    });
    let gate = Gate::start(config_with(&[("/rules/0/require", require)])).await;
    let good = json!({"scope": "a orders:write", "org": {"id": "7"}});
    gate.accepts(&rsa().token("RS256", &with(good.clone()))).await;
    for name in ["iss", "sub", "jti"] {
        for other in [json!(7), json!(true), json!(["ann"]), json!({"id": "ann"}), json!(null)] {
            let mut claims = with(good.clone());
            claims[name] = other;
            gate.refuses(&rsa().token("RS256", &claims), "token_invalid").await;
        }
    }
    for scope in [
        json!(["a orders:write"]),
        json!("orders:writer"),
        json!("orders:write,a"),
        json!({"orders:write": 1}),
        json!(null),
    ] {
        let token = rsa().token("RS256", &with(json!({"scope": scope, "org": {"id": "7"}})));
        gate.refuses(&token, "scope_insufficient").await;
    }
    for more in [
        json!({"org.id": "7"}),
        json!({"org": {"id": 7}}),
        json!({"org": {"id": ["7"]}}),
        json!({"org": [{"id": "7"}]}),
    ] {
        let mut claims = with(more);
        claims["scope"] = "orders:write".into();
        gate.refuses(&rsa().token("RS256", &claims), "claims_insufficient").await;
    }
}

#[tokio::test]
async fn schemes_and_smuggled_tokens() {
    let locations = json!([{"header": "authorization", "scheme": "Bearer"}, {"query": "access_token"}, {"cookie": "sid"}]);
    let changes =
        [("/providers/corp/tokens", locations), ("/rules/0/require", json!({"optional": ["corp"]}))];
    let gate = Gate::start(config_with(&changes)).await;
    let token = rsa().token("RS256", &claims());
    for value in [
        format!("bearer {token}"),
        format!("BEARER {token}"),
        format!("Bearer   {token}"),
        format!("Bearer\t{token}"),
    ] {
        let answer = gate.get("/").header("authorization", &value).send().await;
        assert_eq!(answer.json()["headers"]["x-user"], json!(["ann"]), "{value}");
    }
    // Never "no token" where an upstream could see one.
    for value in ["bearer", "Bearer ", "BEARER x"] {
        let answer = gate.get("/").header("authorization", value).send().await;
        assert_eq!(answer.reason(), "token_malformed", "{value:?}");
    }
    let two = gate.get("/").bearer(&token).header("authorization", format!("Bearer {token}")).send().await;
    assert_eq!((two.status, two.reason().as_str()), (400, "token_ambiguous"));
    assert!(two.header("www-authenticate").contains("error=\"invalid_request\""));
    let other = gate.get("/").header("authorization", "Basic eA==").bearer(&token).send().await;
    assert_eq!(other.reason(), "token_ambiguous");
    for (path, cookie) in [
        (format!("/?access_token={token}"), Some(format!("sid={token}"))),
        (format!("/?access_token={token}&access_token={token}"), None),
        (format!("/?access_token={token}&access%5Ftoken=x"), None),
        ("/".to_owned(), Some(format!("sid={token}; sid=x"))),
    ] {
        let mut request = gate.get(&path);
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        assert_eq!(request.send().await.reason(), "token_ambiguous", "{path}");
    }
    let semicolon = gate.get(&format!("/?x=1;access_token={token}")).send().await;
    assert_eq!(semicolon.reason(), "token_ambiguous");
    let query = gate.get(&format!("/a?x=1&access_token={token}&y=2")).send().await;
    assert_eq!(query.json()["path"], "/a?x=1&y=2");
    let cookie = gate.get("/").header("cookie", format!("a=1; sid={token}; b=2")).send().await;
    assert_eq!(cookie.json()["headers"]["cookie"], json!(["a=1; b=2"]));
}

#[tokio::test]
async fn spoofed_identity_headers() {
    let rules = json!([
        {"name": "open", "match": {"path": "/open"}, "require": "none"},
        {"name": "maybe", "match": {"path": "/maybe"}, "require": {"optional": ["corp"]}},
        {"name": "shadow", "match": {"path": "/shadow"}, "require": {"any": ["corp"]}, "mode": "shadow"}
    ]);
    let changes = [("/rules", rules), ("/unmatched", json!("allow")), ("/preflights", json!("pass"))];
    let gate = Gate::start(config_with(&changes)).await;
    for path in ["/open", "/maybe", "/shadow", "/elsewhere"] {
        for name in ["x-user", "X-User", "x_user", "X_USER"] {
            let answer = gate.get(path).header(name, "root").header(name, "root").send().await;
            assert_eq!(answer.status, 200, "{path}");
            let headers = answer.json()["headers"].clone();
            assert!(headers["x-user"].is_null() && headers["x_user"].is_null(), "{path} {name}: {headers}");
        }
    }
    let preflight = portcullis_tests::client::ask(gate.envoy.address(), "OPTIONS", "/x")
        .header("origin", "https://a.test")
        .header("access-control-request-method", "PUT")
        .header("x-user", "root");
    assert!(preflight.send().await.json()["headers"]["x-user"].is_null());
    let shadowed = gate.get("/shadow").header("x-user", "root").bearer("not.a.token").send().await;
    assert!(shadowed.json()["headers"]["x-user"].is_null());
}

#[tokio::test]
async fn claims_that_would_break_out_of_their_header() {
    let headers = json!({"x-name": "{claim.name}", "x-roles": {"from": "claim.roles", "join": ","}, "x-json": {"from": "claim.roles", "json": true}});
    let gate = Gate::start(config_with(&[("/providers/corp/claim_headers", headers)])).await;
    let answer = gate
        .knock(&rsa().token("RS256", &with(json!({"name": "Ann\u{e9} 100%", "roles": ["a", "\u{e9}"]}))))
        .await;
    let seen = answer.json()["headers"].clone();
    assert_eq!(seen["x-name"], json!(["Ann%C3%A9 100%25"]));
    assert_eq!(seen["x-roles"], json!(["a,%C3%A9"]));
    assert_eq!(seen["x-json"], json!(["[\"a\",\"\\u00e9\"]"]));
    for bad in [
        json!({"name": "a\r\nx-admin: 1"}),
        json!({"name": "a\u{0}b"}),
        json!({"roles": ["a,b"]}),
        json!({"roles": [{"a": 1}]}),
        json!({"name": ["a"]}),
    ] {
        gate.refuses(&rsa().token("RS256", &with(bad)), "value_invalid").await;
    }
}

#[tokio::test]
async fn paths_that_slip_past_a_rule() {
    let rules = json!([
        {"name": "open", "match": {"path": "/health"}, "require": "none"},
        {"name": "closed", "match": {"path": "/**"}, "require": {"any": ["corp"]}}
    ]);
    let gate = Gate::start(config_with(&[("/rules", rules)])).await;
    assert_eq!(gate.get("/health").send().await.status, 200);
    assert_eq!(gate.get("/%68ealth").send().await.status, 200, "one spelling of the same path");
    for (path, want) in [
        ("/admin?x=/health", 401),
        ("/admin#/health", 400),
        ("/health/", 401),
        ("/Health", 401),
        ("//health", 400),
        ("/health/../admin", 400),
        ("/admin/..%2fhealth", 400),
        ("/admin/%2e%2e/health", 400),
        ("/health;x", 400),
        ("/health%00", 400),
        ("/health%2f", 400),
        ("/health\\", 400),
        ("/health%5c", 400),
        ("/health%25", 400),
        ("/health%", 400),
        ("/./health", 400),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
        let answer =
            String::from_utf8_lossy(&raw(gate.envoy.address(), request.as_bytes()).await).into_owned();
        let status: u16 = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        assert_eq!(status, want, "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_stolen_token_that_is_bound_to_a_key() {
    let gate = Gate::start(config()).await;
    for cnf in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({}), json!("x")] {
        gate.refuses(&rsa().token("RS256", &with(json!({"cnf": cnf}))), "token_invalid").await;
    }
    assert_eq!(gate.causes().await.get("confirmation"), Some(&4));
    // Else only tokens that are not bound would pass where bound ones are asked for.
    let places = json!([{"header": "authorization", "scheme": "dpop"}]);
    is_refused(config_with(&[("/providers/corp/tokens", places)]), "good only with a proof").await;
}

#[tokio::test]
async fn no_answer_says_which_check_failed() {
    let gate = Gate::start(config()).await;
    let genuine = rsa().token("RS256", &claims());
    let mut answers = Vec::new();
    for token in [
        rsa().token("RS256", &with(json!({"exp": 1}))),
        rsa().token("RS256", &with(json!({"aud": "x"}))),
        rsa().token("RS256", &with(json!({"iss": "https://evil.test"}))),
        Signer::other_rsa("rsa").token("RS256", &claims()),
        Signer::other_rsa("unknown").token("RS256", &claims()),
        rsa().token("RS512", &claims()),
        format!("{}AAAA{}", &genuine[..genuine.len() - 44], &genuine[genuine.len() - 40..]),
        header(json!({"typ": "logout+jwt"})),
    ] {
        let answer = gate.knock(&token).await;
        answers.push((answer.status, answer.header("www-authenticate"), answer.text()));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    assert!(answers[0].1.contains("error=\"invalid_token\""));
    assert!(gate.causes().await.len() >= 6, "the operator is told");
}

#[tokio::test]
async fn a_remembered_token_does_not_vouch_for_another() {
    let gate = Gate::start(config()).await;
    let genuine = rsa().token("RS256", &claims());
    gate.accepts(&genuine).await;
    gate.accepts(&genuine).await;
    let (_, signature) = genuine.rsplit_once('.').unwrap();
    let forged = rsa().token("RS256", &with(json!({"sub": "root"})));
    let (front, _) = forged.rsplit_once('.').unwrap();
    gate.refuses(&format!("{front}.{signature}"), "token_invalid").await;
    gate.refuses(&genuine[1..], "token_malformed").await;
    gate.refuses(&format!("{genuine}A"), "token_invalid").await;
    gate.accepts(&genuine).await;
}

#[tokio::test]
async fn bytes_that_are_no_text() {
    let gate = Gate::start(config()).await;
    for bytes in [&b"Bearer \xff\xfe"[..], b"Bearer a.\xc3(.b", b"\xff", b"Bearer \x80.\x80.\x80"] {
        let answer = gate.get("/").header("authorization", bytes).send().await;
        assert_eq!(answer.status, 401, "{bytes:?}");
    }
    let answer = gate.get("/").header("x-user", b"\xff").header("x-other", b"\xff").bearer("x").send().await;
    assert_eq!(answer.status, 401);
    gate.accepts(&rsa().token("RS256", &claims())).await;
}

#[tokio::test]
async fn two_tokens_of_one_kind_leave_together() {
    let mut config = config();
    let corp = config["providers"]["corp"].clone();
    let with = |location: Value| {
        let mut provider = corp.clone();
        provider["tokens"] = json!([location]);
        provider
    };
    config["providers"] = json!({
        "q1": with(json!({"query": "t1"})), "q2": with(json!({"query": "t2"})),
        "c1": with(json!({"cookie": "k1"})), "c2": with(json!({"cookie": "k2"}))
    });
    config["shared_namespace"] = true.into();
    config["rules"][0]["require"] = json!({"all": ["q1", "q2", "c1", "c2"]});
    let gate = Gate::start(config).await;
    let token = rsa().token("RS256", &claims());
    let request = gate.get(&format!("/?t1={token}&x=1&t2={token}"));
    let answer = request.header("cookie", format!("k1={token}; z=1; k2={token}")).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        (answer.json()["path"].clone(), answer.json()["headers"]["cookie"].clone()),
        (json!("/?x=1"), json!(["z=1"]))
    );
}

#[tokio::test]
async fn a_remembered_token_counts_for_the_provider_that_comes_first() {
    let mut config = config();
    let corp = config["providers"]["corp"].clone();
    let called = |name: &str| {
        let mut provider = corp.clone();
        provider["subject"] = format!("{name}:{{claim.sub}}").into();
        provider
    };
    config["providers"] = json!({"pa": called("pa"), "pb": called("pb")});
    config["rules"] = json!([
        {"match": {"path": "/ab"}, "require": {"any": ["pa", "pb"]}},
        {"match": {"path": "/b"}, "require": {"any": ["pb"]}}
    ]);
    let gate = Gate::start(config).await;
    let token = rsa().token("RS256", &claims());
    for (path, user) in [("/b", "pb:ann"), ("/ab", "pa:ann"), ("/b", "pb:ann"), ("/ab", "pa:ann")] {
        let answer = gate.get(path).bearer(&token).send().await;
        assert_eq!(answer.json()["headers"]["x-user"], json!([user]), "{path}");
    }
}

#[tokio::test]
async fn a_host_that_only_one_of_two_reads() {
    let upstream = Upstream::start().await;
    let rules = json!([
        {"name": "open", "match": {"hosts": ["www.example.com"]}, "require": "none"},
        {"name": "secret", "match": {"hosts": ["*.secret.example.com"]}, "require": {"any": ["corp"]}},
    ]);
    // Envoy holds the whole authority to this; a rule holds the host to its own.
    let routes = json!({"virtual_hosts": [{
        "name": "secret",
        "domains": ["*.secret.example.com"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]
    }]});
    let listener = Listener::new("l")
        .plugin(&Plugin::new("jwt-auth", config_with(&[("/rules", rules)])))
        .manager(json!({"route_config": routes}));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    for (host, reason) in [
        ("a.secret.example.com", "token_missing"),
        ("A.Secret.Example.Com", "token_missing"),
        ("www.example.com:x.secret.example.com", "ambiguous_host"),
        ("www.example.com:8.secret.example.com", "ambiguous_host"),
        ("[::1].secret.example.com", "ambiguous_host"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let answer = String::from_utf8(raw(envoy.address(), request.as_bytes()).await).unwrap();
        assert!(answer.contains(reason), "{host}: {answer}");
    }
    assert_eq!(upstream.seen(), 0);
}

#[tokio::test]
async fn a_method_in_lower_case_is_no_way_past_a_rule() {
    let jwt_auth = config_with(&[(
        "/rules",
        json!([
            {"match": {"methods": ["POST"]}, "require": {"any": ["corp"]}},
            {"match": {}, "require": "none"},
        ]),
    )]);
    let check = |relation: &str| {
        json!({"all": [
            {"subject": "user:{header.x-user}", "relation": relation, "object": "document:1", "from_client": true}
        ]})
    };
    let rebac = json!({
        "engine": {"embedded": {
            "model": "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]\n    define editor: [user]\n",
            "tuples": ["document:1#viewer@user:ann"],
        }},
        "rules": [
            {"match": {"methods": ["POST"]}, "checks": check("editor")},
            {"match": {}, "checks": check("viewer")},
        ],
        "unmatched": "deny",
    });
    for (plugin, config, post) in
        [("jwt-auth", jwt_auth, (401, "token_missing")), ("rebac", rebac, (403, "relation_denied"))]
    {
        let upstream = Upstream::start().await;
        let listener = Listener::new("l").plugin(&Plugin::new(plugin, config));
        let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
        let lower = (400, "ambiguous_method");
        for (method, (status, reason)) in
            [("POST", post), ("GET", (200, "")), ("post", lower), ("Post", lower), ("get", lower)]
        {
            let answer = ask(envoy.address(), method, "/").header("x-user", "ann").http2().send().await;
            assert_eq!(answer.status, status, "{plugin} {method}: {}", answer.text());
            assert!(status == 200 || answer.reason() == reason, "{plugin} {method}: {}", answer.text());
        }
        assert_eq!(upstream.seen(), 1, "{plugin}");
    }
    let limits = json!({"limits": [{
        "name": "l",
        "match": {"methods": ["POST"]},
        "key": ["{client.ip}", "{method}"],
        "rate": "1/hour",
        "burst": 1,
    }]});
    let upstream = Upstream::start().await;
    let listener = Listener::new("l").plugin(&Plugin::new("rate-limit", limits));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    for (method, status) in [("POST", 200), ("post", 429), ("Post", 429), ("GET", 200)] {
        assert_eq!(ask(envoy.address(), method, "/").http2().send().await.status, status, "{method}");
    }
}
