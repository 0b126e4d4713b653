//! The parts of a `match`, as they are written and as they are asked.

use std::rc::Rc;

use serde::Deserialize;

use super::pattern::Pattern;
use crate::config::{HeaderName, from_text};
use crate::headers::{Headers, Lookup};

/// Which requests a rule is about. Each part is optional, and an empty `match` means every request.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RawMatch {
    /// Hosts, exact or `*.suffix`; without port, in lower case. Any one of them.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub hosts: Option<Vec<HostPattern>>,
    /// Methods; GET covers HEAD. Any one of them.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub methods: Option<Vec<Method>>,
    /// A path template: `{name}` is one segment that is not empty, a last `/**` everything below and the path itself.
    pub path: Option<Pattern>,
    /// Conditions on headers. All of them.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub headers: Option<Vec<HeaderCondition>>,
}

impl RawMatch {
    /// The path of the first part that is there but empty.
    #[must_use]
    pub fn empty_part(&self) -> Option<&'static str> {
        if self.hosts.as_ref().is_some_and(Vec::is_empty) {
            Some("hosts")
        } else if self.methods.as_ref().is_some_and(Vec::is_empty) {
            Some("methods")
        } else if self.headers.as_ref().is_some_and(Vec::is_empty) {
            Some("headers")
        } else {
            None
        }
    }
}

/// `api.example.com` or `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(Rc<str>),
    /// Any host that ends in this, which starts with a dot.
    Suffix(Rc<str>),
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix('*').unwrap_or(text);
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._[]:".contains(&b);
        let port = name.rsplit_once(':').is_some_and(|(front, _)| !front.contains(['[', ':']));
        if name.is_empty() || name == "." || port || !name.bytes().all(fits) || name.ends_with('.') {
            return Err("not a host".into());
        }
        if text.starts_with('*') {
            if name.starts_with('.') {
                Ok(HostPattern::Suffix(name.into()))
            } else {
                Err("not a host".into())
            }
        } else {
            Ok(HostPattern::Exact(name.into()))
        }
    }

    /// Whether every host of `other` is one of these.
    #[must_use]
    pub fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Exact(a), HostPattern::Exact(b)) => a == b,
            (HostPattern::Exact(_), HostPattern::Suffix(_)) => false,
            (HostPattern::Suffix(a), HostPattern::Exact(b) | HostPattern::Suffix(b)) => b.ends_with(&**a),
        }
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = "a host in lower case without port, such as \"api.example.com\" or \"*.example.com\"";
        from_text(deserializer, what, HostPattern::parse)
    }
}

/// The host of an authority: lower case, without port, one trailing dot dropped; `None` if it is empty, or with anything else beside
/// host and port: Envoy holds the whole authority to its virtual hosts, and nothing may stand there that only one of the two reads.
#[must_use]
pub fn host_of(authority: &[u8]) -> Option<Vec<u8>> {
    bare(authority).map(<[u8]>::to_ascii_lowercase)
}

/// Whether an authority is a host, with a port or without.
#[must_use]
pub fn is_host(authority: &[u8]) -> bool {
    bare(authority).is_some()
}

fn bare(authority: &[u8]) -> Option<&[u8]> {
    let end = match authority.first() {
        // An IPv6 literal: the port comes after the bracket.
        Some(b'[') => authority.iter().position(|&b| b == b']').map(|at| at.saturating_add(1))?,
        _ => authority.iter().position(|&b| b == b':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at_checked(end)?;
    let is_port = |port: &[u8]| (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    let is_plain = rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port);
    let host = host.strip_suffix(b".").unwrap_or(host);
    (is_plain && !host.is_empty() && !host.contains(&b'@')).then_some(host)
}

/// A method. Methods are case-sensitive (RFC 9110, section 9.1); the registered ones are in upper case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(Rc<str>);

impl Method {
    /// Whether a request with this method is meant: GET covers HEAD. `post` is POST here, for an upstream may read it so
    /// and a limit has to count it; a filter that decides who may do what refuses it ([`super::strict`]).
    #[must_use]
    pub fn matches(&self, method: &[u8]) -> bool {
        method.eq_ignore_ascii_case(self.0.as_bytes())
            || (&*self.0 == "GET" && method.eq_ignore_ascii_case(b"HEAD"))
    }

    fn covers(&self, other: &Method) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a method in upper case, such as \"GET\"", |text| {
            let fits = |b: u8| b.is_ascii_uppercase() || b == b'-' || b == b'_';
            if !text.is_empty() && text.len() <= 32 && text.bytes().all(fits) {
                Ok(Method(text.into()))
            } else {
                Err("not a method".into())
            }
        })
    }
}

/// One condition on one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderCondition {
    /// The header.
    pub name: HeaderName,
    /// What must hold.
    pub test: HeaderTest,
}

/// What must hold of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// There is exactly one, with this value.
    Equals(Rc<[u8]>),
    /// There is exactly one, and it starts with this.
    Prefix(Rc<[u8]>),
    /// There is at least one.
    Present,
    /// There is none.
    Absent,
}

impl HeaderCondition {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, headers: &Headers) -> bool {
        let found = headers.get(self.name.as_str());
        match (&self.test, found) {
            (HeaderTest::Equals(want), Lookup::One(value)) => &**want == value,
            (HeaderTest::Prefix(want), Lookup::One(value)) => value.starts_with(want),
            (HeaderTest::Equals(_) | HeaderTest::Prefix(_), _) => false,
            (HeaderTest::Present, found) => found != Lookup::Absent,
            (HeaderTest::Absent, found) => found == Lookup::Absent,
        }
    }

    fn covers(&self, other: &HeaderCondition) -> bool {
        self.name == other.name
            && match (&self.test, &other.test) {
                (HeaderTest::Present, test) => *test != HeaderTest::Absent,
                (HeaderTest::Prefix(a), HeaderTest::Prefix(b) | HeaderTest::Equals(b)) => b.starts_with(a),
                (a, b) => a == b,
            }
    }
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", schemars(rename = "HeaderCondition"))]
struct RawHeaderCondition {
    /// The header's name.
    name: HeaderName,
    /// There is exactly one, with this value.
    equals: Option<String>,
    /// There is exactly one, and it starts with this.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    prefix: Option<String>,
    /// `true`: there is at least one.
    present: Option<bool>,
    /// `true`: there is none.
    absent: Option<bool>,
}

impl<'de> Deserialize<'de> for HeaderCondition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawHeaderCondition::deserialize(deserializer)?;
        let test = match (raw.equals, raw.prefix, raw.present, raw.absent) {
            (Some(value), None, None, None) => HeaderTest::Equals(value.into_bytes().into()),
            (None, Some(value), None, None) if !value.is_empty() => {
                HeaderTest::Prefix(value.into_bytes().into())
            }
            (None, None, Some(true), None) => HeaderTest::Present,
            (None, None, None, Some(true)) => HeaderTest::Absent,
            _ => {
                return Err(serde::de::Error::custom(
                    "not one test; write exactly one of equals: TEXT, prefix: TEXT, present: true, absent: true",
                ));
            }
        };
        Ok(HeaderCondition { name: raw.name, test })
    }
}

/// Everything of a `match` but hosts and path, which the tree asks.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    methods: Option<Vec<Method>>,
    headers: Vec<HeaderCondition>,
}

impl Conditions {
    /// The conditions of `raw`.
    #[must_use]
    pub fn new(raw: &RawMatch) -> Self {
        Conditions { methods: raw.methods.clone(), headers: raw.headers.clone().unwrap_or_default() }
    }

    /// Whether they hold.
    #[must_use]
    pub fn hold(&self, method: &[u8], headers: &Headers) -> bool {
        self.methods.as_ref().is_none_or(|ms| ms.iter().any(|m| m.matches(method)))
            && self.headers.iter().all(|h| h.holds(headers))
    }

    /// Whether every request that meets `other` meets these.
    #[must_use]
    pub fn cover(&self, other: &Conditions) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs.iter().all(|t| mine.iter().any(|m| m.covers(t))),
        };
        methods && self.headers.iter().all(|mine| other.headers.iter().any(|theirs| mine.covers(theirs)))
    }

    /// The headers that they ask about.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|h| &h.name)
    }
}

#[cfg(feature = "schema")]
mod schema {
    use super::{HeaderCondition, HostPattern, Method, RawHeaderCondition};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use std::borrow::Cow;

    impl JsonSchema for HostPattern {
        fn inline_schema() -> bool {
            true
        }
        fn schema_name() -> Cow<'static, str> {
            "Host".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "pattern": "^(\\*\\.)?[a-z0-9._\\[\\]:-]+$"})
        }
    }

    impl JsonSchema for Method {
        fn inline_schema() -> bool {
            true
        }
        fn schema_name() -> Cow<'static, str> {
            "Method".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "pattern": "^[A-Z_-]{1,32}$"})
        }
    }

    impl JsonSchema for HeaderCondition {
        fn schema_name() -> Cow<'static, str> {
            "HeaderCondition".into()
        }
        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            RawHeaderCondition::json_schema(generator)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    fn raw(json: &str) -> RawMatch {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn hosts_are_folded_and_strange_ones_are_none() {
        for (authority, want) in [
            ("API.example.com:8443", Some("api.example.com")),
            ("a.b.", Some("a.b")),
            ("[2001:DB8::1]:443", Some("[2001:db8::1]")),
            ("user@host", None),
            ("host:80@host", None),
            ("www.example.com:x.secret.example.com", None),
            ("www.example.com:", None),
            ("www.example.com:123456", None),
            ("www.example.com:+80", None),
            ("a:1:2", None),
            ("[::1].secret.example.com", None),
            ("[::1]80", None),
            ("", None),
            (":80", None),
            ("[::1", None),
        ] {
            assert_eq!(host_of(authority.as_bytes()).as_deref(), want.map(str::as_bytes), "{authority}");
        }
    }

    #[test]
    fn host_patterns_with_case_port_or_a_bare_star_are_refused() {
        for bad in ["", "*", "*.", "A.b", "a:80", "a.b.", "*a.b", "a@b", "a b"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
        assert!(host("*.b.c").covers(&host("a.b.c")));
        assert!(host("*.c").covers(&host("*.b.c")));
        assert!(!host("*.b.c").covers(&host("b.c")));
    }

    #[test]
    fn get_covers_head_and_nothing_else() {
        let conditions = Conditions::new(&raw(r#"{"methods":["GET"]}"#));
        let none = Headers::default();
        assert!(conditions.hold(b"GET", &none) && conditions.hold(b"HEAD", &none));
        assert!(!conditions.hold(b"POST", &none) && !conditions.hold(b"GETS", &none));
    }

    #[test]
    fn a_limit_counts_a_method_in_any_case() {
        let (get, post) = (raw(r#"{"methods":["GET"]}"#), raw(r#"{"methods":["POST"]}"#));
        let none = Headers::default();
        assert!(Conditions::new(&post).hold(b"post", &none) && Conditions::new(&post).hold(b"Post", &none));
        assert!(Conditions::new(&get).hold(b"head", &none) && !Conditions::new(&get).hold(b"post", &none));
    }

    #[test]
    fn a_repeated_header_never_equals() {
        let conditions = Conditions::new(&raw(r#"{"headers":[{"name":"X-Env","equals":"prod"}]}"#));
        let one: Headers = [("x-env", "prod")].into_iter().collect();
        let two: Headers = [("x-env", "prod"), ("x-env", "prod")].into_iter().collect();
        assert!(conditions.hold(b"GET", &one));
        assert!(!conditions.hold(b"GET", &two));
        let present = Conditions::new(&raw(r#"{"headers":[{"name":"x-env","present":true}]}"#));
        assert!(present.hold(b"GET", &two) && present.cover(&conditions) && !conditions.cover(&present));
    }

    #[test]
    fn a_header_condition_has_one_test() {
        for bad in [
            r#"{"name":"a"}"#,
            r#"{"name":"a","equals":"b","present":true}"#,
            r#"{"name":"a","present":false}"#,
            r#"{"name":"a","prefix":""}"#,
        ] {
            assert!(serde_json::from_str::<HeaderCondition>(bad).is_err(), "{bad}");
        }
    }
}
