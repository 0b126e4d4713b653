//! Which requests need what.

use std::rc::Rc;

use portcullis_common::config::ConfigError;
use portcullis_common::matching::listed::{Head, List, Problem};
use portcullis_common::matching::rules::Rules;
use portcullis_common::mode::{Enforcement, Mode, Percent};
use portcullis_common::values::source::Source;

use super::error;
use super::provider::Provider;
use crate::config::rules::{RawCondition, RawNames, RawRequire, RawRule, RawToken};
use crate::requirement::{Condition, Names, Requirement, Test};

/// The most nested groups of conditions.
const MAX_NESTING: u32 = 8;

/// A checked rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Rc<str>,
    /// Whose token it needs.
    pub require: Require,
    /// What the token has to grant.
    pub requirement: Requirement,
    /// Which of its refusals are carried out.
    pub enforcement: Enforcement,
}

/// Whose token a rule needs; providers by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Require {
    /// None.
    None,
    /// Exactly one token, of one of these.
    Any(Vec<usize>),
    /// One token of each of these.
    All(Vec<usize>),
    /// At most one token, of one of these.
    Optional(Vec<usize>),
}

impl Require {
    /// The providers.
    #[must_use]
    pub fn providers(&self) -> &[usize] {
        match self {
            Require::None => &[],
            Require::Any(providers) | Require::All(providers) | Require::Optional(providers) => providers,
        }
    }
}

pub(super) const NO_RULES: &str =
    "empty; write at least {match: {path: \"/**\"}, require: {any: [PROVIDER]}}";

/// The rules, and what they are about.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub(super) fn rules(
    raw: Vec<RawRule>,
    providers: &[Provider],
    mode: Mode,
    percent: Option<Percent>,
) -> Result<(Rules, Vec<Rule>), ConfigError> {
    if raw.is_empty() {
        return Err(error("rules", NO_RULES));
    }
    let wrong = |(field, problem): Problem| error(field, problem);
    let mut list = List::new(mode, percent).map_err(wrong)?;
    let mut rules = Vec::new();
    for rule in raw {
        let RawRule { name, matches, require, mode, percent } = rule;
        let (path, name, enforcement) = list.next(Head { name, matches, mode, percent }).map_err(wrong)?;
        let require = require.ok_or_else(|| {
            error(
                format!("{path}.require"),
                "missing; write none, {any: [PROVIDER]}, {all: [PROVIDER]} or {optional: [PROVIDER]}",
            )
        })?;
        let (require, requirement) = self::require(&format!("{path}.require"), require, providers)?;
        rules.push(Rule { name, require, requirement, enforcement });
    }
    Ok((list.done().map_err(wrong)?, rules))
}

fn require(
    path: &str,
    raw: RawRequire,
    providers: &[Provider],
) -> Result<(Require, Requirement), ConfigError> {
    let RawRequire::Token(raw) = raw else { return Ok((Require::None, Requirement::default())) };
    let RawToken { any, all, optional, scopes, roles, claims } = *raw;
    let require = whose(path, any, all, optional, providers)?;
    let scope = |c: char| matches!(c, '!'..='~') && c != '"' && c != '\\';
    let requirement = Requirement {
        scopes: scopes.map(|names| self::names(&format!("{path}.scopes"), names, scope)).transpose()?,
        roles: roles
            .map(|names| self::names(&format!("{path}.roles"), names, |c| !c.is_control()))
            .transpose()?,
        claims: match claims {
            None => Vec::new(),
            Some(list) => conditions(&format!("{path}.claims"), list, MAX_NESTING)?,
        },
    };
    Ok((require, requirement))
}

fn whose(
    path: &str,
    any: Option<Vec<String>>,
    all: Option<Vec<String>>,
    optional: Option<Vec<String>>,
    providers: &[Provider],
) -> Result<Require, ConfigError> {
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

/// Scopes (RFC 6749, section 3.3) or roles.
fn names(path: &str, raw: RawNames, fits: impl Fn(char) -> bool) -> Result<Names, ConfigError> {
    let (path, list) = match &raw {
        RawNames::All(list) => (path.to_owned(), list),
        RawNames::Any(list) => (format!("{path}.any"), list),
    };
    if list.is_empty() {
        return Err(error(path, "empty, so nothing would be asked; leave it out, or list names"));
    }
    if let Some(n) = list.iter().position(|name| name.is_empty() || !name.chars().all(&fits)) {
        let problem = "not a name; write one word as it stands in the token, such as orders:read";
        return Err(error(format!("{path}[{n}]"), problem));
    }
    let boxed = |list: Vec<String>| list.into_iter().map(Into::into).collect();
    Ok(match raw {
        RawNames::All(list) => Names::All(boxed(list)),
        RawNames::Any(list) => Names::Any(boxed(list)),
    })
}

fn conditions(path: &str, raw: Vec<RawCondition>, depth: u32) -> Result<Vec<Condition>, ConfigError> {
    if raw.is_empty() {
        return Err(error(path, "empty, so nothing would be asked; leave it out, or write conditions"));
    }
    let one = |(n, raw)| condition(&format!("{path}[{n}]"), raw, depth);
    raw.into_iter().enumerate().map(one).collect()
}

fn condition(path: &str, raw: RawCondition, depth: u32) -> Result<Condition, ConfigError> {
    let deeper = depth.checked_sub(1).ok_or_else(|| error(path, "groups too deep; nest at most 8"))?;
    const ONE: &str = "not one condition; write {any: [...]}, {all: [...]}, or value with one of equals, one_of, contains, prefix, exists: true, forbidden: true";
    let (value, test) = match raw {
        RawCondition {
            any: Some(group),
            all: None,
            value: None,
            equals: None,
            one_of: None,
            contains: None,
            prefix: None,
            exists: None,
            forbidden: None,
        } => return conditions(&format!("{path}.any"), group, deeper).map(Condition::Any),
        RawCondition {
            any: None,
            all: Some(group),
            value: None,
            equals: None,
            one_of: None,
            contains: None,
            prefix: None,
            exists: None,
            forbidden: None,
        } => return conditions(&format!("{path}.all"), group, deeper).map(Condition::All),
        RawCondition {
            any: None,
            all: None,
            value: Some(value),
            equals,
            one_of,
            contains,
            prefix,
            exists,
            forbidden,
        } => {
            let test = match (equals, one_of, contains, prefix, exists, forbidden) {
                (Some(equals), None, None, None, None, None) => Test::OneOf(vec![equals]),
                (None, Some(list), None, None, None, None) if !list.is_empty() => Test::OneOf(list),
                (None, Some(_), None, None, None, None) => {
                    return Err(error(format!("{path}.one_of"), "empty, so nothing would do; list values"));
                }
                (None, None, Some(item), None, None, None) => Test::Contains(item),
                (None, None, None, Some(prefix), None, None) if !prefix.is_empty() => {
                    Test::Prefix(prefix.into())
                }
                (None, None, None, Some(_), None, None) => {
                    return Err(error(
                        format!("{path}.prefix"),
                        "empty, so any text would do; write how it starts",
                    ));
                }
                (None, None, None, None, Some(true), None) => Test::Exists,
                (None, None, None, None, None, Some(true)) => Test::Forbidden,
                _ => return Err(error(path, ONE)),
            };
            (value, test)
        }
        _ => return Err(error(path, ONE)),
    };
    if !value.is_from_token() {
        let problem = format!("{value} is not from the token; write claim.NAME, subject or issuer");
        return Err(error(format!("{path}.value"), problem));
    }
    if matches!(test, Test::Contains(_)) && !matches!(value, Source::Claim(_)) {
        return Err(error(
            format!("{path}.contains"),
            "subject and issuer are no lists; write equals or prefix",
        ));
    }
    Ok(Condition::Test(value, test))
}
