//! One normal form of a path.
//!
//! A filter that decides by the path must see the path that the upstream will serve. Servers disagree about `//`, dot
//! segments, `;`, `\` and encoded separators, so a path with one of them is **ambiguous**: jwt-auth and rebac refuse
//! it, and match everything else decoded. rate-limit and metrics refuse nothing; they match the collapsed form, in
//! which all those spellings of a path are the same path.

use std::borrow::Cow;

/// A path without query, decoded, that starts with `/` and can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a>(Cow<'a, [u8]>);

/// The path can be read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// What `%2F` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlash {
    /// Ambiguous.
    #[default]
    Refuse,
    /// Three characters of a segment, never a separator.
    Keep,
}

impl<'a> NormalPath<'a> {
    /// The normal form of `path`, which is as sent, without its query.
    ///
    /// # Errors
    /// [`Ambiguous`] for a path that is not absolute, an empty segment before the last, `.` and `..` (also encoded), `;`
    /// `\` `#` (also encoded), `%2F` (see [`EncodedSlash`]), `%5C`, `%25`, `%3F`, control bytes, a `%` without two
    /// hexadecimal digits, and bytes that are not UTF-8 once decoded (overlong forms among them).
    pub fn new(path: &'a [u8], slash: EncodedSlash) -> Result<Self, Ambiguous> {
        if path.first() != Some(&b'/') {
            return Err(Ambiguous);
        }
        let plain = path.iter().all(|&b| is_plain(b));
        let form = if plain { Cow::Borrowed(path) } else { Cow::Owned(decode(path, slash)?) };
        if has_strange_segment(&form) { Err(Ambiguous) } else { Ok(NormalPath(form)) }
    }

    /// The collapsed form of `path`: decoded until nothing is left to decode, `\` as `/`, path parameters and fragments
    /// dropped, dot segments and empty segments resolved. `None` where even that fails: a bad `%`, control bytes, no
    /// UTF-8, or more than three layers of encoding.
    #[must_use]
    pub fn collapsed(path: &'a [u8]) -> Option<Self> {
        if let Ok(normal) = NormalPath::new(path, EncodedSlash::Refuse) {
            return Some(normal);
        }
        if path.first() != Some(&b'/') {
            return None;
        }
        let mut bytes = path.to_vec();
        for _ in 0..3 {
            if !bytes.contains(&b'%') {
                break;
            }
            bytes = unescape(&bytes)?;
        }
        if bytes.contains(&b'%')
            || bytes.iter().any(u8::is_ascii_control)
            || std::str::from_utf8(&bytes).is_err()
        {
            return None;
        }
        let cut = bytes.iter().position(|&b| b == b'#').unwrap_or(bytes.len());
        bytes.truncate(cut);
        Some(NormalPath(Cow::Owned(resolve(&bytes))))
    }

    /// The path's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The segments: `/a/b/` has `a`, `b` and an empty last one; `/` has one empty one.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').skip(1)
    }
}

/// Whether a segment is `.` or `..`, or is empty and not the last.
fn has_strange_segment(path: &[u8]) -> bool {
    // By hand: this runs over every path, and splitting it costs twice as much.
    let (mut length, mut dots) = (0_usize, 0_usize);
    for b in path.iter().skip(1) {
        if *b != b'/' {
            length = length.wrapping_add(1);
            dots = dots.wrapping_add(usize::from(*b == b'.'));
        } else if length == dots && length <= 2 {
            return true;
        } else {
            (length, dots) = (0, 0);
        }
    }
    length == dots && (length == 1 || length == 2)
}

/// Neither special to anybody nor encoded.
fn is_plain(b: u8) -> bool {
    matches!(b, b' '..=b'~') && !matches!(b, b'%' | b';' | b'\\' | b'#')
}

fn decode(path: &[u8], slash: EncodedSlash) -> Result<Vec<u8>, Ambiguous> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => {
                    let decoded = high << 4 | low;
                    if decoded == b'/' && slash == EncodedSlash::Keep {
                        out.extend_from_slice(b"%2F");
                    } else if (is_plain(decoded) && decoded != b'/' && decoded != b'?') || decoded >= 0x80 {
                        out.push(decoded);
                    } else {
                        return Err(Ambiguous);
                    }
                }
                _ => return Err(Ambiguous),
            },
            b if is_plain(b) || b >= 0x80 => out.push(b),
            _ => return Err(Ambiguous),
        }
    }
    if std::str::from_utf8(&out).is_ok() { Ok(out) } else { Err(Ambiguous) }
}

fn unescape(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter().copied();
    while let Some(b) = bytes.next() {
        out.push(if b == b'%' { hex(bytes.next())? << 4 | hex(bytes.next())? } else { b });
    }
    Some(out)
}

fn resolve(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut directory = false;
    for segment in path.split(|&b| b == b'/' || b == b'\\').skip(1) {
        let segment = segment.split(|&b| b == b';').next().unwrap_or_default();
        directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    if directory || kept.is_empty() {
        kept.push(b"");
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    out
}

fn hex(digit: Option<u8>) -> Option<u8> {
    char::from(digit?).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(path: &str) -> Option<String> {
        let form = NormalPath::new(path.as_bytes(), EncodedSlash::Refuse).ok()?;
        Some(String::from_utf8(form.as_bytes().to_vec()).unwrap())
    }

    fn collapsed(path: &str) -> Option<String> {
        Some(String::from_utf8(NormalPath::collapsed(path.as_bytes())?.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn what_cannot_be_misread_is_decoded() {
        for (path, want) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/%61dmin", "/admin"),
            ("/users/%40me", "/users/@me"),
            ("/a%20b", "/a b"),
            ("/caf%C3%A9", "/caf\u{e9}"),
            ("/caf\u{e9}", "/caf\u{e9}"),
            ("/a...b/..c/.d", "/a...b/..c/.d"),
            ("/a:b@c,d=e", "/a:b@c,d=e"),
        ] {
            assert_eq!(normal(path).as_deref(), Some(want), "{path}");
        }
    }

    #[test]
    fn what_two_servers_read_differently_has_no_normal_form() {
        for path in [
            "",
            "*",
            "a",
            "//",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/%2e",
            "/a;b",
            "/a;/b",
            "/a%3Bb",
            "/a\\b",
            "/a%5Cb",
            "/a%2Fb",
            "/a%2fb",
            "/a%25",
            "/a%252f",
            "/a%00",
            "/a\u{1}",
            "/a%7F",
            "/a#b",
            "/a%23b",
            "/a%3Fb",
            "/a%",
            "/a%4",
            "/a%zz",
            "/%C0%AF",
            "/%E0%80%AF",
            "/%FF",
        ] {
            assert_eq!(normal(path), None, "{path}");
        }
    }

    #[test]
    fn a_kept_slash_is_no_separator() {
        let form = NormalPath::new(b"/a%2fb/c", EncodedSlash::Keep).unwrap();
        assert_eq!(form.segments().collect::<Vec<_>>(), [&b"a%2Fb"[..], b"c"]);
        assert!(NormalPath::new(b"/a%5cb", EncodedSlash::Keep).is_err());
    }

    #[test]
    fn all_spellings_collapse_to_one() {
        for path in [
            "/login",
            "//login",
            "/./login",
            "/x/../login",
            "/%6cogin",
            "/login;v=1",
            "/x/%2e%2e/login",
            "/x%2f..%2flogin",
            "\\login".replace('\\', "/\\").as_str(),
            "/%256cogin",
            "/login#frag",
            "/../../login",
        ] {
            assert_eq!(collapsed(path).as_deref(), Some("/login"), "{path}");
        }
        assert_eq!(collapsed("/a/b/").as_deref(), Some("/a/b/"));
        assert_eq!(collapsed("/a/..").as_deref(), Some("/"));
        for path in ["*", "", "/a%zz", "/a%00", "/%FF", "/%2525252561"] {
            assert_eq!(collapsed(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_collapsed_form(path in "/[a-z%./;\\\\0-9A-F]{0,24}") {
            if let Some(form) = normal(&path) {
                prop_assert_eq!(collapsed(&path), Some(form));
            }
        }

        #[test]
        fn a_collapsed_form_is_normal(path in "/[a-z%./;\\\\0-9A-F]{0,24}") {
            if let Some(form) = collapsed(&path) {
                prop_assert_eq!(normal(&form), Some(form));
            }
        }

        #[test]
        fn no_bytes_panic(path in prop::collection::vec(any::<u8>(), 0..48)) {
            let _ = NormalPath::new(&path, EncodedSlash::Keep);
            let _ = NormalPath::collapsed(&path);
        }
    }
}
