//! The endpoint for many questions, checked.

use portcullis_common::config::ConfigError;
use portcullis_common::values::source::Source;

use super::bounds::whole;
use super::error;
use super::rules::{self, Filled, OwnTuple, With};
use crate::config::batch::RawBatch;
use crate::engine::Engine;

/// How many questions where nothing else is written.
const CHECKS: u32 = 50;

/// An endpoint that answers many questions.
#[derive(Debug)]
pub struct Batch {
    /// Its path.
    pub path: Box<str>,
    /// Who asks.
    pub subject: Filled,
    /// Tuples of the questions' own.
    pub tuples: Vec<OwnTuple>,
    /// Values for conditions.
    pub context: Vec<(Box<str>, Filled)>,
    /// The parameter that is the time of the request.
    pub now: Option<Box<str>>,
    /// The most questions of one request.
    pub max_checks: usize,
}

/// # Errors
/// What is wrong, where, and what to write instead.
pub(super) fn batch(raw: RawBatch, engine: &Engine, identity: &str) -> Result<Batch, ConfigError> {
    let at = |field: &str| format!("batch.{field}");
    const PATH: &str = "write one such as /.well-known/portcullis/checks";
    let path = raw.path.ok_or_else(|| error(at("path"), format!("missing; {PATH}")))?;
    let plain = |b: u8| matches!(b, b'!'..=b'~') && !b"?#%;\\{}*".contains(&b);
    let folds = path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
    if !path.starts_with('/') || !path.bytes().all(plain) || folds {
        return Err(error(at("path"), format!("not a path in its plain form; {PATH}")));
    }
    let subject =
        raw.subject.ok_or_else(|| error(at("subject"), "missing; write \"user:{subject}\", say"))?;
    rules::type_of(&at("subject"), &subject, engine)?;
    let verified = |s: &Source| s.is_from_token() || matches!(s, Source::PeerSpiffe | Source::PeerSha256);
    if subject.sources().next().is_none() || !subject.sources().all(verified) {
        let problem = "not verified; write it with subject, issuer, claim.NAME, peer.spiffe or peer.sha256";
        return Err(error(at("subject"), problem));
    }
    let With { tuples, context, now } =
        rules::with("batch", raw.tuples, raw.context, raw.now, false, engine, identity)?;
    let own = tuples.iter().flat_map(|t: &OwnTuple| [&t.subject, &t.object]);
    let all = own.chain(context.iter().map(|(_, filled)| filled));
    let of_rule =
        |filled: &Filled| filled.template.sources().any(|s| matches!(s, Source::Path(_) | Source::Route));
    if all.into_iter().any(of_rule) {
        return Err(error(
            "batch",
            "no rule matches here, so path.NAME and route have no value; leave them out",
        ));
    }
    let max_checks = whole(at("max_checks"), raw.max_checks, CHECKS, 1, 100)?;
    let max_checks = usize::try_from(max_checks).unwrap_or(usize::MAX);
    let subject = Filled::new(subject, identity);
    Ok(Batch { path: path.into(), subject, tuples, context, now, max_checks })
}
