//! Which requests are which questions.

use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_common::config::ConfigError;
use portcullis_common::matching::listed::{Head, List, Problem};
use portcullis_common::matching::rules::Rules;
use portcullis_common::mode::{Enforcement, Mode, OnError, Percent};
use portcullis_common::values::context::Reader;
use portcullis_common::values::source::Source;
use portcullis_common::values::template::Template;

use super::bounds::is_method;
use super::{captures, error};
use crate::config::rules::{RawCheck, RawChecks, RawOwn, RawRelation, RawRule};
use crate::engine::Engine;
use crate::policy::remote::{Remote, Server};
use crate::tuples::{self, Given, Subject};

/// A checked rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Rc<str>,
    /// What it asks.
    pub checks: Checks,
    /// What may not be seen is not found.
    pub hide: bool,
    /// What happens where nobody can be asked.
    pub on_error: OnError,
    /// Which of its refusals are carried out.
    pub enforcement: Enforcement,
}

/// Questions.
#[derive(Debug)]
pub enum Checks {
    /// None.
    Nothing,
    /// One of these has to hold.
    Any(Vec<Check>),
    /// All of these have to hold.
    All(Vec<Check>),
}

/// A question, not yet filled in.
#[derive(Debug)]
pub struct Check {
    /// Who.
    pub subject: Filled,
    /// Which relation.
    pub relation: Relation,
    /// To what.
    pub object: Filled,
    /// Tuples of its own.
    pub tuples: Vec<OwnTuple>,
    /// Values for conditions.
    pub context: Vec<(Box<str>, Filled)>,
    /// The parameter that is the time of the request.
    pub now: Option<Box<str>>,
}

/// A tuple that holds for one question, not yet filled in.
#[derive(Debug)]
pub struct OwnTuple {
    /// Who.
    pub subject: Filled,
    /// Which relation.
    pub relation: Box<str>,
    /// To what.
    pub object: Filled,
}

/// A relation, or one for each method.
#[derive(Debug)]
pub enum Relation {
    /// For every method.
    One(Rc<str>),
    /// By method; GET covers HEAD.
    ByMethod(Vec<(Box<str>, Rc<str>)>),
}

/// A template with its sources ready to be read.
#[derive(Debug)]
pub struct Filled {
    /// The template.
    pub template: Template,
    /// Its sources, in the order of the template.
    pub readers: Vec<Reader>,
}

pub(super) const NO_RULES: &str =
    "empty; write at least {match: {path: \"/**\"}, checks: {all: [{subject, relation, object}]}}";

/// What holds for rules that say nothing else.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) mode: Mode,
    pub(super) percent: Option<Percent>,
    pub(super) on_error: OnError,
}

/// The rules, and what they are about.
///
/// # Errors
/// What is wrong, where, and what to write instead.
pub(super) fn rules(
    raw: Vec<RawRule>,
    engine: &Engine,
    identity: &str,
    defaults: Defaults,
) -> Result<(Rules, Vec<Rule>), ConfigError> {
    let Defaults { mode, percent, on_error } = defaults;
    if raw.is_empty() {
        return Err(error("rules", NO_RULES));
    }
    let wrong = |(field, problem): Problem| error(field, problem);
    let mut list = List::new(mode, percent).map_err(wrong)?;
    let mut rules = Vec::new();
    for rule in raw {
        let RawRule { name, matches, checks, hide, on_error: own, mode, percent } = rule;
        let pattern = matches.as_ref().and_then(|matches| matches.path.clone());
        let (path, name, enforcement) = list.next(Head { name, matches, mode, percent }).map_err(wrong)?;
        let checks = checks.ok_or_else(|| {
            error(format!("{path}.checks"), "missing; write none, {any: [CHECK]} or {all: [CHECK]}")
        })?;
        let checks = checks_of(&format!("{path}.checks"), checks, engine, identity)?;
        captures::held(&path, &checks, pattern.as_ref())?;
        rules.push(Rule {
            name,
            checks,
            hide: hide == Some(true),
            on_error: own.unwrap_or(on_error),
            enforcement,
        });
    }
    Ok((list.done().map_err(wrong)?, rules))
}

fn checks_of(path: &str, raw: RawChecks, engine: &Engine, identity: &str) -> Result<Checks, ConfigError> {
    let RawChecks::Some(group) = raw else { return Ok(Checks::Nothing) };
    let list = |field: &str, raw: Vec<RawCheck>| {
        let path = format!("{path}.{field}");
        if raw.is_empty() {
            return Err(error(
                path,
                "empty, so nothing would be asked; write checks, or none instead of the group",
            ));
        }
        let one = |(n, raw)| check(&format!("{path}[{n}]"), raw, engine, identity);
        raw.into_iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()
    };
    match (group.any, group.all) {
        (Some(any), None) => list("any", any).map(Checks::Any),
        (None, Some(all)) => list("all", all).map(Checks::All),
        _ => Err(error(path, "not one group; write exactly one of any and all")),
    }
}

fn check(path: &str, raw: RawCheck, engine: &Engine, identity: &str) -> Result<Check, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let subject =
        raw.subject.ok_or_else(|| error(at("subject"), "missing; write \"user:{subject}\", say"))?;
    let object =
        raw.object.ok_or_else(|| error(at("object"), "missing; write \"document:{path.id}\", say"))?;
    let relation = raw
        .relation
        .ok_or_else(|| error(at("relation"), "missing; write a relation of the object's type"))?;
    let from_client = raw.from_client == Some(true);
    not_from_client(at("subject"), &subject, from_client)?;
    type_of(&at("subject"), &subject, engine)?;
    let kind = type_of(&at("object"), &object, engine)?;
    let known = |path: String, name: &str| {
        if engine.is_blank() {
            let problem = "not a relation; write a name without blanks, colon, # and @";
            return if tuples::is_relation(name) { Ok(Rc::from(name)) } else { Err(error(path, problem)) };
        }
        if engine.schema().relation(kind, name).is_some() {
            return Ok(Rc::from(name));
        }
        let problem =
            format!("{} has no relation {name}; write one of the model", engine.schema().type_name(kind));
        Err(error(path, problem))
    };
    let relation = match relation {
        RawRelation::One(name) => Relation::One(known(at("relation"), &name)?),
        RawRelation::ByMethod(methods) if methods.is_empty() => {
            return Err(error(at("relation"), "empty; write a relation, or relations by method"));
        }
        RawRelation::ByMethod(methods) => {
            let one = |(method, name): (String, String)| {
                let path = at(&format!("relation.{method}"));
                if !is_method(&method) {
                    return Err(error(path, "not a method; write it in capitals, such as GET"));
                }
                Ok((method.into(), known(path, &name)?))
            };
            Relation::ByMethod(methods.into_iter().map(one).collect::<Result<_, _>>()?)
        }
    };
    let With { tuples, context, now } =
        with(path, raw.tuples, raw.context, raw.now, from_client, engine, identity)?;
    Ok(Check {
        subject: Filled::new(subject, identity),
        relation,
        object: Filled::new(object, identity),
        tuples,
        context,
        now,
    })
}

/// What a question is asked with.
pub(super) struct With {
    pub(super) tuples: Vec<OwnTuple>,
    pub(super) context: Vec<(Box<str>, Filled)>,
    pub(super) now: Option<Box<str>>,
}

pub(super) fn with(
    path: &str,
    tuples: Option<Vec<RawOwn>>,
    context: Option<BTreeMap<String, Template>>,
    now: Option<String>,
    from_client: bool,
    engine: &Engine,
    identity: &str,
) -> Result<With, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    if tuples.as_ref().is_some_and(Vec::is_empty) {
        return Err(error(at("tuples"), "empty; leave it out, or write {user, relation, object}"));
    }
    let own = tuples.unwrap_or_default().into_iter().enumerate();
    let own = own.map(|(n, raw)| own_tuple(&at(&format!("tuples[{n}]")), raw, from_client, engine, identity));
    if context.as_ref().is_some_and(BTreeMap::is_empty) {
        return Err(error(at("context"), "empty; leave it out, or write a template for each parameter"));
    }
    let mut values = Vec::new();
    for (name, template) in context.unwrap_or_default() {
        if !engine.is_blank() && !engine.schema().has_parameter(&name) {
            let problem = "no condition of the model has this parameter; remove it, or mend its name";
            return Err(error(at(&format!("context.{name}")), problem));
        }
        template.braced("value").map_err(|problem| error(at(&format!("context.{name}")), problem))?;
        values.push((name.into(), Filled::new(template, identity)));
    }
    if let Some(now) = &now
        && (now.is_empty() || !(engine.is_blank() || engine.schema().has_parameter(now)))
    {
        return Err(error(at("now"), "no condition of the model has this parameter; mend its name"));
    }
    Ok(With { tuples: own.collect::<Result<_, _>>()?, context: values, now: now.map(Into::into) })
}

fn own_tuple(
    path: &str,
    raw: RawOwn,
    from_client: bool,
    engine: &Engine,
    identity: &str,
) -> Result<OwnTuple, ConfigError> {
    let at = |field: &str| format!("{path}.{field}");
    let user = raw.user.ok_or_else(|| error(at("user"), "missing; write \"user:{subject}\", say"))?;
    let object =
        raw.object.ok_or_else(|| error(at("object"), "missing; write \"group:{claim.groups}\", say"))?;
    let relation = raw.relation.filter(|name| !name.is_empty());
    let relation = relation
        .ok_or_else(|| error(at("relation"), "missing or empty; write a relation of the object's type"))?;
    not_from_client(at("user"), &user, from_client)?;
    not_from_client(at("object"), &object, from_client)?;
    type_of(&at("user"), &user, engine)?;
    type_of(&at("object"), &object, engine)?;
    // With any values it is a tuple that the model takes, or it never is.
    let sample = |template: &Template| template.fill(|_| Ok("x".to_owned())).unwrap_or_default();
    let (subject, thing) = (sample(&user), sample(&object));
    let given = Given { object: &thing, relation: &relation, subject: &subject, condition: None };
    let fits = if engine.is_blank() { given.is_tuple().map_err(str::to_owned) } else { engine.fits(given) };
    fits.map_err(|problem| error(path, format!("{problem}; see the model for what fits")))?;
    Ok(OwnTuple {
        subject: Filled::new(user, identity),
        relation: relation.into(),
        object: Filled::new(object, identity),
    })
}

/// Whether an engine outside the filter can be asked what rules ask.
///
/// # Errors
/// What it cannot, where, and what to write instead.
pub(super) fn fit_for(remote: &Remote, rules: &[Rule]) -> Result<(), ConfigError> {
    let Server::Spicedb(_) = &remote.server else { return Ok(()) };
    for (n, rule) in rules.iter().enumerate() {
        let (group, checks) = rule.checks.group();
        if let Some(at) = checks.iter().position(|check| !check.tuples.is_empty()) {
            let problem = "SpiceDB takes no tuples with a question; ask about any of several subjects instead, such as group:{claim.group}#member";
            return Err(error(format!("rules[{n}].checks.{group}[{at}].tuples"), problem));
        }
    }
    Ok(())
}

fn not_from_client(path: String, template: &Template, allowed: bool) -> Result<(), ConfigError> {
    match template.sources().find(|source| source.is_from_client()) {
        Some(source) if !allowed => {
            let problem =
                format!("the client chooses {source}; write from_client: true beside it if that is meant");
            Err(error(path, problem))
        }
        _ => Ok(()),
    }
}

/// The type that a template begins with: a word of the model and a colon, in front of its first source.
pub(super) fn type_of(path: &str, template: &Template, engine: &Engine) -> Result<u16, ConfigError> {
    if template.runs_together() {
        let problem =
            "two sources side by side, so that different values give one text; write something between them";
        return Err(error(path, problem));
    }
    let kind = template.lead().split_once(':').map(|(kind, _)| kind);
    let kind = kind.ok_or_else(|| error(path, "no type in front; write it as \"user:{subject}\""))?;
    let number = if engine.is_blank() { Some(0) } else { engine.schema().kind(kind) };
    let number =
        number.ok_or_else(|| error(path, format!("the model has no type {kind}; write one that it has")))?;
    if template.sources().next().is_none() {
        Subject::parse(template.lead()).map_err(|problem| error(path, format!("{problem}; mend it")))?;
    }
    Ok(number)
}

impl Checks {
    /// The name of the group, and what is in it.
    #[must_use]
    pub fn group(&self) -> (&'static str, &[Check]) {
        match self {
            Checks::Nothing => ("none", &[]),
            Checks::Any(checks) => ("any", checks),
            Checks::All(checks) => ("all", checks),
        }
    }
}

impl Filled {
    pub(super) fn new(template: Template, identity: &str) -> Filled {
        let readers = template.sources().map(|source| Reader::new(source.clone(), identity)).collect();
        Filled { template, readers }
    }

    /// The reader of a source.
    #[must_use]
    pub fn reader(&self, source: &Source) -> Option<&Reader> {
        self.readers.iter().find(|r| r.source() == source)
    }
}
