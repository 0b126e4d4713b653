//! Which kind of token a provider's are: what `typ` says, and which claims such a token has.
//!
//! The rules for one kind exclude the tokens of the others (RFC 8725, sections 3.11 and 3.12): an ID token does not open an API
//! that wants access tokens, and a logout token opens nothing.

use portcullis_common::values::source::Source;
use serde::Deserialize;

use crate::algorithm::{Algorithm, Family};
use crate::claims::{self, Audiences, Cause, Claims};

/// The longest `sub` of an ID token, in characters: OpenID Connect Core, section 2.
const MAX_OIDC_SUBJECT: usize = 255;

/// A kind of token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Whatever the configuration says.
    #[default]
    Custom,
    /// An OAuth 2.0 access token: RFC 9068.
    Rfc9068,
    /// An ID token: OpenID Connect Core, section 2.
    Oidc,
    /// A JWT-SVID of SPIFFE.
    Spiffe,
}

/// What is asked of a token's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The profile.
    pub profile: Profile,
    /// The accepted types, in lower case and without `application/`.
    pub types: Vec<Box<str>>,
    /// Whether a token may leave `typ` out.
    pub untyped: bool,
    /// Claims that have to be there.
    pub required: Vec<Source>,
    /// Claims that must not be there.
    pub forbidden: Vec<Source>,
}

impl Profile {
    /// The types of such tokens, and whether they may leave `typ` out.
    #[must_use]
    pub const fn types(self) -> (&'static [&'static str], bool) {
        match self {
            Profile::Custom => (&["jwt", "at+jwt"], true),
            // RFC 9068, section 4.
            Profile::Rfc9068 => (&["at+jwt"], false),
            Profile::Oidc => (&["jwt"], true),
            // JWT-SVID, section 2.3.
            Profile::Spiffe => (&["jwt", "jose"], true),
        }
    }

    /// The claims that such tokens have.
    #[must_use]
    pub const fn required(self) -> &'static [&'static str] {
        match self {
            Profile::Custom => &[],
            // Section 2.2.
            Profile::Rfc9068 => &["iss", "exp", "aud", "sub", "client_id", "iat", "jti"],
            Profile::Oidc => &["iss", "sub", "aud", "exp", "iat"],
            // JWT-SVID, section 3.
            Profile::Spiffe => &["sub", "aud", "exp"],
        }
    }

    /// The claims that only tokens of other kinds have: `events` makes it a security event or a logout token (RFC 8417, section
    /// 2.2).
    #[must_use]
    pub const fn forbidden(self) -> &'static [&'static str] {
        match self {
            Profile::Custom => &[],
            Profile::Rfc9068 | Profile::Oidc | Profile::Spiffe => &["events"],
        }
    }

    /// The claims that are texts in such tokens, if they are there.
    #[must_use]
    pub const fn texts(self) -> &'static [&'static str] {
        match self {
            // Section 2.2.
            Profile::Rfc9068 => &["iss", "sub", "jti", "client_id"],
            Profile::Custom | Profile::Oidc | Profile::Spiffe => &["iss", "sub", "jti"],
        }
    }

    /// Whether such tokens may be signed with `algorithm` (JWT-SVID, section 2.1, lists nine).
    #[must_use]
    pub fn allows(self, algorithm: Algorithm) -> bool {
        self != Profile::Spiffe || !matches!(algorithm.family(), Family::Edwards | Family::Hmac)
    }

    /// What the `use` of a key for such tokens may be.
    #[must_use]
    pub const fn key_uses(self) -> &'static [&'static str] {
        match self {
            // SPIFFE Trust Domain and Bundle, section 4.2.2.
            Profile::Spiffe => &["sig", "jwt-svid"],
            Profile::Custom | Profile::Rfc9068 | Profile::Oidc => &["sig"],
        }
    }
}

impl Kind {
    /// Whether a token may call itself this. `typ` compares without case and without `application/` (RFC 7515, section 4.1.9).
    ///
    /// # Errors
    /// [`Cause::Type`].
    pub fn check_type(&self, typ: Option<&str>) -> Result<(), Cause> {
        let fits = match typ {
            None => self.untyped,
            Some(typ) => {
                let rest = typ.get(..12).filter(|front| front.eq_ignore_ascii_case("application/"));
                let typ = rest.map_or(typ, |_| typ.get(12..).unwrap_or_default());
                self.types.iter().any(|t| t.eq_ignore_ascii_case(typ))
            }
        };
        if fits { Ok(()) } else { Err(Cause::Type) }
    }

    /// Whether the claims are those of such a token.
    ///
    /// # Errors
    /// [`Cause::ClaimMissing`], [`Cause::ClaimForbidden`], [`Cause::ClaimType`], or [`Cause::Audience`] for an ID token that was
    /// issued to somebody else.
    pub fn check_claims(&self, claims: &Claims, audiences: &Audiences) -> Result<(), Cause> {
        let has = |name: &str| claims.root().get(name).is_some_and(|value| !value.is_null());
        let holds = |source: &Source| match source {
            Source::Claim(keys) => claims::at(claims, keys).is_some_and(|value| !value.is_null()),
            _ => false,
        };
        if !self.profile.required().iter().all(|name| has(name)) || !self.required.iter().all(holds) {
            return Err(Cause::ClaimMissing);
        }
        if self.profile.forbidden().iter().any(|name| has(name)) || self.forbidden.iter().any(holds) {
            return Err(Cause::ClaimForbidden);
        }
        claims::names(claims, self.profile.texts())?;
        if self.profile == Profile::Oidc {
            let subject = claims.root().get("sub").and_then(|sub| sub.text()).unwrap_or_default();
            if subject.chars().count() > MAX_OIDC_SUBJECT {
                return Err(Cause::ClaimType);
            }
            authorized_party(claims, audiences)?;
        }
        Ok(())
    }
}

/// OpenID Connect Core, section 3.1.3.7, items 4 and 5: with several audiences `azp` has to be there, and if it is there it is us.
fn authorized_party(claims: &Claims, audiences: &Audiences) -> Result<(), Cause> {
    let several = claims.root().get("aud").is_some_and(|aud| aud.items().count() > 1);
    match claims.root().get("azp").map(|azp| azp.text()) {
        None if several => Err(Cause::ClaimMissing),
        None => Ok(()),
        Some(Some(party)) if audiences.name(party) => Ok(()),
        Some(_) => Err(Cause::Audience),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::json::Document;

    fn kind(profile: Profile) -> Kind {
        let (types, untyped) = profile.types();
        let types = types.iter().map(|t| Box::from(*t)).collect();
        Kind { profile, types, untyped, required: Vec::new(), forbidden: Vec::new() }
    }

    fn check(kind: &Kind, json: &str) -> Result<(), Cause> {
        let ours = Audiences::OneOf(vec!["us".into()]);
        kind.check_claims(&Document::parse(json.as_bytes(), 99).unwrap(), &ours)
    }

    #[test]
    fn a_type_has_no_case_and_no_application() {
        for (profile, typ, want) in [
            (Profile::Custom, None, true),
            (Profile::Custom, Some("JWT"), true),
            (Profile::Custom, Some("application/AT+JWT"), true),
            (Profile::Custom, Some("logout+jwt"), false),
            (Profile::Custom, Some("dpop+jwt"), false),
            (Profile::Custom, Some("application/"), false),
            (Profile::Rfc9068, None, false),
            (Profile::Rfc9068, Some("JWT"), false),
            (Profile::Rfc9068, Some("Application/at+jwt"), true),
            (Profile::Oidc, Some("at+jwt"), false),
            (Profile::Oidc, None, true),
            (Profile::Spiffe, Some("JOSE"), true),
        ] {
            assert_eq!(kind(profile).check_type(typ).is_ok(), want, "{profile:?} {typ:?}");
        }
    }

    #[test]
    fn a_profile_wants_its_claims() {
        let access = r#"{"iss":"i","exp":1,"aud":"us","sub":"s","client_id":"c","iat":1,"jti":"j"}"#;
        assert_eq!(check(&kind(Profile::Rfc9068), access), Ok(()));
        for name in Profile::Rfc9068.required() {
            let without = access.replace(&format!("\"{name}\""), "\"other\"");
            assert_eq!(check(&kind(Profile::Rfc9068), &without), Err(Cause::ClaimMissing), "{name}");
        }
        let logout = access.replace("\"jti\"", "\"events\":{},\"jti\"");
        assert_eq!(check(&kind(Profile::Rfc9068), &logout), Err(Cause::ClaimForbidden));
    }

    #[test]
    fn an_id_token_is_for_the_party_that_it_was_issued_to() {
        let with = |more: &str| {
            check(&kind(Profile::Oidc), &format!(r#"{{"iss":"i","exp":1,"sub":"s","iat":1,{more}}}"#))
        };
        assert_eq!(with(r#""aud":"us""#), Ok(()));
        assert_eq!(with(r#""aud":["us","them"],"azp":"us""#), Ok(()));
        assert_eq!(with(r#""aud":["us","them"]"#), Err(Cause::ClaimMissing));
        assert_eq!(with(r#""aud":["us"],"azp":"them""#), Err(Cause::Audience));
        assert_eq!(with(r#""aud":["us"],"azp":["us"]"#), Err(Cause::Audience));
    }

    #[test]
    fn who_it_is_about_is_text() {
        let access = r#"{"iss":"i","exp":1,"aud":"us","sub":"s","client_id":"c","iat":1,"jti":"j"}"#;
        for (profile, claim) in [
            (Profile::Custom, "sub"),
            (Profile::Custom, "jti"),
            (Profile::Oidc, "sub"),
            (Profile::Spiffe, "iss"),
            (Profile::Rfc9068, "jti"),
            (Profile::Rfc9068, "client_id"),
        ] {
            assert_eq!(check(&kind(profile), access), Ok(()), "{profile:?}");
            for other in ["7", "true", "[]", r#"{"id":"s"}"#] {
                let text = format!("\"{claim}\":\"{}\"", &claim[..1]);
                let changed = access.replace(&text, &format!("\"{claim}\":{other}"));
                assert_eq!(check(&kind(profile), &changed), Err(Cause::ClaimType), "{profile:?} {changed}");
            }
        }
        let number = access.replace(r#""client_id":"c""#, r#""client_id":7"#);
        assert_eq!(check(&kind(Profile::Custom), &number), Ok(()), "what client_id is, RFC 9068 says");
    }

    #[test]
    fn the_subject_of_an_id_token_has_at_most_255_characters() {
        let with = |length: usize| {
            format!(r#"{{"iss":"i","exp":1,"aud":"us","iat":1,"sub":"{}"}}"#, "s".repeat(length))
        };
        assert_eq!(check(&kind(Profile::Oidc), &with(255)), Ok(()));
        assert_eq!(check(&kind(Profile::Oidc), &with(256)), Err(Cause::ClaimType));
        assert_eq!(check(&kind(Profile::Custom), &with(256)), Ok(()));
    }

    #[test]
    fn claims_can_be_required_and_forbidden() {
        let mut kind = kind(Profile::Custom);
        kind.required = vec![Source::parse("claim.a.b").unwrap()];
        kind.forbidden = vec![Source::parse("claim.nonce").unwrap()];
        assert_eq!(check(&kind, r#"{"a":{"b":1}}"#), Ok(()));
        assert_eq!(check(&kind, r#"{"a":{"b":null}}"#), Err(Cause::ClaimMissing));
        assert_eq!(check(&kind, r#"{"a":{"b":1},"nonce":"n"}"#), Err(Cause::ClaimForbidden));
    }
}
