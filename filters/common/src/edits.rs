//! What a filter changes when it lets a request pass, or decorates a response.

use std::rc::Rc;

use crate::facts::{PropertyKey, Verdict};

/// Changes to headers and facts, applied by the shell in this order: verdict, facts, headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// The packed verdict fact; the shell adds the time. `None` from a disabled plugin.
    pub verdict: Option<Verdict>,
    /// Facts for the siblings, RBAC and the log.
    pub facts: Vec<(PropertyKey, Rc<[u8]>)>,
    /// Header changes, in order.
    pub headers: Vec<HeaderEdit>,
}

/// One change of one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Sets it, replacing all values.
    Set(Rc<str>, Rc<[u8]>),
    /// Adds a value and keeps those that are there.
    Add(Rc<str>, Rc<[u8]>),
    /// Removes all values.
    Remove(Rc<str>),
}

impl Edits {
    /// Lets pass with nothing but a verdict.
    #[must_use]
    pub fn verdict(verdict: Verdict) -> Edits {
        Edits { verdict: Some(verdict), ..Edits::default() }
    }
}

/// A header value that cannot break out of its line: bytes outside visible ASCII, space and tab become `%XX`
/// (RFC 9110, section 5.5; RFC 3986, section 2.1), and so does `%` itself, so that decoding gives back the original.
#[must_use]
pub fn header_value(value: &[u8]) -> Rc<[u8]> {
    let safe = |b: u8| matches!(b, b' '..=b'~') && b != b'%';
    if value.iter().all(|&b| safe(b)) {
        return value.into();
    }
    let mut out = Vec::with_capacity(value.len().saturating_add(16));
    for &b in value {
        if safe(b) {
            out.push(b);
        } else {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_start_a_new_header() {
        assert_eq!(&*header_value(b"a\r\nx-admin: 1"), b"a%0D%0Ax-admin: 1");
        assert_eq!(&*header_value("caf\u{e9} 100%".as_bytes()), b"caf%C3%A9 100%25");
        assert_eq!(&*header_value(b"plain value"), b"plain value");
    }
}
