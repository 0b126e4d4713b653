//! Where something is fetched: a URL, and the cluster that its host was mapped to.

use std::rc::Rc;
use std::time::Duration;

use crate::filter::Callout;

/// A URL in its parts. Only what is needed to fetch: no user, no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https` or `http`. The cluster decides what is spoken on the wire; this says what was meant.
    pub secure: bool,
    /// Host, and port if one was written that is not the scheme's own; in lower case.
    pub authority: Box<str>,
    /// Path and query, at least `/`.
    pub path: Box<str>,
}

impl Url {
    /// Reads an absolute URL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Url> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = scheme.eq_ignore_ascii_case("https");
        if !secure && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = authority.strip_suffix(Url::own_port(secure)).unwrap_or(authority);
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_');
        let printed = |b: u8| matches!(b, b'!'..=b'~') && b != b'#';
        if authority.is_empty() || !authority.bytes().all(named) || !path.bytes().all(printed) {
            return None;
        }
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}").into() };
        Some(Url { secure, authority: authority.to_ascii_lowercase().into(), path })
    }

    /// The port that a URL of this scheme need not write, as it would be written: RFC 9110, sections 4.2.1 and 4.2.2.
    #[must_use]
    pub const fn own_port(secure: bool) -> &'static str {
        if secure { ":443" } else { ":80" }
    }
}

/// A URL and the cluster that leads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL.
    pub url: Url,
    /// Envoy's cluster.
    pub cluster: Rc<str>,
}

impl Target {
    /// The request. `tag` is the server's name for what is known: it need not send that again (RFC 9110, section 13.1.2).
    #[must_use]
    pub fn callout(&self, timeout: Duration, tag: Option<&str>) -> Callout {
        let Target { url, cluster } = self;
        let scheme = if url.secure { "https" } else { "http" };
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![
            header(":method", "GET"),
            header(":scheme", scheme),
            header(":authority", &url.authority),
            header(":path", &url.path),
            header("accept", "application/json"),
            header("user-agent", "portcullis"),
        ];
        headers.extend(tag.map(|tag| header("if-none-match", tag)));
        Callout::Http { cluster: Rc::clone(cluster), headers, body: Vec::new(), timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_a_path_and_nothing_that_hides() {
        let url = |text: &str| Url::parse(text).map(|u| (u.secure, u.authority, u.path));
        let is = |secure, authority: &str, path: &str| Some((secure, authority.into(), path.into()));
        assert_eq!(url("https://Id.example.com/a/b?c=d"), is(true, "id.example.com", "/a/b?c=d"));
        assert_eq!(url("http://127.0.0.1:8080"), is(false, "127.0.0.1:8080", "/"));
        assert_eq!(url("https://a?b"), is(true, "a", "/?b"));
        assert_eq!(url("https://[::1]:1/x"), is(true, "[::1]:1", "/x"));
        assert_eq!(url("HTTPS://ID.test:443/A"), is(true, "id.test", "/A"));
        assert_eq!(url("Http://id.test:80"), is(false, "id.test", "/"));
        assert_eq!(url("http://id.test:443/"), is(false, "id.test:443", "/"));
        assert_eq!(url("https://[::1]:443/"), is(true, "[::1]", "/"));
        assert_eq!(url("https://id.test:4430/"), is(true, "id.test:4430", "/"));
        for bad in [
            "",
            "a",
            "https://:443/",
            "https:/a/",
            "httpss://a/",
            "ftp://a/",
            "https://",
            "https:///x",
            "https://u@a/",
            "https://a/#f",
            "https://a/ b",
            "https://a/\u{e9}",
            "//a/b",
            "https://a\\b/",
        ] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }
}
