//! Keys and deny lists that are fetched: what is known of each now, and what a request may wait for.
//!
//! One [`Snapshot`] for each source does the fetching and sharing; here is what jwt-auth makes of its content, and the
//! memory of keys that were looked for and not found.

mod content;

use std::rc::Rc;

use portcullis_common::clock::Mono;
use portcullis_common::facts;
use portcullis_common::filter::{Answer, RootStep, WaitKey};
use portcullis_common::host::Host;
use portcullis_common::mode::OnError;
use portcullis_common::snapshot::{Fetched, Progress, Snapshot, Unfit};

use crate::absent::Absent;
use crate::counters::Counters;
use crate::deny::Deny;
use crate::keys::{Key, KeySet};
use crate::policy::Policy;
use crate::policy::keys::{Content, Source};

use content::Known;
pub use content::{Mistake, read_keys};

/// What every waiting request waits for: that anything moves. Whoever misses something else waits on.
pub const MOVED: WaitKey = 0;

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
    snapshot: Snapshot,
    known: Known,
    usable: bool,
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
        self.sources.iter().filter(move |s| s.provider == provider && s.is_of_keys())
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

    /// Whether what is missing may come in time, for a request that came at `since` and can wait until `until`; asks for it.
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
        for server in self.sources.iter_mut().filter(|s| s.provider == provider && s.is_of_keys()) {
            if server.snapshot.looked_since(since) {
                continue;
            }
            if server.snapshot.out_of_turn() <= until {
                server.snapshot.want(now);
                helps = true;
            }
            // One that began before the request may bring the key too.
            helps |= server.snapshot.is_under_way(now);
        }
        helps
    }

    /// If a provider's servers were asked since a request came that names a key they do not have: remembers that until they can be
    /// asked again.
    pub fn remember_absent(&mut self, provider: usize, name: Option<&str>, since: Mono) {
        if name.is_some() && self.keys_of(provider).all(|s| s.snapshot.looked_since(since)) {
            let again = self.keys_of(provider).map(|s| s.snapshot.out_of_turn()).max().unwrap_or_default();
            self.absent.add(provider, name, again);
        }
    }

    /// When what is missing may be asked for again: for `Retry-After`.
    #[must_use]
    pub fn next_try(&self, missing: &Missing) -> Mono {
        let own = self.sources.iter().filter(|s| s.provider == missing.provider);
        match missing.what {
            What::Key(_) => self.keys_of(missing.provider).map(|s| s.snapshot.out_of_turn()).min(),
            What::Keys | What::List => own.filter(|s| !s.usable).map(|s| s.snapshot.next_try()).min(),
        }
        .unwrap_or_default()
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
    match (fetched, server.known.mistake()) {
        (Fetched::New, None) => log::info!("{plugin}: {content} of {name}: fetched"),
        (Fetched::New, Some(mistake)) => {
            log::warn!("{plugin}: {content} of {name}: fetched, but not all is used: {mistake}");
        }
        (Fetched::Same, _) => {}
        (Fetched::Unfit(Unfit(why)), None) => {
            log::warn!("{plugin}: {content} of {name}: {why}; {meaning}")
        }
        (Fetched::Unfit(Unfit(why)), Some(mistake)) => {
            log::warn!("{plugin}: {content} of {name}: {why}: {mistake}; {meaning}");
        }
        (Fetched::Status(status), _) => {
            log::warn!("{plugin}: {content} of {name}: status {status}; {meaning}")
        }
        (_, _) => log::warn!("{plugin}: {content} of {name}: {}; {meaning}", fetched.word()),
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
                Known::Keys {
                    uses,
                    discovery: discovery.clone(),
                    set: KeySet::default(),
                    skipped: 0,
                    mistake: None,
                }
            }
            Content::Deny(on_error) => {
                parts.push("deny");
                Known::Deny { list: Deny::default(), on_error: *on_error }
            }
        };
        Server {
            provider: source.provider,
            name,
            snapshot: Snapshot::new(host, &parts, source.spec.clone()),
            known,
            usable: false,
        }
    }

    fn is_of_keys(&self) -> bool {
        matches!(self.known, Known::Keys { .. })
    }

    /// Takes over what a snapshot did; whether remembered tokens are to be looked at again.
    fn note(&mut self, progress: &Progress) -> bool {
        let turned = self.usable != self.snapshot.is_usable();
        self.usable = self.snapshot.is_usable();
        turned || progress.adopted
    }
}
