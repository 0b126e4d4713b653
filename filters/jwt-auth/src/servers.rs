//! Keys and deny lists that are fetched: what is known of each now, and what a request may wait for.
//!
//! One [`Snapshot`] for each source does the fetching and sharing; here is what jwt-auth makes of its content, and the
//! memory of keys that were looked for and not found.

use std::rc::Rc;

use portcullis_common::clock::Mono;
use portcullis_common::facts;
use portcullis_common::filter::{Answer, RootStep, WaitKey};
use portcullis_common::host::Host;
use portcullis_common::json;
use portcullis_common::mode::OnError;
use portcullis_common::snapshot::target::Target;
use portcullis_common::snapshot::{Fetched, Progress, Reader, Snapshot, Unfit};
use serde_json::{Map, Value};

use crate::absent::Absent;
use crate::counters::Counters;
use crate::deny::Deny;
use crate::discovery::Discovery;
use crate::keys::{Key, KeySet, MAX_KEYS};
use crate::policy::Policy;
use crate::policy::keys::{Content, Source};

/// What every waiting request waits for: that anything moves. Whoever misses something else waits on.
pub const MOVED: WaitKey = 0;
/// The most values that a key set may have.
const MAX_VALUES: u32 = 16_384;
/// For how many intervals of refetching a key that was not found is remembered.
const ABSENT_INTERVALS: u32 = 6;

/// All that is fetched for the providers of a plugin.
#[derive(Debug)]
pub struct Servers {
    plugin: Rc<str>,
    sources: Vec<Server>,
    /// Changes with anything that a remembered token depends on.
    epoch: u64,
    absent: Absent,
}

#[derive(Debug)]
struct Server {
    provider: usize,
    name: Rc<str>,
    interval: std::time::Duration,
    snapshot: Snapshot,
    known: Known,
    usable: bool,
}

/// What a source's content was made into.
#[derive(Debug)]
enum Known {
    Keys { uses: &'static [&'static str], discovery: Option<Rc<Discovery>>, set: KeySet, skipped: usize },
    Deny { list: Deny, on_error: OnError },
}

/// What a token could not be checked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Whose token it is.
    pub provider: usize,
    /// What is missing.
    pub what: What,
}

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The keys of a server that never answered, or not for too long.
    Keys,
    /// A key that no server has named yet; by its name, if the token has one.
    Key(Option<Rc<str>>),
    /// The deny list.
    List,
}

/// What a deny list says about a token.
#[derive(Clone, Copy, Debug)]
pub enum Listing<'a> {
    /// There is this list.
    List(&'a Deny),
    /// There is none that may be used.
    Unknown(OnError),
}

impl Servers {
    /// Nothing fetched yet. What other VMs fetched is read with the first tick, or when a request misses it.
    #[must_use]
    pub fn new(policy: &Policy, host: &dyn Host) -> Servers {
        let attached = facts::attached(host);
        let sources = policy.sources.iter().map(|source| {
            let provider = policy.providers.get(source.provider);
            let name = provider.map_or_else(|| "".into(), |p| Rc::clone(&p.name));
            Server::new(source, name, [&attached, &policy.plugin.name], host)
        });
        Servers {
            plugin: Rc::clone(&policy.plugin.name),
            sources: sources.collect(),
            epoch: 0,
            absent: Absent::default(),
        }
    }

    /// Whether there is anything to fetch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Changes with anything that a remembered token depends on.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The fetched key sets of a provider that may be used, with the number of their source.
    pub fn sets(&self, provider: usize) -> impl Iterator<Item = (usize, &KeySet)> {
        let own = self.sources.iter().enumerate().filter(move |(_, s)| s.provider == provider && s.usable);
        own.filter_map(|(n, server)| match &server.known {
            Known::Keys { set, .. } => Some((n, set)),
            Known::Deny { .. } => None,
        })
    }

    /// Whether a provider has a source of keys that cannot be used.
    #[must_use]
    pub fn lacks_keys(&self, provider: usize) -> bool {
        self.keys_of(provider).any(|server| !server.usable)
    }

    /// Whether the last fetch of a provider's keys failed.
    #[must_use]
    pub fn is_failing(&self, provider: usize) -> bool {
        self.keys_of(provider).any(|server| server.snapshot.is_failing())
    }

    /// Whether the source number `source` still has this key, and may be used.
    #[must_use]
    pub fn has(&self, source: usize, key: &Key) -> bool {
        match self.sources.get(source) {
            Some(Server { usable: true, known: Known::Keys { set, .. }, .. }) => {
                set.iter().any(|own| own.is_same(key))
            }
            _ => false,
        }
    }

    /// The fetched deny lists of a provider.
    pub fn lists(&self, provider: usize) -> impl Iterator<Item = Listing<'_>> {
        self.sources.iter().filter(move |s| s.provider == provider).filter_map(|server| match &server.known {
            Known::Deny { list, .. } if server.usable => Some(Listing::List(list)),
            Known::Deny { on_error, .. } => Some(Listing::Unknown(*on_error)),
            Known::Keys { .. } => None,
        })
    }

    fn keys_of(&self, provider: usize) -> impl Iterator<Item = &Server> {
        self.sources.iter().filter(move |s| s.provider == provider && matches!(s.known, Known::Keys { .. }))
    }

    /// Reads what other VMs fetched for a provider; whether anything changed.
    pub fn look(&mut self, provider: usize, now: Mono, host: &dyn Host) -> bool {
        let before = self.epoch;
        for server in self.sources.iter_mut().filter(|server| server.provider == provider) {
            let progress = server.snapshot.look(now, host, &mut server.known);
            if server.note(&progress) {
                self.epoch = self.epoch.wrapping_add(1);
                self.absent = Absent::default();
            }
        }
        self.epoch != before
    }

    /// Until when it makes sense to wait for what is missing, for a request that came at `since` and can wait until `until`;
    /// asks for it. `None`: it will not come in time, or was looked for and is not there.
    pub fn ask_for(&mut self, missing: &Missing, since: Mono, until: Mono, now: Mono) -> bool {
        let provider = missing.provider;
        let name = match &missing.what {
            What::Key(name) => name.as_deref(),
            // A fetch of what is not there is due, or under way.
            What::Keys => {
                return self.keys_of(provider).any(|s| !s.usable && s.snapshot.next_try() < until);
            }
            What::List => {
                let lists = self.sources.iter().filter(|s| s.provider == provider);
                let mut lists = lists.filter(|s| matches!(s.known, Known::Deny { .. }));
                return lists.any(|s| !s.usable && s.snapshot.next_try() < until);
            }
        };
        if self.absent.has(provider, name, now) {
            return false;
        }
        let mut helps = false;
        let mut interval = std::time::Duration::ZERO;
        for server in self.sources.iter_mut().filter(|s| s.provider == provider) {
            if !matches!(server.known, Known::Keys { .. }) {
                continue;
            }
            interval = interval.max(server.interval);
            if !server.snapshot.looked_since(since) && server.snapshot.out_of_turn() <= until {
                server.snapshot.want(now);
                helps = true;
            }
        }
        let looked =
            || self.keys_of(provider).all(|s| s.snapshot.looked_since(since) && !s.snapshot.is_failing());
        if !helps && name.is_some() && looked() {
            self.absent.add(provider, name, now.after(interval.saturating_mul(ABSENT_INTERVALS)));
        }
        helps
    }

    /// When a provider's next fetch may begin: for `Retry-After`.
    #[must_use]
    pub fn next_try(&self, provider: usize) -> Mono {
        let own =
            self.sources.iter().filter(|s| s.provider == provider && (!s.usable || s.snapshot.is_failing()));
        own.map(|s| s.snapshot.next_try()).min().unwrap_or_default()
    }

    /// Time passed: what has to be called, and whether waiting requests should look again.
    pub fn tick(&mut self, now: Mono, host: &dyn Host, counters: &mut Counters) -> Vec<RootStep> {
        let mut steps = Vec::new();
        for n in 0..self.sources.len() {
            let Some(server) = self.sources.get_mut(n) else { break };
            let progress = server.snapshot.tick(now, host, &mut server.known);
            self.apply(n, progress, now, host, counters, &mut steps);
        }
        steps
    }

    /// The answer to a call came; `tag` is the one of its step.
    pub fn answered(
        &mut self,
        tag: u64,
        answer: Answer,
        now: Mono,
        host: &dyn Host,
        counters: &mut Counters,
    ) -> Vec<RootStep> {
        let mut steps = Vec::new();
        let (n, number) = (usize::try_from(tag >> 32).unwrap_or(usize::MAX), tag & u64::from(u32::MAX));
        if let (Some(server), Ok(number)) = (self.sources.get_mut(n), u32::try_from(number)) {
            let progress = server.snapshot.answered(number, answer, now, host, &mut server.known);
            self.apply(n, progress, now, host, counters, &mut steps);
        }
        steps
    }

    fn apply(
        &mut self,
        n: usize,
        progress: Progress,
        now: Mono,
        host: &dyn Host,
        counters: &mut Counters,
        steps: &mut Vec<RootStep>,
    ) {
        let Some(server) = self.sources.get_mut(n) else { return };
        if server.note(&progress) {
            self.epoch = self.epoch.wrapping_add(1);
            self.absent = Absent::default();
        }
        let (provider, content) = (server.provider, server.known.word());
        let name = Rc::clone(&server.name);
        if let Some(fetched) = progress.fetched {
            counters.fetched(host, &name, content, fetched.word());
            report(&self.plugin, server, content, fetched);
        }
        // Several sources of one provider are one to whoever looks at the gauges: their sum, and the oldest.
        let alike = |s: &&Server| s.provider == provider && s.known.word() == content;
        if progress.adopted {
            let counts = self.sources.iter().filter(alike).map(|s| s.known.counts());
            let add = |(a, b): (usize, usize), (c, d)| (a.saturating_add(c), b.saturating_add(d));
            counters.held(host, &name, content, counts.fold((0, 0), add));
        }
        if let Some(age) = self.sources.iter().filter(alike).filter_map(|s| s.snapshot.age(now)).max() {
            counters.age(host, &name, content, age.as_secs());
        }
        if progress.out_of_turn {
            counters.refetched(host, &name);
        }
        if let Some((number, callout)) = progress.call {
            let source = u64::try_from(n).unwrap_or_default() << 32;
            steps.push(RootStep::Call { tag: source | u64::from(number), callout });
        }
        if progress.moved && !steps.contains(&RootStep::Wake(MOVED)) {
            steps.push(RootStep::Wake(MOVED));
        }
    }
}

fn report(plugin: &str, server: &Server, content: &str, fetched: Fetched) {
    let name = &server.name;
    let meaning = if server.usable { "the last good ones serve on" } else { "there are none" };
    match fetched {
        Fetched::New => log::info!("{plugin}: {content} of {name}: fetched"),
        Fetched::Same => {}
        Fetched::Unfit(Unfit(why)) => log::warn!("{plugin}: {content} of {name}: {why}; {meaning}"),
        Fetched::Status(status) => log::warn!("{plugin}: {content} of {name}: status {status}; {meaning}"),
        _ => log::warn!("{plugin}: {content} of {name}: {}; {meaning}", fetched.word()),
    }
}

impl Server {
    fn new(source: &Source, name: Rc<str>, plugin: [&str; 2], host: &dyn Host) -> Server {
        let url = &source.spec.target.url;
        let scheme = if url.secure { "https" } else { "http" };
        let mut parts = vec!["jwt-auth", plugin[0], plugin[1], scheme, &url.authority, &url.path];
        parts.push(&source.spec.target.cluster);
        // What is too large for one is content to another.
        let most = source.spec.max_bytes.to_string();
        parts.push(&most);
        let known = match &source.content {
            Content::Keys { uses, discovery } => {
                parts.push("keys");
                parts.extend(*uses);
                if let Some(discovery) = discovery {
                    parts.push("discovery");
                    parts.extend(discovery.issuers.iter().map(String::as_str));
                    parts.extend(discovery.clusters.iter().flat_map(|(host, cluster)| [host, cluster]));
                }
                Known::Keys { uses, discovery: discovery.clone(), set: KeySet::default(), skipped: 0 }
            }
            Content::Deny(on_error) => {
                parts.push("deny");
                Known::Deny { list: Deny::default(), on_error: *on_error }
            }
        };
        Server {
            provider: source.provider,
            name,
            interval: source.spec.times.interval,
            snapshot: Snapshot::new(host, &parts, source.spec.clone()),
            known,
            usable: false,
        }
    }

    /// Takes over what a snapshot did; whether remembered tokens are to be looked at again.
    fn note(&mut self, progress: &Progress) -> bool {
        let turned = self.usable != self.snapshot.is_usable();
        self.usable = self.snapshot.is_usable();
        turned || progress.adopted
    }
}

impl Known {
    const fn word(&self) -> &'static str {
        match self {
            Known::Keys { .. } => "keys",
            Known::Deny { .. } => "deny",
        }
    }

    /// What is held, and what was left out.
    fn counts(&self) -> (usize, usize) {
        match self {
            Known::Keys { set, skipped, .. } => (set.len(), *skipped),
            Known::Deny { list, .. } => (list.len(), 0),
        }
    }
}

impl Reader for Known {
    fn accept(&mut self, content: &[u8]) -> Result<(), Unfit> {
        match self {
            Known::Keys { uses, set, skipped, .. } => {
                (*set, *skipped) = read_keys(content, uses)?;
            }
            Known::Deny { list, .. } => *list = Deny::read(content)?,
        }
        Ok(())
    }

    fn follow(&mut self, hop: u8, body: &[u8]) -> Result<Option<Target>, Unfit> {
        match self {
            Known::Keys { discovery: Some(discovery), .. } if hop == 0 => discovery.follow(body).map(Some),
            _ => Ok(None),
        }
    }
}

/// Reads a fetched key set (RFC 7517, section 5): the keys, and how many were left out. A secret is no secret once it lay on a
/// server, so those are left out too.
///
/// # Errors
/// If it is no key set, or holds no key that can be used.
pub fn read_keys(body: &[u8], uses: &[&str]) -> Result<(KeySet, usize), Unfit> {
    let mut document = json::object(body, MAX_VALUES).map_err(|_| Unfit("the key set is no JSON object"))?;
    let Some(Value::Array(all)) = document.remove("keys") else {
        return Err(Unfit("the key set has no list of keys"));
    };
    if all.len() > MAX_KEYS {
        return Err(Unfit("the key set has more than 256 keys"));
    }
    let count = all.len();
    let public = |value: Value| match value {
        Value::Object(jwk) if jwk.get("kty").and_then(Value::as_str) != Some("oct") => Some(jwk),
        _ => None,
    };
    let keys: Vec<Map<String, Value>> = all.into_iter().filter_map(public).collect();
    let (set, _) = KeySet::load_for(&keys, uses).map_err(Unfit)?;
    if set.is_empty() {
        return Err(Unfit("the key set has no key that can be used"));
    }
    let skipped = count.saturating_sub(set.len());
    Ok((set, skipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::known_answers as known;

    fn jwk(kid: &str) -> String {
        format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{}","e":"AQAB"}}"#, known::RSA_N)
    }

    fn read(keys: &str) -> Result<(usize, usize), Unfit> {
        read_keys(format!(r#"{{"keys":[{keys}],"x":1}}"#).as_bytes(), &["sig"]).map(|(set, n)| (set.len(), n))
    }

    #[test]
    fn a_bad_key_is_left_out_and_the_others_count() {
        assert_eq!(read(&jwk("a")), Ok((1, 0)));
        let secret = format!(r#"{{"kty":"oct","k":"{}"}}"#, "A".repeat(43));
        for bad in ["7", "null", "{}", r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, r#"{"kty":"XY"}"#, &secret] {
            assert_eq!(read(&format!("{},{bad}", jwk("a"))), Ok((1, 1)), "{bad}");
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            read(&format!("{0},{0},{1}", jwk("a"), jwk("b"))),
            Ok((1, 2)),
            "neither of two by one name"
        );
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let many = vec!["{}"; 257].join(",");
        for bad in
            ["", "<html></html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[],"keys":[]}"#]
        {
            assert!(read_keys(bad.as_bytes(), &["sig"]).is_err(), "{bad}");
        }
        assert!(read(&many).is_err());
    }
}
