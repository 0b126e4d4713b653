//! How changes are watched, checked.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::config::{Bound, ConfigError};
use portcullis_common::filter::GrpcTarget;

use super::bounds::duration;
use super::error;
use super::remote::{CacheRules, Openfga, Place, Spicedb, place};
use crate::config::watch::{RawOpenfgaWatch, RawSpicedbWatch};
use crate::watch::{GRACE, Rules, Source};

const DAY: Bound = ("24h", 86_400_000);
const HOUR: Bound = ("1h", 3_600_000);
/// How long after it begins to watch SpiceDB's answers are asked for freshly. It rounds the present to five seconds or so; after a change
/// the change's own token says how new they have to be.
const ROUNDING: Duration = Duration::from_secs(10);

/// How OpenFGA is watched, and how long answers are remembered meanwhile.
pub(super) fn openfga(raw: &RawOpenfgaWatch, server: &Openfga) -> Result<(Rules, Duration), ConfigError> {
    let at = |field: &str| format!("engine.openfga.watch.{field}");
    let remember = duration(at("remember"), raw.remember, 600_000, ("1s", 1_000), DAY)?;
    let interval = duration(at("interval"), raw.interval, 250, ("50ms", 50), ("1m", 60_000))?;
    let lie = duration(at("server_cache"), raw.server_cache, 10_000, ("0s", 0), HOUR)?;
    let Place { cluster, authority } = server.place.clone();
    let source = Source::Openfga { cluster, authority, store: Rc::clone(&server.store), interval };
    Ok((Rules { source, grace: GRACE.saturating_add(interval), lie }, remember))
}

/// How SpiceDB is watched, and how long answers are remembered meanwhile.
pub(super) fn spicedb(raw: RawSpicedbWatch, server: &Spicedb) -> Result<(Rules, Duration), ConfigError> {
    const PATH: &str = "engine.spicedb.watch";
    let at = |field: &str| format!("{PATH}.{field}");
    let remember = duration(at("remember"), raw.remember, 600_000, ("1s", 1_000), DAY)?;
    let target = match (raw.cluster, &server.grpc) {
        (None, None) => {
            let problem =
                "missing; write Envoy's cluster for SpiceDB's gRPC port, for changes come by gRPC alone";
            return Err(error(at("cluster"), problem));
        }
        (None, Some(target)) if raw.authority.is_none() => target.clone(),
        (cluster, _) => {
            let cluster = cluster.unwrap_or_else(|| server.place.cluster.to_string());
            let place = place(PATH, Some(cluster), raw.authority)?;
            GrpcTarget::new(&place.cluster, &place.authority).ok_or_else(|| {
                error(at("cluster"), "longer than 117 bytes with its authority; give it a shorter name")
            })?
        }
    };
    let source = Source::Spicedb { target, authorization: server.bearer.expose().into() };
    Ok((Rules { source, grace: GRACE, lie: ROUNDING }, remember))
}

/// A watch that broke is noticed before the times are over that then hold.
pub(super) fn within(mut rules: Rules, cache: &CacheRules) -> Rules {
    let times = [cache.allow, cache.deny].into_iter().filter(|time| *time != Duration::ZERO);
    rules.grace = times.fold(rules.grace, Duration::min);
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn policy(engine: &str, more: &str) -> Result<Policy, ConfigError> {
        let rules = r#"[{"match": {"path": "/x"}, "checks": "none"}]"#;
        let config = format!(r#"{{"engine": {engine}, "rules": {rules}, "unmatched": "deny"{more}}}"#);
        Policy::new(portcullis_common::config::parse("rebac", config.as_bytes())?)
    }

    fn spicedb(more: &str) -> String {
        format!(r#"{{"spicedb": {{"cluster": "c", "token": {{"value": "k"}}{more}}}}}"#)
    }

    #[test]
    fn a_watch_is_noticed_to_be_broken_before_what_then_holds_is_over() {
        for (cache, grace) in [
            ("", 2_000),
            (r#", "cache": {"allow": "10s", "deny": "10s"}"#, 2_500),
            (r#", "cache": {"allow": "1s", "deny": "0s"}"#, 1_000),
        ] {
            let policy = policy(&spicedb(r#", "watch": {"remember": "1h"}"#), cache).unwrap();
            let remote = policy.remote.unwrap();
            assert_eq!(remote.watch.unwrap().grace, Duration::from_millis(grace), "{cache}");
            assert_eq!(remote.cache.watched, Duration::from_secs(3_600));
        }
        let policy = policy(&spicedb(""), "").unwrap().remote.unwrap();
        assert!(policy.watch.is_none() && policy.cache.watched == policy.cache.allow);
    }

    #[test]
    fn the_stream_comes_by_grpc_alone() {
        let http = r#", "protocol": "http", "watch": {"#;
        let missing = policy(&spicedb(&format!("{http}}}")), "").unwrap_err().to_string();
        assert!(missing.contains("engine.spicedb.watch.cluster: missing; write"), "{missing}");
        for (more, want) in [
            (format!(r#"{http}"cluster": "g"}}"#), GrpcTarget::new("g", "g")),
            (format!(r#"{http}"cluster": "g", "authority": "a"}}"#), GrpcTarget::new("g", "a")),
            (r#", "watch": {"authority": "a"}"#.to_owned(), GrpcTarget::new("c", "a")),
            (r#", "watch": {}"#.to_owned(), GrpcTarget::new("c", "c")),
        ] {
            let rules = policy(&spicedb(&more), "").unwrap().remote.unwrap().watch.unwrap();
            let Source::Spicedb { target, .. } = rules.source else { panic!() };
            assert_eq!(Some(target), want, "{more}");
        }
    }
}
