//! Many questions at once, answered by the filter: which of these relations to these objects does the caller have?
//!
//! `GET <path>?check=viewer@document:1&check=editor@document:1`, for whoever shows buttons. Only truths come back: that a condition
//! lacks a value, or that an answer takes too long, would say that there are tuples, so it is a no.

use portcullis_common::answer::{Refusal, Reply};
use portcullis_common::clock::Now;
use portcullis_common::facts::Verdict;
use portcullis_common::host::Host;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;
use portcullis_common::values::context::Context;
use portcullis_common::values::params;
use serde_json::{Value, json};

use crate::engine;
use crate::own;
use crate::policy::{Batch, Policy};
use crate::question::Filler;

/// The name that stands for a rule in verdicts and metrics.
pub const RULE: &str = "_batch";
/// How many times the steps of one question all of a request may take. Each has the same share of them, whatever the others took:
/// else a question behind an object that is not there would go further than behind one that is.
const SHARE: u32 = 4;

/// The parameters of a question.
const PARAMETER: &str = "check";

/// Whether this is a request for the endpoint. The path is compared to the byte: any other spelling is for the rules.
#[must_use]
pub fn is_for(batch: &Batch, request: &Request) -> bool {
    let path = request.path().unwrap_or_default();
    path == batch.path.as_bytes()
}

/// The answer.
///
/// # Errors
/// The refusal of all of it, and its reason.
pub fn answer(
    policy: &Policy,
    batch: &Batch,
    request: &Request,
    now: &Now,
    host: &dyn Host,
) -> Result<Reply, (Reason, Refusal)> {
    let refuse = |reason: Reason| (reason, Refusal::new(reason));
    if !matches!(request.method(), b"GET" | b"HEAD") {
        let (reason, refusal) = refuse(Reason::MethodNotAllowed);
        // As a 404, a 405 may be kept by caches unless it says no (RFC 9110, section 15.1).
        return Err((reason, refusal.header("allow", "GET, HEAD").header("cache-control", "no-store")));
    }
    let context = Context { request, path: None, pattern: None, host };
    let filler = Filler { policy, context, now };
    let subject = filler.subject(&batch.subject).map_err(refuse)?;
    let most = batch.max_checks.saturating_add(1);
    let checks: Vec<Vec<u8>> = params::query(request.query(), PARAMETER).take(most).collect();
    if checks.is_empty() || checks.len() > batch.max_checks {
        // 400 and INVALID_ARGUMENT: it is the request, not a value of somebody's.
        return Err((Reason::ValueInvalid, Refusal::new(Reason::ValueInvalid).status(400, 3)));
    }
    let tuples = own::tuples(&batch.tuples, &context).map_err(refuse)?;
    let values = own::values(&batch.context, batch.now.as_deref(), policy, &context, now).map_err(refuse)?;
    if !policy.engine.is_ready() {
        return Err(refuse(Reason::TuplesUnavailable));
    }
    let asked = u32::try_from(checks.len()).unwrap_or(u32::MAX);
    let share = policy.max_steps.saturating_mul(SHARE).checked_div(asked).unwrap_or(1);
    let steps = share.clamp(1, policy.max_steps.max(1));
    let one = |check: &[u8]| -> Value {
        let invalid = || json!({"error": Reason::ValueInvalid.word()});
        let Ok(text) = params::text(check) else { return invalid() };
        let Some((relation, object)) = text.split_once('@') else { return invalid() };
        let answer = policy.engine.check(engine::Question {
            subject: &subject,
            relation,
            object,
            tuples: &tuples,
            context: &values,
            steps,
            explain: false,
        });
        let Ok(answer) = answer else { return invalid() };
        // What has no answer is a no: a question about an object that is not there has one.
        let allowed = answer.holds.unwrap_or(false);
        json!({"relation": relation, "object": object, "allowed": allowed})
    };
    let checks: Vec<Value> = checks.iter().map(|check| one(check)).collect();
    let body = format!("{}\n", json!({"checks": checks})).into_bytes();
    let mut reply = Reply::document("batch", "application/json", body, Verdict::allow(RULE.into()));
    reply.headers.push(("cache-control".into(), b"no-store".to_vec()));
    Ok(reply)
}
