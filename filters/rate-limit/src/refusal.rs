//! The answer to a request that is over a limit, and what an admitted one is told.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::answer::Refusal;
use portcullis_common::host::Host;
use portcullis_common::reason::Reason;

use crate::charge::{Ask, Said};
use crate::config::GrpcStatus;
use crate::headers::{Told, ceil_seconds};
use crate::meter::Standing;
use crate::policy::Policy;
use crate::policy::limit::Limit;

/// The problem type that the draft registers for a refusal like this.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Refuses for these limits, none of which is in shadow: when all of them would let pass, and which they are.
#[must_use]
pub fn over(policy: &Policy, over: &[(&Ask, &Said)], host: &dyn Host) -> Refusal {
    let retry = over.iter().filter_map(|(_, said)| said.retry_after()).max().unwrap_or_default();
    let mut violated: Vec<(Duration, Told)> = Vec::new();
    for (ask, said) in over {
        let waits = said.rates.iter().map(|r| r.retry_after);
        violated.extend(waits.zip(told(policy, ask, said)).filter_map(|(wait, told)| Some((wait?, told))));
    }
    let names: Vec<Rc<str>> = violated.iter().map(|(_, told)| Rc::clone(&told.policy)).collect();
    let longest = violated.into_iter().max_by_key(|(wait, _)| *wait).map(|(_, told)| told);
    refusal(policy, retry, longest.as_ref(), &names, host)
}

/// Refuses for a limit whose places are all taken. When one will be free nobody knows.
#[must_use]
pub fn in_flight(policy: &Policy, told: &Told, host: &dyn Host) -> Refusal {
    refusal(policy, Duration::from_secs(1), Some(told), &[Rc::clone(&told.policy)], host)
}

fn refusal(
    policy: &Policy,
    retry: Duration,
    told: Option<&Told>,
    violated: &[Rc<str>],
    host: &dyn Host,
) -> Refusal {
    let retry = retry.saturating_add(jitter(policy.refusals.jitter, host));
    let seconds = ceil_seconds(retry).max(1);
    let mut refusal = Refusal::new(Reason::RateLimited).header("retry-after", &seconds.to_string());
    for (name, value) in told.map(|t| t.headers(policy.headers)).unwrap_or_default() {
        refusal = refusal.header(name, &String::from_utf8_lossy(&value));
    }
    if policy.refusals.envoy_ratelimited {
        refusal = refusal.header("x-envoy-ratelimited", "true");
    }
    if policy.refusals.grpc == GrpcStatus::Unavailable {
        const UNAVAILABLE: u8 = 14;
        refusal = refusal.status(429, UNAVAILABLE);
    }
    // Names are letters, digits, `_`, `-` and `.`: nothing of them means anything in JSON.
    let violated: Vec<String> = violated.iter().map(|name| format!("\"{name}\"")).collect();
    refusal.kind(QUOTA_EXCEEDED).member("violated-policies", format!("[{}]", violated.join(",")))
}

/// A random time of up to `most`; only ever later, for what comes too early is refused again.
fn jitter(most: Duration, host: &dyn Host) -> Duration {
    let mut dice = [0; 4];
    if most.is_zero() || host.random(&mut dice).is_err() {
        return Duration::ZERO;
    }
    let share = f64::from(u32::from_le_bytes(dice)) / f64::from(u32::MAX);
    most.mul_f64(share)
}

/// How a client stands with each rate of a limit.
pub fn told<'a>(policy: &'a Policy, ask: &'a Ask, said: &'a Said) -> impl Iterator<Item = Told> {
    let name = policy.limits.get(ask.limit).map(|l| Rc::clone(&l.name));
    let several = ask.rates.len() > 1;
    ask.rates.iter().zip(&said.rates).enumerate().filter_map(move |(n, (rate, rated))| {
        let limit = name.clone()?;
        let numbered = || format!("{limit}.{}", n.saturating_add(1)).into();
        Some(Told {
            policy: if several { numbered() } else { Rc::clone(&limit) },
            limit,
            quota: rate.rate.count.get(),
            window: rate.rate.period.seconds(),
            concurrent: false,
            capacity: rate.measure.capacity(),
            standing: rated.standing,
        })
    })
}

/// How a client stands with a limit's requests in flight, of which `taken` are taken.
#[must_use]
pub fn told_in_flight(limit: &Limit, most: NonZeroU32, taken: u64) -> Told {
    let most = u64::from(most.get());
    Told {
        policy: format!("{}.in_flight", limit.name).into(),
        limit: Rc::clone(&limit.name),
        quota: most,
        window: None,
        concurrent: true,
        capacity: most,
        standing: Standing { remaining: most.saturating_sub(taken), next: None },
    }
}
