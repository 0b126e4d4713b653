//! From request to step.

mod judge;
mod judgement;
mod outcome;
mod waiting;

use std::rc::Rc;

use portcullis_common::cache::{Cache, KeyPart};
use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::Edits;
use portcullis_common::filter::{Answer, Event, Filter, Plugin, RootStep, Step};
use portcullis_common::host::Host;
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;

use crate::algorithm::Algorithm;
use crate::config::RawConfig;
use crate::counters::Counters;
use crate::identity::Identity;
use crate::policy::Policy;
use crate::policy::keys::MAX_SIZE;
use crate::servers::{Servers, What};
use crate::token::Headers;
use crate::verify::Verifier;

use self::judgement::Rejection;
use self::waiting::Patience;
pub use self::waiting::{Stream, Waiting};

/// The filter.
#[derive(Debug)]
pub struct JwtAuth {
    policy: Rc<Policy>,
    verifier: Verifier,
    headers: Headers,
    cache: Cache<Rc<Identity>>,
    servers: Servers,
    /// Held by every request that waits, so that they can be counted.
    waiting: Rc<()>,
    counters: Counters,
}

impl Filter for JwtAuth {
    const NAME: &'static str = "jwt-auth";
    const CLOCK: Clock = Clock::Wall;
    const PAUSES: bool = true;
    const GRPC: bool = false;
    const MAX_ANSWER: usize = MAX_SIZE;
    type Pending = Waiting;
    type Stream = Stream;

    fn configure(config: &[u8], host: &dyn Host) -> Result<Self, ConfigError> {
        let raw: RawConfig = config::parse(Self::NAME, config)?;
        let (policy, notes) = Policy::new(raw)?;
        let name = Rc::clone(&policy.plugin.name);
        let mut counters = Counters::new(&name);
        for note in notes {
            log::warn!("{name}: {note}");
        }
        if policy.providers.iter().any(|p| p.keys.iter().any(|key| key.is_demo())) {
            log::warn!(
                "{name}: the key demo-do-not-use is loaded; its private part is public, so anybody can sign tokens for this gateway"
            );
            counters.demo_key(host);
        }
        let signs = |a: &Algorithm| policy.providers.iter().any(|p| p.algorithms.contains(a));
        let wanted: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(signs).collect();
        let verifier = Verifier::probe(host, &wanted);
        for algorithm in wanted {
            let place = if verifier.is_host(algorithm) { "host" } else { "wasm" };
            log::info!("{name}: {algorithm} signatures are verified in {place}");
            counters.verifier(host, place);
        }
        // A token ends in its signature: nobody can make two that end alike.
        let cache = Cache::new(policy.cache, KeyPart::End);
        let servers = Servers::new(&policy, host);
        let headers = Headers::default();
        let waiting = Rc::new(());
        Ok(JwtAuth { policy: Rc::new(policy), verifier, headers, cache, servers, waiting, counters })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn on_request(
        &mut self,
        stream: &mut Stream,
        request: &Request,
        now: &Now,
        host: &dyn Host,
    ) -> Step<Waiting> {
        if !self.policy.enabled {
            return Step::Allow(Edits::default());
        }
        let policy = Rc::clone(&self.policy);
        if let Some(document) = policy.resource.as_ref().and_then(|resource| resource.answer(request)) {
            return Step::Reply(document);
        }
        self.decide(stream, Asked { policy: &policy, request, now, host }, Patience::Fresh)
    }

    fn on_answer(
        &mut self,
        stream: &mut Stream,
        request: &Request,
        pending: Waiting,
        answers: Vec<Answer>,
        now: &Now,
        host: &dyn Host,
    ) -> Step<Waiting> {
        stream.waits = None;
        let is_woken = matches!(answers.as_slice(), [Answer::Woken]);
        let policy = Rc::clone(&self.policy);
        let patience = if is_woken { Patience::Left(pending) } else { Patience::Over(pending) };
        self.decide(stream, Asked { policy: &policy, request, now, host }, patience)
    }

    fn on_tick(&mut self, now: &Now, host: &dyn Host) -> Vec<RootStep> {
        if self.servers.is_empty() {
            return Vec::new();
        }
        self.tell_waiting(host);
        self.servers.tick(now.mono(), host, &mut self.counters)
    }

    fn on_event(&mut self, event: Event, now: &Now, host: &dyn Host) -> Vec<RootStep> {
        match event {
            Event::Answered { tag, answer } => {
                self.servers.answered(tag, answer, now.mono(), host, &mut self.counters)
            }
            // Nothing here opens streams.
            Event::Opened { .. } | Event::Message { .. } | Event::Closed { .. } => Vec::new(),
        }
    }

    fn keeps_watch(&self) -> bool {
        !self.servers.is_empty()
    }
}

impl JwtAuth {
    fn decide(&mut self, stream: &mut Stream, asked: Asked<'_>, patience: Patience) -> Step<Waiting> {
        let known = patience.refusal(self.servers.epoch());
        let (mut rule, mut judgement) = match known {
            Some((rule, rejection)) => (rule, Err(rejection)),
            None => self.judge(asked),
        };
        if let Err(Rejection { missing: Some(missing), .. }) = &judgement
            && matches!(patience, Patience::Fresh)
            && self.servers.look(missing.provider, asked.now.mono(), asked.host)
        {
            // Another worker has it.
            (rule, judgement) = self.judge(asked);
        }
        let mut rejection = match judgement {
            Ok(pass) => {
                self.count_wait(asked.host, &patience, "woken");
                return Step::Allow(self.pass(asked, pass, rule));
            }
            Err(rejection) => rejection,
        };
        if let Some(missing) = &rejection.missing {
            if let Some(wait) = self.wait(stream, asked, (rule, &rejection), &patience) {
                return wait;
            }
            if let What::Key(name) = &missing.what {
                // Who cannot ask the server does not know that it has no such key.
                if self.servers.is_failing(missing.provider) {
                    let missing = rejection.missing.take();
                    rejection = Rejection { missing, ..Reason::KeysUnavailable.into() };
                } else {
                    let since = patience.since().unwrap_or_else(|| asked.now.mono());
                    self.servers.remember_absent(missing.provider, name.as_deref(), since);
                }
            }
        }
        let ended = if matches!(patience, Patience::Over(_)) { "timeout" } else { "woken" };
        self.count_wait(asked.host, &patience, ended);
        self.refuse(asked, rejection, rule)
    }
}

/// What is asked about one request.
#[derive(Clone, Copy)]
struct Asked<'a> {
    policy: &'a Policy,
    request: &'a Request,
    now: &'a Now,
    host: &'a dyn Host,
}
