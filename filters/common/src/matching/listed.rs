//! Rules in a list of which the first decides: what jwt-auth's and rebac's have beside their own, and what stands around the list.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;

use super::conditions::RawMatch;
use super::rules::Rules;
use crate::config::RuleName;
use crate::mode::{Enforcement, Mode, Percent};

/// What happens to requests that no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// They are refused: 403 `unmatched`.
    Deny,
    /// They pass, without facts.
    Allow,
}

/// What happens to CORS preflights: OPTIONS with exactly one `origin` and one `access-control-request-method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Preflights {
    /// The rules decide, as about any request.
    #[default]
    Check,
    /// They pass, without facts.
    Pass,
}

/// A field, and what is wrong with it.
pub type Problem = (String, String);

/// The part of a rule that says which requests it is about, and what becomes of its refusals.
#[derive(Debug)]
pub struct Head {
    /// Its name.
    pub name: Option<RuleName>,
    /// The requests.
    pub matches: Option<RawMatch>,
    /// Enforce or shadow.
    pub mode: Option<Mode>,
    /// The share of its refusals.
    pub percent: Option<Percent>,
}

/// A list of rules that is being read, one after the other.
#[derive(Debug)]
pub struct List {
    mode: Mode,
    percent: Option<Percent>,
    names: BTreeMap<Rc<str>, usize>,
    matches: Vec<RawMatch>,
}

impl List {
    /// For a plugin with this mode and share.
    ///
    /// # Errors
    /// If they contradict each other.
    pub fn new(mode: Mode, percent: Option<Percent>) -> Result<List, Problem> {
        if mode == Mode::Shadow && percent.is_some() {
            let problem = "a share of nothing: the plugin is in shadow; leave out one of the two";
            return Err(("percent".into(), problem.into()));
        }
        Ok(List { mode, percent, names: BTreeMap::new(), matches: Vec::new() })
    }

    /// The next rule: where it stands, its name and which of its refusals are carried out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn next(&mut self, head: Head) -> Result<(String, Rc<str>, Enforcement), Problem> {
        let n = self.matches.len();
        let path = format!("rules[{n}]");
        let name = head.name.map_or_else(|| format!("rule-{n}").into(), |name| name.0);
        if let Some(first) = self.names.insert(Rc::clone(&name), n) {
            let problem = format!("{name} is the name of rules[{first}] too; give each rule its own");
            return Err((format!("{path}.name"), problem));
        }
        let Some(matching) = head.matches else {
            let problem = "missing; write {path: \"/**\"}, or {} for every request";
            return Err((format!("{path}.match"), problem.into()));
        };
        if let Some(part) = matching.empty_part() {
            let problem = "empty, so nothing would match; leave it out, or list what should";
            return Err((format!("{path}.match.{part}"), problem.into()));
        }
        if head.mode == Some(Mode::Shadow) && head.percent.is_some() {
            let problem = "a share of nothing: the rule is in shadow; leave out one of the two";
            return Err((format!("{path}.percent"), problem.into()));
        }
        self.matches.push(matching);
        let enforcement = Enforcement::new(head.mode.unwrap_or(self.mode), head.percent.or(self.percent));
        Ok((path, name, enforcement))
    }

    /// What the rules are about.
    ///
    /// # Errors
    /// If one can never decide.
    pub fn done(self) -> Result<Rules, Problem> {
        let matches = Rules::new(&self.matches);
        match matches.covered() {
            None => Ok(matches),
            Some((covered, by)) => Err((
                format!("rules[{covered}].match"),
                format!(
                    "can never decide: rules[{by}] matches every request that it matches; remove it, or put it in front"
                ),
            )),
        }
    }
}
