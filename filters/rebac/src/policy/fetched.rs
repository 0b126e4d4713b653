//! Where tuples are fetched, checked.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::config::{Bound, ConfigError};
use portcullis_common::snapshot::Spec;
use portcullis_common::snapshot::target::{Target, Url};
use portcullis_common::snapshot::times::Times;

use super::bounds::duration;
use super::error;
use crate::config::tuples::RawFetched;

const PATH: &str = "engine.embedded.tuples";
/// The longest document that may be configured: what Envoy keeps of an answer to a call.
pub const MAX_SIZE: usize = 32 << 20;

/// Where tuples are fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Where and when.
    pub spec: Spec,
    /// How long a request waits for them.
    pub wait: Duration,
    /// The model that they have to fit, as it was written.
    pub model: Box<str>,
}

/// # Errors
/// What is wrong, where, and what to write instead.
pub(super) fn fetched(raw: RawFetched, model: &str) -> Result<Fetched, ConfigError> {
    let at = |field: &str| format!("{PATH}.{field}");
    let text = raw.url.ok_or_else(|| error(at("url"), "missing; write where the tuples are fetched"))?;
    let url = Url::parse(&text).ok_or_else(|| {
        let problem = "not a URL; write an absolute one without user and fragment, such as https://tuples.example.com/all";
        error(at("url"), problem)
    })?;
    let clusters = raw.clusters.unwrap_or_default();
    let named = clusters.iter().find(|(host, _)| host.eq_ignore_ascii_case(&url.authority));
    let Some((_, cluster)) = named.filter(|(_, cluster)| !cluster.is_empty()) else {
        let host = &url.authority;
        return Err(error(at("clusters"), format!("no cluster for {host}; write {{{host}: CLUSTER}}")));
    };
    if let Some((other, _)) = clusters.iter().find(|(host, _)| !host.eq_ignore_ascii_case(&url.authority)) {
        return Err(error(
            at("clusters"),
            format!("{other} is not the host of url; remove it, or mend one of the two"),
        ));
    }
    let refresh = duration(at("refresh"), raw.refresh, 30_000, SECOND, YEAR)?;
    let times = Times {
        min_fresh: refresh,
        max_fresh: refresh,
        default_fresh: refresh,
        stale: duration(at("stale"), raw.stale, 3_600_000, ("0s", 0), YEAR)?,
        timeout: duration(at("timeout"), raw.timeout, 10_000, ("10ms", 10), MINUTE)?,
        interval: refresh,
    };
    let max_bytes = match raw.max_size.map_or(Ok(16 << 20), |size| usize::try_from(size.0)) {
        Ok(size) if (1..=MAX_SIZE).contains(&size) => size,
        _ => return Err(error(at("max_size"), "not within bounds; write 1B to 32MiB")),
    };
    Ok(Fetched {
        spec: Spec { target: Target { url, cluster: Rc::from(cluster.as_str()) }, times, max_bytes },
        wait: duration(at("wait"), raw.wait, 3_000, ("0s", 0), MINUTE)?,
        model: model.into(),
    })
}

const SECOND: Bound = ("1s", 1_000);
const MINUTE: Bound = ("1m", 60_000);
const YEAR: Bound = ("366d", 366 * 86_400_000);
