//! Vectors of others (`tests/vectors`), through jwt-auth's raw verify entry, in a real Envoy: by Envoy's own verifier and by the
//! one in WebAssembly, which have to agree on every one.

use std::collections::BTreeMap;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::paths;
use portcullis_tests::tokens::b64;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

/// Vectors on which we differ from their authors, with the reason.
const EXCEPTIONS: [(&str, &[u64], &str); 4] = [
    (
        "json_web_signature_test",
        &[259, 264, 268, 272, 320, 325],
        "an empty payload: a token's is a JSON object, and an empty part stands for detached content (RFC 7515, appendix F)",
    ),
    (
        "json_web_signature_test",
        &[346, 350],
        "PS384 with a key whose alg is PS256: a key that names its algorithm is used with no other (RFC 7517, section 4.4)",
    ),
    (
        "json_web_signature_test",
        &[367, 370],
        "said to have padding, but the text has none: it is the same as the valid text of its group, signature and all",
    ),
    (
        "json_web_signature_test",
        &[372, 373],
        "a `?` inside the base64url text, which RFC 7515, section 2, has no room for",
    ),
];

fn read(path: &str) -> Value {
    let text = std::fs::read(paths::root().join("tests/vectors").join(path))
        .unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_slice(&text).unwrap()
}

fn wycheproof(name: &str) -> Value {
    read(&format!("wycheproof/testvectors_v1/{name}.json"))
}

/// The two verdicts about a JWS.
struct Verifiers {
    envoy: Envoy,
    _upstream: Upstream,
}

impl Verifiers {
    async fn start() -> Verifiers {
        let upstream = Upstream::start().await;
        let plugin = Plugin::new("verifier", json!({}));
        // Some vectors hold what a header may not; those are sent escaped by nobody, so let Envoy's limits not matter.
        let listener = Listener::new("l").plugin(&plugin).hostile();
        let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
        Verifiers { envoy, _upstream: upstream }
    }

    /// The verdict of both, which is the same: `accept`, or the word of the refusal.
    async fn verdict(&self, keys: &Value, jws: &str) -> String {
        let request = ask(self.envoy.address(), "GET", "/")
            .header("x-keys", b64(keys.to_string()))
            .header("x-jws", jws);
        let text = request.send().await.text();
        let (host, wasm) = text.split_once(' ').unwrap_or_else(|| panic!("no verdict: {text}"));
        let (host, wasm) = (host.strip_prefix("host=").unwrap(), wasm.strip_prefix("wasm=").unwrap());
        assert_eq!(host, wasm, "the two verifiers differ about {jws}");
        host.to_owned()
    }
}

/// The keys of a group: its public ones, or its secret.
fn keys(group: &Value) -> Value {
    let holder = if group["public"].is_object() { &group["public"] } else { &group["private"] };
    let list = if holder["keys"].is_array() { holder["keys"].clone() } else { json!([holder]) };
    // The vectors of RFC 7520 name P-521's algorithm ES521.
    Value::Array(list.as_array().unwrap().iter().map(corrected).collect())
}

fn corrected(key: &Value) -> Value {
    let mut key = key.clone();
    if key["alg"] == "ES521" {
        key["alg"] = "ES512".into();
    }
    key
}

async fn run(name: &str, expected_tests: usize) {
    let file = wycheproof(name);
    let verifiers = Verifiers::start().await;
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].as_u64().unwrap();
            let verdict = verifiers.verdict(&keys(group), test["jws"].as_str().unwrap()).await;
            let excepted = EXCEPTIONS.iter().any(|(n, ids, _)| *n == name && ids.contains(&id));
            if (verdict == "accept") != ((test["result"] == "valid") != excepted) {
                wrong.push(format!("{id} {} {}: {verdict}", test["comment"], test["result"]));
            }
            *words.entry(verdict).or_default() += 1;
            seen += 1;
        }
    }
    println!("{name}: {seen} vectors: {words:?}");
    for (_, ids, why) in EXCEPTIONS.iter().filter(|(n, ..)| *n == name) {
        println!("{name}: not as marked: {ids:?}: {why}");
    }
    assert!(wrong.is_empty(), "{name}: {wrong:#?}");
    assert_eq!(seen, expected_tests, "{name}");
}

#[tokio::test]
async fn wycheproof_jws() {
    run("json_web_signature_test", 401).await;
}

#[tokio::test]
async fn wycheproof_jwk() {
    run("json_web_key_test", 26).await;
}

#[tokio::test]
async fn wycheproof_jwe_is_refused_whole() {
    let file = wycheproof("json_web_encryption_test");
    let verifiers = Verifiers::start().await;
    let mut seen = 0;
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let jwe = test["jwe"].as_str().unwrap();
            // With a key that could verify, if it were a JWS.
            let signature_keys = json!([{"kty": "oct", "k": b64([7; 32])}]);
            let verdict = verifiers.verdict(&signature_keys, jwe).await;
            assert!(
                ["encrypted", "shape", "too_long", "json_serialization"].contains(&verdict.as_str()),
                "{}: {verdict}",
                test["tcId"]
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 139);
}

#[tokio::test]
async fn rfc_7520_and_rfc_8037_and_rfc_7797() {
    let verifiers = Verifiers::start().await;
    for (path, want) in [
        ("jws/4_1.rsa_v15_signature", "accept"),
        ("jws/4_2.rsa-pss_signature", "accept"),
        ("jws/4_3.ecdsa_signature", "accept"),
        ("jws/4_4.hmac-sha2_integrity_protection", "accept"),
        // Detached content leaves the payload out.
        ("jws/4_5.signature_with_detached_content", "shape"),
        ("curve25519/jws", "accept"),
        ("rfc7797/4.2.hmac-sha2_b64_false", "shape"),
        ("rfc7797/hmac-sha2_b64_false", "critical"),
    ] {
        let example = read(&format!("jose-cookbook/{path}.json"));
        let mut key = corrected(&example["input"]["key"]);
        if key["kty"] != "oct" {
            for private in ["d", "p", "q", "dp", "dq", "qi"] {
                key.as_object_mut().unwrap().remove(private);
            }
        }
        let compact = example["output"]["compact"].as_str().unwrap_or_default();
        let verdict = verifiers.verdict(&json!([key]), compact).await;
        assert_eq!(verdict, want, "{path}");
        if path.starts_with("jws") {
            let serialized = example["output"]["json"].to_string();
            assert_eq!(verifiers.verdict(&json!([key]), &serialized).await, "json_serialization", "{path}");
        }
    }
    for path in
        ["4_6.protecting_specific_header_fields", "4_7.protecting_content_only", "4_8.multiple_signatures"]
    {
        let example = read(&format!("jose-cookbook/jws/{path}.json"));
        let serialized = example["output"]["json"].to_string();
        assert_eq!(verifiers.verdict(&json!([]), &serialized).await, "json_serialization", "{path}");
    }
}

/// RFC 7515, appendix A.1 (HS256), A.2 (RS256), A.3 (ES256), A.4 (ES512), A.5 (`none`), A.6 and A.7 (JSON serializations).
#[tokio::test]
async fn rfc_7515_appendix_a() {
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const A_2: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const A_3: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let verifiers = Verifiers::start().await;
    let secret = json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"});
    let rsa = json!({
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e": "AQAB"
    });
    let p256 = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    });
    let p521 = json!({
        "kty": "EC", "crv": "P-521",
        "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"
    });
    let a_1 = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let a_2 = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{A_2}");
    let a_3 = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{A_3}");
    let a_4 = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn".to_owned();
    let a_5 = format!("eyJhbGciOiJub25lIn0.{CLAIMS}.");
    let a_6 = json!({"payload": CLAIMS, "signatures": [
        {"protected": "eyJhbGciOiJSUzI1NiJ9", "header": {"kid": "2010-12-29"}, "signature": A_2},
        {"protected": "eyJhbGciOiJFUzI1NiJ9", "header": {"kid": "e9bc097a-ce51-4036-9562-d2ade882db0d"}, "signature": A_3},
    ]});
    let a_7 = json!({
        "payload": CLAIMS, "protected": "eyJhbGciOiJFUzI1NiJ9",
        "header": {"kid": "e9bc097a-ce51-4036-9562-d2ade882db0d"}, "signature": A_3
    });
    for (what, key, jws, want) in [
        ("A.1", &secret, &a_1, "accept"),
        ("A.2", &rsa, &a_2, "accept"),
        ("A.3", &p256, &a_3, "accept"),
        ("A.4", &p521, &a_4, "accept"),
        ("A.5", &p256, &a_5, "shape"),
        ("A.6", &p256, &a_6.to_string(), "json_serialization"),
        ("A.7", &p256, &a_7.to_string(), "json_serialization"),
        // The example of another key is none of this one.
        ("A.2 with the key of A.3", &p256, &a_2, "key"),
    ] {
        assert_eq!(verifiers.verdict(&json!([key]), jws).await, want, "{what}");
    }
}
