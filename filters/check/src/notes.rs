//! What there is to say about a request that a plugin's verdict does not: the limits that apply, the route that counts.

use portcullis_common::config;
use portcullis_common::matching::path::NormalPath;
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::memory::MemoryHost;
use portcullis_common::request::Request;
use portcullis_common::values::context::Context;
use portcullis_rate_limit::policy::limit::{Limit, List};

/// The limits that apply, what the request costs, and on which key.
#[must_use]
pub fn charges(config: &[u8], request: &Request, host: &MemoryHost) -> Vec<String> {
    let raw = config::parse("rate-limit", config).and_then(portcullis_rate_limit::policy::Policy::new);
    let Ok(policy) = raw else { return Vec::new() };
    let path = request.path().map(NormalPath::collapsed);
    let part = match &path {
        None => PathPart::Absent,
        Some(None) => PathPart::Unreadable,
        Some(Some(path)) => PathPart::Known(path),
    };
    let path = path.as_ref().and_then(Option::as_ref);
    let matching = policy.matches.all(Subject::of(request, part));
    let limits = matching.into_iter().filter_map(|n| Some((n, policy.limits.get(n)?)));
    let line = |(n, limit): (usize, &Limit)| {
        let context = Context { request, path, pattern: policy.matches.pattern(n), host };
        let name = &limit.name;
        match limit.listed(&context) {
            Ok(List::Deny) => return format!("{name}: on its list of those who are refused"),
            Ok(List::Allow) => return format!("{name}: on its list of those who are not counted"),
            Ok(List::Neither) => {}
            Err(failure) => return format!("{name}: its lists cannot be asked: {}", failure.reason().word()),
        }
        match limit.key.of(&context) {
            Ok(Some(key)) => {
                let budget = limit.budget(&context);
                let cost = limit.cost.of(&context);
                let mut said = format!("{name}: costs {cost}");
                if budget.rates.iter().len() != 0 {
                    said.push_str(&format!(" of at most {}", budget.capacity()));
                }
                if let Some(most) = budget.in_flight {
                    said.push_str(&format!(", one of {most} at once"));
                }
                format!("{said}, counted for {}", texts(&key))
            }
            Ok(None) => format!("{name}: does not apply, for a value is absent"),
            Err(failure) => format!("{name}: has no key: {}", failure.reason().word()),
        }
    };
    limits.map(line).collect()
}

/// The texts of a key, each of which stands behind its length.
fn texts(mut key: &[u8]) -> String {
    let mut all = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        if length == u32::MAX {
            // The mark of the key that stands in for another one.
            key = rest;
            continue;
        }
        let (text, rest) = rest.split_at_checked(length as usize).unwrap_or((rest, &[]));
        all.push(format!("\"{}\"", String::from_utf8_lossy(text)));
        key = rest;
    }
    all.join(", ")
}

/// The route that metrics counts a request for.
#[must_use]
pub fn route(config: &[u8], request: &Request) -> Option<String> {
    let policy = config::parse("metrics", config).and_then(portcullis_metrics::policy::Policy::new).ok()?;
    let path = request.path().map(NormalPath::collapsed);
    let part = match &path {
        None => PathPart::Absent,
        Some(None) => PathPart::Unreadable,
        Some(Some(path)) => PathPart::Known(path),
    };
    let route = policy.routes.most_specific(Subject::of(request, part));
    Some(format!("counts it for the route {}", policy.route_name(route)))
}
