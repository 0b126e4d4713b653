//! What is counted together.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use portcullis_common::config::ConfigError;
use portcullis_common::matching::pattern::Pattern;
use portcullis_common::values::context::{Context, Reader};
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;
use portcullis_common::values::{Failure, address};

use super::error;
use super::limit::Defaults;
use crate::address::Forwarded;
use crate::config::{RawInstead, RawMissing};

/// A source, ready to be read; `client.ip` goes by the plugin's own rule if it has one.
#[derive(Clone, Debug)]
pub struct Value {
    reader: Reader,
    forwarded: Option<Rc<Forwarded>>,
}

impl Value {
    /// Reads `source`.
    #[must_use]
    pub fn new(source: Source, defaults: &Defaults) -> Value {
        let forwarded = match source {
            Source::ClientIp(_) => defaults.forwarded.clone(),
            _ => None,
        };
        Value { reader: Reader::new(source, &defaults.identity), forwarded }
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &Source {
        self.reader.source()
    }

    /// The value in `context`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn read<'a>(&self, context: &Context<'a>) -> Result<Cow<'a, str>, Failure> {
        match (&self.forwarded, self.reader.source()) {
            (Some(rule), Source::ClientIp(prefix)) => {
                let ip = rule.client(context.request)?;
                let text = prefix.map_or_else(|| ip.to_string(), |prefix| address::masked(ip, prefix));
                Ok(Cow::Owned(text))
            }
            _ => self.reader.read(context),
        }
    }

    /// The client's whole address, for a `client.ip` of any prefix.
    ///
    /// # Errors
    /// Why there is none.
    pub fn address(&self, context: &Context<'_>) -> Result<IpAddr, Failure> {
        match &self.forwarded {
            Some(rule) => rule.client(context.request),
            None => self.reader.read(context)?.parse().map_err(|_| Failure::Unusable),
        }
    }
}

/// The key of a limit.
#[derive(Debug)]
pub struct Key {
    parts: Vec<Part>,
    missing: Missing,
}

/// One text of a key, with its sources ready to be read.
#[derive(Debug)]
struct Part {
    template: Template,
    values: Vec<Value>,
}

/// What happens when a part of a key has no value.
#[derive(Debug)]
enum Missing {
    /// The request is refused.
    Deny,
    /// The limit does not apply, if the value is absent.
    Skip,
    /// This text stands in for the value.
    Value(String),
    /// Another key.
    Key(Vec<Part>),
}

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(
        path: &str,
        raw: Vec<Template>,
        missing: Option<RawMissing>,
        pattern: Option<&Pattern>,
        defaults: &Defaults,
    ) -> Result<Key, ConfigError> {
        let at = |field: &str| format!("{path}.{field}");
        let parts = parts(&at("key"), raw, pattern, defaults)?;
        let missing = match missing {
            None | Some(RawMissing::Deny) => Missing::Deny,
            Some(RawMissing::Skip) => Missing::Skip,
            Some(RawMissing::Instead(RawInstead { value: Some(text), key: None })) if !text.is_empty() => {
                Missing::Value(text)
            }
            Some(RawMissing::Instead(RawInstead { value: None, key: Some(other) })) => {
                Missing::Key(self::parts(&at("missing.key"), other, pattern, defaults)?)
            }
            Some(RawMissing::Instead(_)) => {
                return Err(error(
                    at("missing"),
                    "not one thing; write deny, skip, {value: TEXT} or {key: [TEMPLATE]}",
                ));
            }
        };
        Ok(Key { parts, missing })
    }

    /// This request's key; `None` if the limit does not apply.
    ///
    /// # Errors
    /// The first value that is missing.
    pub fn of(&self, context: &Context<'_>) -> Result<Option<Vec<u8>>, Failure> {
        let mut out = Vec::with_capacity(64);
        let instead = match &self.missing {
            Missing::Value(text) => Some(text.as_str()),
            Missing::Deny | Missing::Skip | Missing::Key(_) => None,
        };
        let first = self.parts.iter().try_for_each(|part| part.append(&mut out, context, instead));
        match (first, &self.missing) {
            (Ok(()), _) => Ok(Some(out)),
            (Err(Failure::Absent), Missing::Skip) => Ok(None),
            (Err(_), Missing::Key(other)) => {
                out.clear();
                // Tells the other key from one of the same text: no part is that long.
                out.extend_from_slice(&u32::MAX.to_le_bytes());
                other.iter().try_for_each(|part| part.append(&mut out, context, None))?;
                Ok(Some(out))
            }
            (Err(failure), _) => Err(failure),
        }
    }
}

impl Part {
    /// Appends the text, behind its length, so that no two keys run into each other. `instead` stands in for what is
    /// missing.
    fn append(&self, key: &mut Vec<u8>, context: &Context<'_>, instead: Option<&str>) -> Result<(), Failure> {
        let mut values = self.values.iter();
        let mut value = |_: &_| {
            let read = values.next().ok_or(Failure::Absent)?.read(context);
            read.or_else(|failure| instead.map(Cow::Borrowed).ok_or(failure))
        };
        let text = match self.template.lone_source() {
            Some(source) => value(source)?,
            None => Cow::Owned(self.template.fill_apart(value)?),
        };
        key.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn parts(
    path: &str,
    raw: Vec<Template>,
    pattern: Option<&Pattern>,
    defaults: &Defaults,
) -> Result<Vec<Part>, ConfigError> {
    if raw.is_empty() {
        let remedy =
            "write [\"{client.ip/32,64}\"] for a bucket per client, [\"everyone\"] for one bucket for all";
        return Err(error(path, format!("missing or empty; {remedy}")));
    }
    for (n, template) in raw.iter().enumerate() {
        template.braced("bucket").map_err(|problem| error(format!("{path}[{n}]"), problem))?;
        for source in template.sources() {
            captured(&format!("{path}[{n}]"), source, pattern)?;
        }
    }
    let part = |template: Template| {
        let values = template.sources().map(|source| Value::new(source.clone(), defaults)).collect();
        Part { template, values }
    };
    Ok(raw.into_iter().map(part).collect())
}

/// Refuses a capture that the limit's path does not have.
///
/// # Errors
/// If it is one.
pub(super) fn captured(path: &str, source: &Source, pattern: Option<&Pattern>) -> Result<(), ConfigError> {
    if !source.is_uncaptured(pattern) {
        return Ok(());
    }
    let problem =
        format!("{source} is no capture of this limit's path; add {{NAME}} to match.path, or correct it");
    Err(error(path, problem))
}
