//! jwt-auth beside Envoy's own `jwt_authn`, in one Envoy, on the same tokens: where the two differ stands in the README of
//! jwt-auth, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::paths;
use portcullis_tests::tokens::{Signer, b64, claims, now};
use portcullis_tests::upstream::Upstream;
use serde_json::{Map, Value, json};

const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// Tokens for each mutation and algorithm.
const TOKENS: usize = 5;

fn signer(algorithm: &str) -> Signer {
    match algorithm {
        "ES256" => Signer::p256("ES256"),
        "ES384" => Signer::p384("ES384"),
        "EdDSA" => Signer::ed25519("EdDSA"),
        other => Signer::rsa(other),
    }
}

/// A token in the making.
struct Draft<'a> {
    signer: &'a Signer,
    algorithm: &'static str,
    header: Map<String, Value>,
    claims: Value,
}

impl Draft<'_> {
    fn sign(&self) -> String {
        let header = Value::Object(self.header.clone()).to_string();
        self.signer.sign_text(self.algorithm, &header, self.claims.to_string().as_bytes())
    }

    fn with_header(mut self, name: &str, value: Value) -> String {
        self.header.insert(name.into(), value);
        self.sign()
    }

    fn with_claim(mut self, name: &str, value: Value) -> String {
        self.claims[name] = value;
        self.sign()
    }

    fn without_claim(mut self, name: &str) -> String {
        self.claims.as_object_mut().expect("claims").remove(name);
        self.sign()
    }

    fn without_header(mut self, name: &str) -> String {
        self.header.remove(name);
        self.sign()
    }
}

type Mutation = (&'static str, fn(Draft<'_>) -> String);

/// What is done to a good token. Those in `authorization` form carry the whole header value.
const MUTATIONS: &[Mutation] = &[
    ("nothing", |draft| draft.sign()),
    ("typ at+jwt", |draft| draft.with_header("typ", json!("at+jwt"))),
    ("no typ", |draft| draft.without_header("typ")),
    ("no kid", |draft| draft.without_header("kid")),
    ("aud is a list", |draft| draft.with_claim("aud", json!(["x", "orders"]))),
    ("a claim more", |draft| draft.with_claim("deep", json!({"a": [1, {"b": null}]}))),
    ("iat in the past", |draft| draft.with_claim("iat", json!(now() - 600))),
    ("exp with a fraction", |draft| draft.with_claim("exp", json!(now() as f64 + 600.5))),
    ("two spaces behind Bearer", |draft| format!("Bearer  {}", draft.sign())),
    ("bearer in lower case", |draft| format!("bearer {}", draft.sign())),
    ("an unknown header member", |draft| draft.with_header("x", json!(1))),
    ("jku in the header", |draft| draft.with_header("jku", json!("https://evil.test/jwks"))),
    ("no exp", |draft| draft.without_claim("exp")),
    ("exp is 0", |draft| draft.with_claim("exp", json!(0))),
    ("expired", |draft| draft.with_claim("exp", json!(now() - 3600))),
    ("exp is text", |draft| draft.with_claim("exp", json!((now() + 600).to_string()))),
    ("exp is negative", |draft| draft.with_claim("exp", json!(-1))),
    ("nbf ahead", |draft| draft.with_claim("nbf", json!(now() + 3600))),
    ("iat ahead", |draft| draft.with_claim("iat", json!(now() + 3600))),
    ("iat is text", |draft| draft.with_claim("iat", json!("yesterday"))),
    ("another issuer", |draft| draft.with_claim("iss", json!("https://evil.test"))),
    ("no issuer", |draft| draft.without_claim("iss")),
    ("another audience", |draft| draft.with_claim("aud", json!("other"))),
    ("aud with a slash at the end", |draft| draft.with_claim("aud", json!("orders/"))),
    ("aud with a scheme", |draft| draft.with_claim("aud", json!("https://orders"))),
    ("aud holds a number", |draft| draft.with_claim("aud", json!(["orders", 7]))),
    ("sub is a number", |draft| draft.with_claim("sub", json!(7))),
    ("jti is a list", |draft| draft.with_claim("jti", json!(["a"]))),
    ("no subject", |draft| draft.without_claim("sub")),
    ("crit", |draft| draft.with_header("crit", json!(["exp"]))),
    ("b64 false", |draft| draft.with_header("b64", json!(false))),
    ("typ logout+jwt", |draft| draft.with_header("typ", json!("logout+jwt"))),
    ("typ dpop+jwt", |draft| draft.with_header("typ", json!("dpop+jwt"))),
    ("cnf", |draft| draft.with_claim("cnf", json!({"jkt": "x"}))),
    ("an unknown kid", |draft| draft.with_header("kid", json!("other"))),
    ("kid is a number", |draft| draft.with_header("kid", json!(7))),
    ("alg none", |draft| draft.with_header("alg", json!("none"))),
    ("alg in lower case", |draft| {
        let lower = draft.algorithm.to_lowercase();
        draft.with_header("alg", json!(lower))
    }),
    ("a member twice in the payload", |draft| {
        let payload = draft.claims.to_string().replacen('{', r#"{"sub":"root","#, 1);
        let header = Value::Object(draft.header.clone()).to_string();
        draft.signer.sign_text(draft.algorithm, &header, payload.as_bytes())
    }),
    ("a member twice in the header", |draft| {
        let header = Value::Object(draft.header.clone()).to_string().replacen('{', r#"{"alg":"none","#, 1);
        draft.signer.sign_text(draft.algorithm, &header, draft.claims.to_string().as_bytes())
    }),
    ("another payload", |draft| {
        let genuine = draft.sign();
        let parts: Vec<&str> = genuine.split('.').collect();
        let mut claims = draft.claims.clone();
        claims["sub"] = "root".into();
        format!("{}.{}.{}", parts[0], b64(claims.to_string()), parts[2])
    }),
    ("a signature cut short", |draft| {
        let genuine = draft.sign();
        genuine[..genuine.len() - 8].to_owned()
    }),
    ("a dot at the end", |draft| format!("{}.", draft.sign())),
    ("two dots in the middle", |draft| draft.sign().replacen('.', "..", 1)),
    ("padding", |draft| format!("{}=", draft.sign())),
    ("no signature", |draft| draft.sign().rsplit_once('.').expect("parts").0.to_owned() + "."),
];

#[tokio::test]
async fn every_difference_to_jwt_authn_is_one_of_those_in_the_readme() {
    let keys: Vec<Value> = ALGORITHMS.iter().map(|a| signer(a).jwk()).collect();
    let ours = Plugin::new(
        "jwt-auth",
        json!({
            "providers": {"corp": {
                "issuer": "https://id.test", "audiences": ["orders"], "algorithms": ALGORITHMS,
                "keys": {"jwks": {"keys": keys}}
            }},
            "rules": [{"match": {"path": "/**"}, "require": {"any": ["corp"]}}],
            "unmatched": "deny"
        }),
    );
    let theirs = json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"corp": {
                "issuer": "https://id.test", "audiences": ["orders"],
                "local_jwks": {"inline_string": json!({"keys": keys}).to_string()}
            }},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "corp"}}]
        }
    });
    let upstream = Upstream::start().await;
    let listeners = [Listener::new("ours").plugin(&ours), Listener::new("theirs").filter(theirs)];
    let envoy = Envoy::start(&bootstrap(upstream.address(), &listeners)).await;
    let mut differences: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let (mut asked, mut by_us, mut by_them) = (0, 0, 0);
    for algorithm in ALGORITHMS {
        let signer = signer(algorithm);
        for (name, mutate) in MUTATIONS {
            for n in 0..TOKENS {
                let mut claims = claims();
                claims["jti"] = format!("{algorithm}-{n}").into();
                claims["sub"] = ["ann", "bob", "chris", "d\u{e9}sir\u{e9}e", "e:f/g"][n].into();
                let header = json!({"alg": algorithm, "kid": algorithm, "typ": "JWT"});
                let Value::Object(header) = header else { unreachable!() };
                let token = mutate(Draft { signer: &signer, algorithm, header, claims });
                let value = if token.contains(' ') { token } else { format!("Bearer {token}") };
                let mut passes = [false; 2];
                for (listener, passes) in ["ours", "theirs"].iter().zip(&mut passes) {
                    let request = ask(envoy.listener(listener), "GET", "/").header("authorization", &value);
                    *passes = request.send().await.status == 200;
                }
                asked += 1;
                by_us += usize::from(passes[0]);
                by_them += usize::from(passes[1]);
                if passes[0] != passes[1] {
                    differences.entry(name).or_default().insert(if passes[0] {
                        "we accept"
                    } else {
                        "we refuse"
                    });
                }
            }
        }
    }
    println!(
        "{} mutations, {} algorithms, {asked} tokens; accepted: {by_us} by jwt-auth, {by_them} by jwt_authn; differences: {differences:#?}",
        MUTATIONS.len(),
        ALGORITHMS.len()
    );
    assert!(MUTATIONS.len() >= 25 && by_us * 5 >= asked && by_them * 5 >= asked);
    let found: BTreeSet<String> = differences
        .iter()
        .flat_map(|(name, ways)| ways.iter().map(move |way| format!("{name}: {way}")))
        .collect();
    assert_eq!(found, documented(), "the table in filters/jwt-auth/README.md");
}

/// The rows of the README's table of differences.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(paths::root().join("filters/jwt-auth/README.md")).expect("the README");
    let section = page.split("\n## Beside jwt_authn\n").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (name, way) = (cells.first()?, cells.get(1)?);
        (!name.starts_with('-')).then(|| format!("{name}: {way}"))
    })
    .collect()
}
