//! The configuration as it is meant: checked, resolved, ready to be asked.

use std::num::NonZeroU64;
use std::rc::Rc;

use portcullis_common::config::ConfigError;
use portcullis_common::filter::Plugin;
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::matching::pattern::Pattern;
use portcullis_common::matching::rules::Rules;
use portcullis_common::mode::Mode;
use portcullis_common::values::Failure;
use portcullis_common::values::context::{Context, Reader};
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;

use crate::config::{HeaderDialect, OnError, RawConfig, RawInstead, RawLimit, RawMissing};
use crate::gcra::Quota;
use crate::rate::Rate;

const NAME: &str = "rate-limit";

/// A checked configuration.
#[derive(Debug)]
pub struct Policy {
    /// Name, keys and headers of the plugin.
    pub plugin: Plugin,
    /// Whether it does anything.
    pub enabled: bool,
    /// What the limits are about.
    pub matches: Rules,
    /// The limits, in the same order.
    pub limits: Vec<Limit>,
    /// The memory for the counts, in bytes.
    pub store: usize,
    /// The headers for clients.
    pub headers: HeaderDialect,
    /// What happens when the store cannot answer.
    pub on_error: OnError,
}

/// A checked limit.
#[derive(Debug)]
pub struct Limit {
    /// Its name.
    pub name: Rc<str>,
    /// What is counted together.
    pub key: Vec<KeyPart>,
    /// What happens when a part of the key has no value.
    pub missing: Missing,
    /// How many in how long.
    pub rate: Rate,
    /// The same as a bucket.
    pub quota: Quota,
    /// Whether its refusals are carried out.
    pub mode: Mode,
}

/// One text of a key, with its sources ready to be read.
#[derive(Debug)]
pub struct KeyPart {
    template: Template,
    readers: Vec<Reader>,
}

/// What happens when a part of a key has no value.
#[derive(Debug)]
pub enum Missing {
    /// The request is refused.
    Deny,
    /// The limit does not apply, if the value is absent.
    Skip,
    /// This text stands in for the value.
    Value(String),
    /// Another key.
    Key(Vec<KeyPart>),
}

impl Policy {
    /// Checks a configuration.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(raw: RawConfig) -> Result<Policy, ConfigError> {
        let name = raw.name.map_or_else(|| NAME.into(), |n| n.0);
        let identity = raw.identity.map_or_else(|| "jwt-auth".into(), |n| n.0);
        let mode = raw.mode.unwrap_or_default();
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
            let limit = self::limit(&path, limit, matching.path.as_ref(), &identity, mode)?;
            if limits.iter().any(|l| l.name == limit.name) {
                return Err(error(
                    format!("{path}.name"),
                    format!("{} is the name of another limit too; give each its own", limit.name),
                ));
            }
            matches.push(matching);
            limits.push(limit);
        }
        let store = match raw.store {
            None => 16 << 20,
            Some(store) => {
                let size =
                    store.size.ok_or_else(|| error("store.size", "missing; write a size such as 16MiB"))?.0;
                if !(4 << 10..=1 << 30).contains(&size) {
                    return Err(error(
                        "store.size",
                        "too small or too large; write a size from 4KiB to 1GiB",
                    ));
                }
                usize::try_from(size).unwrap_or(16 << 20)
            }
        };
        Ok(Policy {
            plugin: Plugin::new(&name, OwnedHeaders::default()),
            enabled: raw.enabled.unwrap_or(true),
            matches: Rules::new(&matches),
            limits,
            store,
            headers: raw.headers.unwrap_or_default(),
            on_error: raw.on_error.unwrap_or_default(),
        })
    }
}

fn error(path: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(NAME, path, problem)
}

fn limit(
    path: &str,
    raw: RawLimit,
    pattern: Option<&Pattern>,
    identity: &str,
    mode: Mode,
) -> Result<Limit, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let name =
        raw.name.ok_or_else(|| error(at("name"), "missing; clients and metrics know a limit by its name"))?.0;
    let key = key(&at("key"), raw.key.unwrap_or_default(), pattern, identity)?;
    let rate = raw.rate.ok_or_else(|| error(at("rate"), "missing; write a rate such as 100/minute"))?;
    let burst = raw.burst.map_or(rate.count.get(), |b| b.get());
    let burst = NonZeroU64::new(burst).filter(|b| b.get() <= 1_000_000_000);
    let burst =
        burst.ok_or_else(|| error(at("burst"), "out of range; write a whole number from 1 to 1000000000"))?;
    let quota = Quota::new(rate.count, rate.period, burst);
    let quota = quota.ok_or_else(|| {
        error(at("burst"), "too much for this rate; a full bucket would take over a century to fill")
    })?;
    let missing = match raw.missing {
        None | Some(RawMissing::Deny) => Missing::Deny,
        Some(RawMissing::Skip) => Missing::Skip,
        Some(RawMissing::Instead(RawInstead { value: Some(text), key: None })) if !text.is_empty() => {
            Missing::Value(text)
        }
        Some(RawMissing::Instead(RawInstead { value: None, key: Some(other) })) => {
            Missing::Key(self::key(&at("missing.key"), other, pattern, identity)?)
        }
        Some(RawMissing::Instead(_)) => {
            return Err(error(
                at("missing"),
                "not one thing; write deny, skip, {value: TEXT} or {key: [TEMPLATE]}",
            ));
        }
    };
    Ok(Limit { name, key, missing, rate, quota, mode: raw.mode.unwrap_or(mode) })
}

fn key(
    path: &str,
    raw: Vec<Template>,
    pattern: Option<&Pattern>,
    identity: &str,
) -> Result<Vec<KeyPart>, ConfigError> {
    if raw.is_empty() {
        let remedy =
            "write [\"{client.ip/32,64}\"] for a bucket per client, [\"everyone\"] for one bucket for all";
        return Err(error(path, format!("missing or empty; {remedy}")));
    }
    let captured = |source: &Source| match source {
        Source::Path(name) => pattern.is_some_and(|p| p.captures().any(|c| c == name)),
        _ => true,
    };
    for (n, template) in raw.iter().enumerate() {
        if let Some(source) = template.sources().find(|s| !captured(s)) {
            let problem = format!(
                "{source} is no capture of this limit's path; add {{NAME}} to match.path, or correct it"
            );
            return Err(error(format!("{path}[{n}]"), problem));
        }
    }
    Ok(raw.into_iter().map(|template| KeyPart::new(template, identity)).collect())
}

impl KeyPart {
    fn new(template: Template, identity: &str) -> KeyPart {
        let readers = template.sources().map(|source| Reader::new(source.clone(), identity)).collect();
        KeyPart { template, readers }
    }

    /// Appends the text, behind its length, so that no two keys run into each other. `instead` stands in for what is
    /// missing.
    ///
    /// # Errors
    /// The first value that is missing.
    pub fn append(
        &self,
        key: &mut Vec<u8>,
        context: &Context<'_>,
        instead: Option<&str>,
    ) -> Result<(), Failure> {
        let mut readers = self.readers.iter();
        let text = self.template.fill_apart(|_| {
            let read = readers.next().ok_or(Failure::Absent)?.read(context);
            read.or_else(|failure| instead.map(str::to_owned).ok_or(failure))
        })?;
        key.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
