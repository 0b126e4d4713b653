//! Where tokens are found in a request.

use std::borrow::Cow;
use std::rc::Rc;

use portcullis_common::config::HeaderName;
use portcullis_common::edits::HeaderEdit;
use portcullis_common::request::Request;
use portcullis_common::values::params;

/// A place where a client may put a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A header with an authentication scheme, compared without case (RFC 9110, section 11.1).
    Scheme {
        /// The header.
        name: HeaderName,
        /// The scheme, such as `Bearer`.
        scheme: Rc<str>,
    },
    /// A header whose value is the token, after an optional prefix, compared exactly.
    Header {
        /// The header.
        name: HeaderName,
        /// What stands in front of the token.
        prefix: Rc<str>,
    },
    /// A query parameter. RFC 6750, section 2.3, discourages it: URLs are logged.
    Query(Rc<str>),
    /// A cookie.
    Cookie(Rc<str>),
}

/// What was found in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing that claims to be a token.
    Nothing,
    /// One.
    Token(Cow<'a, [u8]>),
    /// More than one, or one beside something that an upstream could take instead.
    Several,
}

impl Location {
    /// Looks for a token here.
    #[must_use]
    pub fn find<'a>(&'a self, request: &'a Request) -> Found<'a> {
        match self {
            Location::Scheme { name, scheme } => {
                let mut values =
                    request.headers.all(name.as_str()).map(|value| (value, after_scheme(value, scheme)));
                match (values.next(), values.next()) {
                    (None, _) => Found::Nothing,
                    (Some((_, Some(token))), None) => Found::Token(token.into()),
                    (Some((value, None)), None) => hidden(value, scheme),
                    // Two values: nothing, unless one of them is for us.
                    (Some((_, first)), Some((_, second))) => {
                        if first.is_some() || second.is_some() || values.any(|(_, v)| v.is_some()) {
                            Found::Several
                        } else {
                            Found::Nothing
                        }
                    }
                }
            }
            Location::Header { name, prefix } => {
                let values = request.headers.all(name.as_str());
                one(values.map(|v| v.strip_prefix(prefix.as_bytes()).unwrap_or(v).into()))
            }
            // A parameter that only some servers see is one too many.
            Location::Query(name) if params::hides_in_query(request.query(), name) => Found::Several,
            Location::Query(name) => one(params::query(request.query(), name).map(Cow::Owned)),
            Location::Cookie(name) => one(params::cookie(&request.headers, name).map(Cow::Borrowed)),
        }
    }

    /// The scheme of this place's challenge (RFC 9110, section 11.6.1).
    #[must_use]
    pub fn scheme(&self) -> &str {
        match self {
            Location::Scheme { scheme, .. } => scheme,
            Location::Header { .. } | Location::Query(_) | Location::Cookie(_) => "Bearer",
        }
    }
}

/// What takes the tokens in these places out of the request, so that the upstream never sees them.
#[must_use]
pub fn removals(places: &[&Location], request: &Request) -> Vec<HeaderEdit> {
    let (mut edits, mut queries, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
    for place in places {
        match place {
            Location::Scheme { name, .. } | Location::Header { name, .. } => {
                edits.push(HeaderEdit::Remove(Rc::clone(&name.0)));
            }
            Location::Query(name) => queries.push(&**name),
            Location::Cookie(name) => cookies.push(&**name),
        }
    }
    // One edit for all of a kind: each sets the whole value, from the request as it came.
    if !queries.is_empty() {
        let query = params::query_without(request.query(), &queries);
        let mut target = request.path().unwrap_or_default().to_vec();
        if !query.is_empty() {
            target.push(b'?');
            target.extend(query);
        }
        edits.push(HeaderEdit::Set(":path".into(), target.into()));
    }
    if !cookies.is_empty() {
        let rest = params::cookies_without(&request.headers, &cookies);
        edits.push(match rest.is_empty() {
            true => HeaderEdit::Remove("cookie".into()),
            false => HeaderEdit::Set("cookie".into(), rest.into()),
        });
    }
    edits
}

/// What follows the scheme, if `value` has it: one or more spaces, then the credentials. `Bearer` alone is a
/// credential too, an empty one.
fn after_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (front, rest) = value.trim_ascii().split_at_checked(scheme.len())?;
    if !front.eq_ignore_ascii_case(scheme.as_bytes()) {
        return None;
    }
    match rest.first() {
        None | Some(b' ' | b'\t') => Some(rest.trim_ascii_start()),
        Some(_) => None,
    }
}

/// A value that starts with another scheme. Envoy joins repeated `authorization` headers with commas: a token behind one of them
/// is one of several.
fn hidden(value: &[u8], scheme: &str) -> Found<'static> {
    if value.split(|b| *b == b',').any(|part| after_scheme(part, scheme).is_some()) {
        Found::Several
    } else {
        Found::Nothing
    }
}

fn one<'a>(mut values: impl Iterator<Item = Cow<'a, [u8]>>) -> Found<'a> {
    match (values.next(), values.next()) {
        (None, _) => Found::Nothing,
        (Some(token), None) => Found::Token(token),
        (Some(_), Some(_)) => Found::Several,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer() -> Location {
        Location::Scheme { name: HeaderName::parse("authorization").unwrap(), scheme: "Bearer".into() }
    }

    fn find(location: &Location, headers: &[(&str, &str)]) -> Found<'static> {
        match location.find(&headers.iter().copied().collect()) {
            Found::Nothing => Found::Nothing,
            Found::Token(token) => Found::Token(token.into_owned().into()),
            Found::Several => Found::Several,
        }
    }

    fn token(text: &str) -> Found<'static> {
        Found::Token(text.as_bytes().to_vec().into())
    }

    #[test]
    fn the_scheme_has_no_case_and_needs_a_space() {
        for (value, want) in [
            ("Bearer abc", token("abc")),
            ("bearer abc", token("abc")),
            ("BEARER   abc ", token("abc")),
            ("Bearer\tabc", token("abc")),
            ("Bearer", token("")),
            ("Bearer ", token("")),
            ("Bearerabc", Found::Nothing),
            ("Basic abc", Found::Nothing),
            ("", Found::Nothing),
        ] {
            assert_eq!(find(&bearer(), &[("authorization", value)]), want, "{value}");
        }
    }

    #[test]
    fn two_values_are_several_if_one_is_ours() {
        let two = |a, b| find(&bearer(), &[("authorization", a), ("Authorization", b)]);
        assert_eq!(two("Bearer a", "Bearer a"), Found::Several);
        assert_eq!(two("Basic x", "Bearer a"), Found::Several);
        assert_eq!(two("Basic x", "Digest y"), Found::Nothing);
        for (value, want) in
            [("Basic x, bearer a", Found::Several), ("Digest username=\"a\", uri=\"/\"", Found::Nothing)]
        {
            assert_eq!(find(&bearer(), &[("authorization", value)]), want, "{value}");
        }
    }

    #[test]
    fn headers_queries_and_cookies() {
        let header = Location::Header { name: HeaderName::parse("x-jwt").unwrap(), prefix: "JWT ".into() };
        assert_eq!(find(&header, &[("x-jwt", "JWT abc")]), token("abc"));
        assert_eq!(find(&header, &[("x-jwt", "abc")]), token("abc"));
        assert_eq!(find(&header, &[("x-jwt", "a"), ("x-jwt", "b")]), Found::Several);
        let query = Location::Query("t".into());
        assert_eq!(find(&query, &[(":path", "/a?t=abc")]), token("abc"));
        assert_eq!(find(&query, &[(":path", "/a?t=a&%74=b")]), Found::Several);
        assert_eq!(find(&query, &[(":path", "/a")]), Found::Nothing);
        assert_eq!(find(&query, &[(":path", "/a?x=1;t=abc")]), Found::Several);
        assert_eq!(find(&query, &[(":path", "/a?x=1;u=abc")]), Found::Nothing);
        let cookie = Location::Cookie("sid".into());
        assert_eq!(find(&cookie, &[("cookie", "a=1; sid=abc")]), token("abc"));
        assert_eq!(find(&cookie, &[("cookie", "sid=a"), ("cookie", "sid=b")]), Found::Several);
    }

    #[test]
    fn a_removed_token_leaves_nothing_behind() {
        let all = |places: &[&Location], headers: &[(&str, &str)]| {
            removals(places, &headers.iter().copied().collect())
        };
        let removal = |location: &Location, headers: &[(&str, &str)]| all(&[location], headers).remove(0);
        let set = |name: &str, value: &str| HeaderEdit::Set(name.into(), value.as_bytes().into());
        assert_eq!(removal(&bearer(), &[]), HeaderEdit::Remove("authorization".into()));
        let query = Location::Query("t".into());
        assert_eq!(removal(&query, &[(":path", "/a?x=1&t=abc")]), set(":path", "/a?x=1"));
        assert_eq!(removal(&query, &[(":path", "/a?t=abc")]), set(":path", "/a"));
        let cookie = Location::Cookie("sid".into());
        assert_eq!(
            removal(&cookie, &[("cookie", "a=1; sid=abc"), ("cookie", "b=2")]),
            set("cookie", "a=1; b=2")
        );
        assert_eq!(removal(&cookie, &[("cookie", "sid=abc")]), HeaderEdit::Remove("cookie".into()));
        let (other_query, other_cookie) = (Location::Query("u".into()), Location::Cookie("two".into()));
        assert_eq!(all(&[&query, &other_query], &[(":path", "/a?t=1&x=1&u=2")]), [set(":path", "/a?x=1")]);
        assert_eq!(
            all(&[&cookie, &other_cookie], &[("cookie", "sid=1; z=1; two=2")]),
            [set("cookie", "z=1")]
        );
    }
}
