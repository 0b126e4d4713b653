//! What Envoy's connection manager does to a path before any filter sees it.

use crate::attached::{EscapedSlashes, Manager};

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Normal {
    /// It goes to the filters with this target.
    Passes(String),
    /// The connection manager answers.
    Refused(u16, String),
}

/// The target as `manager` hands it on. The steps are Envoy's: escaped slashes, dot segments and characters that need no escape,
/// repeated slashes; never in the query.
#[must_use]
pub fn target(manager: &Manager, target: &str) -> Normal {
    let bad = || Normal::Refused(400, "path_normalization_failed".into());
    let (path, query) = target.find('?').map_or((target, ""), |at| target.split_at(at));
    let mut path = path.to_owned();
    if has_escaped_slash(&path) && manager.escaped_slashes != EscapedSlashes::Keep {
        if manager.escaped_slashes == EscapedSlashes::Reject {
            return bad();
        }
        for (escaped, plain) in [("%2F", "/"), ("%2f", "/"), ("%5C", "\\"), ("%5c", "\\")] {
            path = path.replace(escaped, plain);
        }
    }
    let redirects =
        path != target && manager.escaped_slashes == EscapedSlashes::Redirect && has_escaped_slash(target);
    if manager.normalize_path {
        match canonical(&path) {
            Some(canonical) => path = canonical,
            None => return bad(),
        }
    }
    if manager.merge_slashes {
        path = merged(&path);
    }
    let whole = format!("{path}{query}");
    if redirects { Normal::Refused(307, format!("location: {whole}")) } else { Normal::Passes(whole) }
}

fn has_escaped_slash(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    ["%2F", "%2f", "%5C", "%5c"].iter().any(|escaped| path.contains(escaped))
}

fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

/// RFC 3986, sections 6.2.2.2 and 6.2.2.3, as browsers do it: `\` is a slash. `None` for what cannot be a path.
fn canonical(path: &str) -> Option<String> {
    if !path.starts_with(['/', '\\']) {
        return None;
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let length = c.len_utf8();
        match c {
            '%' => {
                let byte = rest.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                match byte {
                    Some(0) => return None,
                    Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                        plain.push(char::from(byte))
                    }
                    Some(_) => plain.push_str(rest.get(..3)?),
                    None => plain.push('%'),
                }
                rest = rest.get(if byte.is_some() { 3 } else { 1 }..)?;
                continue;
            }
            '\\' => plain.push('/'),
            ' ' | '"' | '<' | '>' | '`' | '{' | '|' | '}' => {
                plain.push_str(&format!("%{:02X}", u32::from(c)))
            }
            c if c.is_ascii() => plain.push(c),
            c => {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    plain.push_str(&format!("%{byte:02X}"));
                }
            }
        }
        rest = rest.get(length..)?;
    }
    Some(without_dots(&plain))
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            "." if at == last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if at == last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attached::Place;

    fn manager(escaped_slashes: EscapedSlashes, all: bool) -> Manager {
        Manager {
            place: Place { file: "f".into(), line: 1 },
            knows_clients: true,
            normalize_path: all,
            merge_slashes: all,
            escaped_slashes,
        }
    }

    #[test]
    fn a_path_has_one_form() {
        let manager = manager(EscapedSlashes::Reject, true);
        for (from, to) in [
            ("/a/./b/../c", "/a/c"),
            ("/a//b?x=//", "/a/b?x=//"),
            ("/a/%2e%2E/b", "/b"),
            ("/..", "/"),
            ("/a\\b", "/a/b"),
            ("/%41%7e%20", "/A~%20"),
            ("/%zz", "/%zz"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
        ] {
            assert_eq!(target(&manager, from), Normal::Passes(to.into()), "{from}");
        }
        assert!(matches!(target(&manager, "/a%2Fb"), Normal::Refused(400, _)));
        assert!(matches!(target(&manager, "/a%00"), Normal::Refused(400, _)));
    }

    #[test]
    fn what_is_not_asked_for_is_not_done() {
        assert_eq!(
            target(&manager(EscapedSlashes::Keep, false), "/a//./%2F"),
            Normal::Passes("/a//./%2F".into())
        );
        assert_eq!(target(&manager(EscapedSlashes::Forward, false), "/a%2Fb"), Normal::Passes("/a/b".into()));
        let redirect = manager(EscapedSlashes::Redirect, true);
        assert_eq!(target(&redirect, "/a%2Fb?c"), Normal::Refused(307, "location: /a/b?c".into()));
        assert_eq!(target(&redirect, "/a/../b"), Normal::Passes("/b".into()));
    }
}
