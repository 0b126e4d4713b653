//! Whose tokens are a provider's.

use std::collections::BTreeMap;

use portcullis_common::config::ConfigError;
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;

use super::provider::only_claims;
use super::{below, error};
use crate::config::provider::RawProvider;
use crate::issuer::{Issuers, is_trust_domain};
use crate::profile::Profile;

/// The issuers of a provider: exact ones, a template with values, or a trust domain.
pub(super) fn issuers(path: &str, raw: &mut RawProvider) -> Result<Issuers, ConfigError> {
    let at = |field: &str| below(path, field);
    let boxed = |list: Vec<String>| list.into_iter().map(Into::into).collect();
    let spiffe = raw.profile == Some(Profile::Spiffe);
    let values = raw.issuer_values.take();
    if values.is_some() && raw.issuer_template.is_none() {
        return Err(error(at("issuer_values"), "without issuer_template; write both, or leave it out"));
    }
    match (raw.issuer.take(), raw.issuers.take(), raw.issuer_template.take(), raw.trust_domain.take()) {
        (None, None, None, Some(domain)) if spiffe => {
            if !is_trust_domain(&domain) {
                return Err(error(
                    at("trust_domain"),
                    "not a trust domain; write its name, such as example.org",
                ));
            }
            Ok(Issuers::TrustDomain(format!("spiffe://{domain}/").into()))
        }
        (None, None, None, None) if spiffe => {
            Err(error(at("trust_domain"), "missing; write the name of the trust domain, such as example.org"))
        }
        (_, _, _, Some(_)) => {
            Err(error(at("trust_domain"), "beside an issuer, or without profile: spiffe; keep one of them"))
        }
        _ if spiffe => {
            Err(error(at("issuer"), "iss is not what tells JWT-SVIDs apart; write trust_domain instead"))
        }
        (None, None, None, None) => Err(error(at("issuer"), "missing; write the exact iss of the tokens")),
        (Some(one), None, None, None) if !one.is_empty() => Ok(Issuers::Exact(vec![one.into()])),
        (None, Some(list), None, None) if !list.is_empty() && !list.iter().any(String::is_empty) => {
            Ok(Issuers::Exact(boxed(list)))
        }
        (None, None, Some(template), None) => issuer_template(path, template, values.unwrap_or_default()),
        (Some(_), None, None, None) => Err(error(at("issuer"), "empty; write the exact iss of the tokens")),
        (None, Some(_), None, None) => Err(error(at("issuers"), "empty; write the exact iss of the tokens")),
        _ => Err(error(at("issuer"), "beside issuers or issuer_template; keep one of the three")),
    }
}

fn issuer_template(
    path: &str,
    template: Template,
    raw: BTreeMap<String, Vec<String>>,
) -> Result<Issuers, ConfigError> {
    let at = |field: &str| below(path, field);
    let mut values = Vec::new();
    for (text, list) in raw {
        let place = at(&format!("issuer_values.{text}"));
        let source = Source::parse(&text).ok().filter(|source| template.sources().any(|s| s == source));
        let source = source
            .ok_or_else(|| error(&*place, "not a claim of issuer_template; write one of its claims"))?;
        if list.is_empty() || list.iter().any(String::is_empty) {
            return Err(error(place, "empty, so no token would do; list the values that it may have"));
        }
        values.push((source, list.into_iter().map(Into::into).collect()));
    }
    let sources: Vec<&Source> = template.sources().collect();
    only_claims(&at("issuer_template"), sources.iter().copied())?;
    if sources.is_empty() {
        return Err(error(at("issuer_template"), "no claim in it; write issuer instead"));
    }
    if let Some(missing) = sources.iter().find(|s| !values.iter().any(|(source, _)| source == **s)) {
        let problem =
            format!("{missing} has no values; list those that it may have, such as {{{missing}: [VALUE]}}");
        return Err(error(at("issuer_values"), problem));
    }
    Ok(Issuers::Template { template, values })
}
