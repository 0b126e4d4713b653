//! From the end of a stream to its counters.
//!
//! Everything happens in the log callback: it comes for every stream, also for those that another filter or Envoy itself
//! answered before this one was asked. What a warm request costs: one evaluated expression (or, on a host that has none, one
//! header map and a getter for each attribute and fact), one fact, and one update for each metric; tests/tests/budgets.rs holds it.

use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::Edits;
use portcullis_common::facts::{self, PropertyKey, Verdict};
use portcullis_common::filter::{Filter, Plugin, RootStep, Step};
use portcullis_common::headers::Headers;
use portcullis_common::host::Host;
use portcullis_common::matching::path::NormalPath;
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::request::Request;

use crate::attributes::{Attributes, Seen};
use crate::classes::{self, Source};
use crate::config::RawConfig;
use crate::consumers::{Busiest, OTHERS};
use crate::counters::{self, Counters};
use crate::in_flight::{InFlight, Ticket};
use crate::labels;
use crate::objectives::{Objective, Outcome};
use crate::policy::Policy;
use crate::registry::Registry;
use crate::sampling::{self, Sampler};
use crate::series::Ceiling;

/// The most of Envoy's route names that are told apart.
const ENVOY_ROUTES: usize = 1_000;

/// The filter.
#[derive(Debug)]
pub struct Metrics {
    policy: Policy,
    attributes: Attributes,
    counters: Counters,
    in_flight: InFlight,
    busiest: Option<Busiest>,
    /// Envoy's route names, as they were met.
    envoy_routes: BTreeMap<Vec<u8>, (u32, Rc<str>)>,
    sampler: Sampler,
}

impl Filter for Metrics {
    const NAME: &'static str = "metrics";
    const CLOCK: Clock = Clock::Mono;
    const PAUSES: bool = false;
    const TICKS: bool = true;
    type Pending = ();
    type Stream = Ticket;

    fn configure(config: &[u8], host: &dyn Host) -> Result<Self, ConfigError> {
        let raw: RawConfig = config::parse(Self::NAME, config)?;
        let policy = Policy::new(raw)?;
        let name = Rc::clone(&policy.plugin.name);
        let registry = Registry::new(facts::attached(host).as_bytes(), &name);
        let in_flight = InFlight::new(host, registry.key("in flight"));
        let ceiling = Ceiling::new(registry, &name, policy.series.0, policy.series.1);
        let mut counters = Counters::new(&name, ceiling);
        if policy.enabled {
            for (route, promise) in &policy.promises {
                counters.promise(host, (number(*route), policy.route_name(Some(*route))), promise);
            }
        }
        let consumer = policy.consumers.as_ref();
        let mut wanted: Vec<PropertyKey> =
            policy.siblings.iter().map(|sibling| facts::key(sibling, "verdict")).collect();
        wanted.extend(consumer.map(|c| PropertyKey::clone(&c.fact)));
        wanted.extend(consumer.and_then(|c| c.tier.as_ref()).map(|(key, _)| PropertyKey::clone(key)));
        let attributes = Attributes::new(host, policy.envoy_route, wanted);
        let busiest = consumer.filter(|c| c.top != 0).map(|c| Busiest::new(c.top));
        let (envoy_routes, sampler) = (BTreeMap::new(), Sampler::default());
        Ok(Metrics { policy, attributes, counters, in_flight, busiest, envoy_routes, sampler })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn begin(&mut self) -> Ticket {
        if self.policy.enabled { self.in_flight.ticket() } else { Ticket::default() }
    }

    fn on_request(&mut self, _: &mut Ticket, _: &Request, _: &Now, _: &dyn Host) -> Step<()> {
        Step::Allow(Edits::default())
    }

    fn on_log(&mut self, _: &mut Ticket, request: &dyn Fn() -> Request, now: &Now, host: &dyn Host) {
        if !self.policy.enabled {
            return;
        }
        let mut list = Vec::new();
        let seen = self.attributes.read(host, request, &mut list);
        let template = self.template(&seen);
        let (route, name) = self.route(template, &seen.envoy_route);
        let code = classes::code(seen.code);
        let end = classes::end(code, &seen.details, seen.flags);
        let grpc = seen.grpc.map_or(classes::NO_GRPC, |status| classes::grpc(status.unwrap_or(99)));
        let method = classes::method(&seen.method);
        // A tunnel is open for as long as its two ends like.
        let tunnel = code == 101 || &*seen.method == b"CONNECT";
        let total = seen.total.filter(|_| !tunnel);
        let outcome = Outcome { code, grpc, end, total };

        self.counters.request(host, &counters::Request { route: (route, &name), method, code, grpc, end });
        self.times(host, (route, &name), &seen, &outcome);
        self.counters.bytes(host, (route, &name), [seen.received, seen.sent]);
        if grpc != classes::NO_GRPC {
            self.procedure(host, &seen, grpc, total);
        }
        self.verdicts(host, &seen);
        self.consumer(host, &seen, code, total);
        self.promise(host, template, &name, &outcome);
        self.line(host, now, request, &name, &seen, &outcome);
        if let Some(key) = &self.policy.route_key {
            host.set_fact(key, name.as_bytes());
        }
    }

    fn on_tick(&mut self, now: &Now, host: &dyn Host) -> Vec<RootStep> {
        if self.policy.enabled {
            let gauge = self.counters.in_flight(host);
            self.in_flight.tick(host, now.mono(), gauge);
        }
        Vec::new()
    }

    fn keeps_watch(&self) -> bool {
        self.policy.enabled
    }
}

impl Metrics {
    fn template(&self, seen: &Seen<'_>) -> Option<usize> {
        let path = seen.path.as_deref().map(NormalPath::collapsed)?;
        let path = path.as_ref().map(PathPart::Known)?;
        // Routes are paths alone: no host, no headers.
        let (authority, method, headers) = (&b""[..], &*seen.method, &Headers::default());
        self.policy.routes.most_specific(Subject { authority, method, path, headers })
    }

    /// The number and the name of a route. Templates come first, then what matches none, then Envoy's own.
    fn route(&mut self, template: Option<usize>, envoy: &[u8]) -> (u32, Rc<str>) {
        let unmatched = self.policy.routes.len();
        if template.is_some() || envoy.is_empty() {
            let name = Rc::clone(self.policy.route_name(template));
            return (number(template.unwrap_or(unmatched)), name);
        }
        if let Some((route, name)) = self.envoy_routes.get(envoy) {
            return (*route, Rc::clone(name));
        }
        let next = unmatched.saturating_add(2).saturating_add(self.envoy_routes.len());
        if self.envoy_routes.len() >= ENVOY_ROUTES {
            return (number(unmatched.saturating_add(1)), classes::OTHER.into());
        }
        let name: Rc<str> = labels::defused(envoy).into();
        self.envoy_routes.insert(envoy.to_vec(), (number(next), Rc::clone(&name)));
        (number(next), name)
    }

    fn times(&mut self, host: &dyn Host, route: (u32, &str), seen: &Seen<'_>, outcome: &Outcome) {
        let answered = outcome.end.source == Source::Upstream && !outcome.end.upstream_failed;
        let upstream = seen.upstream.filter(|_| outcome.total.is_some() && answered);
        let overhead = match (outcome.total, upstream) {
            (Some(total), Some(upstream)) => Some(total.saturating_sub(upstream)),
            // No upstream was asked: all of the time is the gateway's.
            (total, None) if outcome.end.source == Source::Gateway && !outcome.end.upstream_failed => total,
            _ => None,
        };
        self.counters.durations(host, route, [outcome.total, upstream, overhead]);
    }

    fn procedure(&mut self, host: &dyn Host, seen: &Seen<'_>, grpc: u8, total: Option<u64>) {
        let Some(procedures) = &self.policy.procedures else { return };
        let known = seen.path.as_deref().and_then(|path| procedures.get(path));
        let (procedure, name) = known.map_or((0, classes::OTHER), |(n, name)| (*n, &**name));
        self.counters.procedure(host, (procedure, name), grpc, total);
    }

    fn verdicts(&mut self, host: &dyn Host, seen: &Seen<'_>) {
        for (sibling, fact) in
            self.policy.siblings.iter().zip(&seen.facts).enumerate().map(|(n, (s, f))| ((n, s), f))
        {
            // A plugin that the request never reached left none.
            if let Some((verdict, micros)) = fact.as_deref().and_then(Verdict::unpack) {
                self.counters.decision(host, (sibling.0, sibling.1), &verdict, micros);
            }
        }
    }

    fn consumer(&mut self, host: &dyn Host, seen: &Seen<'_>, code: u16, total: Option<u64>) {
        let Some(consumers) = &mut self.policy.consumers else { return };
        let mut facts = seen.facts.iter().skip(self.policy.siblings.len()).map(Option::as_deref);
        let (who, tier) = (facts.next().flatten(), facts.next().flatten());
        let mut number = consumers.names.number(who);
        if let (Some(busiest), Some(who)) = (&mut self.busiest, who)
            && consumers.names.name(number) == OTHERS
        {
            number = busiest.seen(&mut consumers.names, &self.counters.ceiling.registry, host, who);
        }
        let tier = consumers.tier.as_ref().map_or((0, ""), |(_, names)| {
            let number = names.number(tier);
            (number, names.name(number))
        });
        self.counters.consumer(host, (number, consumers.names.name(number)), tier, code, total);
    }

    fn promise(&mut self, host: &dyn Host, template: Option<usize>, name: &str, outcome: &Outcome) {
        let Some((template, promise)) = template.and_then(|t| Some((t, *self.policy.promises.get(&t)?)))
        else {
            return;
        };
        let route = (number(template), name);
        let available = promise.availability.and_then(|_| outcome.available());
        let in_time = promise.latency.and_then(|(under, _)| outcome.in_time(under));
        for (objective, good) in [(Objective::Availability, available), (Objective::Latency, in_time)] {
            if let Some(good) = good {
                self.counters.slo(host, route, objective, good);
            }
        }
        if let Some(zone) = promise.apdex.and_then(|satisfies| outcome.zone(satisfies)) {
            self.counters.zone(host, route, zone);
        }
    }

    fn line(
        &mut self,
        host: &dyn Host,
        now: &Now,
        request: &dyn Fn() -> Request,
        route: &str,
        seen: &Seen<'_>,
        outcome: &Outcome,
    ) {
        let Some(rule) = &self.policy.log else { return };
        let Some(cause) = rule.cause(outcome.total, outcome.is_fault()) else { return };
        if !self.sampler.takes(rule, now.mono(), host) {
            return;
        }
        let request = request();
        let trace = request.headers.get("traceparent").one().and_then(sampling::trace_id).unwrap_or("-");
        let millis =
            |nanos: Option<u64>| nanos.map_or_else(|| "-".to_owned(), |n| (n / 1_000_000).to_string());
        log::warn!(
            "{}: {cause}: route={route} method={} code={} source={} reason={} total_ms={} upstream_ms={} trace={trace}",
            self.policy.plugin.name,
            classes::method_word(classes::method(&seen.method)),
            classes::code_word(outcome.code),
            outcome.end.source.word(),
            outcome.end.why.word(),
            millis(seen.total),
            millis(seen.upstream),
        );
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
