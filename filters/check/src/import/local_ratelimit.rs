//! Envoy's local_ratelimit.

use serde_json::{Map, Value, json};

use super::overlap::both;
use super::scope::Scope;
use super::taken::Taken;
use super::{Kind, Left, Lefts};
use crate::yaml::Node;

/// The configuration of rate-limit; `None` if there is nothing to limit.
pub fn import(node: &Node, document: &Node, scope: Scope<'_>, lefts: &mut Lefts) -> Option<Value> {
    let taken = Taken::new(node, "local_ratelimit");
    let within = scope.matching(lefts);
    if scope.below {
        let why = "in this place it replaces the filter's own limits there; here both count, and the tighter one decides: give the filter's own a \
                   match without it";
        taken.say(Kind::Stricter, "", why, lefts);
    }
    let stat =
        taken.text("stat_prefix").map(name).filter(|n| !n.is_empty()).unwrap_or_else(|| "local".into());
    let mut limits = Vec::new();
    let within = Value::Object(within);
    let place = |mut limit: Map<String, Value>, matching: &Value| {
        let all = both(&within, matching)?;
        if all.as_object().is_some_and(|all| !all.is_empty()) {
            limit.insert("match".into(), all);
        }
        Some(Value::Object(limit))
    };
    let mut actions = Vec::new();
    rate_limits(document, &mut actions);
    actions.extend(taken.items("rate_limits"));
    for (n, descriptor) in taken.items("descriptors").iter().enumerate() {
        let path = format!("descriptors[{n}]");
        let descriptor = Taken::new(descriptor, path.clone());
        let entries = descriptor.items("entries");
        let bucket = descriptor.take("token_bucket");
        let rate = bucket.and_then(|b| rate(b, &format!("{path}.token_bucket"), lefts));
        descriptor.rest(lefts);
        let named = format!(
            "{stat}-{}",
            entries.iter().filter_map(|e| e.text_at(&["key"])).map(name).collect::<Vec<_>>().join("-")
        );
        let made = actions.iter().find_map(|action| key(entries, action));
        match (made, rate) {
            (Some((key, matching)), Some(mut limit)) => {
                let named: String = named.chars().take(60).collect();
                limit.insert("name".into(), format!("{named}-{n}").into());
                limit.insert("key".into(), json!(key));
                // Without a value there is no descriptor, and the limit does not apply.
                limit.insert("missing".into(), "skip".into());
                limits.extend(place(limit, &matching));
                if key.iter().any(|part| part.starts_with("{header.")) {
                    let why = "a request with this header twice, empty or longer than 1 KiB passes there and counts; here it is 403 \
                               value_invalid";
                    let line = entries.first().map_or(node.line, |e| e.line);
                    lefts.push(Left { kind: Kind::Stricter, line, field: path, why: why.into() });
                }
            }
            (None, _) => lefts.push(super::Left {
                kind: Kind::Weaker,
                line: entries.first().map_or(node.line, |e| e.line),
                field: path,
                why: "no rate_limits action of a route makes this descriptor in a way that has a counterpart; write key by hand".into(),
            }),
            (Some(_), None) => {}
        }
    }
    if let Some(mut limit) = taken.take("token_bucket").and_then(|b| rate(b, "token_bucket", lefts)) {
        limit.insert("name".into(), stat.clone().into());
        limit.insert("key".into(), json!(["everyone"]));
        limits.extend(place(limit, &json!({})));
    }
    for limit in &limits {
        let methods = limit.get("match").and_then(|m| m.get("methods")).and_then(Value::as_array);
        if methods.is_some_and(|m| m.contains(&json!("GET")) && !m.contains(&json!("HEAD"))) {
            let name = limit.get("name").and_then(Value::as_str).unwrap_or_default();
            let why = format!("GET covers HEAD here, so the limit {name} counts requests with HEAD too");
            taken.say(Kind::Stricter, "", &why, lefts);
        }
    }
    if limits.is_empty() {
        taken.say(Kind::Weaker, "", "no limit of it could be carried over", lefts);
        return None;
    }
    let mut out = Map::new();
    out.insert("name".into(), stat.into());
    out.insert("limits".into(), Value::Array(limits));
    shares(&taken, &mut out, lefts);
    let headers = taken.text("enable_x_ratelimit_headers");
    let headers = if headers == Some("DRAFT_VERSION_03") { "x-ratelimit" } else { "none" };
    out.insert("headers".into(), headers.into());
    if !taken.is_true("rate_limited_as_resource_exhausted") {
        out.insert("refusals".into(), json!({"grpc_status": "unavailable"}));
    }
    if let Some(code) = taken
        .take("status")
        .and_then(|s| s.text_at(&["code"]))
        .filter(|c| !matches!(*c, "429" | "TooManyRequests"))
    {
        taken.leave(Kind::LookAt, "status", &format!("a refusal is 429 here, not {code}"), lefts);
    }
    if taken.is_true("local_rate_limit_per_downstream_connection") {
        let why = "counts are the process's here; a connection has none of its own";
        taken.leave(Kind::Stricter, "local_rate_limit_per_downstream_connection", why, lefts);
    }
    if taken.text("always_consume_default_token_bucket") == Some("false") {
        let why = "all limits that match are charged, or none of them";
        taken.leave(Kind::LookAt, "always_consume_default_token_bucket", why, lefts);
    }
    let why = "an Envoy counts for itself here; divide the rate, or use a rate-limit service";
    taken.leave(Kind::Weaker, "local_cluster_rate_limit", why, lefts);
    let why = "in the connection manager's local_reply_config.mappers write one with a status_code_filter for 429 and headers_to_add; \
               the route's headers are not added to a refusal";
    taken.leave(Kind::LookAt, "response_headers_to_add", why, lefts);
    let why =
        "no header is added in shadow; the verdict is in the access log and in portcullis_decisions_total";
    taken.leave(Kind::LookAt, "request_headers_to_add_when_not_enforced", why, lefts);
    for field in ["stage", "vh_rate_limits", "max_dynamic_descriptors", "enable_x_ratelimit_headers"] {
        taken.take(field);
    }
    taken.rest(lefts);
    Some(Value::Object(out))
}

/// `filter_enabled` and `filter_enforced`: of none, some or all requests.
fn shares(taken: &Taken<'_>, out: &mut Map<String, Value>, lefts: &mut Lefts) {
    let share = |name: &str| {
        let Some(node) = taken.take(name) else { return 0.0 };
        let numerator = node
            .text_at(&["default_value", "numerator"])
            .and_then(|n| n.parse::<f64>().ok())
            .unwrap_or_default();
        match node.text_at(&["default_value", "denominator"]) {
            Some("TEN_THOUSAND") => numerator / 100.0,
            Some("MILLION") => numerator / 10_000.0,
            _ => numerator,
        }
    };
    let (enabled, enforced) = (share("filter_enabled"), share("filter_enforced"));
    if enabled == 0.0 {
        out.insert("enabled".into(), false.into());
        taken.say(
            Kind::LookAt,
            "filter_enabled",
            "0 % there, so the filter did nothing; here it is enabled: false",
            lefts,
        );
    } else if enforced == 0.0 {
        out.insert("mode".into(), "shadow".into());
    }
    if enabled > 0.0 && (enabled < 100.0 || (enforced > 0.0 && enforced < 100.0)) {
        taken.say(
            Kind::Stricter,
            "filter_enabled",
            "a share of requests: here it is all of them; begin with mode: shadow",
            lefts,
        );
    }
}

fn rate(bucket: &Node, path: &str, lefts: &mut Lefts) -> Option<Map<String, Value>> {
    let taken = Taken::new(bucket, path);
    let most = taken.text("max_tokens")?.parse::<u64>().ok()?;
    let fill = taken.text("tokens_per_fill").unwrap_or("1").parse::<u64>().ok()?;
    let interval = taken.text("fill_interval")?;
    let Some((count, seconds)) = in_whole_seconds(fill, nanoseconds(interval)?) else {
        let why =
            format!("{fill} in {interval} cannot be written as a count in whole seconds; write rate by hand");
        taken.leave(Kind::Weaker, "fill_interval", &why, lefts);
        return None;
    };
    taken.rest(lefts);
    let mut limit = Map::new();
    // Tokens come one by one here, not all at the end of the interval.
    limit.insert("rate".into(), format!("{count}/{seconds}s").into());
    limit.insert("burst".into(), most.into());
    Some(limit)
}

/// A duration as Envoy's files have it: `1.5s`.
fn nanoseconds(text: &str) -> Option<u64> {
    let text = text.strip_suffix('s')?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = format!("{part:0<9}");
    let part: u64 = part.parse().ok().filter(|_| part.len() == 9)?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(part)
}

/// The same rate with a period of whole seconds: 2 in 3 s for 1 in 1.5 s.
fn in_whole_seconds(count: u64, nanoseconds: u64) -> Option<(u64, u64)> {
    const SECOND: u64 = 1_000_000_000;
    if nanoseconds.checked_rem(SECOND)? == 0 {
        return Some((count, nanoseconds.checked_div(SECOND)?)).filter(|(_, seconds)| *seconds > 0);
    }
    let all = count.checked_mul(SECOND)?;
    let (mut a, mut b) = (all, nanoseconds);
    while b != 0 {
        (a, b) = (b, a.checked_rem(b)?);
    }
    let (count, seconds) = (all.checked_div(a)?, nanoseconds.checked_div(a)?);
    // What the filter takes.
    (count <= 1_000_000_000 && seconds <= 366 * 86_400).then_some((count, seconds))
}

/// All lists of actions in the document.
fn rate_limits<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
    for member in node.members() {
        if member.name == "rate_limits" || member.name == "rateLimits" {
            found.extend(member.value.items());
        } else {
            rate_limits(&member.value, found);
        }
    }
    node.items().iter().for_each(|item| rate_limits(item, found));
}

/// The key of a descriptor whose entries these actions make, and what else has to hold.
fn key(entries: &[Node], limit: &Node) -> Option<(Vec<String>, Value)> {
    let actions = limit.get("actions").map(Node::items).unwrap_or_default();
    if actions.len() != entries.len() || entries.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    let mut matching = json!({});
    for (entry, action) in entries.iter().zip(actions) {
        let (wanted, value) = (entry.text_at(&["key"])?, entry.text_at(&["value"]).filter(|v| !v.is_empty()));
        let member = action.members().first()?;
        let text = |name: &str| member.value.text_at(&[name]);
        let (made, source) = match member.name.as_str() {
            "remote_address" => ("remote_address", Some("{client.ip}".to_owned())),
            "masked_remote_address" => {
                let length = |name: &str, most: &'static str| text(name).unwrap_or(most).to_owned();
                let prefixes = (length("v4_prefix_mask_len", "32"), length("v6_prefix_mask_len", "128"));
                ("masked_remote_address", Some(format!("{{client.ip/{},{}}}", prefixes.0, prefixes.1)))
            }
            "request_headers" => {
                let name = text("header_name")?.to_ascii_lowercase();
                if let Some(value) = value {
                    let named = match &*name {
                        ":path" | ":method" | ":authority" => return None,
                        name => name,
                    };
                    matching = both(&matching, &json!({"headers": [{"name": named, "equals": value}]}))?;
                }
                let source = match &*name {
                    ":authority" => "host".to_owned(),
                    ":method" => "method".to_owned(),
                    // The whole path with its query is no source.
                    ":path" => return None,
                    name => format!("header.{name}"),
                };
                (text("descriptor_key")?, Some(format!("{{{source}}}")))
            }
            "query_parameters" => {
                (text("descriptor_key")?, Some(format!("{{query.{}}}", text("query_parameter_name")?)))
            }
            "generic_key" => {
                let said = text("descriptor_value")?;
                if value.is_some_and(|v| v != said) {
                    return None;
                }
                (text("descriptor_key").unwrap_or("generic_key"), Some(said.to_owned()))
            }
            "header_value_match" => {
                let said = text("descriptor_value")?;
                if value.is_some_and(|v| v != said) {
                    return None;
                }
                if text("expect_match") == Some("false") {
                    return None;
                }
                for header in member.value.get("headers").map(Node::items).unwrap_or_default() {
                    matching = both(&matching, &plain(header)?)?;
                }
                (text("descriptor_key").unwrap_or("header_match"), Some(said.to_owned()))
            }
            _ => return None,
        };
        let constant =
            matches!(member.name.as_str(), "generic_key" | "header_value_match" | "request_headers");
        if made != wanted || (value.is_some() && !constant) {
            return None;
        }
        parts.extend(source);
    }
    Some((parts, matching))
}

/// The match of a plain condition on a header.
fn plain(header: &Node) -> Option<Value> {
    if header.is_true(&["invert_match"]) || header.is_true(&["string_match", "ignore_case"]) {
        return None;
    }
    let name = header.text_at(&["name"])?.to_ascii_lowercase();
    let value = header.text_at(&["string_match", "exact"]).or_else(|| header.text_at(&["exact_match"]))?;
    match &*name {
        ":method" => Some(json!({"methods": [value]})),
        ":authority" | "host" if !value.contains(':') => Some(json!({"hosts": [value.to_ascii_lowercase()]})),
        name if name.starts_with(':') => None,
        name => Some(json!({"headers": [{"name": name, "equals": value}]})),
    }
}

fn name(text: &str) -> String {
    let fold = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c.to_ascii_lowercase() } else { '-' }
    };
    text.chars().map(fold).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_stays_what_it_is() {
        for (count, interval, rate) in [
            (1, "1.5s", Some((2, 3))),
            (2, "2.5s", Some((4, 5))),
            (1, "0.7s", Some((10, 7))),
            (7, "1.9s", Some((70, 19))),
            (1, "0.05s", Some((20, 1))),
            (3, "3600s", Some((3, 3600))),
            (10, "60s", Some((10, 60))),
            (1, "0.000000001s", Some((1_000_000_000, 1))),
            (7, "0.000000001s", None),
        ] {
            assert_eq!(
                nanoseconds(interval).and_then(|n| in_whole_seconds(count, n)),
                rate,
                "{count}/{interval}"
            );
        }
        assert_eq!(nanoseconds("1m"), None);
        assert_eq!(in_whole_seconds(1, 0), None);
    }
}
