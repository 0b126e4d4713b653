//! The claims of a token whose signature holds: RFC 7519, section 4.1, with the checks that RFC 8725 asks for.

use std::time::Duration;

use portcullis_common::clock::Wall;
use portcullis_common::json::{Document, Kind, Ref};

/// A payload: an object.
pub type Claims = Document;

/// Which check a token failed. The word goes to the operator's metric and log, never to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// No provider of the rule has this issuer, or there is none in the token.
    Issuer,
    /// The provider does not allow the algorithm.
    Algorithm,
    /// No key fits `kid` and algorithm.
    Key,
    /// No key that fits made this signature.
    Signature,
    /// `typ` says that it is another kind of token.
    Type,
    /// `exp` has passed.
    Expired,
    /// `exp` is absent.
    ExpirationMissing,
    /// `nbf` or `iat` lie ahead.
    NotYetValid,
    /// It lives longer than allowed.
    Lifetime,
    /// `aud` does not name us.
    Audience,
    /// A claim has the wrong type.
    ClaimType,
    /// A required claim is absent.
    ClaimMissing,
    /// A forbidden claim is there.
    ClaimForbidden,
    /// `cnf` binds the token to something that is not checked here.
    Confirmation,
    /// The subject cannot be formed.
    Subject,
    /// It is on a deny list.
    Revoked,
}

impl Cause {
    /// The word for the operator.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Cause::Issuer => "issuer",
            Cause::Algorithm => "algorithm",
            Cause::Key => "key",
            Cause::Signature => "signature",
            Cause::Type => "type",
            Cause::Expired => "expired",
            Cause::ExpirationMissing => "expiration_missing",
            Cause::NotYetValid => "not_yet_valid",
            Cause::Lifetime => "lifetime",
            Cause::Audience => "audience",
            Cause::ClaimType => "claim_type",
            Cause::ClaimMissing => "claim_missing",
            Cause::ClaimForbidden => "claim_forbidden",
            Cause::Confirmation => "confirmation",
            Cause::Subject => "subject",
            Cause::Revoked => "revoked",
        }
    }
}

/// When a token is valid, skew included. Checked on every use, remembered or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    not_before: Wall,
    expires: Wall,
}

impl Window {
    /// Whether `now` lies in it.
    ///
    /// # Errors
    /// [`Cause::Expired`] at and after the end (RFC 7519, section 4.1.4: "on or after"), [`Cause::NotYetValid`] before the
    /// beginning.
    pub fn check(&self, now: Wall) -> Result<(), Cause> {
        if now >= self.expires {
            Err(Cause::Expired)
        } else if now < self.not_before {
            Err(Cause::NotYetValid)
        } else {
            Ok(())
        }
    }
}

/// What a provider says about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How far two clocks may differ.
    pub skew: Duration,
    /// The longest time between `iat` and `exp`, and between now and `exp`.
    pub max_lifetime: Option<Duration>,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
}

/// The window of `exp`, `nbf` and `iat`.
///
/// # Errors
/// If one of them is no date, or the token lives too long.
pub fn window(claims: &Claims, timing: Timing, now: Wall) -> Result<Window, Cause> {
    let date =
        |name: &str| claims.root().get(name).map(|v| numeric_date(v).ok_or(Cause::ClaimType)).transpose();
    let (exp, nbf, iat) = (date("exp")?, date("nbf")?, date("iat")?);
    let skew = nanos(timing.skew);
    if exp.is_none() && (timing.require_exp || timing.max_lifetime.is_some()) {
        return Err(Cause::ExpirationMissing);
    }
    if let (Some(max), Some(exp)) = (timing.max_lifetime.map(nanos), exp) {
        let issued = iat.ok_or(Cause::ClaimMissing)?;
        let latest = now.0.saturating_add(max).saturating_add(skew);
        if exp.saturating_sub(issued) > max || exp > latest {
            return Err(Cause::Lifetime);
        }
    }
    let begins = nbf.unwrap_or(0).max(iat.unwrap_or(0));
    Ok(Window {
        not_before: Wall(begins.saturating_sub(skew)),
        expires: Wall(exp.map_or(u64::MAX, |exp| exp.saturating_add(skew))),
    })
}

/// Nanoseconds of a NumericDate: a number, whole or not, that is not negative.
#[must_use]
pub fn numeric_date(value: Ref<'_>) -> Option<u64> {
    match value.kind() {
        Kind::Unsigned(seconds) => Some(seconds.saturating_mul(1_000_000_000)),
        // `as` saturates: a date beyond the year 2554 is for ever.
        Kind::Float(seconds) if seconds >= 0.0 => Some((seconds * 1e9) as u64),
        _ => None,
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Who a token may be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// Anybody: the operator wrote so.
    Any,
    /// One of these.
    OneOf(Vec<Box<str>>),
}

impl Audiences {
    /// Whether `audience` is one of them; nobody is where anybody would do.
    #[must_use]
    pub fn name(&self, audience: &str) -> bool {
        matches!(self, Audiences::OneOf(ours) if ours.iter().any(|a| **a == *audience))
    }

    /// Whether `aud` names one of them (RFC 7519, section 4.1.3: text, or a list of texts).
    ///
    /// # Errors
    /// [`Cause::Audience`], or [`Cause::ClaimType`] for anything else in `aud`, also where any audience would do.
    pub fn check(&self, claims: &Claims) -> Result<(), Cause> {
        let mut named = false;
        let mut note = |value: Ref<'_>| {
            let audience = value.text().ok_or(Cause::ClaimType)?;
            named |= match self {
                Audiences::Any => true,
                Audiences::OneOf(ours) => ours.iter().any(|a| **a == *audience),
            };
            Ok(())
        };
        match claims.root().get("aud") {
            None => {}
            Some(list) if list.kind() == Kind::Array => list.items().try_for_each(&mut note)?,
            Some(single) => note(single)?,
        }
        if named || *self == Audiences::Any { Ok(()) } else { Err(Cause::Audience) }
    }
}

/// Whether the claims that name somebody or something are texts: the issuer, the subject, the token (RFC 7519, sections 4.1.1,
/// 4.1.2 and 4.1.7). A program behind this one that makes a text of anything else could take it for another's name.
///
/// # Errors
/// [`Cause::ClaimType`].
pub fn names(claims: &Claims, names: &[&str]) -> Result<(), Cause> {
    let is_text = |name: &&str| claims.root().get(name).is_none_or(|value| value.text().is_some());
    if names.iter().all(is_text) { Ok(()) } else { Err(Cause::ClaimType) }
}

/// `iss`, if it is text.
#[must_use]
pub fn issuer(claims: &Claims) -> Option<&str> {
    claims.root().get("iss")?.text()
}

/// The value at a path of keys.
#[must_use]
pub fn at<'a>(claims: &'a Claims, keys: &[Box<str>]) -> Option<Ref<'a>> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(claims.root().get(first)?, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { skew: Duration::from_secs(30), max_lifetime: None, require_exp: true };
    const NOW: Wall = Wall(1_000_000_000_000);

    fn claims(json: &str) -> Claims {
        Document::parse(json.as_bytes(), 99).unwrap()
    }

    fn judge(json: &str, timing: Timing) -> Result<(), Cause> {
        window(&claims(json), timing, NOW)?.check(NOW)
    }

    #[test]
    fn dates_are_judged_with_skew_and_at_the_very_second() {
        for (json, want) in [
            (r#"{"exp":1001}"#, Ok(())),
            (r#"{"exp":971}"#, Ok(())),
            (r#"{"exp":970}"#, Err(Cause::Expired)),
            (r#"{"exp":970.5}"#, Ok(())),
            (r#"{"exp":0}"#, Err(Cause::Expired)),
            (r#"{"exp":1e30}"#, Ok(())),
            (r#"{}"#, Err(Cause::ExpirationMissing)),
            (r#"{"exp":"1001"}"#, Err(Cause::ClaimType)),
            (r#"{"exp":-1}"#, Err(Cause::ClaimType)),
            (r#"{"exp":null}"#, Err(Cause::ClaimType)),
            (r#"{"exp":2000,"nbf":1030}"#, Ok(())),
            (r#"{"exp":2000,"nbf":1031}"#, Err(Cause::NotYetValid)),
            (r#"{"exp":2000,"iat":1031}"#, Err(Cause::NotYetValid)),
            (r#"{"exp":2000,"nbf":true}"#, Err(Cause::ClaimType)),
            (r#"{"exp":2000,"iat":"x"}"#, Err(Cause::ClaimType)),
        ] {
            assert_eq!(judge(json, TIMING), want, "{json}");
        }
        assert_eq!(judge("{}", Timing { require_exp: false, ..TIMING }), Ok(()));
    }

    #[test]
    fn a_lifetime_is_counted_from_iat_and_from_now() {
        let timing = Timing { max_lifetime: Some(Duration::from_secs(100)), ..TIMING };
        for (json, want) in [
            (r#"{"iat":990,"exp":1090}"#, Ok(())),
            (r#"{"iat":990,"exp":1091}"#, Err(Cause::Lifetime)),
            (r#"{"iat":1050,"exp":1140}"#, Err(Cause::Lifetime)),
            (r#"{"exp":1050}"#, Err(Cause::ClaimMissing)),
            (r#"{"iat":990}"#, Err(Cause::ExpirationMissing)),
        ] {
            assert_eq!(judge(json, timing), want, "{json}");
        }
    }

    #[test]
    fn an_audience_is_text_or_a_list_of_texts() {
        let ours = Audiences::OneOf(vec!["a".into(), "b".into()]);
        for (json, want) in [
            (r#"{"aud":"a"}"#, Ok(())),
            (r#"{"aud":["x","b"]}"#, Ok(())),
            (r#"{"aud":"x"}"#, Err(Cause::Audience)),
            (r#"{"aud":[]}"#, Err(Cause::Audience)),
            (r#"{}"#, Err(Cause::Audience)),
            (r#"{"aud":["a",1]}"#, Err(Cause::ClaimType)),
            (r#"{"aud":{"a":1}}"#, Err(Cause::ClaimType)),
            (r#"{"aud":null}"#, Err(Cause::ClaimType)),
        ] {
            assert_eq!(ours.check(&claims(json)), want, "{json}");
        }
        assert_eq!(Audiences::Any.check(&claims("{}")), Ok(()));
        assert_eq!(Audiences::Any.check(&claims(r#"{"aud":7}"#)), Err(Cause::ClaimType));
    }

    #[test]
    fn a_name_is_text_or_not_there() {
        for (json, want) in [
            ("{}", Ok(())),
            (r#"{"iss":"i","sub":"","x":7}"#, Ok(())),
            (r#"{"iss":"i","sub":7}"#, Err(Cause::ClaimType)),
            (r#"{"iss":null,"sub":"s"}"#, Err(Cause::ClaimType)),
            (r#"{"iss":["i"]}"#, Err(Cause::ClaimType)),
        ] {
            assert_eq!(names(&claims(json), &["iss", "sub"]), want, "{json}");
        }
    }

    #[test]
    fn nested_claims_are_found_by_their_keys() {
        let claims = claims(r#"{"a":{"b.c":{"d":1}},"l":[1]}"#);
        let at = |keys: &[&str]| {
            super::at(&claims, &keys.iter().map(|k| Box::from(*k)).collect::<Vec<_>>()).map(Ref::to_value)
        };
        assert_eq!(at(&["a", "b.c", "d"]), Some(1.into()));
        assert_eq!(at(&["a", "b"]), None);
        assert_eq!(at(&["l", "0"]), None);
        assert_eq!(at(&[]), None);
    }
}
