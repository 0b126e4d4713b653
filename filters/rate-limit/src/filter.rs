//! From request to step.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::answer::Refusal;
use portcullis_common::clock::{Clock, Mono, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::{Edits, HeaderEdit};
use portcullis_common::facts::{self, Outcome, PropertyKey, Verdict};
use portcullis_common::filter::{Filter, Plugin, Step};
use portcullis_common::host::Host;
use portcullis_common::matching::path::NormalPath;
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::mode::Mode;
use portcullis_common::reason::Reason;
use portcullis_common::request::{Request, Response};
use portcullis_common::table::{Change, Table, Unavailable};
use portcullis_common::values::Failure;
use portcullis_common::values::context::Context;

use crate::config::{OnError, RawConfig};
use crate::counters::Counters;
use crate::gcra::{Decision, Standing};
use crate::headers;
use crate::policy::{Limit, Missing, Policy};

/// The problem type that the draft registers for a refusal like this.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// The filter.
#[derive(Debug)]
pub struct RateLimit {
    policy: Rc<Policy>,
    table: Table,
    counters: Counters,
    key: Vec<u8>,
}

/// What is remembered of a stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// The headers for its response.
    headers: Vec<HeaderEdit>,
    /// Whether it counts as in flight.
    admitted: bool,
}

/// What one limit says.
enum Said {
    /// It does not apply.
    Nothing,
    Admit(Standing),
    Refuse(Standing, Duration),
    Unusable(Failure),
    Unavailable,
}

impl Filter for RateLimit {
    const NAME: &'static str = "rate-limit";
    const CLOCK: Clock = Clock::Mono;
    const PAUSES: bool = false;
    type Pending = ();
    type Stream = Stream;

    fn configure(config: &[u8], host: &dyn Host) -> Result<Self, ConfigError> {
        let raw: RawConfig = config::parse(Self::NAME, config)?;
        let policy = Rc::new(Policy::new(raw)?);
        let plugin_name: PropertyKey = PropertyKey::from(&b"plugin_name"[..]);
        let attached = host.property(&plugin_name).unwrap_or_default();
        let attached = String::from_utf8_lossy(&attached);
        let size = policy.store.to_string();
        let name = [Self::NAME, &attached, &policy.plugin.name, &size];
        let table = Table::open(host, &name, 1, policy.store).map_err(|_| {
            ConfigError::new(
                Self::NAME,
                "store",
                "this host has no shared data that workers can count in; run this filter in Envoy",
            )
        })?;
        log::info!("{}: {} buckets can owe something at once", policy.plugin.name, table.slots());
        let counters = Counters::new(&policy.plugin.name);
        Ok(RateLimit { policy, table, counters, key: Vec::new() })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn on_request(&mut self, stream: &mut Stream, request: &Request, now: &Now, host: &dyn Host) -> Step<()> {
        if !self.policy.enabled {
            return Step::Allow(Edits::default());
        }
        let path = request.path().map(NormalPath::collapsed);
        let part = match &path {
            None => PathPart::Absent,
            Some(None) => PathPart::Unreadable,
            Some(Some(path)) => PathPart::Known(path),
        };
        let subject = Subject {
            authority: request.authority(),
            method: request.method(),
            path: part,
            headers: &request.headers,
        };
        let policy = Rc::clone(&self.policy);
        let matching = policy.matches.all(subject);
        let mut charged: Vec<(usize, Standing)> = Vec::new();
        let mut verdict = None;
        for n in matching {
            let context = Context {
                request,
                path: path.as_ref().and_then(Option::as_ref),
                pattern: policy.matches.pattern(n),
                host,
            };
            let (outcome, reason, reply) = match self.ask(n, &context, now.mono()) {
                Said::Nothing => continue,
                Said::Admit(standing) => {
                    charged.push((n, standing));
                    continue;
                }
                Said::Refuse(standing, retry) => {
                    (Outcome::Deny, Reason::RateLimited, self.limited(n, standing, retry))
                }
                Said::Unusable(failure) => (Outcome::Deny, failure.reason(), Refusal::new(failure.reason())),
                Said::Unavailable => {
                    let refusal = Refusal::new(Reason::StoreUnavailable).header("retry-after", "1");
                    let outcome =
                        if self.policy.on_error == OnError::Allow { Outcome::Error } else { Outcome::Deny };
                    (outcome, Reason::StoreUnavailable, refusal)
                }
            };
            let name = self.name(n);
            let shadow = self.policy.limits.get(n).is_some_and(|l| l.mode == Mode::Shadow);
            let outcome = if shadow && outcome == Outcome::Deny { Outcome::ShadowDeny } else { outcome };
            self.counters.decision(host, Some(n), &name, outcome, Some(reason));
            if outcome == Outcome::Deny {
                self.refund(&charged, &context, now.mono());
                return Step::Reply(reply.reply(request.protocol(), Some(name)));
            }
            verdict = Some(Verdict { outcome, reason: Some(reason), rule: name });
        }
        for (n, _) in &charged {
            let name = self.name(*n);
            self.counters.decision(host, Some(*n), &name, Outcome::Allow, None);
        }
        Step::Allow(self.admit(stream, &charged, verdict, host))
    }

    fn on_response(&mut self, stream: &mut Stream, _: &Response, _: &Now, _: &dyn Host) -> Edits {
        Edits { headers: std::mem::take(&mut stream.headers), ..Edits::default() }
    }

    fn on_done(&mut self, stream: &mut Stream, _: &Now, host: &dyn Host) {
        if std::mem::take(&mut stream.admitted) {
            self.counters.in_flight(host, -1);
        }
    }
}

impl RateLimit {
    fn name(&self, limit: usize) -> Rc<str> {
        self.policy.limits.get(limit).map_or_else(|| facts::UNMATCHED.into(), |l| Rc::clone(&l.name))
    }

    fn ask(&mut self, n: usize, context: &Context<'_>, now: Mono) -> Said {
        let Some(limit) = self.policy.limits.get(n) else { return Said::Nothing };
        match key(limit, &mut self.key, context) {
            Ok(true) => {}
            Ok(false) => return Said::Nothing,
            Err(failure) => return Said::Unusable(failure),
        }
        let quota = limit.quota;
        let decide = |debts: &[u64]| match quota.decide(debts.first().copied().unwrap_or(0), now.0, 1) {
            Decision::Admit { arrival, standing } => Change::Write(Said::Admit(standing), vec![arrival]),
            Decision::Refuse { retry_after, standing } => Change::Keep(Said::Refuse(standing, retry_after)),
        };
        match self.table.update(context.host, &self.key, now.0, decide) {
            Ok(update) => {
                self.counters.store(context.host, update.conflicts, update.evicted);
                update.value
            }
            Err(Unavailable::Contended | Unavailable::Host) => Said::Unavailable,
        }
    }

    /// Gives back what earlier limits charged for a request that a later one refuses.
    fn refund(&mut self, charged: &[(usize, Standing)], context: &Context<'_>, now: Mono) {
        let policy = Rc::clone(&self.policy);
        for (n, _) in charged {
            let Some(limit) = policy.limits.get(*n) else { continue };
            let context = Context { pattern: policy.matches.pattern(*n), ..*context };
            if key(limit, &mut self.key, &context) != Ok(true) {
                continue;
            }
            let quota = limit.quota;
            let back =
                |debts: &[u64]| Change::Write((), vec![quota.refund(debts.first().copied().unwrap_or(0), 1)]);
            if self.table.update(context.host, &self.key, now.0, back).is_err() {
                log::warn!("{}: {}: a refund was lost", self.policy.plugin.name, limit.name);
            }
        }
    }

    fn limited(&self, n: usize, standing: Standing, retry_after: Duration) -> Refusal {
        let seconds = headers::ceil_seconds(retry_after).max(1);
        let mut refusal = Refusal::new(Reason::RateLimited).header("retry-after", &seconds.to_string());
        let Some(limit) = self.policy.limits.get(n) else { return refusal };
        for (name, value) in headers::headers(self.policy.headers, limit, standing) {
            refusal = refusal.header(name, &value);
        }
        refusal.kind(QUOTA_EXCEEDED).member("violated-policies", format!("[\"{}\"]", limit.name))
    }

    fn admit(
        &mut self,
        stream: &mut Stream,
        charged: &[(usize, Standing)],
        verdict: Option<Verdict>,
        host: &dyn Host,
    ) -> Edits {
        // The tightest: whose share of what it holds is smallest.
        let share = |(n, standing): &(usize, Standing)| {
            let burst = self.policy.limits.get(*n).map_or(1, |l| l.quota.burst());
            u128::from(standing.remaining).saturating_mul(1_000_000).checked_div(u128::from(burst))
        };
        let tightest = charged.iter().min_by_key(|c| share(c)).copied();
        if let Some((n, standing)) = tightest {
            if let Some(limit) = self.policy.limits.get(n) {
                stream.headers = headers::edits(headers::headers(self.policy.headers, limit, standing));
            }
            stream.admitted = true;
            self.counters.in_flight(host, 1);
        }
        let allowed = || tightest.map(|(n, _)| Verdict::allow(self.name(n)));
        let verdict = verdict.or_else(allowed).unwrap_or_else(|| Verdict::skip(facts::UNMATCHED.into()));
        Edits::verdict(verdict)
    }
}

/// Writes a limit's key for this request into `out`. `Ok(false)` means that the limit does not apply.
fn key(limit: &Limit, out: &mut Vec<u8>, context: &Context<'_>) -> Result<bool, Failure> {
    let begin = |out: &mut Vec<u8>| {
        out.clear();
        out.extend_from_slice(limit.name.as_bytes());
        out.push(0);
    };
    begin(out);
    let instead = match &limit.missing {
        Missing::Value(text) => Some(text.as_str()),
        Missing::Deny | Missing::Skip | Missing::Key(_) => None,
    };
    let first = limit.key.iter().try_for_each(|part| part.append(out, context, instead));
    match (first, &limit.missing) {
        (Ok(()), _) => Ok(true),
        (Err(Failure::Absent), Missing::Skip) => Ok(false),
        (Err(_), Missing::Key(other)) => {
            begin(out);
            // Tells the other key from one of the same text.
            out.push(1);
            other.iter().try_for_each(|part| part.append(out, context, None)).map(|()| true)
        }
        (Err(failure), _) => Err(failure),
    }
}
