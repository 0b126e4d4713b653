//! The configuration as it is meant: checked, resolved, ready to be asked.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::config::{ConfigError, HeaderName};
use portcullis_common::facts::{self, PropertyKey};
use portcullis_common::filter::Plugin;
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::matching::path::EncodedSlash;
use portcullis_common::matching::rules::Rules;
use portcullis_common::mode::Mode;
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;

use crate::algorithm::{Algorithm, Family};
use crate::claims::{Audiences, Timing};
use crate::config::{
    Expiration, RawAudiences, RawConfig, RawKeys, RawLocation, RawProvider, RawRequire, RawRule, RawToken,
    Unmatched,
};
use crate::credentials::Location;
use crate::keys::KeySet;

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
    /// All places where any provider's tokens may be.
    pub locations: Vec<Location>,
    /// What the rules are about.
    pub matches: Rules,
    /// What they need, in the same order.
    pub rules: Vec<Rule>,
    /// What no rule matches.
    pub unmatched: Unmatched,
    /// Whether refusals outside any rule are carried out.
    pub mode: Mode,
    /// What is published, and under which key.
    pub publish: Vec<(Source, PropertyKey)>,
    /// The subject's key.
    pub subject_key: PropertyKey,
    /// What `%2F` is.
    pub encoded_slash: EncodedSlash,
    /// The realm of challenges.
    pub realm: String,
    /// The longest token, in bytes.
    pub max_token: usize,
    /// The memory for verified tokens, in bytes.
    pub cache: usize,
}

/// A checked provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name.
    pub name: Rc<str>,
    /// Its issuers.
    pub issuers: Vec<Box<str>>,
    /// Whom its tokens must be for.
    pub audiences: Audiences,
    /// What it signs with.
    pub algorithms: Vec<Algorithm>,
    /// Its keys.
    pub keys: KeySet,
    /// Where its tokens are: positions in [`Policy::locations`].
    pub locations: Vec<usize>,
    /// What it says about time.
    pub timing: Timing,
    /// The subject.
    pub subject: Template,
    /// Whether the token stays in the request.
    pub forward_token: bool,
    /// The header for the payload.
    pub payload_header: Option<HeaderName>,
    /// The headers for claims.
    pub claim_headers: Vec<(HeaderName, Template)>,
}

/// A checked rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Rc<str>,
    /// What it needs.
    pub require: Require,
    /// Whether its refusals are carried out.
    pub mode: Mode,
}

/// What a rule needs; providers by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Require {
    /// Nothing.
    None,
    /// Exactly one token, of one of these.
    Any(Vec<usize>),
    /// One token of each of these.
    All(Vec<usize>),
    /// At most one token, of one of these.
    Optional(Vec<usize>),
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
        let mut providers: Vec<Provider> = Vec::new();
        for (name, provider) in raw_providers {
            let path = format!("providers.{name}");
            providers.push(self::provider(&path, &name, provider, &mut locations, &mut notes)?);
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
        let (matches, rules) = rules(raw_rules, &providers, mode)?;
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
            subject_key: facts::key(&name, "subject"),
            plugin,
            enabled: raw.enabled.unwrap_or(true),
            providers,
            locations,
            matches,
            rules,
            unmatched,
            mode,
            publish,
            encoded_slash: raw.encoded_slash.unwrap_or_default(),
            realm,
            max_token,
            cache,
        };
        Ok((policy, notes))
    }

    /// The name of a rule; `None` stands for requests that no rule matches.
    #[must_use]
    pub fn rule_name(&self, rule: Option<usize>) -> Rc<str> {
        let rule = rule.and_then(|n| self.rules.get(n));
        rule.map_or_else(|| facts::UNMATCHED.into(), |rule| Rc::clone(&rule.name))
    }
}

const NO_RULES: &str = "empty; write at least {match: {path: \"/**\"}, require: {any: [PROVIDER]}}";

fn error(path: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(NAME, path, problem)
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

fn provider(
    path: &str,
    name: &str,
    raw: RawProvider,
    locations: &mut Vec<Location>,
    notes: &mut Notes,
) -> Result<Provider, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let issuers = match (raw.issuer, raw.issuers) {
        (Some(one), None) => vec![one],
        (None, Some(list)) => list,
        (None, None) => return Err(error(at("issuer"), "missing; write the exact iss of the tokens")),
        (Some(_), Some(_)) => return Err(error(at("issuers"), "beside issuer; keep one of the two")),
    };
    if issuers.is_empty() || issuers.iter().any(String::is_empty) {
        return Err(error(at("issuer"), "empty; write the exact iss of the tokens"));
    }
    let audiences = match raw.audiences {
        None => return Err(error(at("audiences"), "missing; list at least one audience, or write \"any\"")),
        Some(RawAudiences::List(list)) if list.is_empty() || list.iter().any(String::is_empty) => {
            return Err(error(at("audiences"), "empty; list at least one audience, or write \"any\""));
        }
        Some(RawAudiences::List(list)) => Audiences::OneOf(list.into_iter().map(Into::into).collect()),
        Some(RawAudiences::Any) => Audiences::Any,
    };
    let algorithms = raw.algorithms.filter(|list| !list.is_empty()).ok_or_else(|| {
        error(at("algorithms"), "missing or empty; list what this issuer signs with, such as [RS256, ES256]")
    })?;
    let keys = raw.keys.ok_or_else(|| error(at("keys"), "missing; write {jwks: {keys: [...]}}"))?;
    let keys = key_set(&at("keys"), keys, &algorithms, notes)?;
    let skew = raw.clock_skew.map_or(Duration::from_secs(30), |d| d.0);
    if skew > Duration::from_secs(600) {
        return Err(error(at("clock_skew"), "too long; write at most 10m"));
    }
    let max_lifetime = raw.max_lifetime.map(|d| d.0);
    if max_lifetime == Some(Duration::ZERO) {
        return Err(error(
            at("max_lifetime"),
            "no token lives that short; write a duration such as 24h, or leave it out",
        ));
    }
    let subject = match raw.subject {
        Some(subject) => subject,
        None => Template::parse("{claim.sub}").map_err(|problem| error(at("subject"), problem))?,
    };
    from_token_only(&at("subject"), &subject)?;
    if subject.runs_together() {
        return Err(error(
            at("subject"),
            "two sources side by side; put text between them, such as {issuer}#{claim.sub}",
        ));
    }
    let claim_headers: Vec<_> = raw.claim_headers.unwrap_or_default().into_iter().collect();
    for (header, template) in &claim_headers {
        from_token_only(&at(&format!("claim_headers.{}", header.as_str())), template)?;
    }
    let mut own = Vec::new();
    for (n, location) in raw.tokens.unwrap_or_else(default_locations).into_iter().enumerate() {
        let location = self::location(&format!("{path}.tokens[{n}]"), location)?;
        let known = locations.iter().position(|l| *l == location);
        own.push(known.unwrap_or(locations.len()));
        if known.is_none() {
            locations.push(location);
        }
    }
    if own.is_empty() {
        return Err(error(
            at("tokens"),
            "empty; write [{header: authorization, scheme: Bearer}], or leave it out",
        ));
    }
    Ok(Provider {
        name: name.into(),
        issuers: issuers.into_iter().map(Into::into).collect(),
        audiences,
        algorithms,
        keys,
        locations: own,
        timing: Timing { skew, max_lifetime, require_exp: raw.expiration != Some(Expiration::Optional) },
        subject,
        forward_token: raw.forward_token.unwrap_or(false),
        payload_header: raw.payload_header,
        claim_headers,
    })
}

fn key_set(
    path: &str,
    raw: RawKeys,
    algorithms: &[Algorithm],
    notes: &mut Notes,
) -> Result<KeySet, ConfigError> {
    let symmetric = algorithms.iter().any(|a| a.family() == Family::Hmac);
    if symmetric && algorithms.iter().any(|a| a.family() != Family::Hmac) {
        let problem =
            "HS256, HS384 and HS512 beside algorithms with public keys; give them their own provider";
        return Err(error(path.replace(".keys", ".algorithms"), problem));
    }
    match (raw.jwks, raw.secret) {
        (Some(jwks), None) => {
            let (set, skipped) =
                KeySet::load(&jwks.keys).map_err(|problem| error(format!("{path}.jwks"), problem))?;
            for (at, why) in skipped {
                let place = format!("{path}.jwks.keys[{at}]");
                if why.is_mistake() {
                    return Err(error(place, why.remedy()));
                }
                notes.push(format!("{place} is not used: {}", why.remedy()));
            }
            if !set.iter().any(|key| algorithms.iter().any(|a| key.allows(*a))) {
                return Err(error(
                    format!("{path}.jwks.keys"),
                    "no key fits the algorithms; add one, or correct algorithms",
                ));
            }
            Ok(set)
        }
        (None, Some(secret)) if symmetric => KeySet::of_secret(secret.expose(), algorithms)
            .map_err(|problem| error(format!("{path}.secret"), problem)),
        (None, Some(_)) => Err(error(
            format!("{path}.secret"),
            "only HS256, HS384 and HS512 have a secret; write {jwks: {keys: [...]}}",
        )),
        _ => Err(error(
            path,
            "not one source; write exactly one of {jwks: {keys: [...]}} and {secret: {env: NAME}}",
        )),
    }
}

fn default_locations() -> Vec<RawLocation> {
    let header = HeaderName::parse("authorization").ok();
    vec![RawLocation { header, scheme: Some("Bearer".into()), prefix: None, query: None, cookie: None }]
}

fn location(path: &str, raw: RawLocation) -> Result<Location, ConfigError> {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    match raw {
        RawLocation { header: Some(name), scheme: Some(scheme), prefix: None, query: None, cookie: None } => {
            if !token(&scheme) {
                return Err(error(format!("{path}.scheme"), "not a scheme; write one word, such as Bearer"));
            }
            Ok(Location::Scheme { name, scheme: scheme.into() })
        }
        RawLocation { header: Some(name), scheme: None, prefix, query: None, cookie: None } => {
            if prefix.as_deref() == Some("") {
                return Err(error(
                    format!("{path}.prefix"),
                    "empty; leave it out, or write the text in front of the token",
                ));
            }
            let prefix = prefix.unwrap_or_default();
            if name.as_str() == "authorization" {
                return Err(error(
                    path,
                    "authorization without a scheme; write {header: authorization, scheme: Bearer}",
                ));
            }
            Ok(Location::Header { name, prefix: prefix.into() })
        }
        RawLocation { header: None, scheme: None, prefix: None, query: Some(name), cookie: None }
            if !name.is_empty() =>
        {
            Ok(Location::Query(name.into()))
        }
        RawLocation { header: None, scheme: None, prefix: None, query: None, cookie: Some(name) }
            if token(&name) =>
        {
            Ok(Location::Cookie(name.into()))
        }
        _ => {
            let remedy = "{header: NAME, scheme: SCHEME}, {header: NAME, prefix: TEXT}, {header: NAME}, {query: NAME}, {cookie: NAME}";
            Err(error(path, format!("not one place; write exactly one of {remedy}")))
        }
    }
}

fn from_token_only(path: &str, template: &Template) -> Result<(), ConfigError> {
    match template.sources().find(|s| !s.is_from_token()) {
        Some(source) => {
            Err(error(path, format!("{source} is not from the token; use subject, issuer or claim.NAME")))
        }
        None if path.ends_with(".subject") && template.sources().any(|s| *s == Source::Subject) => {
            Err(error(path, "subject cannot contain itself; use claim.sub"))
        }
        None => Ok(()),
    }
}

/// No header that the proxy owns or that carries a token may be set from a claim.
fn headers_free(providers: &[Provider], locations: &[Location]) -> Result<(), ConfigError> {
    let carries = |name: &HeaderName| {
        locations.iter().any(
            |l| matches!(l, Location::Scheme { name: n, .. } | Location::Header { name: n, .. } if n == name),
        )
    };
    for provider in providers {
        let claims = provider.claim_headers.iter().map(|(name, _)| ("claim_headers", name));
        let payload = provider.payload_header.iter().map(|name| ("payload_header", name));
        if let Some((field, name)) =
            claims.chain(payload).find(|(_, name)| name.is_reserved() || carries(name))
        {
            let problem = format!(
                "{} belongs to the proxy or carries tokens; choose another header, such as x-user",
                name.as_str()
            );
            return Err(error(format!("providers.{}.{field}", provider.name), problem));
        }
    }
    Ok(())
}

/// With several providers, no two of them may give the same subject: their templates are one and the same with the issuer in
/// it, or start with different text.
fn told_apart(providers: &[Provider]) -> Result<(), ConfigError> {
    let same = providers.windows(2).all(|pair| matches!(pair, [a, b] if a.subject == b.subject));
    let by_issuer = |p: &Provider| p.subject.sources().any(|s| *s == Source::Issuer);
    if same && providers.iter().all(by_issuer) {
        return Ok(());
    }
    for (n, a) in providers.iter().enumerate() {
        for (m, b) in providers.iter().enumerate() {
            if n != m && b.subject.lead().starts_with(a.subject.lead()) {
                let problem = format!(
                    "could be the subject of provider {} too; write \"{{issuer}}#{{claim.sub}}\" in all of them, start each with its own text, or set shared_namespace: true",
                    b.name
                );
                return Err(error(format!("providers.{}.subject", a.name), problem));
            }
        }
    }
    Ok(())
}

fn rules(raw: Vec<RawRule>, providers: &[Provider], mode: Mode) -> Result<(Rules, Vec<Rule>), ConfigError> {
    if raw.is_empty() {
        return Err(error("rules", NO_RULES));
    }
    let mut matches = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    let mut names: BTreeMap<Rc<str>, usize> = BTreeMap::new();
    for (n, rule) in raw.into_iter().enumerate() {
        let path = format!("rules[{n}]");
        let name = rule.name.map_or_else(|| format!("rule-{n}").into(), |name| name.0);
        if let Some(first) = names.insert(Rc::clone(&name), n) {
            return Err(error(
                format!("{path}.name"),
                format!("{name} is the name of rules[{first}] too; give each rule its own"),
            ));
        }
        let matching = rule.matches.ok_or_else(|| {
            error(format!("{path}.match"), "missing; write {path: \"/**\"}, or {} for every request")
        })?;
        if let Some(part) = matching.empty_part() {
            return Err(error(
                format!("{path}.match.{part}"),
                "empty, so nothing would match; leave it out, or list what should",
            ));
        }
        let require = rule.require.ok_or_else(|| {
            error(
                format!("{path}.require"),
                "missing; write none, {any: [PROVIDER]}, {all: [PROVIDER]} or {optional: [PROVIDER]}",
            )
        })?;
        rules.push(Rule {
            name,
            require: self::require(&format!("{path}.require"), require, providers)?,
            mode: rule.mode.unwrap_or(mode),
        });
        matches.push(matching);
    }
    let matches = Rules::new(&matches);
    if let Some((covered, by)) = matches.covered() {
        let problem = format!(
            "can never decide: rules[{by}] matches every request that it matches; remove it, or put it in front"
        );
        return Err(error(format!("rules[{covered}].match"), problem));
    }
    Ok((matches, rules))
}

fn require(path: &str, raw: RawRequire, providers: &[Provider]) -> Result<Require, ConfigError> {
    let RawRequire::Token(RawToken { any, all, optional }) = raw else { return Ok(Require::None) };
    let resolve = |field: &str, names: Vec<String>| {
        let path = format!("{path}.{field}");
        if names.is_empty() {
            return Err(error(path, "empty; list at least one provider"));
        }
        let mut found = Vec::new();
        for name in names {
            let known = || providers.iter().map(|p| &*p.name).collect::<Vec<_>>().join(", ");
            let at = providers.iter().position(|p| *p.name == *name);
            let at = at.ok_or_else(|| {
                error(&*path, format!("{name} is no provider; the providers are {}", known()))
            })?;
            if found.contains(&at) {
                return Err(error(&*path, format!("{name} stands twice; keep one")));
            }
            found.push(at);
        }
        Ok(found)
    };
    match (any, all, optional) {
        (Some(names), None, None) => resolve("any", names).map(Require::Any),
        (None, Some(names), None) => {
            let found = resolve("all", names)?;
            let mut places: Vec<usize> = Vec::new();
            for provider in found.iter().filter_map(|n| providers.get(*n)) {
                if provider.locations.iter().any(|l| places.contains(l)) {
                    let problem = format!(
                        "the tokens of {} are in a place of another provider; give each its own tokens",
                        provider.name
                    );
                    return Err(error(format!("{path}.all"), problem));
                }
                places.extend(&provider.locations);
            }
            Ok(Require::All(found))
        }
        (None, None, Some(names)) => resolve("optional", names).map(Require::Optional),
        _ => Err(error(path, "not one requirement; write exactly one of any, all and optional")),
    }
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
