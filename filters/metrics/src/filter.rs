//! From the end of a stream to its counters.
//!
//! Everything happens in the log callback: it comes for every stream, also for those that another filter or Envoy itself
//! answered before this one was asked.

use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::{self, ConfigError};
use portcullis_common::edits::Edits;
use portcullis_common::facts::PropertyKey;
use portcullis_common::filter::{Filter, Plugin, Step};
use portcullis_common::host::Host;
use portcullis_common::matching::path::NormalPath;
use portcullis_common::matching::rules::{PathPart, Subject};
use portcullis_common::reason::Reason;
use portcullis_common::request::Request;

use crate::config::RawConfig;
use crate::counters::Counters;
use crate::policy::Policy;

/// The filter.
#[derive(Debug)]
pub struct Metrics {
    policy: Policy,
    counters: Counters,
    attributes: Attributes,
}

/// The attributes of a finished stream.
#[derive(Debug)]
struct Attributes {
    code: PropertyKey,
    details: PropertyKey,
    duration: PropertyKey,
}

impl Filter for Metrics {
    const NAME: &'static str = "metrics";
    const CLOCK: Clock = Clock::Mono;
    const PAUSES: bool = false;
    type Pending = ();
    type Stream = ();

    fn configure(config: &[u8], _: &dyn Host) -> Result<Self, ConfigError> {
        let raw: RawConfig = config::parse(Self::NAME, config)?;
        let policy = Policy::new(raw)?;
        let counters = Counters::new(&policy.plugin.name);
        let attributes = Attributes {
            code: PropertyKey::from(&b"response\0code"[..]),
            details: PropertyKey::from(&b"response\0code_details"[..]),
            duration: PropertyKey::from(&b"request\0duration"[..]),
        };
        Ok(Metrics { policy, counters, attributes })
    }

    fn plugin(&self) -> &Plugin {
        &self.policy.plugin
    }

    fn on_request(&mut self, (): &mut (), _: &Request, _: &Now, _: &dyn Host) -> Step<()> {
        Step::Allow(Edits::default())
    }

    fn on_log(&mut self, (): &mut (), request: &dyn Fn() -> Request, _: &Now, host: &dyn Host) {
        if !self.policy.enabled {
            return;
        }
        let request = request();
        let route = self.route(&request);
        let name = self.policy.route_name(route);
        let code = integer(host, &self.attributes.code).and_then(|c| u16::try_from(c).ok()).unwrap_or(0);
        // A Portcullis filter that refuses writes its reason into the response-code details.
        let details = host.property(&self.attributes.details).unwrap_or_default();
        let reason = std::str::from_utf8(&details).ok().and_then(Reason::from_word);
        self.counters.request(host, route, name, code, reason);
        if let Some(nanos) = integer(host, &self.attributes.duration) {
            self.counters.duration(host, route, name, nanos / 1_000_000);
        }
        host.set_fact(&self.policy.route_key, name.as_bytes());
    }
}

impl Metrics {
    fn route(&self, request: &Request) -> Option<usize> {
        let path = request.path().map(NormalPath::collapsed)?;
        let path = path.as_ref().map(PathPart::Known)?;
        let (authority, method, headers) = (request.authority(), request.method(), &request.headers);
        self.policy.routes.most_specific(Subject { authority, method, path, headers })
    }
}

/// An int64 attribute: eight bytes, little-endian.
fn integer(host: &dyn Host, key: &PropertyKey) -> Option<u64> {
    let bytes = host.property(key)?;
    let value = i64::from_le_bytes(bytes.as_slice().try_into().ok()?);
    u64::try_from(value).ok()
}
