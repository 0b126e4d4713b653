//! The members of a JWK (RFC 7517, section 4), and what is wrong with them: which one it is, what stands there, what to write.

use std::fmt::{self, Display};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Why a key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// A member is missing or wrong, or stands where it must not. Whoever wrote it made a mistake.
    Faulty(Fault),
    /// A key type, curve or algorithm that nothing here uses. Not an error: sets hold keys for other uses.
    Unsupported,
    /// `use` or `key_ops` say that it is not for verifying signatures. Not an error either.
    OtherUse,
}

/// What is wrong with a member. It names nothing of the member's value, which may be a secret, but its length in characters or bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The member.
    pub member: &'static str,
    /// What stands there.
    pub found: Found,
    /// What to write instead.
    pub remedy: &'static str,
}

/// What stands in place of what a member should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// So many characters of base64url.
    Characters(usize),
    /// What these words say.
    Other(&'static str),
}

/// A number of a fixed length: a coordinate of a curve (RFC 7518, section 6.2.1.2; RFC 8037, section 2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    characters: usize,
    remedy: &'static str,
}

/// The coordinates of each curve: 32, 48, 66 and 32 bytes.
pub(crate) const P256: Fixed = Fixed { characters: 43, remedy: "write 43 characters of base64url for P-256" };
pub(crate) const P384: Fixed = Fixed { characters: 64, remedy: "write 64 characters of base64url for P-384" };
pub(crate) const P521: Fixed = Fixed { characters: 88, remedy: "write 88 characters of base64url for P-521" };
pub(crate) const ED25519: Fixed =
    Fixed { characters: 43, remedy: "write 43 characters of base64url for Ed25519" };

impl Unusable {
    pub(crate) const fn fault(member: &'static str, found: &'static str, remedy: &'static str) -> Unusable {
        Unusable::Faulty(Fault { member, found: Found::Other(found), remedy })
    }

    /// What is wrong, if an operator who wrote this key by hand made a mistake.
    #[must_use]
    pub const fn mistake(&self) -> Option<&Fault> {
        match self {
            Unusable::Faulty(fault) => Some(fault),
            Unusable::Unsupported | Unusable::OtherUse => None,
        }
    }
}

impl Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unusable::Faulty(fault) => return write!(f, "{}: {fault}", fault.member),
            Unusable::Unsupported => "a key type, curve or algorithm that cannot be used here; leave it out",
            Unusable::OtherUse => "not for verifying signatures; leave it out",
        })
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Found::Missing => write!(f, "missing; {}", self.remedy),
            Found::Characters(n) => write!(f, "{n} characters; {}", self.remedy),
            Found::Other(words) => write!(f, "{words}; {}", self.remedy),
        }
    }
}

/// The members of one key.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Members<'a> {
    /// A member that is text, if it is there.
    pub(crate) fn text(self, name: &'static str, remedy: &'static str) -> Result<Option<&'a str>, Unusable> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Unusable::fault(name, "not text", remedy)),
        }
    }

    /// A member that has to be there.
    pub(crate) fn needed(self, name: &'static str, remedy: &'static str) -> Result<&'a str, Unusable> {
        let missing = Fault { member: name, found: Found::Missing, remedy };
        self.text(name, remedy)?.ok_or(Unusable::Faulty(missing))
    }

    /// A number, or a secret, in base64url.
    pub(crate) fn number(self, name: &'static str, remedy: &'static str) -> Result<Vec<u8>, Unusable> {
        let text = self.needed(name, remedy)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| Unusable::fault(name, OTHER_ENCODING, remedy))
    }

    /// A number in its full length.
    pub(crate) fn fixed(self, name: &'static str, want: Fixed) -> Result<Vec<u8>, Unusable> {
        let text = self.needed(name, want.remedy)?;
        // Before it is decoded: where characters are missing, the last one has bits to spare, and would be blamed for that.
        let spelt = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if spelt && text.len() != want.characters {
            let found = Found::Characters(text.len());
            return Err(Unusable::Faulty(Fault { member: name, found, remedy: want.remedy }));
        }
        self.number(name, want.remedy)
    }
}

const OTHER_ENCODING: &str = "not base64url without padding";
