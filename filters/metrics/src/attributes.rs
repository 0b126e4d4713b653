//! What is read of a stream that is over, and how: by one expression where the host evaluates them, else by a few getters.
//!
//! A getter costs about a microsecond and there are a dozen of them. Envoy's foreign function `expr_evaluate` gives
//! all of them in one call, as one list. An expression costs by its length, and one that asks for an attribute that a stream does
//! not have fails as a whole. So there are two, both compiled when the plugin is configured: a quick one, which takes for granted
//! what almost every stream has, and a careful one, which asks for each attribute first and is evaluated where the quick one
//! failed. All ways give the same values. Envoy keeps an expression with the plugin's root context and drops it with that one.

use std::borrow::Cow;
use std::cell::Cell;

use portcullis_common::facts::PropertyKey;
use portcullis_common::host::Host;
use portcullis_common::request::{Protocol, Request};

use crate::list::Items;

/// What was read; text lies where the host put it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The method, as sent.
    pub method: Cow<'a, [u8]>,
    /// The path, as sent, without its query; `None` if there is none.
    pub path: Option<Cow<'a, [u8]>>,
    /// Whether it is a gRPC call, and then its status, where one is known.
    pub grpc: Option<Option<u64>>,
    /// The status code; 0 if there was no answer.
    pub code: u64,
    /// Response-code details.
    pub details: Cow<'a, [u8]>,
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
    pub envoy_route: Cow<'a, [u8]>,
    /// The facts that were asked for, in that order.
    pub facts: Vec<Option<Cow<'a, [u8]>>>,
}

/// Reads streams.
#[derive(Debug)]
pub struct Attributes {
    envoy_route: bool,
    facts: Vec<PropertyKey>,
    /// The host's numbers for the expressions.
    expressions: Cell<Option<Expressions>>,
    /// How often the careful one failed since it last did not.
    failures: Cell<u8>,
    keys: Keys,
}

#[derive(Clone, Copy, Debug)]
struct Expressions {
    quick: [u8; 4],
    careful: [u8; 4],
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
    content_type: PropertyKey,
    route: PropertyKey,
}

impl Attributes {
    /// Reads Envoy's route name if `envoy_route`, and these facts. Asks the host whether it evaluates expressions.
    #[must_use]
    pub fn new(host: &dyn Host, envoy_route: bool, facts: Vec<PropertyKey>) -> Self {
        let create = |careful| -> Option<[u8; 4]> {
            let source = expression(careful, envoy_route, &facts);
            host.foreign("expr_create", source.as_bytes()).ok()?.try_into().ok()
        };
        let expressions = create(false).and_then(|quick| Some(Expressions { quick, careful: create(true)? }));
        if expressions.is_none() {
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
            content_type: key(b"request\0headers\0content-type"),
            route: key(b"xds\0route_name"),
        };
        Attributes { envoy_route, facts, expressions: Cell::new(expressions), failures: Cell::new(0), keys }
    }

    /// Whether one call reads all.
    #[must_use]
    pub fn in_one_call(&self) -> bool {
        self.expressions.get().is_some()
    }

    /// Reads the stream that is being logged. `list` holds what was read, where the host gives all at once.
    pub fn read<'a>(
        &self,
        host: &dyn Host,
        request: &dyn Fn() -> Request,
        list: &'a mut Vec<u8>,
    ) -> Seen<'a> {
        if let Some(Expressions { quick, careful }) = self.expressions.get() {
            let evaluate = |token: [u8; 4]| {
                let answer = host.foreign("expr_evaluate", &token).ok()?;
                // Older hosts write a list as protobuf.
                Items::of(&answer).is_some_and(|items| items.len() == self.items()).then_some(answer)
            };
            if let Some(answer) = evaluate(quick).or_else(|| evaluate(careful)) {
                *list = answer;
                if let Some(mut seen) = self.of_list(list) {
                    self.failures.set(0);
                    let content_type = || host.property(&self.keys.content_type);
                    let is_grpc = |kind: Vec<u8>| Protocol::of_content_type(&kind) == Protocol::Grpc;
                    if may_be_grpc(&seen.method) && content_type().is_some_and(is_grpc) {
                        seen.grpc = Some(integer(host, &self.keys.grpc));
                    }
                    return seen;
                }
            }
            self.failures.set(self.failures.get().saturating_add(1));
            if self.failures.get() >= FAILURES {
                log::warn!(
                    "this host does not evaluate the expression: attributes are read one by one from now on"
                );
                self.expressions.set(None);
            }
        }
        self.one_by_one(host, &request())
    }

    /// How many items the expressions give.
    fn items(&self) -> usize {
        9_usize.saturating_add(self.envoy_route.into()).saturating_add(self.facts.len())
    }

    fn of_list<'a>(&self, list: &'a [u8]) -> Option<Seen<'a>> {
        let mut items = Items::of(list)?;
        let mut next = || items.next().map(|item| (item != NOTHING).then_some(item));
        let text = |item: Option<&'a [u8]>| item.map(Cow::Borrowed);
        let mut seen = Seen {
            method: text(next()?).unwrap_or_default(),
            path: text(next()?),
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

    fn one_by_one(&self, host: &dyn Host, request: &Request) -> Seen<'static> {
        let keys = &self.keys;
        let whole = |key: &PropertyKey| integer(host, key).unwrap_or(0);
        let text = |key: &PropertyKey| Cow::Owned(host.property(key).unwrap_or_default());
        let grpc = may_be_grpc(request.method()) && request.protocol() == Protocol::Grpc;
        Seen {
            method: Cow::Owned(request.method().to_vec()),
            path: request.path().map(|path| Cow::Owned(path.to_vec())),
            grpc: grpc.then(|| integer(host, &keys.grpc)),
            code: whole(&keys.code),
            details: text(&keys.details),
            flags: whole(&keys.flags),
            total: integer(host, &keys.total),
            upstream: integer(host, &keys.upstream),
            received: whole(&keys.received),
            sent: whole(&keys.sent),
            envoy_route: if self.envoy_route { text(&keys.route) } else { Cow::default() },
            facts: self.facts.iter().map(|key| host.property(key).map(Cow::Owned)).collect(),
        }
    }
}

/// `false`, which stands for nothing.
const NOTHING: &[u8] = &[0];

/// A gRPC call is a POST (gRPC over HTTP/2, "Requests"). Nothing else pays for a look at its content type; asking for it in the
/// expression costs every request more than a getter costs these.
fn may_be_grpc(method: &[u8]) -> bool {
    method == b"POST"
}

/// The expression, in the order in which [`Attributes::of_list`] reads. A member that is absent would make the whole
/// list an error, so the careful one asks for each first.
fn expression(careful: bool, envoy_route: bool, facts: &[PropertyKey]) -> String {
    let mut list = String::from("[");
    let maybe = |list: &mut String, path: &str| {
        list.push_str(&format!("has({path}) ? {path} : false, "));
    };
    let usual = |list: &mut String, path: &str| {
        if careful { maybe(list, path) } else { list.push_str(&format!("{path}, ")) }
    };
    usual(&mut list, "request.method");
    usual(&mut list, "request.url_path");
    for path in ["response.code", "response.code_details", "response.flags", "request.duration"] {
        usual(&mut list, path);
    }
    // What no upstream answered has none, and that is nothing unusual.
    maybe(&mut list, "response.backend_latency");
    for path in ["request.size", "response.size"] {
        usual(&mut list, path);
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
