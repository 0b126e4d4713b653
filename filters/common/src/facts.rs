//! What one filter tells the next, the access log and RBAC.
//!
//! Facts are filter state, which a client cannot forge: `set_property(["portcullis.jwt-auth.subject"])` is
//! the object `wasm.portcullis.jwt-auth.subject` to Envoy. Each write and each read is a host call and every reader is
//! another VM, so facts are few, flat and single-part.

use std::rc::Rc;

use crate::host::Host;
use crate::reason::Reason;

/// The name of a fact, or of a host property: its parts joined by NUL, as the ABI wants them.
pub type PropertyKey = Rc<[u8]>;

/// `portcullis.<plugin>.<what>`
#[must_use]
pub fn key(plugin: &str, what: &str) -> PropertyKey {
    format!("portcullis.{plugin}.{what}").into_bytes().into()
}

/// The name by which the host knows the plugin: it tells two of one module and one configuration apart. Empty if there is none.
#[must_use]
pub fn attached(host: &dyn Host) -> String {
    let name = host.property(&PropertyKey::from(&b"plugin_name"[..])).unwrap_or_default();
    String::from_utf8_lossy(&name).into_owned()
}

/// What a plugin made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Judged and let pass.
    Allow,
    /// Refused.
    Deny,
    /// Would have been refused, and passed because of shadow mode or `percent`.
    ShadowDeny,
    /// A dependency failed, and the operator wrote that this lets pass.
    Error,
    /// Not judged: no rule of this plugin applies.
    Skip,
}

impl Outcome {
    /// All outcomes, in the order of their definition.
    pub const ALL: [Outcome; 5] =
        [Outcome::Allow, Outcome::Deny, Outcome::ShadowDeny, Outcome::Error, Outcome::Skip];

    /// The word in facts and labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Outcome::Allow => "allow",
            Outcome::Deny => "deny",
            Outcome::ShadowDeny => "shadow_deny",
            Outcome::Error => "error",
            Outcome::Skip => "skip",
        }
    }

    fn from_word(word: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|o| o.word() == word)
    }
}

/// A verdict: `outcome;reason;rule;microseconds` as a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What became of the request.
    pub outcome: Outcome,
    /// Why, unless it was plainly allowed or skipped.
    pub reason: Option<Reason>,
    /// The name of the rule that decided; `_unmatched` if none did.
    pub rule: Rc<str>,
}

/// The rule name of requests that no rule matches.
pub const UNMATCHED: &str = "_unmatched";

impl Verdict {
    /// Let pass by `rule`.
    #[must_use]
    pub fn allow(rule: Rc<str>) -> Verdict {
        Verdict { outcome: Outcome::Allow, reason: None, rule }
    }

    /// Not judged.
    #[must_use]
    pub fn skip(rule: Rc<str>) -> Verdict {
        Verdict { outcome: Outcome::Skip, reason: None, rule }
    }

    /// Refused by `rule`.
    #[must_use]
    pub fn deny(reason: Reason, rule: Rc<str>) -> Verdict {
        Verdict { outcome: Outcome::Deny, reason: Some(reason), rule }
    }

    /// The fact.
    #[must_use]
    pub fn pack(&self, micros: u64) -> Vec<u8> {
        let reason = self.reason.map_or("", Reason::word);
        // Written by hand: `format!` costs ten times the instructions, and this runs once a request in every filter.
        let mut out = Vec::with_capacity(48);
        for part in [self.outcome.word(), reason, &self.rule] {
            out.extend_from_slice(part.as_bytes());
            out.push(b';');
        }
        push_decimal(&mut out, micros);
        out
    }

    /// Reads a fact back; `None` if another program wrote it.
    #[must_use]
    pub fn unpack(fact: &[u8]) -> Option<(Verdict, u64)> {
        let mut parts = std::str::from_utf8(fact).ok()?.split(';');
        let outcome = Outcome::from_word(parts.next()?)?;
        let reason = match parts.next()? {
            "" => None,
            word => Some(Reason::from_word(word)?),
        };
        let rule = parts.next()?.into();
        let micros = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some((Verdict { outcome, reason, rule }, micros))
    }
}

/// Appends `n` in decimal.
pub fn push_decimal(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0'.wrapping_add((n % 10) as u8);
        n /= 10;
        at = at.saturating_sub(1);
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_four_fields_and_reads_back() {
        let verdict = Verdict::deny(Reason::TokenInvalid, "orders".into());
        assert_eq!(verdict.pack(120), b"deny;token_invalid;orders;120");
        assert_eq!(Verdict::unpack(b"deny;token_invalid;orders;120"), Some((verdict, 120)));
        assert_eq!(Verdict::allow("a".into()).pack(0), b"allow;;a;0");
        assert_eq!(Verdict::skip("a".into()).pack(u64::MAX), b"skip;;a;18446744073709551615");
    }

    #[test]
    fn what_another_program_wrote_is_no_verdict() {
        for fact in ["", "allow", "allow;;r;x", "maybe;;r;1", "deny;because;r;1", "allow;;r;1;2"] {
            assert_eq!(Verdict::unpack(fact.as_bytes()), None, "{fact}");
        }
        assert_eq!(Verdict::unpack(b"\xff"), None);
    }
}
