//! What is done with a judgement: what a request is given on its way, or the answer that it gets.

use std::borrow::Cow;
use std::rc::Rc;

use portcullis_common::answer::Refusal;
use portcullis_common::clock::Now;
use portcullis_common::edits::Edits;
use portcullis_common::explain;
use portcullis_common::facts::{Outcome, PropertyKey, Verdict};
use portcullis_common::filter::{Filter, Step};
use portcullis_common::host::Host;
use portcullis_common::request::Request;
use portcullis_common::values::context::{Context, Reader};
use portcullis_common::values::source::Source;

use super::judgement::{Pass, Rejection, Shown};
use super::{Asked, JwtAuth, Waiting};
use crate::challenge::challenges;
use crate::credentials::removals;
use crate::identity;
use crate::policy::Policy;

impl JwtAuth {
    pub(super) fn pass(&mut self, asked: Asked<'_>, pass: Pass, rule: Option<usize>) -> Edits {
        let Asked { policy, request, now, host } = asked;
        let name = policy.rule_name(rule);
        let verdict = if matches!(pass, Pass::Unasked) { Verdict::skip(name) } else { Verdict::allow(name) };
        self.counters.decisions.count(host, rule, &verdict.rule, verdict.outcome, None);
        let shown = match &pass {
            Pass::Unasked | Pass::Anonymous => [].as_slice(),
            Pass::As(shown) => std::slice::from_ref(shown),
            Pass::AsAll(all) => all.as_slice(),
        };
        let mut edits = Edits::default();
        if let Some(first) = shown.first() {
            edits.facts.clone_from(&first.identity.facts);
            if let Some(text) = explained(policy, &verdict, Some(first), now, host) {
                edits.facts.push((PropertyKey::clone(&policy.explain_key), text.into_bytes().into()));
            }
        }
        hand_on(policy, shown, request, &mut edits);
        edits.verdict = Some(verdict);
        edits
    }

    pub(super) fn refuse(
        &mut self,
        asked: Asked<'_>,
        rejection: Rejection,
        rule: Option<usize>,
    ) -> Step<Waiting> {
        let Asked { policy, request, now, host } = asked;
        let Rejection { reason, cause, who, missing } = rejection;
        let name = policy.rule_name(rule);
        let rule_asked = rule.and_then(|n| policy.rules.get(n));
        let enforced = policy.enforcement(rule).applies(host);
        let outcome = if enforced { Outcome::Deny } else { Outcome::ShadowDeny };
        if let Some(cause) = cause {
            self.counters.failure(host, cause);
        }
        self.counters.decisions.count(host, rule, &name, outcome, Some(reason));
        log::debug!(
            "{}: {name}: {} {} {}",
            policy.plugin.name,
            outcome.word(),
            reason.word(),
            cause.unwrap_or("")
        );
        let verdict = Verdict { outcome, reason: Some(reason), rule: Rc::clone(&name) };
        if !enforced {
            return Step::Allow(Edits::verdict(verdict));
        }
        let mut refusal = Refusal::new(reason);
        for challenge in challenges(policy, reason, rule_asked) {
            refusal = refusal.header("www-authenticate", &challenge);
        }
        if let Some(missing) = missing.filter(|_| reason.spec().status == 503) {
            let left = self.servers.next_try(&missing).since(now.mono());
            // A whole second at least, and no part of one less than it takes.
            let seconds = left.as_secs().saturating_add(1);
            refusal = refusal.header("retry-after", &seconds.to_string());
        }
        if let Some(text) = explained(policy, &verdict, who.as_ref(), now, host) {
            refusal = refusal.header(explain::HEADER, &text);
        }
        Step::Reply(refusal.reply(request.protocol(), Some(name)))
    }
}

/// The explanation of a verdict, if the caller is one of those who are told.
fn explained(
    policy: &Policy,
    verdict: &Verdict,
    who: Option<&Shown>,
    now: &Now,
    host: &dyn Host,
) -> Option<String> {
    let explain = policy.explain.as_ref()?;
    let nothing = Request::default();
    let value = |source: &Source| match source {
        Source::PeerSpiffe | Source::PeerSha256 => {
            let context = Context { request: &nothing, path: None, pattern: None, host };
            Reader::new(source.clone(), "").read(&context).ok().map(Cow::into_owned)
        }
        _ => {
            let identity = &who?.identity;
            identity::value(&identity.claims, source, Some(&identity.subject)).ok()
        }
    };
    if !explain.is_for(value) {
        return None;
    }
    let source = match who {
        None => "none",
        Some(Shown { remembered: true, .. }) => "remembered",
        Some(_) => "checked",
    };
    Some(explain::text(&policy.plugin.name, verdict, source, now.elapsed_micros(JwtAuth::CLOCK)))
}

/// The headers of the identities, and their tokens' removal.
fn hand_on(policy: &Policy, shown: &[Shown], request: &Request, edits: &mut Edits) {
    let mut places = Vec::new();
    for Shown { identity, place, .. } in shown {
        edits.headers.extend_from_slice(&identity.headers);
        let forwarded = policy.providers.get(identity.provider).is_some_and(|p| p.forward_token);
        if !forwarded {
            places.extend(policy.locations.get(*place));
        }
    }
    edits.headers.extend(removals(&places, request));
}
