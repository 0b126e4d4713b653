//! From a request's tokens to a judgement.

use std::rc::Rc;

use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::matching::strict;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;

use super::judgement::{Judgement, Pass, Rejection, Shown};
use super::{Asked, JwtAuth};
use crate::authenticate::{Check, authenticate, is_not_denied};
use crate::credentials::Found;
use crate::identity::Identity;
use crate::policy::{Policy, Require, Rule};
use crate::requirement::{Granted, Lack, Requirement};

impl JwtAuth {
    /// Whether what a remembered token was checked with still holds: the key that made its signature, and the deny list.
    fn still_holds(&self, identity: &Identity) -> bool {
        let epoch = self.servers.epoch();
        if identity.epoch.get() == epoch {
            return true;
        }
        let has_key = identity.proof.as_ref().is_none_or(|proof| self.servers.has(proof.source, &proof.key));
        let position = identity.provider;
        let is_listed = self.policy.providers.get(position).is_none_or(|provider| {
            is_not_denied(&self.servers, position, provider, &identity.claims).is_err()
        });
        if !has_key || is_listed {
            return false;
        }
        identity.epoch.set(epoch);
        true
    }

    pub(super) fn judge(&mut self, asked: Asked<'_>) -> (Option<usize>, Judgement) {
        let Asked { policy, request, .. } = asked;
        let rule = match find_rule(policy, request) {
            Ok(rule) => rule,
            Err(reason) => return (None, Err(reason.into())),
        };
        if policy.preflights == Preflights::Pass && request.is_preflight() {
            return (rule, Ok(Pass::Unasked));
        }
        let Some(Rule { require, requirement, .. }) = rule.and_then(|n| policy.rules.get(n)) else {
            return match policy.unmatched {
                Unmatched::Allow => (None, Ok(Pass::Unasked)),
                Unmatched::Deny => (None, Err(Reason::Unmatched.into())),
            };
        };
        let granted = |shown: Shown| grants(policy, requirement, shown);
        let missing = || Rejection::from(Reason::TokenMissing);
        let judgement = match require {
            Require::None => Ok(Pass::Unasked),
            Require::Any(providers) => {
                self.any(asked, providers).and_then(|s| s.ok_or_else(missing)).and_then(granted).map(Pass::As)
            }
            Require::Optional(providers) => match self.any(asked, providers) {
                Ok(None) => Ok(Pass::Anonymous),
                Ok(Some(shown)) => granted(shown).map(Pass::As),
                Err(rejection) => Err(rejection),
            },
            Require::All(providers) => self.all(asked, providers).and_then(|all| {
                // The first one speaks for the request, in what it grants as in its facts.
                all.first().cloned().map(granted).transpose()?;
                Ok(Pass::AsAll(all))
            }),
        };
        (rule, judgement)
    }

    /// The one token of any of these providers, if there is one.
    fn any(&mut self, asked: Asked<'_>, providers: &[usize]) -> Result<Option<Shown>, Rejection> {
        let takes = |provider: &usize, place: usize| {
            asked.policy.providers.get(*provider).is_some_and(|p| p.locations.contains(&place))
        };
        let mut found = None;
        for (place, location) in asked.policy.locations.iter().enumerate() {
            if !providers.iter().any(|p| takes(p, place)) {
                continue;
            }
            match location.find(asked.request) {
                Found::Nothing => {}
                Found::Token(token) if found.is_none() => found = Some((token, place)),
                Found::Token(_) | Found::Several => return Err(Reason::TokenAmbiguous.into()),
            }
        }
        let Some((token, place)) = found else { return Ok(None) };
        let known = self
            .cache
            .get(&token)
            .filter(|known| speaks_for(asked.policy, providers, known, |p| takes(p, place)));
        let known = known.map(Rc::clone).filter(|known| self.still_holds(known));
        if let Some(identity) = known {
            return match identity.window.check(asked.now.wall()) {
                Ok(()) => Ok(Some(Shown { identity, place, remembered: true })),
                Err(cause) => {
                    self.cache.remove(&token);
                    Err(cause.into())
                }
            };
        }
        // Envoy joins repeated headers with commas, which no token contains; JSON does, and is refused for that.
        if token.first() != Some(&b'{') && token.contains(&b',') {
            return Err(Reason::TokenAmbiguous.into());
        }
        let here: Vec<usize> = providers.iter().filter(|p| takes(p, place)).copied().collect();
        let identity = self.check(asked, &here, &token)?;
        Ok(Some(Shown { identity, place, remembered: false }))
    }

    /// One token of each of these providers.
    fn all(&mut self, asked: Asked<'_>, providers: &[usize]) -> Result<Vec<Shown>, Rejection> {
        let one =
            |provider| self.any(asked, std::slice::from_ref(provider))?.ok_or(Reason::TokenMissing.into());
        providers.iter().map(one).collect()
    }

    /// The identity behind a token that is not remembered.
    fn check(
        &mut self,
        asked: Asked<'_>,
        providers: &[usize],
        token: &[u8],
    ) -> Result<Rc<Identity>, Rejection> {
        let Asked { policy, now, host, .. } = asked;
        self.counters.verified(host);
        let check = Check {
            policy,
            servers: &self.servers,
            verifier: &self.verifier,
            headers: &mut self.headers,
            now: now.wall(),
            host,
        };
        let identity = Rc::new(authenticate(check, providers, token)?);
        self.cache.insert(token, Rc::clone(&identity), identity.bytes());
        Ok(identity)
    }
}

fn find_rule(policy: &Policy, request: &Request) -> Result<Option<usize>, Reason> {
    let path = strict::path(&policy.matches, request, policy.encoded_slash)?;
    let path = path.as_ref().map_or(PathPart::Absent, PathPart::Known);
    Ok(policy.matches.first(Subject::of(request, path)))
}

/// Whether a remembered identity is the one that a check by these providers would give: no provider in front of its own could own
/// the token. Else it would depend on what was asked earlier whose the token is.
fn speaks_for(
    policy: &Policy,
    providers: &[usize],
    known: &Identity,
    takes: impl Fn(&usize) -> bool,
) -> bool {
    let owns = |p: &usize| policy.providers.get(*p).is_some_and(|p| p.issuers.own(&known.claims));
    let mut able = providers.iter().filter(|p| takes(p)).skip_while(|p| **p != known.provider && !owns(p));
    able.next() == Some(&known.provider)
}

/// Whether the token grants what the rule asks of it.
fn grants(policy: &Policy, requirement: &Requirement, shown: Shown) -> Result<Shown, Rejection> {
    let identity = &shown.identity;
    let roles = policy.providers.get(identity.provider).map(|p| p.roles.as_slice()).unwrap_or_default();
    let granted = Granted { claims: &identity.claims, subject: &identity.subject, roles };
    let reason = match requirement.check(granted) {
        Ok(()) => return Ok(shown),
        Err(Lack::Scope) => Reason::ScopeInsufficient,
        Err(Lack::Claim) => Reason::ClaimsInsufficient,
    };
    Err(Rejection { reason, cause: None, who: Some(shown), missing: None })
}
