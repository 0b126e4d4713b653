//! What a verified token becomes: facts for the siblings, headers for the upstream. Made once per token, remembered with it.

use std::rc::Rc;

use portcullis_common::edits::{HeaderEdit, header_value};
use portcullis_common::facts::PropertyKey;
use portcullis_common::values::context::scalar;
use portcullis_common::values::source::Source;
use portcullis_common::values::{Failure, params};

use crate::claims::{self, Cause, Claims, Window};
use crate::policy::{Policy, Provider};

/// A token that verified, for one provider.
#[derive(Debug)]
pub struct Identity {
    /// The provider's position.
    pub provider: usize,
    /// When it is valid.
    pub window: Window,
    /// Its claims.
    pub claims: Claims,
    /// The subject and what is published.
    pub facts: Vec<(PropertyKey, Rc<[u8]>)>,
    /// The headers for the upstream.
    pub headers: Vec<HeaderEdit>,
}

/// Why a verified token has no identity here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A check that belongs to the token.
    Cause(Cause),
    /// A claim that a header needs cannot be put into one.
    Value(Failure),
}

impl Identity {
    /// The identity of `claims`, which `provider` vouches for; `payload` is the token's middle part as it came.
    ///
    /// # Errors
    /// If the subject or a header cannot be formed.
    pub fn new(
        policy: &Policy,
        position: usize,
        provider: &Provider,
        claims: Claims,
        window: Window,
        payload: &[u8],
    ) -> Result<Identity, Unfit> {
        let subject = provider
            .subject
            .fill_apart(|source| value(&claims, source, None))
            .map_err(|_| Unfit::Cause(Cause::Subject))?;
        let subject = params::text(subject.as_bytes()).map_err(|_| Unfit::Cause(Cause::Subject))?;
        let mut facts = vec![(PropertyKey::clone(&policy.subject_key), subject.as_bytes().into())];
        for (source, key) in &policy.publish {
            if let Some(fact) = fact(&claims, source) {
                facts.push((PropertyKey::clone(key), fact.into()));
            }
        }
        let mut headers = Vec::new();
        for (name, template) in &provider.claim_headers {
            match template.fill(|source| value(&claims, source, Some(&subject))) {
                Ok(text) => headers.push(HeaderEdit::Set(Rc::clone(&name.0), header_value(text.as_bytes()))),
                Err(Failure::Absent) => {}
                Err(failure) => return Err(Unfit::Value(failure)),
            }
        }
        if let Some(name) = &provider.payload_header {
            headers.push(HeaderEdit::Set(Rc::clone(&name.0), payload.into()));
        }
        Ok(Identity { provider: position, window, claims, facts, headers })
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let facts = self.facts.iter().map(|(_, v)| v.len().saturating_add(48));
        let headers = self.headers.iter().map(|h| match h {
            HeaderEdit::Set(_, v) | HeaderEdit::Add(_, v) => v.len().saturating_add(48),
            HeaderEdit::Remove(_) => 48,
        });
        facts.chain(headers).fold(self.claims.bytes().saturating_add(256), usize::saturating_add)
    }
}

fn value(claims: &Claims, source: &Source, subject: Option<&str>) -> Result<String, Failure> {
    match source {
        Source::Claim(keys) => scalar(claims::at(claims, keys).ok_or(Failure::Absent)?),
        Source::Issuer => claims::issuer(claims).map(str::to_owned).ok_or(Failure::Absent),
        Source::Subject => subject.map(str::to_owned).ok_or(Failure::Absent),
        _ => Err(Failure::Absent),
    }
}

/// A claim as JSON text, the issuer as it is; `None` if the token has none.
fn fact(claims: &Claims, source: &Source) -> Option<Vec<u8>> {
    match source {
        Source::Issuer => claims::issuer(claims).map(|i| i.as_bytes().to_vec()),
        Source::Claim(keys) => {
            let value = claims::at(claims, keys).filter(|v| !v.is_null())?;
            Some(value.to_json().into_bytes())
        }
        _ => None,
    }
}
