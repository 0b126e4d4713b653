//! Envoy's jwt_authn.

use serde_json::{Map, Value, json};

use super::differs;
use super::head;
use super::hosts;
use super::keys::{self, PUBLIC, host_of};
use super::per_route::PerRoute;
use super::rules::{Rules, Written};
use super::subjects;
use super::taken::Taken;
use super::{Kind, Lefts};
use crate::yaml::Node;

const METADATA: &str = "a Wasm filter cannot write dynamic metadata; facts are filter state: use publish, publish_payload or claim_headers, \
                        and in RBAC or the log filter_state instead of metadata";

/// The configuration of jwt-auth.
pub fn import(node: &Node, per_route: &[PerRoute<'_>], lefts: &mut Lefts) -> Value {
    let taken = Taken::new(node, "jwt_authn");
    let listed = taken.take("providers").map(Node::members).unwrap_or_default();
    let mut out = Map::new();
    let mut providers = Map::new();
    for member in listed {
        let provider = provider(&member.value, &format!("providers.{}", member.name), &mut out, lefts);
        providers.insert(member.name.clone(), Value::Object(provider));
    }
    differs::subjects(node.line, "jwt_authn.providers", &mut providers, lefts);
    let names: Vec<String> = listed.iter().map(|m| m.name.clone()).collect();
    let map = taken.take("requirement_map");
    let mut rules = Rules::new(&names, map, &mut providers);
    for asked in per_route {
        rules.protect(asked, lefts);
    }
    if taken.take("filter_state_rules").is_some() {
        rules.protect_the_rest();
    }
    for (n, rule) in taken.items("rules").iter().enumerate() {
        rules.take(rule, n, lefts);
    }
    let Written { mut rules, complete, cloned } = rules.written();
    hosts::compare(&rules, complete, lefts);
    subjects::place(&mut providers, &mut rules, &taken, lefts);
    let rest = if complete { "none".into() } else { head::nobody(&names) };
    let rules = head::apart(rules, &rest);
    if cloned {
        // Of one issuer, so that nobody has two names.
        out.insert("shared_namespace".into(), true.into());
    }
    if taken.is_true("bypass_cors_preflight") {
        out.insert("preflights".into(), "pass".into());
    }
    let why = "no rule here is chosen by filter state; what no other rule matches is refused until rules are written for it";
    taken.leave(Kind::Stricter, "filter_state_rules", why, lefts);
    taken.leave(
        Kind::LookAt,
        "strip_failure_response",
        "refusals always say their reason, and nothing about the token",
        lefts,
    );
    if !complete {
        let why = "what no rule matches passes there; with rules left out or narrower it is refused here, until they are written";
        taken.say(Kind::Stricter, "rules", why, lefts);
    }
    taken.take("stat_prefix");
    taken.rest(lefts);
    out.insert("providers".into(), Value::Object(providers));
    out.insert("rules".into(), Value::Array(rules));
    out.insert("unmatched".into(), if complete { "allow" } else { "deny" }.into());
    Value::Object(out)
}

fn provider(
    node: &Node,
    path: &str,
    plugin: &mut Map<String, Value>,
    lefts: &mut Lefts,
) -> Map<String, Value> {
    let taken = Taken::new(node, path);
    let mut out = Map::new();
    let issuer = taken.text("issuer").filter(|issuer| !issuer.is_empty());
    if issuer.is_none() {
        taken.say(
            Kind::Stricter,
            "issuer",
            "jwt_authn takes any issuer where none is written; write whose tokens these are",
            lefts,
        );
    }
    out.insert("issuer".into(), issuer.unwrap_or("WRITE-THE-ISSUER").into());
    out.insert("audiences".into(), audiences(&taken, lefts));
    keys(&taken, path, &mut out, lefts);
    let mut tokens: Vec<Value> = Vec::new();
    for header in taken.items("from_headers") {
        let header = Taken::new(header, format!("{path}.from_headers"));
        let name = header.text("name").unwrap_or_default().to_ascii_lowercase();
        tokens.push(location(&name, header.text("value_prefix").unwrap_or_default()));
        header.rest(lefts);
    }
    let texts = |name: &str| taken.items(name).iter().filter_map(Node::text).collect::<Vec<_>>();
    tokens.extend(texts("from_params").into_iter().map(|name| json!({"query": name})));
    tokens.extend(texts("from_cookies").into_iter().map(|name| json!({"cookie": name})));
    if tokens.is_empty() {
        tokens = differs::default_tokens();
    }
    differs::tokens(&taken, &tokens, taken.is_true("forward"), lefts);
    out.insert("tokens".into(), Value::Array(tokens));
    if taken.is_true("forward") {
        out.insert("forward_token".into(), true.into());
    }
    if let Some(header) = taken.text("forward_payload_header") {
        out.insert("payload_header".into(), header.to_ascii_lowercase().into());
    }
    if taken.is_true("pad_forward_payload_header") {
        taken.leave(Kind::LookAt, "pad_forward_payload_header", "the payload comes without padding", lefts);
    }
    let mut headers = Map::new();
    for claim in taken.items("claim_to_headers") {
        let claim = Taken::new(claim, format!("{path}.claim_to_headers"));
        let steps: Vec<&str> =
            claim.items("claim_path").iter().filter_map(|step| step.text_at(&["key"])).collect();
        let source = match claim.text("claim_name") {
            Some(name) => format!("claim.{name}"),
            None => {
                format!("claim{}", steps.iter().map(|s| format!("[{}]", Value::from(*s))).collect::<String>())
            }
        };
        if let Some(name) = claim.text("header_name") {
            headers.insert(name.to_ascii_lowercase(), format!("{{{source}}}").into());
        }
        claim.rest(lefts);
    }
    differs::claim_headers(&taken, "claim_to_headers", &headers, lefts);
    if !headers.is_empty() {
        out.insert("claim_headers".into(), Value::Object(headers));
    }
    let skew = taken.text("clock_skew_seconds").filter(|skew| *skew != "0").unwrap_or("60");
    out.insert("clock_skew".into(), format!("{skew}s").into());
    if !taken.is_true("require_expiration") {
        let why = "a token without exp is valid for ever there and refused here, unless expiration: optional is written";
        taken.say(Kind::Stricter, "require_expiration", why, lefts);
    }
    if let Some(lifetime) = taken.text("max_lifetime") {
        out.insert("max_lifetime".into(), lifetime.into());
    }
    if taken.take("payload_in_metadata").is_some() {
        plugin.insert("publish_payload".into(), true.into());
        taken.leave(Kind::LookAt, "payload_in_metadata", METADATA, lefts);
    }
    for field in ["header_in_metadata", "failed_status_in_metadata", "normalize_payload_in_metadata"] {
        taken.leave(Kind::LookAt, field, METADATA, lefts);
    }
    subjects::take(&taken, &mut out, lefts);
    // Verified tokens are remembered anyway, and Envoy chooses the route anew after a header changed.
    for field in ["jwt_cache_config", "clear_route_cache"] {
        taken.take(field);
    }
    taken.rest(lefts);
    out
}

pub(super) fn audiences(taken: &Taken<'_>, lefts: &mut Lefts) -> Value {
    let audiences: Vec<&str> = taken.items("audiences").iter().filter_map(Node::text).collect();
    if audiences.is_empty() {
        taken.say(
            Kind::LookAt,
            "audiences",
            "tokens for anybody pass, as they did; list whom they have to be for",
            lefts,
        );
        return "any".into();
    }
    json!(differs::audiences(&audiences, taken, lefts))
}

/// Where a token is, in a header with this prefix.
pub(super) fn location(header: &str, prefix: &str) -> Value {
    match prefix.trim_end() {
        "" if header == "authorization" => json!({"header": header, "scheme": "Bearer"}),
        "" => json!({"header": header}),
        word if prefix.ends_with(' ') && word.chars().all(char::is_alphanumeric) => {
            json!({"header": header, "scheme": word})
        }
        _ => json!({"header": header, "prefix": prefix}),
    }
}

fn keys(taken: &Taken<'_>, path: &str, out: &mut Map<String, Value>, lefts: &mut Lefts) {
    if let Some(local) = taken.take("local_jwks") {
        let source = Taken::new(local, format!("{path}.local_jwks"));
        let file = source.text("filename").and_then(|name| std::fs::read_to_string(name).ok());
        let text = source.text("inline_string").map(str::to_owned).or(file);
        match text
            .as_deref()
            .map_or_else(|| Err("not a text that can be read here; write keys by hand".into()), keys::written)
        {
            Ok((keys, algorithms)) => {
                out.insert("keys".into(), keys);
                out.insert("algorithms".into(), algorithms);
            }
            Err(why) => source.say(Kind::LookAt, "", &why, lefts),
        }
    }
    if let Some(remote) = taken.take("remote_jwks") {
        let source = Taken::new(remote, format!("{path}.remote_jwks"));
        let uri =
            source.take("http_uri").map(|node| Taken::new(node, format!("{path}.remote_jwks.http_uri")));
        let Some(uri) = uri else { return source.rest(lefts) };
        let url = uri.text("uri").unwrap_or_default();
        let mut keys = Map::new();
        keys.insert("jwks_url".into(), url.into());
        keys.insert("clusters".into(), json!({host_of(url): uri.text("cluster").unwrap_or_default()}));
        if let Some(timeout) = uri.text("timeout") {
            keys.insert("timeout".into(), timeout.into());
        }
        if let Some(cache) = source.take("cache_duration").and_then(Node::text) {
            keys.insert("max_fresh".into(), cache.into());
            if cache.strip_suffix('s').and_then(|s| s.parse::<f64>().ok()).is_some_and(|s| s < 60.0) {
                keys.insert("min_fresh".into(), cache.into());
            }
        }
        out.insert("keys".into(), Value::Object(keys));
        out.insert("algorithms".into(), json!(PUBLIC));
        source.say(
            Kind::LookAt,
            "algorithms",
            "jwt_authn takes what a key is good for; list the algorithms that the issuer signs with",
            lefts,
        );
        let why = "keys are fetched by one worker for all, before they are old, and again after a failure, without any option";
        for field in ["async_fetch", "retry_policy"] {
            source.leave(Kind::LookAt, field, why, lefts);
        }
        uri.rest(lefts);
        source.rest(lefts);
    }
}
