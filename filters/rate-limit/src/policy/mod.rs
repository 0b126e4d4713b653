//! The configuration as it is meant: checked, resolved, ready to be asked.
//!
//! | module | one idea |
//! |---|---|
//! | [`limit`] | one limit |
//! | [`key`] | what is counted together |
//! | [`budget`] | how many |
//! | [`choice`] | whose numbers: plans, overrides, lists |
//! | [`cost`] | what a request costs, and what its answer makes of that |

pub mod budget;
pub mod choice;
pub mod cost;
pub mod key;
pub mod limit;

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::config::{ConfigError, Size};
use portcullis_common::filter::Plugin;
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::matching::rules::Rules;
use portcullis_common::values::source::Source;

use crate::address::Forwarded;
use crate::body::MAX_POINTERS;
use crate::config::{GrpcStatus, HeaderDialect, RawConfig, RawForwarded, RawRefusals};
use limit::Limit;

const NAME: &str = "rate-limit";

/// A checked configuration.
#[derive(Debug)]
pub struct Policy {
    /// Name, keys and headers of the plugin.
    pub plugin: Plugin,
    /// The plugin whose subject, claims and verdict are read.
    pub identity: Rc<str>,
    /// Whether it does anything.
    pub enabled: bool,
    /// What the limits are about.
    pub matches: Rules,
    /// The limits, in the same order.
    pub limits: Vec<Limit>,
    /// The memory for the counts, in bytes.
    pub store: usize,
    /// The memory for requests in flight, in bytes.
    pub in_flight: usize,
    /// How much of an answer's body is read, in bytes.
    pub window: usize,
    /// The headers for clients.
    pub headers: HeaderDialect,
    /// What refusals look like.
    pub refusals: Refusals,
}

/// What refusals look like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refusals {
    /// The most that is added to `Retry-After`.
    pub jitter: Duration,
    /// Whether `x-envoy-ratelimited` is added.
    pub envoy_ratelimited: bool,
    /// The gRPC status.
    pub grpc: GrpcStatus,
}

impl Policy {
    /// Checks a configuration.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(raw: RawConfig) -> Result<Policy, ConfigError> {
        let name = raw.name.map_or_else(|| NAME.into(), |n| n.0);
        let identity = raw.identity.map_or_else(|| "jwt-auth".into(), |n| n.0);
        let forwarded = raw.forwarded.map(forwarded).transpose()?.map(Rc::new);
        let defaults = limit::Defaults {
            mode: raw.mode.unwrap_or_default(),
            on_error: raw.on_error.unwrap_or_default(),
            identity: Rc::clone(&identity),
            forwarded,
        };
        let raw_limits = raw.limits.unwrap_or_default();
        if raw_limits.is_empty() {
            let example = "{name: per-client, key: [\"{client.ip/32,64}\"], rate: 100/minute}";
            return Err(error("limits", format!("missing or empty; write at least {example}")));
        }
        let mut matches = Vec::new();
        let mut limits: Vec<Limit> = Vec::new();
        for (n, mut limit) in raw_limits.into_iter().enumerate() {
            let path = format!("limits[{n}]");
            let matching = limit.matches.take().unwrap_or_default();
            if let Some(part) = matching.empty_part() {
                return Err(error(
                    format!("{path}.match.{part}"),
                    "empty, so nothing would match; leave it out, or list what should",
                ));
            }
            let limit = limit::limit(&path, limit, matching.path.as_ref(), &defaults)?;
            if limits.iter().any(|l| l.name == limit.name) {
                return Err(error(
                    format!("{path}.name"),
                    format!("{} is the name of another limit too; give each its own", limit.name),
                ));
            }
            matches.push(matching);
            limits.push(limit);
        }
        let (store, in_flight) = match raw.store {
            None => (16 << 20, 1 << 20),
            Some(store) => {
                let size =
                    store.size.ok_or_else(|| error("store.size", "missing; write a size such as 16MiB"))?;
                (
                    bytes("store.size", size)?,
                    bytes("store.in_flight", store.in_flight.unwrap_or(Size(1 << 20)))?,
                )
            }
        };
        Ok(Policy {
            plugin: Plugin::new(&name, OwnedHeaders::default()),
            identity,
            enabled: raw.enabled.unwrap_or(true),
            matches: Rules::new(&matches),
            window: window(raw.settle_window, &limits)?,
            limits,
            store,
            in_flight,
            headers: raw.headers.unwrap_or_default(),
            refusals: refusals(raw.refusals.unwrap_or_default())?,
        })
    }
}

fn error(path: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(NAME, path, problem)
}

fn bytes(path: &str, size: Size) -> Result<usize, ConfigError> {
    let fits = (4 << 10..=1 << 30).contains(&size.0).then(|| usize::try_from(size.0).ok()).flatten();
    fits.ok_or_else(|| error(path, "too small or too large; write a size from 4KiB to 1GiB"))
}

fn window(raw: Option<Size>, limits: &[Limit]) -> Result<usize, ConfigError> {
    let pointers = |limit: &Limit| limit.pointers().len();
    let all: usize = limits.iter().map(pointers).sum();
    if let Some(last) = limits.iter().rposition(Limit::reads_body).filter(|_| all > MAX_POINTERS) {
        let problem =
            format!("{all} pointers with those before it; write at most {MAX_POINTERS} in all limits");
        return Err(error(format!("limits[{last}].settle.json"), problem));
    }
    if raw.is_some() && all == 0 {
        return Err(error("settle_window", "without settle.json; leave it out"));
    }
    let size = raw.unwrap_or(Size(16 << 20)).0;
    let fits = (1 << 10..=1 << 30).contains(&size).then(|| usize::try_from(size).ok()).flatten();
    fits.ok_or_else(|| error("settle_window", "too small or too large; write a size from 1KiB to 1GiB"))
}

fn forwarded(raw: RawForwarded) -> Result<Forwarded, ConfigError> {
    match (raw.place, raw.trusted) {
        (Some(place), None) => {
            let place = usize::try_from(place.get()).ok().filter(|p| (1..=32).contains(p));
            let problem = "out of range; write a whole number from 1 to 32";
            place.map(Forwarded::Place).ok_or_else(|| error("forwarded.place", problem))
        }
        (None, Some(networks)) if networks.is_empty() => {
            Err(error("forwarded.trusted", "empty; list the networks of your proxies"))
        }
        (None, Some(networks)) => Ok(Forwarded::Trusted(networks)),
        _ => Err(error("forwarded", "not one rule; write either place or trusted")),
    }
}

fn refusals(raw: RawRefusals) -> Result<Refusals, ConfigError> {
    let jitter = raw.retry_jitter.map_or(Duration::ZERO, |d| d.0);
    if jitter > Duration::from_secs(3_600) {
        return Err(error("refusals.retry_jitter", "too long; write at most 1h"));
    }
    Ok(Refusals {
        jitter,
        envoy_ratelimited: raw.envoy_ratelimited.unwrap_or(false),
        grpc: raw.grpc_status.unwrap_or_default(),
    })
}

/// A source that a client can set to what it likes is taken for anything but a key only where that is written.
fn trusted(path: &str, source: &Source, from_client: Option<bool>) -> Result<(), ConfigError> {
    if source.is_from_client() && from_client != Some(true) {
        let problem =
            format!("{source} is the client's own choice; write from_client: true beside it, or use a claim");
        return Err(error(path, problem));
    }
    Ok(())
}
