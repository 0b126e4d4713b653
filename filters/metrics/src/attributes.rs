//! What is read of a stream that is over, and how: by one expression where the host evaluates them, else by a few getters.
//!
//! A getter costs about a microsecond and there are a dozen of them. Envoy's foreign function `expr_evaluate` gives
//! all of them in one call, as one list; it is compiled once, when the plugin is configured. Both ways give the same values.

use std::cell::Cell;

use portcullis_common::facts::PropertyKey;
use portcullis_common::headers::Headers;
use portcullis_common::host::Host;
use portcullis_common::request::{Protocol, Request};

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The method, as sent.
    pub method: Vec<u8>,
    /// The path, as sent, without its query; `None` if there is none.
    pub path: Option<Vec<u8>>,
    /// Whether it is a gRPC call, and then its status, where one is known.
    pub grpc: Option<Option<u64>>,
    /// The status code; 0 if there was no answer.
    pub code: u64,
    /// Response-code details.
    pub details: Vec<u8>,
    /// Response flags.
    pub flags: u64,
    /// From the request's first byte to the response's last, in nanoseconds.
    pub total: Option<u64>,
    /// From the first byte to the upstream to the last byte from it, in nanoseconds.
    pub upstream: Option<u64>,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// Envoy's route name, if it was asked for.
    pub envoy_route: Vec<u8>,
    /// The facts that were asked for, in that order.
    pub facts: Vec<Option<Vec<u8>>>,
}

/// Reads streams.
#[derive(Debug)]
pub struct Attributes {
    envoy_route: bool,
    facts: Vec<PropertyKey>,
    /// The host's number for the expression.
    expression: Cell<Option<[u8; 4]>>,
    /// How often it failed since it last did not.
    failures: Cell<u8>,
    keys: Keys,
}

/// How many failures in a row say that this host will never evaluate it: an attribute that it does not have, say.
const FAILURES: u8 = 3;

#[derive(Debug)]
struct Keys {
    code: PropertyKey,
    details: PropertyKey,
    flags: PropertyKey,
    total: PropertyKey,
    upstream: PropertyKey,
    received: PropertyKey,
    sent: PropertyKey,
    grpc: PropertyKey,
    route: PropertyKey,
}

impl Attributes {
    /// Reads Envoy's route name if `envoy_route`, and these facts. Asks the host whether it evaluates expressions.
    #[must_use]
    pub fn new(host: &dyn Host, envoy_route: bool, facts: Vec<PropertyKey>) -> Self {
        let source = expression(envoy_route, &facts);
        let expression = host.foreign("expr_create", source.as_bytes());
        let expression = expression.ok().and_then(|token| token.try_into().ok());
        if expression.is_none() {
            log::info!("this host evaluates no expressions: attributes are read one by one");
        }
        let key = |path: &[u8]| PropertyKey::from(path);
        let keys = Keys {
            code: key(b"response\0code"),
            details: key(b"response\0code_details"),
            flags: key(b"response\0flags"),
            total: key(b"request\0duration"),
            upstream: key(b"response\0backend_latency"),
            received: key(b"request\0size"),
            sent: key(b"response\0size"),
            grpc: key(b"response\0grpc_status"),
            route: key(b"xds\0route_name"),
        };
        Attributes { envoy_route, facts, expression: Cell::new(expression), failures: Cell::new(0), keys }
    }

    /// Whether one call reads all.
    #[must_use]
    pub fn in_one_call(&self) -> bool {
        self.expression.get().is_some()
    }

    /// Reads the stream that is being logged.
    pub fn read(&self, host: &dyn Host, request: &dyn Fn() -> Request) -> Seen {
        if let Some(token) = self.expression.get() {
            let list = host.foreign("expr_evaluate", &token).ok();
            // Envoy writes a list as it writes a header map, the items as names; older ones write protobuf.
            let list = list.and_then(|list| Headers::parse(list).ok());
            let seen = list.and_then(|list| self.of_list(list.iter().map(|(item, _)| item)));
            if let Some(seen) = seen {
                self.failures.set(0);
                return seen;
            }
            self.failures.set(self.failures.get().saturating_add(1));
            if self.failures.get() >= FAILURES {
                log::warn!(
                    "this host does not evaluate the expression: attributes are read one by one from now on"
                );
                self.expression.set(None);
            }
        }
        self.one_by_one(host, &request())
    }

    fn of_list<'a>(&self, mut items: impl Iterator<Item = &'a [u8]>) -> Option<Seen> {
        let mut next = || items.next().map(|item| (item != NOTHING).then_some(item));
        let text = |item: Option<&[u8]>| item.map(<[u8]>::to_vec);
        let mut seen = Seen {
            method: text(next()?).unwrap_or_default(),
            path: text(next()?),
            grpc: next()?.map(|status| int64(status).filter(|s| *s != UNKNOWN)),
            code: next()?.and_then(int64).unwrap_or(0),
            details: text(next()?).unwrap_or_default(),
            flags: next()?.and_then(int64).unwrap_or(0),
            total: next()?.and_then(int64),
            upstream: next()?.and_then(int64),
            received: next()?.and_then(int64).unwrap_or(0),
            sent: next()?.and_then(int64).unwrap_or(0),
            ..Seen::default()
        };
        if self.envoy_route {
            seen.envoy_route = text(next()?).unwrap_or_default();
        }
        for _ in &self.facts {
            seen.facts.push(text(next()?));
        }
        Some(seen)
    }

    fn one_by_one(&self, host: &dyn Host, request: &Request) -> Seen {
        let keys = &self.keys;
        let whole = |key: &PropertyKey| integer(host, key).unwrap_or(0);
        let grpc = request.protocol() == Protocol::Grpc;
        Seen {
            method: request.method().to_vec(),
            path: request.path().map(<[u8]>::to_vec),
            grpc: grpc.then(|| integer(host, &keys.grpc)),
            code: whole(&keys.code),
            details: host.property(&keys.details).unwrap_or_default(),
            flags: whole(&keys.flags),
            total: integer(host, &keys.total),
            upstream: integer(host, &keys.upstream),
            received: whole(&keys.received),
            sent: whole(&keys.sent),
            envoy_route: if self.envoy_route {
                host.property(&keys.route).unwrap_or_default()
            } else {
                Vec::new()
            },
            facts: self.facts.iter().map(|key| host.property(key)).collect(),
        }
    }
}

/// `false`, which stands for nothing.
const NOTHING: &[u8] = &[0];
/// A gRPC call without a status.
const UNKNOWN: u64 = 99;

/// The expression, in the order in which [`Attributes::of_list`] reads. A member that is absent would make the whole
/// list an error, so each is asked for first.
fn expression(envoy_route: bool, facts: &[PropertyKey]) -> String {
    let mut list = String::from("[");
    let maybe = |list: &mut String, path: &str| {
        list.push_str(&format!("has({path}) ? {path} : false, "));
    };
    maybe(&mut list, "request.method");
    maybe(&mut list, "request.url_path");
    // `+proto` and the like behind it, but not gRPC-Web, which has its status in the body.
    let content_type = "request.headers['content-type']";
    list.push_str(&format!(
        "'content-type' in request.headers && ({content_type} == 'application/grpc' || {content_type}.startsWith('application/grpc+') || \
         {content_type}.startsWith('application/grpc;')) ? (has(response.grpc_status) ? response.grpc_status : {UNKNOWN}) : false, "
    ));
    for path in [
        "response.code",
        "response.code_details",
        "response.flags",
        "request.duration",
        "response.backend_latency",
        "request.size",
        "response.size",
    ] {
        maybe(&mut list, path);
    }
    if envoy_route {
        maybe(&mut list, "xds.route_name");
    }
    for fact in facts {
        // As the expression language writes text; a fact's name has nothing in it but this.
        let name = String::from_utf8_lossy(fact).replace('\\', "\\\\").replace('\'', "\\'");
        let fact = format!("'wasm.{name}'");
        list.push_str(&format!("{fact} in filter_state ? filter_state[{fact}] : false, "));
    }
    let end = list.trim_end_matches(", ").len();
    list.truncate(end);
    list.push(']');
    list
}

fn integer(host: &dyn Host, key: &PropertyKey) -> Option<u64> {
    int64(&host.property(key)?)
}

/// An int64 attribute: eight bytes, little-endian.
fn int64(bytes: &[u8]) -> Option<u64> {
    u64::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests;
