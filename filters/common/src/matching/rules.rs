//! Many rules, one request: the first in list order, all of them, or the most specific.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::conditions::{Conditions, HostPattern, RawMatch, host_of};
use super::path::NormalPath;
use super::pattern::Pattern;
use super::tree::{Fnv, Tree, Visit};
use crate::config::HeaderName;
use crate::headers::Headers;
use crate::request::Request;

/// The matches of a list of rules; a rule is known by its position.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    any_host: Scope,
    exact: HashMap<Box<[u8]>, Scope, BuildHasherDefault<Fnv>>,
    suffix: HashMap<Box<[u8]>, Scope, BuildHasherDefault<Fnv>>,
    headers: Vec<HeaderName>,
}

#[derive(Debug)]
struct Rule {
    conditions: Conditions,
    pattern: Option<Pattern>,
    hosts: Option<Vec<HostPattern>>,
}

/// The rules for one host.
#[derive(Debug, Default)]
struct Scope {
    tree: Tree,
    /// Rules without a path.
    pathless: Vec<usize>,
    /// All rules of this scope, for a path that cannot be read.
    all: Vec<usize>,
}

/// What a request is matched by.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// As sent.
    pub authority: &'a [u8],
    /// As sent.
    pub method: &'a [u8],
    /// The path.
    pub path: PathPart<'a>,
    /// The headers.
    pub headers: &'a Headers,
}

impl<'a> Subject<'a> {
    /// A request, whose path is put in the form that the filter matches.
    #[must_use]
    pub fn of(request: &'a Request, path: PathPart<'a>) -> Subject<'a> {
        Subject { authority: request.authority(), method: request.method(), path, headers: &request.headers }
    }
}

/// The path that rules are asked about.
#[derive(Clone, Copy, Debug)]
pub enum PathPart<'a> {
    /// This one.
    Known(&'a NormalPath<'a>),
    /// There is none (a CONNECT): only rules without a path match.
    Absent,
    /// There is one that cannot be read: every rule's path counts as matched.
    Unreadable,
}

impl Rules {
    /// The rules of `raw`, in order.
    #[must_use]
    pub fn new<'a>(raw: impl IntoIterator<Item = &'a RawMatch>) -> Self {
        let mut rules = Rules::default();
        for raw in raw {
            rules.push(raw);
        }
        rules
    }

    fn push(&mut self, raw: &RawMatch) {
        let number = self.rules.len();
        let conditions = Conditions::new(raw);
        for name in conditions.header_names() {
            if !self.headers.contains(name) {
                self.headers.push(name.clone());
            }
        }
        let add = |scope: &mut Scope| {
            match &raw.path {
                Some(pattern) => scope.tree.insert(pattern, number),
                None => scope.pathless.push(number),
            }
            scope.all.push(number);
        };
        match &raw.hosts {
            None => add(&mut self.any_host),
            Some(hosts) => {
                for host in hosts {
                    let (map, name) = match host {
                        HostPattern::Exact(name) => (&mut self.exact, name),
                        HostPattern::Suffix(name) => (&mut self.suffix, name),
                    };
                    add(map.entry(name.as_bytes().into()).or_default());
                }
            }
        }
        self.rules.push(Rule { conditions, pattern: raw.path.clone(), hosts: raw.hosts.clone() });
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The template of a rule.
    #[must_use]
    pub fn pattern(&self, rule: usize) -> Option<&Pattern> {
        self.rules.get(rule)?.pattern.as_ref()
    }

    /// The headers that any rule asks about.
    #[must_use]
    pub fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// Whether any rule asks about the host.
    #[must_use]
    pub fn ask_for_host(&self) -> bool {
        !self.exact.is_empty() || !self.suffix.is_empty()
    }

    /// The first rule in list order that the request meets.
    #[must_use]
    pub fn first(&self, subject: Subject<'_>) -> Option<usize> {
        let mut best: Option<usize> = None;
        self.each(subject, &mut |number| {
            best = Some(best.map_or(number, |b| b.min(number)));
            Visit::Next
        });
        best
    }

    /// All rules that the request meets, in list order.
    #[must_use]
    pub fn all(&self, subject: Subject<'_>) -> Vec<usize> {
        let mut found = Vec::new();
        self.each(subject, &mut |number| {
            found.push(number);
            Visit::Next
        });
        found.sort_unstable();
        // A rule with two hosts that both fit was found twice.
        found.dedup();
        found
    }

    /// The most specific rule that the request meets: by its host (exact, then the longest suffix, then any), then by
    /// its template, then by its place in the list.
    #[must_use]
    pub fn most_specific(&self, subject: Subject<'_>) -> Option<usize> {
        let mut best = None;
        self.each(subject, &mut |number| {
            best = Some(number);
            Visit::Stop
        });
        best
    }

    fn each(&self, subject: Subject<'_>, found: &mut dyn FnMut(usize) -> Visit) {
        let mut meets = |number: usize| {
            let holds = |rule: &Rule| rule.conditions.hold(subject.method, subject.headers);
            if self.rules.get(number).is_some_and(holds) { found(number) } else { Visit::Next }
        };
        if self.ask_for_host()
            && let Some(host) = host_of(subject.authority)
        {
            if let Some(scope) = self.exact.get(&*host)
                && scope.visit(subject.path, &mut meets) == Visit::Stop
            {
                return;
            }
            let dots = host.iter().enumerate().filter(|(_, b)| **b == b'.');
            for suffix in dots.filter_map(|(at, _)| host.get(at..)) {
                if let Some(scope) = self.suffix.get(suffix)
                    && scope.visit(subject.path, &mut meets) == Visit::Stop
                {
                    return;
                }
            }
        }
        self.any_host.visit(subject.path, &mut meets);
    }

    /// The first rule that can never decide, because an earlier one meets every request that it meets:
    /// `(covered, by)`.
    #[must_use]
    pub fn covered(&self) -> Option<(usize, usize)> {
        (0..self.rules.len()).find_map(|number| self.covered_by(number).map(|by| (number, by)))
    }

    fn covered_by(&self, number: usize) -> Option<usize> {
        let rule = self.rules.get(number)?;
        // Covered on each of its hosts; without hosts, only a rule without hosts covers it.
        match &rule.hosts {
            None => self.any_host.covering(rule, number, &self.rules),
            Some(hosts) => {
                let mut by = None;
                for host in hosts {
                    by = Some(self.covering_on(host, rule, number)?);
                }
                by
            }
        }
    }

    fn covering_on(&self, host: &HostPattern, rule: &Rule, number: usize) -> Option<usize> {
        let mut scopes = vec![&self.any_host];
        let (exact, name) = match host {
            HostPattern::Exact(name) => (self.exact.get(name.as_bytes()), name),
            HostPattern::Suffix(name) => (None, name),
        };
        scopes.extend(exact);
        let dots = name.bytes().enumerate().filter(|(_, b)| *b == b'.');
        scopes.extend(dots.filter_map(|(at, _)| self.suffix.get(name.as_bytes().get(at..)?)));
        scopes.into_iter().filter_map(|s| s.covering(rule, number, &self.rules)).min()
    }
}

impl Scope {
    fn visit(&self, path: PathPart<'_>, found: &mut dyn FnMut(usize) -> Visit) -> Visit {
        let listed = match path {
            PathPart::Known(path) => {
                if self.tree.find(path, found) == Visit::Stop {
                    return Visit::Stop;
                }
                &self.pathless
            }
            PathPart::Absent => &self.pathless,
            PathPart::Unreadable => &self.all,
        };
        for number in listed {
            if found(*number) == Visit::Stop {
                return Visit::Stop;
            }
        }
        Visit::Next
    }

    fn covering(&self, rule: &Rule, number: usize, rules: &[Rule]) -> Option<usize> {
        let mut by: Option<usize> = None;
        let mut note = |other: usize| {
            if other < number
                && by.is_none_or(|b| other < b)
                && rules.get(other).is_some_and(|o| o.conditions.cover(&rule.conditions))
            {
                by = Some(other);
            }
        };
        if let Some(pattern) = &rule.pattern {
            self.tree.covering(pattern, &mut note);
        }
        for other in &self.pathless {
            note(*other);
        }
        by
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::EncodedSlash;
    use super::*;

    fn rules(json: &[&str]) -> Rules {
        let raw: Vec<RawMatch> = json.iter().map(|j| serde_json::from_str(j).unwrap()).collect();
        Rules::new(&raw)
    }

    fn ask<T>(method: &str, host: &str, path: &str, ask: impl Fn(Subject<'_>) -> T) -> T {
        let normal = NormalPath::new(path.as_bytes(), EncodedSlash::Refuse).unwrap();
        let headers = Headers::default();
        ask(Subject {
            authority: host.as_bytes(),
            method: method.as_bytes(),
            path: PathPart::Known(&normal),
            headers: &headers,
        })
    }

    #[test]
    fn the_first_in_list_order_wins_however_unspecific() {
        let rules = rules(&[
            r#"{"methods":["POST"],"path":"/**"}"#,
            r#"{"path":"/a/**"}"#,
            r#"{"path":"/a/b"}"#,
            r#"{"hosts":["h"]}"#,
        ]);
        assert_eq!(ask("POST", "h", "/a/b", |s| rules.first(s)), Some(0));
        assert_eq!(ask("GET", "h", "/a/b", |s| rules.first(s)), Some(1));
        assert_eq!(ask("GET", "h:80", "/x", |s| rules.first(s)), Some(3));
        assert_eq!(ask("GET", "other", "/x", |s| rules.first(s)), None);
        assert_eq!(ask("GET", "h", "/a/b", |s| rules.all(s)), [1, 2, 3]);
        assert_eq!(ask("GET", "x", "/a/b", |s| rules.most_specific(s)), Some(2));
    }

    #[test]
    fn hosts_are_exact_then_suffix_then_any() {
        let rules = rules(&[
            r#"{"path":"/**"}"#,
            r#"{"hosts":["*.b.c"],"path":"/**"}"#,
            r#"{"hosts":["*.c"],"path":"/**"}"#,
            r#"{"hosts":["a.b.c","x"],"path":"/**"}"#,
        ]);
        assert_eq!(ask("GET", "a.b.c", "/", |s| rules.most_specific(s)), Some(3));
        assert_eq!(ask("GET", "z.b.c", "/", |s| rules.most_specific(s)), Some(1));
        assert_eq!(ask("GET", "z.c", "/", |s| rules.most_specific(s)), Some(2));
        assert_eq!(ask("GET", "c", "/", |s| rules.most_specific(s)), Some(0));
        assert_eq!(ask("GET", "b.c", "/", |s| rules.all(s)), [0, 2]);
    }

    #[test]
    fn a_path_that_cannot_be_read_matches_every_path_and_an_absent_one_none() {
        let rules = rules(&[r#"{"path":"/a"}"#, r#"{"methods":["PUT"],"path":"/b"}"#, r#"{}"#]);
        let headers = Headers::default();
        let subject = |path| Subject { authority: b"", method: b"GET", path, headers: &headers };
        assert_eq!(rules.all(subject(PathPart::Unreadable)), [0, 2]);
        assert_eq!(rules.all(subject(PathPart::Absent)), [2]);
    }

    #[test]
    fn a_rule_that_can_never_decide_is_found() {
        for (list, want) in [
            (&[r#"{"path":"/a/**"}"#, r#"{"path":"/a/{x}"}"#][..], Some((1, 0))),
            (&[r#"{"path":"/a/{x}"}"#, r#"{"path":"/a/**"}"#], None),
            (&[r#"{"methods":["GET"],"path":"/a"}"#, r#"{"path":"/a"}"#], None),
            (&[r#"{"methods":["GET"],"path":"/a"}"#, r#"{"methods":["HEAD"],"path":"/a"}"#], Some((1, 0))),
            (&[r#"{}"#, r#"{"path":"/a"}"#], Some((1, 0))),
            (&[r#"{"path":"/**"}"#, r#"{}"#], None),
            (&[r#"{"hosts":["*.c"]}"#, r#"{"hosts":["a.c","b.c"]}"#], Some((1, 0))),
            (&[r#"{"hosts":["*.c"]}"#, r#"{"hosts":["a.c","d"]}"#], None),
            (&[r#"{"hosts":["a.c"]}"#, r#"{"hosts":["*.c"]}"#], None),
            (
                &[
                    r#"{"headers":[{"name":"a","present":true}]}"#,
                    r#"{"headers":[{"name":"a","equals":"1"}]}"#,
                ],
                Some((1, 0)),
            ),
            (&[r#"{"path":"/a"}"#, r#"{"path":"/b"}"#, r#"{"path":"/a"}"#], Some((2, 0))),
        ] {
            assert_eq!(rules(list).covered(), want, "{list:?}");
        }
    }
}
