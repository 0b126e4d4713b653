//! Headers that only this plugin may set: a client's own copies go before anything looks at the request.

use crate::headers::Headers;

/// A set of header names. `_` counts as `-`, for a CGI or WSGI upstream cannot tell `x_user` from `x-user`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedHeaders {
    names: Vec<Box<[u8]>>,
    /// Bit n is set if some name has n bytes: most headers are out after one test.
    lengths: u64,
}

impl OwnedHeaders {
    /// The set of `names`, which are in lower case.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = OwnedHeaders::default();
        for name in names {
            let name: Box<[u8]> = name.bytes().map(fold).collect();
            if !set.names.contains(&name) {
                set.lengths |= length_bit(name.len());
                set.names.push(name);
            }
        }
        set
    }

    /// Whether a client may not send this header.
    #[must_use]
    pub fn owns(&self, name: &[u8]) -> bool {
        self.lengths & length_bit(name.len()) != 0
            && self
                .names
                .iter()
                .any(|owned| owned.len() == name.len() && owned.iter().zip(name).all(|(a, b)| *a == fold(*b)))
    }

    /// Drops the client's copies from `headers` and gives their names, for the host to drop too.
    pub fn strip(&self, headers: &mut Headers) -> Vec<Vec<u8>> {
        if self.names.is_empty() { Vec::new() } else { headers.remove(|name| self.owns(name)) }
    }
}

fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

fn length_bit(length: usize) -> u64 {
    1_u64.checked_shl(u32::try_from(length).unwrap_or(63).min(63)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_an_upstream_may_confuse_are_one_name() {
        let owned = OwnedHeaders::new(["x-user", "x-org-id"]);
        for name in ["x-user", "X-User", "x_user", "x_org-id", "X-ORG_ID"] {
            assert!(owned.owns(name.as_bytes()), "{name}");
        }
        for name in ["x-use", "x-users", "xuser", "x.user", ""] {
            assert!(!owned.owns(name.as_bytes()), "{name}");
        }
        let long = "x".repeat(200);
        assert!(OwnedHeaders::new([long.as_str()]).owns(long.as_bytes()));
    }

    #[test]
    fn stripping_names_what_the_host_must_drop() {
        let mut headers: Headers =
            [("x_user", "root"), ("accept", "*/*"), ("x-user", "root")].into_iter().collect();
        let removed = OwnedHeaders::new(["x-user"]).strip(&mut headers);
        assert_eq!(removed, [b"x_user".to_vec(), b"x-user".to_vec()]);
        assert_eq!(headers.len(), 1);
    }
}
