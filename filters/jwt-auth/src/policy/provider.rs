//! Who issues tokens, and what is asked of them.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::config::{ConfigError, HeaderName};
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;

use super::issuers::issuers;
use super::keys::{Keys, Source as Fetched, Whose, deny, keys};
use super::places::{default_locations, place};
use super::{Notes, below, error};
use crate::algorithm::Algorithm;
use crate::claims::{Audiences, Timing};
use crate::config::provider::{AbsentType, Expiration, RawAudiences, RawClaimHeader, RawProvider, RawTypes};
use crate::credentials::Location;
use crate::deny::Deny;
use crate::identity::ClaimHeader;
use crate::issuer::Issuers;
use crate::keys::KeySet;
use crate::profile::{Kind, Profile};

/// A checked provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name.
    pub name: Rc<str>,
    /// Whose tokens are its.
    pub issuers: Issuers,
    /// Whom its tokens must be for.
    pub audiences: Audiences,
    /// What it signs with.
    pub algorithms: Vec<Algorithm>,
    /// Its keys, as far as they were written.
    pub keys: KeySet,
    /// Whether others are fetched.
    pub remote: bool,
    /// How long a request waits for those.
    pub wait: Duration,
    /// Which kind of token its are.
    pub kind: Kind,
    /// Where its tokens are: positions in [`super::Policy::locations`].
    pub locations: Vec<usize>,
    /// What it says about time.
    pub timing: Timing,
    /// What is refused though it verifies.
    pub deny: Deny,
    /// The claims that hold roles.
    pub roles: Vec<Source>,
    /// The subject.
    pub subject: Template,
    /// Whether the token stays in the request.
    pub forward_token: bool,
    /// The header for the payload.
    pub payload_header: Option<HeaderName>,
    /// The headers for claims.
    pub claim_headers: Vec<(HeaderName, ClaimHeader)>,
}

/// Checks a provider. Its places are added to `locations`, what the operator should know to `notes`.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub(super) fn provider(
    path: &str,
    (position, name): (usize, &str),
    mut raw: RawProvider,
    locations: &mut Vec<Location>,
    sources: &mut Vec<Fetched>,
    notes: &mut Notes,
) -> Result<Provider, ConfigError> {
    let at = |field: &str| below(path, field);
    let profile = raw.profile.unwrap_or_default();
    let issuers = issuers(path, &mut raw)?;
    let audiences = match raw.audiences {
        None => return Err(error(at("audiences"), "missing; list at least one audience, or write \"any\"")),
        Some(RawAudiences::List(list)) if list.is_empty() || list.iter().any(String::is_empty) => {
            return Err(error(at("audiences"), "empty; list at least one audience, or write \"any\""));
        }
        Some(RawAudiences::List(list)) => Audiences::OneOf(list.into_iter().map(Into::into).collect()),
        Some(RawAudiences::Any) if profile != Profile::Custom => {
            let problem = "tokens of this profile are for somebody; list at least one audience";
            return Err(error(at("audiences"), problem));
        }
        Some(RawAudiences::Any) => Audiences::Any,
    };
    let algorithms = raw.algorithms.filter(|list| !list.is_empty()).ok_or_else(|| {
        error(at("algorithms"), "missing or empty; list what this issuer signs with, such as [RS256, ES256]")
    })?;
    if let Some(other) = algorithms.iter().find(|a| !profile.allows(**a)) {
        return Err(error(
            at("algorithms"),
            format!("{other} signs no JWT-SVIDs; list RS, PS or ES algorithms"),
        ));
    }
    let kind = kind(path, profile, raw.types, raw.required_claims, raw.forbidden_claims)?;
    let roles = raw.roles.unwrap_or_else(|| vec![Source::Claim([Box::from("roles")].into())]);
    if roles.is_empty() {
        return Err(error(at("roles"), "empty; list the claims that hold roles, such as [claim.roles]"));
    }
    only_claims(&at("roles"), &roles)?;
    let whose = Whose { position, algorithms: &algorithms, profile, issuers: &issuers };
    let Keys { set: keys, sources: servers, wait } = keys(&at("keys"), raw.keys, &whose, notes)?;
    let remote = !servers.is_empty();
    sources.extend(servers);
    let (deny, list) = deny(&at("deny"), raw.deny, position)?;
    sources.extend(list);
    let skew = raw.clock_skew.map_or(Duration::from_secs(30), |d| d.0);
    if skew > Duration::from_secs(600) {
        return Err(error(at("clock_skew"), "too long; write at most 10m"));
    }
    let max_lifetime = raw.max_lifetime.map(|d| d.0);
    if max_lifetime == Some(Duration::ZERO) {
        return Err(error(
            at("max_lifetime"),
            "no token lives that short; write a duration such as 24h, or leave it out",
        ));
    }
    let subject = match raw.subject {
        Some(subject) => subject,
        None => Template::parse("{claim.sub}").map_err(|problem| error(at("subject"), problem))?,
    };
    from_token_only(&at("subject"), &subject)?;
    if profile == Profile::Spiffe && subject.sources().any(|s| *s == Source::Issuer) {
        return Err(error(
            at("subject"),
            "the issuer of a JWT-SVID is not checked; use claim.sub, which names the trust domain",
        ));
    }
    if subject.runs_together() {
        return Err(error(
            at("subject"),
            "two sources side by side; put text between them, such as {issuer}#{claim.sub}",
        ));
    }
    let mut claim_headers = Vec::new();
    for (header, raw) in raw.claim_headers.unwrap_or_default() {
        let made = claim_header(&at(&format!("claim_headers.{}", header.as_str())), raw)?;
        claim_headers.push((header, made));
    }
    let mut own = Vec::new();
    for (n, location) in raw.tokens.unwrap_or_else(default_locations).into_iter().enumerate() {
        let location = place(&format!("{path}.tokens[{n}]"), location)?;
        let known = locations.iter().position(|l| *l == location);
        own.push(known.unwrap_or(locations.len()));
        if known.is_none() {
            locations.push(location);
        }
    }
    if own.is_empty() {
        return Err(error(
            at("tokens"),
            "empty; write [{header: authorization, scheme: Bearer}], or leave it out",
        ));
    }
    Ok(Provider {
        name: name.into(),
        issuers,
        audiences,
        algorithms,
        keys,
        remote,
        wait,
        kind,
        locations: own,
        timing: Timing { skew, max_lifetime, require_exp: raw.expiration != Some(Expiration::Optional) },
        deny,
        roles,
        subject,
        forward_token: raw.forward_token.unwrap_or(false),
        payload_header: raw.payload_header,
        claim_headers,
    })
}

fn kind(
    path: &str,
    profile: Profile,
    raw: Option<RawTypes>,
    required: Option<Vec<Source>>,
    forbidden: Option<Vec<Source>>,
) -> Result<Kind, ConfigError> {
    let at = |field: &str| below(path, field);
    let (types, untyped) = profile.types();
    let mut kind = Kind {
        profile,
        types: types.iter().map(|t| Box::from(*t)).collect(),
        untyped,
        required: required.unwrap_or_default(),
        forbidden: forbidden.unwrap_or_default(),
    };
    only_claims(&at("required_claims"), &kind.required)?;
    only_claims(&at("forbidden_claims"), &kind.forbidden)?;
    if let Some(both) = kind.required.iter().find(|s| kind.forbidden.contains(s)) {
        return Err(error(at("forbidden_claims"), format!("{both} is required too; keep one of the two")));
    }
    let Some(types) = raw else { return Ok(kind) };
    if profile != Profile::Custom {
        return Err(error(
            at("types"),
            "the profile says which types there are; leave types out, or write profile: custom",
        ));
    }
    if let Some(list) = types.accept {
        let fits = |t: &String| !t.is_empty() && t.bytes().all(|b| matches!(b, b'!'..=b'~'));
        if list.is_empty() || !list.iter().all(fits) {
            return Err(error(at("types.accept"), "not media types; list some, such as [at+jwt]"));
        }
        let bare = |t: String| {
            let lower = t.to_ascii_lowercase();
            Box::from(lower.strip_prefix("application/").unwrap_or(&lower))
        };
        kind.types = list.into_iter().map(bare).collect();
    }
    kind.untyped = types.absent.unwrap_or_default() == AbsentType::Accept;
    Ok(kind)
}

fn claim_header(path: &str, raw: RawClaimHeader) -> Result<ClaimHeader, ConfigError> {
    let list = match raw {
        RawClaimHeader::Text(template) => {
            from_token_only(path, &template)?;
            return Ok(ClaimHeader::Text(template));
        }
        RawClaimHeader::List(list) => list,
    };
    let from = list
        .from
        .ok_or_else(|| error(format!("{path}.from"), "missing; write a claim, such as claim.roles"))?;
    only_claims(&format!("{path}.from"), [&from])?;
    match (list.join, list.json) {
        (Some(join), None) => {
            if join.is_empty() || !join.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'%') {
                let problem = "not a separator; write visible ASCII without %, such as \",\"";
                return Err(error(format!("{path}.join"), problem));
            }
            Ok(ClaimHeader::Joined { from, by: join.into() })
        }
        (None, Some(true)) => Ok(ClaimHeader::Json(from)),
        _ => Err(error(path, "not one form; write exactly one of join: TEXT and json: true")),
    }
}

pub(super) fn only_claims<'a>(
    path: &str,
    sources: impl IntoIterator<Item = &'a Source>,
) -> Result<(), ConfigError> {
    match sources.into_iter().find(|source| !matches!(source, Source::Claim(_))) {
        Some(source) => Err(error(path, format!("{source} is no claim; write claim.NAME"))),
        None => Ok(()),
    }
}

fn from_token_only(path: &str, template: &Template) -> Result<(), ConfigError> {
    template.braced("text").map_err(|problem| error(path, problem))?;
    match template.sources().find(|s| !s.is_from_token()) {
        Some(source) => {
            Err(error(path, format!("{source} is not from the token; use subject, issuer or claim.NAME")))
        }
        None if path.ends_with(".subject") && template.sources().any(|s| *s == Source::Subject) => {
            Err(error(path, "subject cannot contain itself; use claim.sub"))
        }
        None => Ok(()),
    }
}
