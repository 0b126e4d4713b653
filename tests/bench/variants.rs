//! What is compared with what.

use std::sync::Arc;

use portcullis_tests::bootstrap::{Listener, Plugin};
use portcullis_tests::tokens::{self, Signer};
use serde_json::{Value, json};

use crate::load::Requests;

/// Getters in each request of the variant that prices them.
pub(crate) const GETTERS: u32 = 100;
/// What metrics counts of the requests that it is sent.
const COUNTED: &str = "portcullis_requests_total{plugin=\"measured\",route=\"/quiet\",method=\"GET\",code=\"200\",grpc=\"\",source=\"upstream\",reason=\"\"}";
/// The tuples that rebac looks for three among.
const TUPLES: usize = 100_000;
/// More tokens than any cache here holds.
const NEW_TOKENS: usize = 6_000;

/// One listener and what it is sent.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// The variant without filters that is sent the same.
    pub(crate) base: &'static str,
    pub(crate) listener: Listener,
    pub(crate) requests: Requests,
    /// A series, and how much each request must have added to it: proof that the variant does what it says.
    pub(crate) expects: Option<(String, f64)>,
}

/// `name` may add at most `at_most` times what `of` adds, plus `plus_g` getters.
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) at_most: f64,
    pub(crate) of: &'static str,
    pub(crate) plus_g: f64,
}

/// What the filters promise.
pub(crate) fn bars() -> Vec<Bar> {
    vec![
        Bar { name: "jwt-auth, repeated", at_most: 0.7, of: "jwt_authn, cache, repeated", plus_g: 0.0 },
        Bar {
            name: "jwt-auth, always new",
            at_most: 0.9,
            of: "jwt_authn, no cache, always new",
            plus_g: 0.0,
        },
        Bar { name: "rate-limit, subject", at_most: 1.0, of: "empty, as rate-limit exports", plus_g: 7.0 },
        Bar { name: "rate-limit, subject", at_most: 1.4, of: "local_ratelimit, rate", plus_g: 0.0 },
        Bar { name: "metrics", at_most: 1.0, of: "empty, as metrics exports", plus_g: 12.0 },
        Bar { name: "rebac, three hops", at_most: 1.0, of: "empty, as rebac exports", plus_g: 25.0 },
        Bar { name: "rebac, remembered", at_most: 1.0, of: "empty, as rebac exports", plus_g: 7.0 },
        Bar { name: "rebac, remembered", at_most: 0.15, of: "ext_authz, says 200", plus_g: 0.0 },
    ]
}

/// All variants, or those whose name contains one of `only`, besides what the report needs.
///
/// `jwt_authn` and `jwt-auth` do the same in each pair: check RS256, issuer, audience and times, remove the token, hand the
/// subject on in a header, and the identity to the filters behind (dynamic metadata there, facts here). The token is one
/// with roles and groups, as identity providers issue them to companies; `short` is one with five claims, and there the
/// identity is not handed on.
pub(crate) fn variants(only: &[String]) -> Vec<Variant> {
    let signer = Signer::rsa("bench");
    let usual = Arc::new(vec![signer.token("RS256", &usual_claims(0))]);
    let new = Arc::new((0..NEW_TOKENS).map(|n| signer.token("RS256", &usual_claims(n))).collect::<Vec<_>>());
    let short = Arc::new(vec![signer.token("RS256", &tokens::claims())]);
    let with =
        |name: &'static str, base: &'static str, filter: Option<Value>, tokens: &Arc<Vec<String>>| Variant {
            name,
            base,
            listener: filter.into_iter().fold(Listener::new(name), Listener::filter),
            requests: Requests { path: "/quiet", tokens: Arc::clone(tokens) },
            expects: None,
        };
    let empty = |module: &str, name: &str, config: &str| {
        Some(Plugin::new(module, json!(config)).called(name).filter())
    };
    let ours =
        |name: &str, hand_on: bool| Some(Plugin::new("jwt-auth", jwt_auth(name, &signer, hand_on)).filter());
    let native = |cached: bool, hand_on: bool| Some(jwt_authn(&signer, cached, hand_on));
    // Ten routes, as a small service has them, and the path that is sent is one of them.
    let routes =
        (0..9).map(|n| format!("/orders-{n}/{{id}}")).chain(["/quiet".to_owned()]).collect::<Vec<_>>();
    let metrics = |name: &str, route_fact: bool| {
        Some(
            Plugin::new("metrics", json!({"name": name, "routes": routes, "route_fact": route_fact}))
                .filter(),
        )
    };
    let nothing = Arc::new(Vec::new());
    // Behind a filter that writes the subject, in place of jwt-auth: what it costs is in the base.
    let behind_subject = |name: &'static str, filter: Option<Value>| {
        let subject = Plugin::new("empty-rate-limit", json!("ann")).called(&format!("{name}, who"));
        let filters = [Some(subject.filter()), filter].into_iter().flatten();
        let listener = filters.fold(Listener::new(name), Listener::filter);
        // Without a token: jwt-auth has taken it away.
        Variant { listener, ..with(name, "no limit, rate", None, &nothing) }
    };
    let limited =
        |name: &str, headers: &str| Some(Plugin::new("rate-limit", rate_limit(name, headers)).filter());
    let as_rate_limit = empty("empty-rate-limit", "empty-rate-limit", "");
    let verified = |name: &str| format!("portcullis_token_verifications_total{{plugin=\"{name}\"}}");
    let mut all = vec![
        with("no filter", "no filter", None, &usual),
        with("no filter, new", "no filter, new", None, &new),
        with("no filter, short", "no filter, short", None, &short),
        with("empty, as cargo builds it", "no filter", empty("empty-sdk", "empty-sdk", ""), &usual),
        with("empty, lean", "no filter", empty("empty-jwt-auth", "empty-jwt-auth", ""), &usual),
        with("getters", "no filter", empty("empty-jwt-auth", "getters", &GETTERS.to_string()), &usual),
        with("jwt_authn, cache, repeated", "no filter", native(true, true), &usual),
        with("jwt_authn, no cache, always new", "no filter, new", native(false, true), &new),
        with("jwt_authn, cache, short", "no filter, short", native(true, false), &short),
        with("jwt-auth, repeated", "no filter", ours("repeated", true), &usual),
        with("jwt-auth, always new", "no filter, new", ours("always-new", true), &new),
        with("jwt-auth, short", "no filter, short", ours("short", false), &short),
        with("empty, as metrics exports", "no filter", empty("empty-metrics", "empty-metrics", ""), &usual),
        with("metrics", "no filter", metrics("measured", true), &usual),
        with("metrics, no route fact", "no filter", metrics("no-fact", false), &usual),
        behind_subject("no limit, rate", None),
        behind_subject("empty, as rate-limit exports", as_rate_limit),
        behind_subject("local_ratelimit, rate", Some(local_ratelimit())),
        behind_subject("rate-limit, subject", limited("bare", "none")),
        behind_subject("rate-limit, subject, headers", limited("told", "draft")),
        behind_subject("empty, as rebac exports", empty("empty-rebac", "empty-rebac", "")),
        behind_subject("rebac, three hops", Some(Plugin::new("rebac", rebac("hops", TUPLES)).filter())),
        behind_subject("rebac, remembered", Some(Plugin::new("rebac", outside("remembered")).filter())),
        behind_subject("ext_authz, says 200", Some(ext_authz())),
    ];
    for variant in &mut all {
        variant.expects = match variant.name {
            "jwt-auth, repeated" => Some((verified("repeated"), 0.0)),
            "jwt-auth, always new" => Some((verified("always-new"), 1.0)),
            "metrics" => Some((COUNTED.into(), 1.0)),
            "rate-limit, subject" => Some((admitted("bare"), 1.0)),
            "rate-limit, subject, headers" => Some((admitted("told"), 1.0)),
            "rebac, three hops" => Some((granted("hops"), 1.0)),
            "rebac, remembered" => Some((granted("remembered"), 1.0)),
            _ => None,
        };
    }
    let chosen = |v: &Variant| only.iter().any(|o| v.name.contains(o.as_str()));
    let mut needed = vec!["no filter", "empty, lean", "getters"];
    needed.extend(all.iter().filter(|v| chosen(v)).map(|v| v.base).collect::<Vec<_>>());
    all.retain(|v| only.is_empty() || needed.contains(&v.name) || chosen(v));
    all
}

/// The claims of an access token with roles and groups; `n` makes it a token of its own.
fn usual_claims(n: usize) -> Value {
    let mut claims = tokens::claims();
    let group = |g: usize| format!("{g:08x}-4c9e-4d7e-8b0d-{:012x}", g * 7_919);
    let more = json!({
        "jti": format!("bd0a1b8e-7a3f-4c9e-9d7e-{n:012x}"),
        "typ": "Bearer",
        "azp": "web",
        "sid": "5f1c1e0a-2b3c-4d5e-8f90-a1b2c3d4e5f6",
        "acr": "1",
        "scope": "openid profile email orders:read orders:write",
        "name": "Ann Example",
        "preferred_username": "ann",
        "email": "ann@example.com",
        "email_verified": true,
        "allowed-origins": ["https://app.example.com"],
        "realm_access": {"roles": ["default-roles-shop", "offline_access", "uma_authorization", "buyer", "approver"]},
        "resource_access": {
            "account": {"roles": ["manage-account", "manage-account-links", "view-profile"]},
            "orders": {"roles": ["read", "write"]}
        },
        "groups": (0..20).map(group).collect::<Vec<_>>()
    });
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

/// What a limiter counts of the requests that it is sent.
fn admitted(name: &str) -> String {
    format!("portcullis_decisions_total{{plugin=\"{name}\",rule=\"per-user\",reason=\"\",outcome=\"allow\"}}")
}

/// What rebac counts of the requests that it is sent.
fn granted(name: &str) -> String {
    format!(
        "portcullis_decisions_total{{plugin=\"{name}\",rule=\"documents\",reason=\"\",outcome=\"allow\"}}"
    )
}

/// The document that is asked for lies in a folder that a group may see which ann is in, among others of each.
fn rebac(name: &str, tuples: usize) -> Value {
    let ways = [
        "document:quiet#folder@folder:f0".to_owned(),
        "folder:f0#viewer@group:g0#member".to_owned(),
        "group:g0#member@user:ann".to_owned(),
    ];
    // Four in ten are documents, three in ten each folders and members; nobody is in two.
    let other = |n: usize| match n % 10 {
        0..4 => format!("document:d{n}#folder@folder:f{}", n / 10),
        4..7 => format!("folder:f{n}#viewer@group:g{}#member", n / 10),
        _ => format!("group:g{}#member@user:u{n}", n / 10 + 1),
    };
    let tuples: Vec<String> = ways.into_iter().chain((3..tuples).map(other)).collect();
    json!({
        "name": name,
        "engine": {"embedded": {
            "model": "model\n  schema 1.1\ntype user\ntype group\n  relations\n    define member: [user, group#member]\n\
                type folder\n  relations\n    define viewer: [user, group#member]\n\
                type document\n  relations\n    define folder: [folder]\n    define owner: [user]\n    define viewer: owner or viewer from folder\n",
            "tuples": tuples
        }},
        "rules": [{
            "name": "documents",
            "match": {"path": "/{id}"},
            "checks": {"all": [{"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}]}
        }],
        "unmatched": "deny"
    })
}

/// Where the engine outside the filter is asked.
pub(crate) const CHECK: &str = "/stores/01JF3ZK8W6X2Q9V5T7B4N1M0PC/check";

/// The same question to an OpenFGA, whose answer is remembered for longer than the run takes.
fn outside(name: &str) -> Value {
    json!({
        "name": name,
        "engine": {"openfga": {
            "cluster": "keys", "store": "01JF3ZK8W6X2Q9V5T7B4N1M0PC", "model": "01JF3ZK8W6X2Q9V5T7B4N1M0PD"
        }},
        "cache": {"allow": "1h"},
        "rules": [{
            "name": "documents",
            "match": {"path": "/{id}"},
            "checks": {"all": [{"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"}]}
        }],
        "unmatched": "deny"
    })
}

/// Envoy's own way to ask somebody: the upstream, which says 200 to everything.
fn ext_authz() -> Value {
    json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "http_service": {"server_uri": {"uri": "http://upstream", "cluster": "upstream", "timeout": "1s"}}
        }
    })
}

/// One limit on the path that is sent, by subject, which nobody reaches.
fn rate_limit(name: &str, headers: &str) -> Value {
    json!({
        "name": name,
        "headers": headers,
        "limits": [{"name": "per-user", "match": {"path": "/quiet"}, "key": ["{subject}"], "rate": "1000000/second"}]
    })
}

/// The same by a header, which is how Envoy's own filter tells users apart: a bucket for each value.
fn local_ratelimit() -> Value {
    let bucket = json!({"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"});
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limited",
            "token_bucket": bucket,
            "always_consume_default_token_bucket": false,
            "filter_enabled": always,
            "filter_enforced": always,
            "rate_limits": [{"actions": [{"request_headers": {"header_name": "user-agent", "descriptor_key": "user"}}]}],
            "descriptors": [{"entries": [{"key": "user"}], "token_bucket": bucket}]
        }
    })
}

fn jwt_auth(name: &str, signer: &Signer, hand_on: bool) -> Value {
    let mut config = json!({
        "name": name,
        "providers": {"corp": {
            "issuer": "https://id.test",
            "audiences": ["orders"],
            "algorithms": ["RS256"],
            "keys": {"jwks": {"keys": [signer.jwk()]}},
            "forward_token": !hand_on
        }},
        "rules": [{"name": "all", "match": {"path": "/**"}, "require": {"any": ["corp"]}}],
        "unmatched": "deny"
    });
    if hand_on {
        config["providers"]["corp"]["claim_headers"] = json!({"x-user": "{subject}"});
        config["publish"] = json!(["claim.azp"]);
    }
    config
}

fn jwt_authn(signer: &Signer, cached: bool, hand_on: bool) -> Value {
    let mut provider = json!({
        "issuer": "https://id.test",
        "audiences": ["orders"],
        "local_jwks": {"inline_string": json!({"keys": [signer.jwk()]}).to_string()},
        "forward": !hand_on
    });
    if cached {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": 100});
    }
    if hand_on {
        provider["payload_in_metadata"] = "corp".into();
        provider["claim_to_headers"] = json!([{"header_name": "x-user", "claim_name": "sub"}]);
    }
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"corp": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "corp"}}]
        }
    })
}
