//! Parameters of conditions that nobody gives: neither a tuple that a check of rebac comes upon, nor the check itself.
//!
//! Only where that is certain. The tuples have to stand in the configuration, for one that is fetched may carry the value, and no engine
//! outside the filter may be asked. From what a check asks about, the way goes through the tuples as the engine inside the filter goes,
//! for every request that there could be; what its templates leave open fits everything.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_common::config;
use portcullis_common::filter::Filter;
use portcullis_common::values::template::Template;
use portcullis_rebac::config::RawConfig;
use portcullis_rebac::config::tuples::RawTuples;
use portcullis_rebac::filter::Rebac;
use portcullis_rebac::model::{Model, ParameterType, Rewrite};
use portcullis_rebac::policy::rules::{Filled, OwnTuple, Relation};
use portcullis_rebac::policy::{Policy, engine};
use portcullis_rebac::tuples::{Subject, Tuple};
use serde_json::Value;

use crate::attached::{Attached, Which};
use crate::finding::{Finding, Severity};
use crate::load::Loaded;
use crate::yaml::Node;

/// What is asked, wherever it stands.
struct Asked<'a> {
    path: String,
    line: usize,
    subject: &'a Filled,
    /// What it is asked about: objects and relations; everything if there are none.
    about: Vec<(Thing, &'a str)>,
    own: &'a [OwnTuple],
    given: BTreeSet<&'a str>,
    /// Whether one of these is the time of the request.
    timed: bool,
}

/// An object, or all whose text begins so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    One(String),
    Beginning(String),
}

impl Thing {
    /// What a template can be filled in to; a relation behind it is no part of that.
    fn of(template: &Template) -> Thing {
        let object = |text: &str| text.split_once('#').map_or(text, |(object, _)| object).to_owned();
        let lead = object(template.lead());
        if template.sources().next().is_none() { Thing::One(lead) } else { Thing::Beginning(lead) }
    }

    fn text(&self) -> &str {
        match self {
            Thing::One(text) | Thing::Beginning(text) => text,
        }
    }

    fn kind(&self) -> &str {
        kind(self.text())
    }

    /// Whether something is both.
    fn meets(&self, other: &Thing) -> bool {
        match (self, other) {
            (Thing::One(a), Thing::One(b)) => a == b,
            (Thing::One(one), Thing::Beginning(lead)) | (Thing::Beginning(lead), Thing::One(one)) => {
                one.starts_with(lead)
            }
            (Thing::Beginning(a), Thing::Beginning(b)) => a.starts_with(b) || b.starts_with(a),
        }
    }

    fn is_met_by(&self, object: &str) -> bool {
        self.meets(&Thing::One(object.to_owned()))
    }
}

fn kind(object: &str) -> &str {
    object.split_once(':').map_or(object, |(kind, _)| kind)
}

/// The relation behind a subject, as in `group:{claim.group}#member`.
fn related(template: &Template) -> Option<String> {
    let sample = template.fill(|_| Ok("x")).unwrap_or_default();
    sample.split_once('#').map(|(_, relation)| relation.to_owned())
}

/// The parameters that nobody gives.
pub(crate) fn check(attached: &Attached, loaded: Option<&Loaded>, findings: &mut Vec<Finding>) {
    let Some(loaded) = loaded.filter(|_| attached.which == Which::Rebac) else { return };
    let Some((policy, model, tuples)) = read(&loaded.json) else { return };
    let asked = asked(&policy, &attached.config.node);
    for asked in &asked {
        for (parameters, found) in lacking(asked, &policy, &model, &tuples) {
            let problem = said(&parameters, &found, &model, asked.timed);
            findings.push(attached.place.finding(
                Severity::Warning,
                asked.line,
                &attached.name,
                &asked.path,
                problem,
            ));
        }
    }
}

/// A configuration whose tuples all stand in it, and that is asked for its own answers.
fn read(json: &Value) -> Option<(Policy, Model, Vec<Tuple>)> {
    let raw = || config::parse::<RawConfig>(Rebac::NAME, json.to_string().as_bytes()).ok();
    let policy = Policy::new(raw()?).ok().filter(|policy| policy.enabled && policy.remote.is_none())?;
    let embedded = raw()?.engine?.embedded?;
    let Some(RawTuples::Written(written)) = embedded.tuples else { return None };
    let model = engine::model(&embedded.model?).ok()?;
    let tuples = written.into_iter().map(engine::tuple).collect::<Result<_, _>>().ok()?;
    Some((policy, model, tuples))
}

fn asked<'a>(policy: &'a Policy, root: &Node) -> Vec<Asked<'a>> {
    let mut all = Vec::new();
    let given = |context: &'a [(Box<str>, Filled)], now: &'a Option<Box<str>>| {
        context.iter().map(|(name, _)| &**name).chain(now.as_deref()).collect()
    };
    for (n, rule) in policy.rules.iter().enumerate() {
        let (group, checks) = rule.checks.group();
        let node = root.get("rules").and_then(|rules| rules.items().get(n));
        let nodes = node.and_then(|rule| rule.at(&["checks", group])).map(Node::items).unwrap_or_default();
        for (m, check) in checks.iter().enumerate() {
            let relations: Vec<&str> = match &check.relation {
                Relation::One(name) => vec![name],
                Relation::ByMethod(methods) => methods.iter().map(|(_, name)| &**name).collect(),
            };
            let object = Thing::of(&check.object.template);
            all.push(Asked {
                path: format!("rules[{n}].checks.{group}[{m}]"),
                line: nodes.get(m).map_or(root.line, |node| node.line),
                subject: &check.subject,
                about: relations.into_iter().map(|relation| (object.clone(), relation)).collect(),
                own: &check.tuples,
                given: given(&check.context, &check.now),
                timed: check.now.is_some(),
            });
        }
    }
    if let Some(batch) = &policy.batch {
        let named = root.members().iter().find(|member| member.name == "batch");
        all.push(Asked {
            path: "batch".into(),
            line: named.map_or(root.line, |member| member.line),
            subject: &batch.subject,
            about: Vec::new(),
            own: &batch.tuples,
            given: given(&batch.context, &batch.now),
            timed: batch.now.is_some(),
        });
    }
    all
}

/// A condition, and parameters of it.
type Lacking = (String, Vec<String>);

/// What is missing for tuples that this check comes upon, and these by position.
fn lacking(
    asked: &Asked<'_>,
    policy: &Policy,
    model: &Model,
    tuples: &[Tuple],
) -> BTreeMap<Lacking, Vec<usize>> {
    let mut walk = Walk { asked, policy, model, tuples, seen: BTreeSet::new(), met: BTreeSet::new() };
    for (thing, relation) in &asked.about {
        walk.relation(thing, relation);
    }
    if asked.about.is_empty() {
        for tuple in tuples {
            let object = Thing::One(tuple.object.to_string());
            let relations = model.type_def(object.kind()).map(|kind| &*kind.relations).unwrap_or_default();
            relations.iter().for_each(|relation| walk.relation(&object, &relation.name.text));
        }
    }
    let mut found: BTreeMap<Lacking, Vec<usize>> = BTreeMap::new();
    for at in walk.met {
        let Some(conditioned) = tuples.get(at).and_then(|tuple| tuple.condition.as_ref()) else { continue };
        let condition = model.conditions.iter().find(|c| *c.name.text == *conditioned.name);
        let Some(condition) = condition else { continue };
        let names = condition.parameters.iter().map(|(name, _)| &*name.text);
        let missing = names.filter(|n| !conditioned.context.contains_key(*n) && !asked.given.contains(n));
        let missing: Vec<String> = missing.map(str::to_owned).collect();
        if !missing.is_empty() {
            found.entry((conditioned.name.to_string(), missing)).or_default().push(at);
        }
    }
    found
}

/// The way of a check through the tuples.
struct Walk<'a> {
    asked: &'a Asked<'a>,
    policy: &'a Policy,
    model: &'a Model,
    tuples: &'a [Tuple],
    seen: BTreeSet<(Thing, String)>,
    /// The tuples on it, by position.
    met: BTreeSet<usize>,
}

impl<'a> Walk<'a> {
    fn relation(&mut self, object: &Thing, name: &str) {
        if !self.can_be_had(object.kind(), name) || !self.seen.insert((object.clone(), name.to_owned())) {
            return;
        }
        let model = self.model;
        let Some(relation) = model.relation(object.kind(), name) else { return };
        let mut leaves = Vec::new();
        relation.rewrite.leaves(&mut |leaf| leaves.push(leaf));
        for leaf in leaves {
            match leaf {
                Rewrite::This => self.direct(object, name),
                Rewrite::Computed(other) => self.relation(object, &other.text),
                Rewrite::FromTupleset { computed, tupleset } => {
                    self.through(object, &tupleset.text, &computed.text);
                }
                Rewrite::Union(_) | Rewrite::Intersection(_) | Rewrite::Difference(_) => {}
            }
        }
    }

    /// Whether who asks could have this relation at all; the engine does not look further where that is not so.
    fn can_be_had(&self, kind: &str, name: &str) -> bool {
        let schema = self.policy.engine.schema();
        let template = &self.asked.subject.template;
        let number = |kind: &str, name: &str| schema.relation(schema.kind(kind)?, name);
        let who = Thing::of(template);
        let (Some(there), Some(number_of_kind)) = (number(kind, name), schema.kind(who.kind())) else {
            return false;
        };
        let behind = related(template).and_then(|relation| number(who.kind(), &relation));
        schema.reaches(number_of_kind, behind, there)
    }

    /// The tuples of a relation, by which somebody may have it.
    fn direct(&mut self, object: &Thing, name: &str) {
        let who = Thing::of(&self.asked.subject.template);
        let behind = related(&self.asked.subject.template);
        for (at, tuple) in self.of(object, name) {
            match Subject::parse(&tuple.subject) {
                Ok(Subject::One(one)) if behind.is_none() && who.is_met_by(one.text) => self.meet(at),
                Ok(Subject::Everybody(kind)) if behind.is_none() && kind == who.kind() => self.meet(at),
                Ok(Subject::Related(group, relation)) => {
                    self.meet(at);
                    self.relation(&Thing::One(group.text.to_owned()), relation);
                }
                _ => {}
            }
        }
        for own in self.own(object, name) {
            if let Some(relation) = related(&own.subject.template) {
                self.relation(&Thing::of(&own.subject.template), &relation);
            }
        }
    }

    /// The tuples of a relation, from whose subjects another one follows.
    fn through(&mut self, object: &Thing, set: &str, onward: &str) {
        for (at, tuple) in self.of(object, set) {
            if let Ok(Subject::One(one)) = Subject::parse(&tuple.subject) {
                self.meet(at);
                self.relation(&Thing::One(one.text.to_owned()), onward);
            }
        }
        for own in self.own(object, set) {
            self.relation(&Thing::of(&own.subject.template), onward);
        }
    }

    fn of(&self, object: &Thing, relation: &str) -> Vec<(usize, &'a Tuple)> {
        let all = self.tuples.iter().enumerate();
        all.filter(|(_, t)| *t.relation == *relation && object.is_met_by(&t.object)).collect()
    }

    fn own(&self, object: &Thing, relation: &str) -> Vec<&'a OwnTuple> {
        let own = self.asked.own.iter();
        own.filter(|t| *t.relation == *relation && Thing::of(&t.object.template).meets(object)).collect()
    }

    /// A tuple is on the way, unless the question may have its own in place of it.
    fn meet(&mut self, at: usize) {
        let Some(tuple) = self.tuples.get(at) else { return };
        let object = Thing::One(tuple.object.to_string());
        let subject = tuple.subject.split_once('#').map_or(&*tuple.subject, |(group, _)| group);
        let replaces = |own: &&OwnTuple| Thing::of(&own.subject.template).is_met_by(subject);
        if !self.own(&object, &tuple.relation).iter().any(replaces) {
            self.met.insert(at);
        }
    }
}

fn said((condition, parameters): &Lacking, tuples: &[usize], model: &Model, timed: bool) -> String {
    let times = |name: &str| {
        let condition = model.conditions.iter().find(|c| *c.name.text == *condition);
        let kind = condition.and_then(|c| c.parameters.iter().find(|(p, _)| *p.text == *name));
        kind.is_some_and(|(_, kind)| *kind == ParameterType::Timestamp)
    };
    let context = parameters.iter().map(|name| format!("{name}: ...")).collect::<Vec<_>>().join(", ");
    let remedy = match parameters.as_slice() {
        [name] if !timed && times(name) => format!("now: {name}, or context: {{{context}}}"),
        _ => format!("context: {{{context}}}"),
    };
    let first = tuples.first().copied().unwrap_or_default();
    let (more, needed) = match tuples.len() {
        0 | 1 => (String::new(), "it"),
        n => (format!(" and {} more", n.saturating_sub(1)), "them"),
    };
    format!(
        "nobody gives {} to the condition `{condition}` of engine.embedded.tuples[{first}]{more}, so whoever needs {needed} is refused; write {remedy}",
        parameters.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_rebac::engine::{Fault, Question};
    use serde_json::{Map, json};

    const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user, user with c, group#member, group#member with c]
type folder
  relations
    define viewer: [user with c, user:* with c, group#member with c]
type document
  relations
    define parent: [folder, folder with c]
    define blocked: [user with c]
    define owner: [user, user with c] but not blocked
    define viewer: owner or viewer from parent
condition c(p: bool) {
  p
}
";

    /// Whatever the tuples: where nothing is said, no question ends for want of a parameter; and that is said in some of the cases, not
    /// in all.
    #[test]
    fn what_is_not_warned_of_never_lacks_anything() {
        let possible = [
            ("group:g", "member", "user:a"),
            ("group:g", "member", "group:h#member"),
            ("group:h", "member", "user:b"),
            ("folder:f", "viewer", "user:a"),
            ("folder:f", "viewer", "user:*"),
            ("folder:e", "viewer", "group:g#member"),
            ("document:1", "parent", "folder:f"),
            ("document:1", "parent", "folder:e"),
            ("document:2", "blocked", "user:a"),
            ("document:2", "owner", "user:a"),
            ("document:1", "owner", "user:b"),
        ];
        let (mut warned, mut quiet, mut state) = (0, 0, 1_u64);
        for _ in 0..400 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 60) as u8
            };
            let mut tuples = Vec::new();
            for (object, relation, user) in possible {
                let condition = match next() {
                    0..=8 => continue,
                    9..=11 => json!({"name": "c"}),
                    _ => json!({"name": "c", "context": {"p": true}}),
                };
                let plain = relation == "parent" || relation == "member" || relation == "owner";
                let condition = if plain && next() > 7 { Value::Null } else { condition };
                tuples.push(
                    json!({"object": object, "relation": relation, "user": user, "condition": condition}),
                );
            }
            let check =
                json!({"subject": "user:{subject}", "relation": "viewer", "object": "document:{path.id}"});
            let config = json!({
                "engine": {"embedded": {"model": MODEL, "tuples": tuples}},
                "unmatched": "deny",
                "rules": [{"match": {"path": "/d/{id}"}, "checks": {"all": [check]}}]
            });
            let (policy, model, tuples) = read(&config).unwrap();
            let asked = asked(&policy, &crate::yaml::documents("{}").unwrap()[0]);
            let found = lacking(&asked[0], &policy, &model, &tuples);
            let lacks = |user: &str, document: &str| {
                let question = Question {
                    subject: user,
                    relation: "viewer",
                    object: document,
                    tuples: &[],
                    context: &Map::new(),
                    steps: 1000,
                    explain: false,
                };
                matches!(policy.engine.check(question).unwrap().holds, Err(Fault::Condition(..)))
            };
            let users = ["user:a", "user:b", "user:c"];
            let any = users.iter().any(|user| lacks(user, "document:1") || lacks(user, "document:2"));
            assert!(!any || !found.is_empty(), "{config}");
            if found.is_empty() { quiet += 1 } else { warned += 1 }
        }
        assert!(warned > 50 && quiet > 50, "{warned} {quiet}");
    }
}
