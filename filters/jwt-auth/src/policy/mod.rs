//! The configuration as it is meant: checked, resolved, ready to be asked.
//!
//! | module | one idea |
//! |---|---|
//! | this one | the plugin |
//! | [`provider`] | who issues tokens, and what is asked of them |
//! | `issuers` | whose tokens are a provider's |
//! | `together` | what providers must be beside each other |
//! | [`keys`] | where keys and deny lists come from |
//! | [`places`] | where tokens are |
//! | [`rules`] | which requests need what |

mod issuers;
pub mod keys;
pub mod places;
pub mod provider;
pub mod rules;
mod together;

use std::rc::Rc;

use portcullis_common::config::{ConfigError, HeaderName};
use portcullis_common::explain::Explain;
use portcullis_common::facts::{self, PropertyKey};
use portcullis_common::filter::Plugin;
use portcullis_common::matching::listed::{Preflights, Unmatched};
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::matching::path::EncodedSlash;
use portcullis_common::matching::rules::Rules;
use portcullis_common::mode::Enforcement;
use portcullis_common::values::source::Source;

use self::rules::NO_RULES;
use self::together::{headers_free, told_apart};
use crate::config::RawConfig;
use crate::credentials::Location;
use crate::resource::Resource;

pub use self::provider::Provider;
pub use self::rules::{Require, Rule};

const NAME: &str = "jwt-auth";

/// A checked configuration.
#[derive(Debug)]
pub struct Policy {
    /// Name, keys and headers of the plugin.
    pub plugin: Plugin,
    /// Whether it does anything.
    pub enabled: bool,
    /// Who issues tokens.
    pub providers: Vec<Provider>,
    /// What is fetched.
    pub sources: Vec<keys::Source>,
    /// All places where any provider's tokens may be.
    pub locations: Vec<Location>,
    /// What the rules are about.
    pub matches: Rules,
    /// What they need, in the same order.
    pub rules: Vec<Rule>,
    /// What no rule matches.
    pub unmatched: Unmatched,
    /// Which refusals outside any rule are carried out.
    pub enforcement: Enforcement,
    /// What happens to CORS preflights.
    pub preflights: Preflights,
    /// What is published, and under which key.
    pub publish: Vec<(Source, PropertyKey)>,
    /// The key of the whole payload, if it is published.
    pub payload_key: Option<PropertyKey>,
    /// The subject's key.
    pub subject_key: PropertyKey,
    /// What `%2F` is.
    pub encoded_slash: EncodedSlash,
    /// The realm of challenges.
    pub realm: String,
    /// The protected resource's metadata.
    pub resource: Option<Resource>,
    /// Who is told how they were judged.
    pub explain: Option<Explain>,
    /// The key of the explanation of a request that passes.
    pub explain_key: PropertyKey,
    /// The longest token, in bytes.
    pub max_token: usize,
    /// The memory for verified tokens, in bytes.
    pub cache: usize,
}

/// Keys of a set that are not used; for the log.
pub type Notes = Vec<String>;

impl Policy {
    /// Checks a configuration.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(raw: RawConfig) -> Result<(Policy, Notes), ConfigError> {
        let name = raw.name.map_or_else(|| NAME.into(), |n| n.0);
        let mode = raw.mode.unwrap_or_default();
        let raw_providers = raw.providers.ok_or_else(|| {
            error("providers", "missing; write one provider with issuer, audiences, algorithms and keys")
        })?;
        if raw_providers.is_empty() {
            return Err(error(
                "providers",
                "empty; write one provider with issuer, audiences, algorithms and keys",
            ));
        }
        let mut notes = Notes::new();
        let mut locations = Vec::new();
        let mut sources = Vec::new();
        let mut providers: Vec<Provider> = Vec::new();
        for (name, provider) in raw_providers {
            let path = format!("providers.{name}");
            let whose = (providers.len(), &*name);
            providers.push(provider::provider(
                &path,
                whose,
                provider,
                &mut locations,
                &mut sources,
                &mut notes,
            )?);
        }
        headers_free(&providers, &locations)?;
        if providers.len() > 1 && raw.shared_namespace != Some(true) {
            told_apart(&providers)?;
        }
        let unmatched = raw.unmatched.ok_or_else(|| {
            error(
                "unmatched",
                "missing; write deny to refuse what no rule matches, or allow to let it pass without facts",
            )
        })?;
        let raw_rules = raw.rules.ok_or_else(|| error("rules", NO_RULES))?;
        let (matches, rules) = rules::rules(raw_rules, &providers, mode, raw.percent)?;
        let publish = publish(&name, raw.publish.unwrap_or_default())?;
        let realm = raw.realm.unwrap_or_else(|| "api".into());
        if realm.is_empty()
            || realm.len() > 128
            || !realm.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
        {
            return Err(error(
                "realm",
                "not a realm; write 1 to 128 visible ASCII characters without quotes and backslashes",
            ));
        }
        let resource = raw.resource_metadata.map(|raw| {
            let issuers = providers.iter().flat_map(|p| p.issuers.listed()).collect();
            Resource::new(raw, issuers, methods(&locations))
                .map_err(|(field, problem)| error(format!("resource_metadata.{field}"), problem))
        });
        let explain = raw.explain.map(|raw| {
            Explain::new(raw).map_err(|(field, problem)| error(format!("explain.{field}"), problem))
        });
        let max_token = bounded("max_token", raw.max_token.map(|s| s.0), 16 << 10, 64 << 10, "64KiB")?;
        if max_token == 0 {
            return Err(error("max_token", "no token fits; write a size such as 16KiB"));
        }
        let cache_size = match raw.cache {
            None => None,
            Some(cache) => Some(
                cache
                    .size
                    .ok_or_else(|| error("cache.size", "missing; write a size such as 4MiB, or 0B for none"))?
                    .0,
            ),
        };
        let cache = bounded("cache.size", cache_size, 4 << 20, 256 << 20, "256MiB")?;
        let owned =
            providers.iter().flat_map(|p| p.claim_headers.iter().map(|(n, _)| n).chain(&p.payload_header));
        let plugin = Plugin::new(&name, OwnedHeaders::new(owned.map(HeaderName::as_str)));
        let policy = Policy {
            payload_key: (raw.publish_payload == Some(true)).then(|| facts::key(&name, "payload")),
            resource: resource.transpose()?,
            explain: explain.transpose()?,
            explain_key: facts::key(&name, "explain"),
            preflights: raw.preflights.unwrap_or_default(),
            enforcement: Enforcement::new(mode, raw.percent),
            subject_key: facts::key(&name, "subject"),
            plugin,
            enabled: raw.enabled.unwrap_or(true),
            providers,
            sources,
            locations,
            matches,
            rules,
            unmatched,
            publish,
            encoded_slash: raw.encoded_slash.unwrap_or_default(),
            realm,
            max_token,
            cache,
        };
        Ok((policy, notes))
    }

    /// Which refusals of a rule are carried out; `None` stands for requests that no rule matches.
    #[must_use]
    pub fn enforcement(&self, rule: Option<usize>) -> Enforcement {
        rule.and_then(|n| self.rules.get(n)).map_or(self.enforcement, |rule| rule.enforcement)
    }

    /// The name of a rule; `None` stands for requests that no rule matches.
    #[must_use]
    pub fn rule_name(&self, rule: Option<usize>) -> Rc<str> {
        let rule = rule.and_then(|n| self.rules.get(n));
        rule.map_or_else(|| facts::UNMATCHED.into(), |rule| Rc::clone(&rule.name))
    }
}

// Out of line: there are a hundred calls, none of them on a way that is taken twice.
#[cold]
#[inline(never)]
fn error(path: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(NAME, path, problem)
}

/// The path of a field.
#[cold]
#[inline(never)]
fn below(path: &str, field: &str) -> String {
    format!("{path}.{field}")
}

fn bounded(
    path: &str,
    value: Option<u64>,
    default: usize,
    max: usize,
    most: &str,
) -> Result<usize, ConfigError> {
    let Some(value) = value else { return Ok(default) };
    let fits = usize::try_from(value).ok().filter(|v| *v <= max);
    fits.ok_or_else(|| error(path, format!("too large; write at most {most}")))
}

/// How tokens may be sent, in RFC 9728's words (section 2).
fn methods(locations: &[Location]) -> Vec<&'static str> {
    let mut methods = Vec::new();
    for location in locations {
        let method = match location {
            Location::Scheme { .. } => "header",
            Location::Query(_) => "query",
            Location::Header { .. } | Location::Cookie(_) => continue,
        };
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods
}

fn publish(plugin: &str, sources: Vec<Source>) -> Result<Vec<(Source, PropertyKey)>, ConfigError> {
    let mut out: Vec<(Source, PropertyKey)> = Vec::new();
    for (n, source) in sources.into_iter().enumerate() {
        let path = format!("publish[{n}]");
        match source {
            Source::Subject => return Err(error(path, "the subject is always published; leave it out")),
            Source::Issuer | Source::Claim(_) => {}
            _ => {
                return Err(error(
                    path,
                    format!("{source} is not from the token; publish issuer or claim.NAME"),
                ));
            }
        }
        if out.iter().any(|(s, _)| *s == source) {
            return Err(error(path, format!("{source} stands twice; keep one")));
        }
        let key = facts::key(plugin, &source.to_string());
        out.push((source, key));
    }
    Ok(out)
}
