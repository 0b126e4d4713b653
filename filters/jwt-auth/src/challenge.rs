//! The challenges of a refusal: RFC 6750, section 3, with RFC 9728, section 5.1.

use portcullis_common::reason::Reason;

use crate::policy::{Policy, Rule};

/// One challenge for each scheme that the rule's providers take.
#[must_use]
pub fn challenges(policy: &Policy, reason: Reason, rule: Option<&Rule>) -> Vec<String> {
    let error = match reason {
        // Without a credential there is no error code (section 3.1).
        Reason::TokenMissing => "",
        Reason::TokenAmbiguous => ", error=\"invalid_request\"",
        Reason::TokenMalformed | Reason::TokenInvalid => ", error=\"invalid_token\"",
        Reason::ScopeInsufficient | Reason::ClaimsInsufficient => ", error=\"insufficient_scope\"",
        _ => return Vec::new(),
    };
    let scope = match (reason, rule.and_then(|r| r.requirement.scopes.as_ref())) {
        (Reason::ScopeInsufficient, Some(names)) => format!(", scope=\"{}\"", names.sufficient().join(" ")),
        _ => String::new(),
    };
    let metadata = policy
        .resource
        .as_ref()
        .map_or_else(String::new, |resource| format!(", resource_metadata=\"{}\"", resource.url));
    let mut schemes: Vec<&str> = Vec::new();
    let providers = rule.map(|r| r.require.providers()).unwrap_or_default();
    let places = providers.iter().filter_map(|p| policy.providers.get(*p)).flat_map(|p| &p.locations);
    for location in places.filter_map(|place| policy.locations.get(*place)) {
        if !schemes.contains(&location.scheme()) {
            schemes.push(location.scheme());
        }
    }
    let challenge = |scheme: &str| format!("{scheme} realm=\"{}\"{error}{scope}{metadata}", policy.realm);
    schemes.into_iter().map(challenge).collect()
}
