//! One parameter of a query string or of the `cookie` headers.

use std::borrow::Cow;

use super::Failure;
use crate::headers::Headers;

/// The values of a query parameter, decoded as HTML forms are (WHATWG URL, "application/x-www-form-urlencoded"). A
/// value with a bad `%` comes as it stands, and will not be text that anybody signed.
pub fn query<'a>(query: &'a [u8], name: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
    pairs(query)
        .filter(move |(key, _)| decode_form(key) == name.as_bytes())
        .map(|(_, value)| decode_form(value))
}

/// Whether a server that also parts parameters at `;` (HTML 4.01, appendix B.2.2) would see one called `name` where
/// [`query`] sees none.
#[must_use]
pub fn hides_in_query(query: &[u8], name: &str) -> bool {
    let hidden = |part: &[u8]| {
        part.split(|&b| b == b';').skip(1).any(|inner| decode_form(split_pair(inner).0) == name.as_bytes())
    };
    query.contains(&b';') && query.split(|&b| b == b'&').any(hidden)
}

/// The one value of a query parameter, as text.
///
/// # Errors
/// As [`one`]; [`Failure::Unusable`] too if a server that also parts parameters at `;`, or that reads their names as PHP does,
/// would see another value, or one where there is none here. Such a `;` is for a client to write as `%3B`.
pub fn query_one(query: &[u8], name: &str) -> Result<Cow<'static, str>, Failure> {
    let differs = |part: &[u8]| {
        let is_parted = part.contains(&b';');
        part.split(|&b| b == b';').any(|inner| {
            let key = decode_form(split_pair(inner).0);
            let is_it = key == name.as_bytes();
            if is_it { is_parted } else { folded(&key).eq(folded(name.as_bytes())) }
        })
    };
    if query.split(|&b| b == b'&').any(differs) {
        return Err(Failure::Unusable);
    }
    one(self::query(query, name))
}

/// The name under which PHP, and servers like it, know a parameter: without blanks before it, up to a NUL or a `[`, and `_` for what
/// stands in no name of a variable (php.net, "Variables From External Sources").
fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    let bare = name.trim_ascii_start().split(|&b| matches!(b, 0 | b'[')).next().unwrap_or_default();
    bare.iter().map(|&b| if matches!(b, b'.' | b' ') { b'_' } else { b })
}

/// The query without any parameter that has one of these names; the others stay as they were, to the byte.
#[must_use]
pub fn query_without(query: &[u8], names: &[&str]) -> Vec<u8> {
    let keep = |part: &&[u8]| {
        let name = decode_form(split_pair(part).0);
        !names.iter().any(|n| n.as_bytes() == name)
    };
    query.split(|&b| b == b'&').filter(keep).collect::<Vec<_>>().join(&b'&')
}

/// The values of a cookie, in all `cookie` headers (RFC 6265, section 5.4; HTTP/2 may split the header).
pub fn cookie<'a>(headers: &'a Headers, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .all("cookie")
        .flat_map(|header| header.split(|&b| b == b';'))
        .map(|pair| split_pair(pair.trim_ascii()))
        .filter(move |(key, _)| key.trim_ascii_end() == name.as_bytes())
        .map(|(_, value)| unquote(value.trim_ascii_start()))
}

/// All cookies but those with one of these names, as one header.
#[must_use]
pub fn cookies_without(headers: &Headers, names: &[&str]) -> Vec<u8> {
    let pairs = headers.all("cookie").flat_map(|header| header.split(|&b| b == b';')).map(<[u8]>::trim_ascii);
    let named = |name: &[u8]| names.iter().any(|n| n.as_bytes() == name);
    let keep = |pair: &&[u8]| !pair.is_empty() && !named(split_pair(pair).0.trim_ascii_end());
    pairs.filter(keep).collect::<Vec<_>>().join(&b"; "[..])
}

/// The one value of many, as text.
///
/// # Errors
/// [`Failure::Absent`] if there is none, [`Failure::Unusable`] if there are more or it is no text.
pub fn one<'a>(values: impl Iterator<Item = impl Into<Cow<'a, [u8]>>>) -> Result<Cow<'a, str>, Failure> {
    let mut values = values;
    let first = values.next().ok_or(Failure::Absent)?;
    if values.next().is_some() {
        return Err(Failure::Unusable);
    }
    text(first)
}

/// Bytes from a request as a value.
///
/// # Errors
/// [`Failure::Unusable`] if they are empty, too long, hold control characters, or are not UTF-8.
pub fn text<'a>(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Cow<'a, str>, Failure> {
    let bytes = bytes.into();
    if bytes.is_empty() || bytes.len() > super::MAX_VALUE || bytes.iter().any(u8::is_ascii_control) {
        return Err(Failure::Unusable);
    }
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Failure::Unusable),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Failure::Unusable),
    }
}

fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&b| b == b'&').filter(|part| !part.is_empty()).map(split_pair)
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|&b| b == b'=') {
        Some(at) => {
            (pair.get(..at).unwrap_or_default(), pair.get(at.saturating_add(1)..).unwrap_or_default())
        }
        None => (pair, b""),
    }
}

fn unquote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value)
}

fn decode_form(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        match (b, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b),
            },
            _ => out.push(b),
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_under_every_spelling_of_its_name() {
        let all =
            |q: &str| query(q.as_bytes(), "a b").map(|v| String::from_utf8(v).unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x=1&a+b=2&%61%20b=%33"), ["2", "3"]);
        assert_eq!(all("a=b"), Vec::<String>::new());
        assert_eq!(one(query(b"t=1&t=2", "t")), Err(Failure::Unusable));
        assert_eq!(one(query(b"t=", "t")), Err(Failure::Unusable));
        assert_eq!(one(query(b"", "t")), Err(Failure::Absent));
        assert_eq!(one(query(b"t=%FF", "t")), Err(Failure::Unusable));
        assert_eq!(one(query(b"t=%zz", "t")).unwrap(), "%zz");
    }

    #[test]
    fn a_value_that_another_server_would_not_see_cannot_be_used() {
        for (query, want) in [
            ("a=b;id=2&id=1", Err(Failure::Unusable)),
            ("id=1&a=b;i%64=2", Err(Failure::Unusable)),
            ("a=b;id=2", Err(Failure::Unusable)),
            ("id=1;a=2", Err(Failure::Unusable)),
            ("id;a=2&id=1", Err(Failure::Unusable)),
            ("id=1&id=2", Err(Failure::Unusable)),
            ("id=1%3Ba", Ok("1;a")),
            ("a=b;idx=2&id=1&xid=3;4", Ok("1")),
            ("a=b;c=2", Err(Failure::Absent)),
            ("id=1&+id=2", Err(Failure::Unusable)),
            ("id=1&%20id=2", Err(Failure::Unusable)),
            ("id=1&id%00=2", Err(Failure::Unusable)),
            ("id=1&id%00x=2", Err(Failure::Unusable)),
            ("id=1&id[]=2", Err(Failure::Unusable)),
            ("id=1&id%5Ba%5D=2", Err(Failure::Unusable)),
            ("id[0]=2", Err(Failure::Unusable)),
            ("id=1&a;%20id=2", Err(Failure::Unusable)),
            ("id=1&idx[]=2&x[id]=3&id_=4&.id=5", Ok("1")),
            ("", Err(Failure::Absent)),
        ] {
            assert_eq!(query_one(query.as_bytes(), "id").as_deref(), want.as_ref().map(|s| *s), "{query}");
        }
    }

    #[test]
    fn a_name_that_php_reads_as_another_hides_that_one() {
        for (query, want) in [
            ("user_id=1&user.id=2", Err(Failure::Unusable)),
            ("user_id=1&user+id=2", Err(Failure::Unusable)),
            ("user_id=1&user-id=2", Ok("1")),
        ] {
            assert_eq!(
                query_one(query.as_bytes(), "user_id").as_deref(),
                want.as_ref().map(|s| *s),
                "{query}"
            );
        }
    }

    #[test]
    fn a_removed_parameter_leaves_the_others_untouched() {
        assert_eq!(query_without(b"a=%31&t=x&b=2&%74=y", &["t"]), b"a=%31&b=2");
        assert_eq!(query_without(b"t=x", &["t"]), b"");
        assert_eq!(query_without(b"a&&b", &["t"]), b"a&&b");
    }

    #[test]
    fn cookies_are_read_from_all_headers() {
        let headers: Headers = [("cookie", "a=1; sid = x"), ("cookie", "b=2;a=\"3\"")].into_iter().collect();
        assert_eq!(cookie(&headers, "a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(one(cookie(&headers, "sid")).unwrap(), "x");
        assert_eq!(one(cookie(&headers, "a")), Err(Failure::Unusable));
    }
}
