//! Where keys and deny lists come from, checked.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::config::{Bound, ConfigError, DurationText, Size};
use portcullis_common::mode::OnError;
use portcullis_common::snapshot::Spec;
use portcullis_common::snapshot::target::{Target, Url};
use portcullis_common::snapshot::times::Times;

use super::{Notes, below, error};
use crate::algorithm::{Algorithm, Family};
use crate::config::keys::{RawDeny, RawDenyList, RawJwks, RawKeys};
use crate::deny::Deny;
use crate::discovery::{Clusters, Discovery};
use crate::issuer::Issuers;
use crate::keys::KeySet;
use crate::profile::Profile;

/// The most sources of one provider.
const MAX_URLS: usize = 8;
/// The longest answer that may be configured; the shell reads no longer one.
pub const MAX_SIZE: usize = 4 << 20;

/// What is fetched for a provider.
#[derive(Clone, Debug)]
pub struct Source {
    /// The provider's position.
    pub provider: usize,
    /// What it is.
    pub content: Content,
    /// Where and when.
    pub spec: Spec,
}

/// What is fetched.
#[derive(Clone, Debug)]
pub enum Content {
    /// Keys.
    Keys {
        /// The values of `use` that make a key one for signatures.
        uses: &'static [&'static str],
        /// How the document that names them is read, if there is one.
        discovery: Option<Rc<Discovery>>,
    },
    /// A deny list, and what holds without one.
    Deny(OnError),
}

/// The keys that were written, what has to be fetched, and how long a request waits for that.
pub(super) struct Keys {
    pub(super) set: KeySet,
    pub(super) sources: Vec<Source>,
    pub(super) wait: Duration,
}

const NO_KEYS: &str = "no keys; write {jwks_url: URL, clusters: {HOST: CLUSTER}}, {discovery: URL, clusters: {HOST: CLUSTER}}, {jwks: {keys: [...]}} or {secret: {env: NAME}}";

/// What the keys of a provider depend on.
pub(super) struct Whose<'a> {
    pub(super) position: usize,
    pub(super) algorithms: &'a [Algorithm],
    pub(super) profile: Profile,
    pub(super) issuers: &'a Issuers,
}

/// # Errors
/// What is wrong, where, and what to write instead.
pub(super) fn keys(
    path: &str,
    raw: Option<RawKeys>,
    whose: &Whose<'_>,
    notes: &mut Notes,
) -> Result<Keys, ConfigError> {
    let raw = raw.ok_or_else(|| error(path, NO_KEYS))?;
    let at = |field: &str| below(path, field);
    let symmetric = whose.algorithms.iter().any(|a| a.family() == Family::Hmac);
    if symmetric && whose.algorithms.iter().any(|a| a.family() != Family::Hmac) {
        let problem =
            "HS256, HS384 and HS512 beside algorithms with public keys; give them their own provider";
        return Err(error(path.replace(".keys", ".algorithms"), problem));
    }
    let mut urls: Vec<(String, String)> = Vec::new();
    urls.extend(raw.jwks_url.clone().map(|url| (at("jwks_url"), url)));
    let listed = raw.jwks_urls.as_deref();
    if listed.is_some_and(|list| list.is_empty() || list.len() > MAX_URLS) {
        return Err(error(at("jwks_urls"), "not 1 to 8 URLs; list those of the key sets, or leave it out"));
    }
    let several = listed.unwrap_or_default().iter().enumerate();
    urls.extend(several.map(|(n, url)| (format!("{path}.jwks_urls[{n}]"), url.clone())));
    let remote = !urls.is_empty() || raw.discovery.is_some();
    if let Some(secret) = &raw.secret {
        if raw.jwks.is_some() || remote {
            return Err(error(at("secret"), "beside public keys; give it a provider of its own"));
        }
        if !symmetric {
            return Err(error(
                at("secret"),
                "only HS256, HS384 and HS512 have a secret; write {jwks: {keys: [...]}}",
            ));
        }
        let set = KeySet::of_secret(secret.expose(), whose.algorithms);
        let set = set.map_err(|problem| error(at("secret"), problem))?;
        only_with_urls(path, &raw)?;
        return Ok(Keys { set, sources: Vec::new(), wait: Duration::ZERO });
    }
    if remote && symmetric {
        let problem = "a secret is not fetched; write {secret: {env: NAME}}";
        return Err(error(path, problem));
    }
    let set = match &raw.jwks {
        Some(jwks) => written(&at("jwks"), jwks, whose, notes)?,
        None if remote => KeySet::default(),
        None => return Err(error(path, NO_KEYS)),
    };
    if !remote {
        only_with_urls(path, &raw)?;
        return Ok(Keys { set, sources: Vec::new(), wait: Duration::ZERO });
    }
    let times = times(path, &raw)?;
    let max_bytes = size(&at("max_size"), raw.max_size)?;
    let wait = duration(&at("wait"), raw.wait, 6, ("0s", 0), MINUTE)?;
    let clusters = Rc::new(Clusters::new(raw.clusters.unwrap_or_default()));
    let uses = whose.profile.key_uses();
    let source = |target: Target, discovery| Source {
        provider: whose.position,
        content: Content::Keys { uses, discovery },
        spec: Spec { target, times, max_bytes },
    };
    let mut sources = Vec::new();
    for (place, url) in urls {
        sources.push(source(target(&place, &url, path, &clusters)?, None));
    }
    if let Some(url) = raw.discovery {
        let target = target(&at("discovery"), &url, path, &clusters)?;
        let issuers = whose.issuers.listed();
        if issuers.is_empty() {
            let problem = "the metadata have one issuer; write issuer or issuers, or jwks_url instead";
            return Err(error(at("discovery"), problem));
        }
        let discovery = Discovery { issuers, clusters, secure: target.url.secure };
        sources.push(source(target, Some(Rc::new(discovery))));
    }
    Ok(Keys { set, sources, wait })
}

/// What is about fetching says nothing where nothing is fetched.
fn only_with_urls(path: &str, raw: &RawKeys) -> Result<(), ConfigError> {
    let fields = [
        ("clusters", raw.clusters.is_some()),
        ("min_fresh", raw.min_fresh.is_some()),
        ("max_fresh", raw.max_fresh.is_some()),
        ("stale", raw.stale.is_some()),
        ("timeout", raw.timeout.is_some()),
        ("refetch_interval", raw.refetch_interval.is_some()),
        ("wait", raw.wait.is_some()),
        ("max_size", raw.max_size.is_some()),
    ];
    match fields.iter().find(|(_, written)| *written) {
        None => Ok(()),
        Some((field, _)) => {
            Err(error(below(path, field), "nothing is fetched; leave it out, or write jwks_url or discovery"))
        }
    }
}

fn written(path: &str, jwks: &RawJwks, whose: &Whose<'_>, notes: &mut Notes) -> Result<KeySet, ConfigError> {
    let (set, skipped) =
        KeySet::load_for(&jwks.keys, whose.profile.key_uses()).map_err(|problem| error(path, problem))?;
    for (at, why) in skipped {
        let place = format!("{path}.keys[{at}]");
        if let Some(fault) = why.mistake() {
            return Err(error(below(&place, fault.member), fault.to_string()));
        }
        notes.push(format!("{place} is not used: {why}"));
    }
    if !set.iter().any(|key| whose.algorithms.iter().any(|a| key.allows(*a))) {
        return Err(error(
            format!("{path}.keys"),
            "no key fits the algorithms; add one, or correct algorithms",
        ));
    }
    Ok(set)
}

fn target(place: &str, url: &str, keys: &str, clusters: &Clusters) -> Result<Target, ConfigError> {
    let url = url_of(place, url)?;
    let authority = url.authority.clone();
    clusters.target(url).ok_or_else(|| {
        let problem = format!("no cluster for {authority}; write {{{authority}: CLUSTER}}");
        error(below(keys, "clusters"), problem)
    })
}

fn url_of(place: &str, url: &str) -> Result<Url, ConfigError> {
    Url::parse(url).ok_or_else(|| {
        error(
            place,
            "not a URL; write an absolute one without user and fragment, such as https://id.example.com/keys",
        )
    })
}

fn times(path: &str, raw: &RawKeys) -> Result<Times, ConfigError> {
    let at = |field: &str| below(path, field);
    let min_fresh = duration(&at("min_fresh"), raw.min_fresh, 60, SECOND, YEAR)?;
    let max_fresh = duration(&at("max_fresh"), raw.max_fresh, 3600, SECOND, YEAR)?;
    if max_fresh < min_fresh {
        return Err(error(
            at("max_fresh"),
            "shorter than min_fresh (1m if it is not written); correct one of the two",
        ));
    }
    Ok(Times {
        min_fresh,
        max_fresh,
        default_fresh: Duration::from_secs(600),
        stale: duration(&at("stale"), raw.stale, 86_400, ("0s", 0), YEAR)?,
        timeout: duration(&at("timeout"), raw.timeout, 5, ("10ms", 10), MINUTE)?,
        interval: duration(&at("refetch_interval"), raw.refetch_interval, 5, SECOND, YEAR)?,
    })
}

const SECOND: Bound = ("1s", 1_000);
const MINUTE: Bound = ("1m", 60_000);
const YEAR: Bound = ("366d", 366 * 86_400_000);

fn duration(
    path: &str,
    raw: Option<DurationText>,
    default: u64,
    least: Bound,
    most: Bound,
) -> Result<Duration, ConfigError> {
    let default = default.saturating_mul(1_000);
    DurationText::within(raw, default, least, most).map_err(|problem| error(path, problem))
}

fn size(path: &str, raw: Option<Size>) -> Result<usize, ConfigError> {
    match raw.map_or(Ok(512 << 10), |size| usize::try_from(size.0)) {
        Ok(size) if (1..=MAX_SIZE).contains(&size) => Ok(size),
        _ => Err(error(path, "not within bounds; write 1B to 4MiB")),
    }
}

/// The deny list that was written, and the one that has to be fetched.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub(super) fn deny(
    path: &str,
    raw: Option<RawDeny>,
    provider: usize,
) -> Result<(Deny, Option<Source>), ConfigError> {
    let mut raw = raw.unwrap_or_default();
    for (field, list) in [("jti", &raw.jti), ("sub", &raw.sub)] {
        if list.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
            let problem = "empty; list what is to be refused, or leave it out";
            return Err(error(below(path, field), problem));
        }
    }
    if raw.issued_before.is_some_and(|seconds| seconds.get() == 0 || seconds.get() > 253_402_300_799) {
        let problem = "not a date; write seconds since 1970, as in iat";
        return Err(error(below(path, "issued_before"), problem));
    }
    let list = raw.list.take().map(|list| deny_list(&below(path, "list"), list, provider)).transpose()?;
    Ok((Deny::new(raw), list))
}

fn deny_list(path: &str, raw: RawDenyList, provider: usize) -> Result<Source, ConfigError> {
    let at = |field: &str| below(path, field);
    let url = raw.url.ok_or_else(|| error(at("url"), "missing; write where the list is fetched"))?;
    let url = url_of(&at("url"), &url)?;
    let cluster = raw.cluster.filter(|cluster| !cluster.is_empty());
    let cluster = cluster
        .ok_or_else(|| error(at("cluster"), "missing or empty; write Envoy's cluster that leads to url"))?;
    let on_error = raw.on_error.ok_or_else(|| {
        error(
            at("on_error"),
            "missing; write deny to refuse tokens while there is no list, or allow to let them pass",
        )
    })?;
    let interval = duration(&at("interval"), raw.interval, 60, SECOND, YEAR)?;
    let times = Times {
        min_fresh: interval,
        max_fresh: interval,
        default_fresh: interval,
        stale: duration(&at("stale"), raw.stale, 3600, ("0s", 0), YEAR)?,
        timeout: Duration::from_secs(5),
        interval,
    };
    let target = Target { url, cluster: cluster.into() };
    let spec = Spec { target, times, max_bytes: size(&at("max_size"), raw.max_size)? };
    Ok(Source { provider, content: Content::Deny(on_error), spec })
}
