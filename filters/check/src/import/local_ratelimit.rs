//! Envoy's local_ratelimit.

use serde_json::{Map, Value, json};

use super::scope::Scope;
use super::taken::Taken;
use super::{Kind, Lefts};
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
    let place = |mut limit: Map<String, Value>, matching: Option<Value>| {
        let mut all = within.clone();
        if let Some(Value::Object(own)) = matching {
            for (name, value) in own {
                match (all.get_mut(&name).and_then(Value::as_array_mut), value) {
                    (Some(list), Value::Array(more)) => list.extend(more),
                    (_, value) => drop(all.insert(name, value)),
                }
            }
        }
        if !all.is_empty() {
            limit.insert("match".into(), Value::Object(all));
        }
        Value::Object(limit)
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
                limits.push(place(limit, matching));
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
        limits.push(place(limit, None));
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
    let fill = taken.text("tokens_per_fill").unwrap_or("1");
    let interval = taken.text("fill_interval")?;
    taken.rest(lefts);
    let (mut fill, mut period) = (fill.to_owned(), interval.to_owned());
    match interval.strip_suffix('s').and_then(|s| s.parse::<f64>().ok()) {
        Some(seconds) if seconds >= 1.0 && seconds.fract() == 0.0 => {}
        Some(seconds) if seconds > 0.0 => {
            fill = (fill.parse::<f64>().ok()? / seconds).round().max(1.0).to_string();
            period = "1s".to_owned();
        }
        _ => return None,
    }
    let mut limit = Map::new();
    // Tokens come one by one here, not all at the end of the interval.
    limit.insert("rate".into(), format!("{fill}/{period}").into());
    limit.insert("burst".into(), most.into());
    Some(limit)
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
fn key(entries: &[Node], limit: &Node) -> Option<(Vec<String>, Option<Value>)> {
    let actions = limit.get("actions").map(Node::items).unwrap_or_default();
    if actions.len() != entries.len() || entries.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    let mut headers = Vec::new();
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
                    headers.push(json!({"name": named, "equals": value}));
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
                for header in member.value.get("headers").map(Node::items).unwrap_or_default() {
                    headers.push(plain(header)?);
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
    let matching = (!headers.is_empty()).then(|| json!({"headers": headers}));
    Some((parts, matching))
}

/// A plain condition on a header.
fn plain(header: &Node) -> Option<Value> {
    let name = header.text_at(&["name"])?.to_ascii_lowercase();
    let value = header.text_at(&["string_match", "exact"]).or_else(|| header.text_at(&["exact_match"]))?;
    Some(json!({"name": name, "equals": value}))
}

fn name(text: &str) -> String {
    let fold = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c.to_ascii_lowercase() } else { '-' }
    };
    text.chars().map(fold).take(40).collect()
}
