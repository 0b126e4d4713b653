//! Engines outside the filter, checked.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::config::{Bound, ConfigError, Secret};
use portcullis_common::filter::GrpcTarget;
use portcullis_common::snapshot::target::Url;

use super::bounds::{duration, is_method, whole};
use super::{error, watch};
use crate::config::RawConfig;
use crate::config::remote::{
    OpenfgaConsistency, Protocol, RawCache, RawCalls, RawClientCredentials, RawFreshness, RawOpenfga,
    RawSpicedb, SpicedbConsistency,
};

/// An engine outside the filter.
#[derive(Debug)]
pub struct Remote {
    /// Which one.
    pub server: Server,
    /// How it is called.
    pub calls: Calls,
    /// What is remembered.
    pub cache: CacheRules,
    /// When answers have to be fresh.
    pub freshness: Freshness,
    /// How changes are watched, if they are.
    pub watch: Option<crate::watch::Rules>,
}

/// Which engine.
#[derive(Debug)]
pub enum Server {
    /// OpenFGA.
    Openfga(Openfga),
    /// SpiceDB.
    Spicedb(Spicedb),
}

/// An OpenFGA server.
#[derive(Debug)]
pub struct Openfga {
    /// Where it is.
    pub place: Place,
    /// The store.
    pub store: Rc<str>,
    /// The model.
    pub model: Rc<str>,
    /// What it is shown.
    pub credentials: Credentials,
    /// Whether its caches are never to answer.
    pub always_fresh: bool,
}

/// A SpiceDB server.
#[derive(Debug)]
pub struct Spicedb {
    /// Where it is.
    pub place: Place,
    /// As a gRPC target; `None` if it is asked by HTTP.
    pub grpc: Option<GrpcTarget>,
    /// The preshared key, as the value of `authorization`.
    pub bearer: Bearer,
    /// Whether every answer is from the newest revision.
    pub always_fresh: bool,
}

/// A cluster and the host that is asked for there.
#[derive(Clone, Debug)]
pub struct Place {
    /// Envoy's cluster.
    pub cluster: Rc<str>,
    /// `:authority`
    pub authority: Rc<str>,
}

/// What OpenFGA is shown.
#[derive(Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A token.
    Token(Bearer),
    /// A token that is fetched.
    Fetched(ClientCredentials),
}

/// `Bearer TOKEN`. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(Rc<str>);

/// A token endpoint.
#[derive(Debug)]
pub struct ClientCredentials {
    /// Envoy's cluster.
    pub cluster: Rc<str>,
    /// Where it is asked.
    pub url: Url,
    /// Who asks.
    pub client_id: String,
    /// By which secret.
    pub client_secret: Secret,
    /// For whom.
    pub audience: Option<String>,
    /// For what.
    pub scopes: Vec<String>,
}

/// How an engine is called.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// How long a request waits for its answer.
    pub timeout: Duration,
    /// How often a call is repeated.
    pub retries: u32,
    /// After how many failures in a row the engine is left alone.
    pub failures: u32,
    /// For how long.
    pub pause: Duration,
}

/// What is remembered.
#[derive(Clone, Copy, Debug)]
pub struct CacheRules {
    /// How long a yes holds.
    pub allow: Duration,
    /// How long a no holds.
    pub deny: Duration,
    /// How long either holds while changes are watched.
    pub watched: Duration,
    /// By how many percent of it a time may be shorter.
    pub jitter: u32,
    /// How many bytes it may take.
    pub size: usize,
    /// How long an answer serves after its time while the engine is away.
    pub stale: Duration,
}

/// When answers have to be fresh.
#[derive(Debug, Default)]
pub struct Freshness {
    /// The header that a client asks by.
    pub header: Option<Rc<str>>,
    /// The methods that always ask.
    pub methods: Vec<Box<str>>,
    /// How many answers a second may be asked for by that header.
    pub per_second: u32,
}

impl Bearer {
    /// The value of `authorization` for a token; `None` if it holds what a header cannot.
    #[must_use]
    pub fn new(token: &[u8]) -> Option<Bearer> {
        let text = std::str::from_utf8(token).ok()?;
        let plain = !text.is_empty() && text.bytes().all(|b| matches!(b, b'!'..=b'~'));
        plain.then(|| Bearer(format!("Bearer {text}").into()))
    }

    /// The value of `authorization`. Not for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The engine outside the filter, if there is one.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub(super) fn remote(raw: &mut RawConfig) -> Result<Option<Remote>, ConfigError> {
    let (openfga, spicedb) = match &mut raw.engine {
        Some(engine) => (engine.openfga.take(), engine.spicedb.take()),
        None => (None, None),
    };
    let (cache, freshness) = (raw.cache.take(), raw.freshness.take());
    let (server, path, calls, watched) = match (openfga, spicedb) {
        (None, None) => {
            let of_remote = if cache.is_some() { "cache" } else { "freshness" };
            if cache.is_some() || freshness.is_some() {
                let problem = "about engines outside the filter, and there is none; remove it, or write engine.openfga or engine.spicedb";
                return Err(error(of_remote, problem));
            }
            return Ok(None);
        }
        (Some(_), Some(_)) => return Err(error("engine", "two engines; write one of openfga and spicedb")),
        (Some(mut raw), None) => {
            let watched = raw.watch.take();
            let (server, calls) = openfga_server(raw)?;
            let watched = watched.map(|raw| watch::openfga(&raw, &server)).transpose()?;
            (Server::Openfga(server), "engine.openfga", calls, watched)
        }
        (None, Some(mut raw)) => {
            let watched = raw.watch.take();
            let (server, calls) = spicedb_server(raw)?;
            let watched = watched.map(|raw| watch::spicedb(raw, &server)).transpose()?;
            (Server::Spicedb(server), "engine.spicedb", calls, watched)
        }
    };
    let mut cache = checked_cache(&cache.unwrap_or_default())?;
    let watch = watched.map(|(rules, remember)| {
        cache.watched = remember;
        watch::within(rules, &cache)
    });
    Ok(Some(Remote {
        server,
        calls: checked_calls(&format!("{path}.calls"), &calls)?,
        cache,
        freshness: checked_freshness(freshness.unwrap_or_default())?,
        watch,
    }))
}

fn openfga_server(raw: RawOpenfga) -> Result<(Openfga, RawCalls), ConfigError> {
    const PATH: &str = "engine.openfga";
    let at = |field: &str| format!("{PATH}.{field}");
    let id = |field: &str, text: Option<String>| -> Result<Rc<str>, ConfigError> {
        let text = text
            .ok_or_else(|| error(at(field), "missing; write its id, such as 01JF3ZK8W6X2Q9V5T7B4N1M0PC"))?;
        // A ULID, as the server's own validation has it.
        let known =
            |b: u8| b.is_ascii_digit() || (b.is_ascii_uppercase() && !matches!(b, b'I' | b'L' | b'O' | b'U'));
        if text.len() != 26 || !text.bytes().all(known) {
            return Err(error(at(field), "not an id; write 26 digits and capitals without I, L, O and U"));
        }
        Ok(text.into())
    };
    let credentials = match (raw.token, raw.client_credentials) {
        (None, None) => Credentials::None,
        (Some(token), None) => Credentials::Token(bearer(at("token"), &token)?),
        (None, Some(raw)) => Credentials::Fetched(client_credentials(&at("client_credentials"), raw)?),
        (Some(_), Some(_)) => {
            return Err(error(at("client_credentials"), "beside a token; write one of the two"));
        }
    };
    let server = Openfga {
        place: place(PATH, raw.cluster, raw.authority)?,
        store: id("store", raw.store)?,
        model: id("model", raw.model)?,
        credentials,
        always_fresh: raw.consistency == Some(OpenfgaConsistency::HigherConsistency),
    };
    Ok((server, raw.calls))
}

fn spicedb_server(raw: RawSpicedb) -> Result<(Spicedb, RawCalls), ConfigError> {
    const PATH: &str = "engine.spicedb";
    let at = |field: &str| format!("{PATH}.{field}");
    let place = place(PATH, raw.cluster, raw.authority)?;
    let grpc = match raw.protocol.unwrap_or_default() {
        Protocol::Http => None,
        Protocol::Grpc => Some(GrpcTarget::new(&place.cluster, &place.authority).ok_or_else(|| {
            error(at("cluster"), "longer than 117 bytes with its authority; give it a shorter name")
        })?),
    };
    let token = raw.token.ok_or_else(|| error(at("token"), "missing; write {env: NAME}"))?;
    let server = Spicedb {
        place,
        grpc,
        bearer: bearer(at("token"), &token)?,
        always_fresh: raw.consistency == Some(SpicedbConsistency::FullyConsistent),
    };
    Ok((server, raw.calls))
}

pub(super) fn place(
    path: &str,
    cluster: Option<String>,
    authority: Option<String>,
) -> Result<Place, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| matches!(b, b'!'..=b'~') && !b"/@|".contains(&b))
    };
    let cluster =
        cluster.ok_or_else(|| error(at("cluster"), "missing; write the name of Envoy's cluster"))?;
    // Istio calls its clusters `outbound|80||HOST`. A server in Go answers 400 to a request whose host has that line in it.
    let host = cluster.rsplit('|').next().unwrap_or_default();
    if cluster.is_empty() || (authority.is_none() && !plain(host)) {
        return Err(error(
            at("cluster"),
            "not a name that can be a host too; mend it, or write authority beside it",
        ));
    }
    let authority = authority.unwrap_or_else(|| host.to_owned());
    if !plain(&authority) {
        return Err(error(at("authority"), "not a host; write one such as openfga.example.com:8080"));
    }
    Ok(Place { cluster: cluster.into(), authority: authority.into() })
}

fn bearer(path: String, token: &Secret) -> Result<Bearer, ConfigError> {
    let problem = "not a token that a header can carry; write visible characters without blanks";
    Bearer::new(token.expose()).ok_or_else(|| error(path, problem))
}

fn client_credentials(path: &str, raw: RawClientCredentials) -> Result<ClientCredentials, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let named = |field: &str, text: Option<String>, what: &str| match text {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(error(at(field), format!("missing or empty; write {what}"))),
    };
    let cluster = named("cluster", raw.cluster, "the name of Envoy's cluster for the token endpoint")?;
    let url = named("url", raw.url, "the URL of the token endpoint")?;
    let url = Url::parse(&url).ok_or_else(|| {
        error(at("url"), "not a URL; write an absolute one without user and fragment, such as https://id.example.com/oauth/token")
    })?;
    let client_id = named("client_id", raw.client_id, "the client's id")?;
    let client_secret =
        raw.client_secret.ok_or_else(|| error(at("client_secret"), "missing; write {env: NAME}"))?;
    if raw.audience.as_ref().is_some_and(String::is_empty) {
        return Err(error(at("audience"), "empty; leave it out, or write the audience"));
    }
    let scopes = raw.scopes.as_ref();
    if scopes
        .is_some_and(|s| s.is_empty() || s.iter().any(|s| s.is_empty() || s.contains(char::is_whitespace)))
    {
        return Err(error(at("scopes"), "empty, or with a blank; leave it out, or list scopes"));
    }
    let scopes = raw.scopes.unwrap_or_default();
    Ok(ClientCredentials {
        cluster: cluster.into(),
        url,
        client_id,
        client_secret,
        audience: raw.audience,
        scopes,
    })
}

fn checked_calls(path: &str, raw: &RawCalls) -> Result<Calls, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    Ok(Calls {
        timeout: duration(at("timeout"), raw.timeout, 200, ("1ms", 1), ("10s", 10_000))?,
        retries: whole(at("retries"), raw.retries, 1, 0, 5)?,
        failures: whole(at("failures"), raw.failures, 5, 1, 1_000)?,
        pause: duration(at("pause"), raw.pause, 1_000, ("50ms", 50), ("1m", 60_000))?,
    })
}

fn checked_cache(raw: &RawCache) -> Result<CacheRules, ConfigError> {
    const HOUR: Bound = ("1h", 3_600_000);
    let size = match raw.size.map_or(Ok(8 << 20), |size| usize::try_from(size.0)) {
        Ok(size) if size <= 256 << 20 => size,
        _ => return Err(error("cache.size", "too large; write at most 256MiB")),
    };
    let allow = duration("cache.allow".to_owned(), raw.allow, 10_000, ("0s", 0), HOUR)?;
    Ok(CacheRules {
        allow,
        watched: allow,
        deny: duration("cache.deny".to_owned(), raw.deny, 2_000, ("0s", 0), HOUR)?,
        jitter: whole("cache.jitter".to_owned(), raw.jitter, 10, 0, 50)?,
        size,
        stale: duration("cache.stale".to_owned(), raw.stale, 0, ("0s", 0), HOUR)?,
    })
}

fn checked_freshness(raw: RawFreshness) -> Result<Freshness, ConfigError> {
    let methods =
        raw.methods.unwrap_or_else(|| ["POST", "PUT", "PATCH", "DELETE"].map(str::to_owned).to_vec());
    for (n, method) in methods.iter().enumerate() {
        if !is_method(method) {
            let problem = "not a method; write it in capitals, such as POST";
            return Err(error(format!("freshness.methods[{n}]"), problem));
        }
    }
    Ok(Freshness {
        header: raw.header.map(|name| name.0),
        methods: methods.into_iter().map(Into::into).collect(),
        per_second: whole("freshness.per_second".to_owned(), raw.per_second, 100, 1, 100_000)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_a_host_that_it_can_read() {
        let read = |cluster: &str, authority: Option<&str>| {
            let place = place("engine.openfga", Some(cluster.to_owned()), authority.map(str::to_owned));
            place.map(|place| place.authority.to_string()).map_err(|error| error.path().to_owned())
        };
        let at = |field: &str| Err(format!("engine.openfga.{field}"));
        for (cluster, authority, want) in [
            ("openfga", None, Ok("openfga".to_owned())),
            ("outbound|80||openfga.test", None, Ok("openfga.test".to_owned())),
            ("outbound|80|blue|openfga.test", None, Ok("openfga.test".to_owned())),
            ("outbound|80||openfga.test", Some("fga.test:8080"), Ok("fga.test:8080".to_owned())),
            ("outbound|80||", None, at("cluster")),
            ("a/b", None, at("cluster")),
            ("a/b", Some("c"), Ok("c".to_owned())),
            ("", Some("c"), at("cluster")),
            ("a", Some("outbound|80||b"), at("authority")),
            ("a", Some(""), at("authority")),
        ] {
            assert_eq!(read(cluster, authority), want, "{cluster} {authority:?}");
        }
    }
}
