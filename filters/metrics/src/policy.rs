//! The configuration as it is meant: checked, resolved, ready to be asked.

use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_common::config::{ConfigError, DurationText, PluginName, Whole};
use portcullis_common::facts::{self, PropertyKey};
use portcullis_common::filter::Plugin;
use portcullis_common::matching::conditions::RawMatch;
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::matching::pattern::Pattern;
use portcullis_common::matching::rules::Rules;
use portcullis_common::values::source::Source;

use crate::config::{RawConfig, RawConsumers, RawLog, RawSeries, RawSlo};
use crate::consumers::Names;
use crate::labels;
use crate::objectives::Promise;
use crate::percent::Percent;
use crate::sampling::Rule;

const NAME: &str = "metrics";

/// The most routes: each is a handful of series for ever.
const MAX_ROUTES: usize = 10_000;
/// The most names in any other list.
const MAX_NAMES: usize = 1_000;
/// The most plugins whose verdicts are read: each costs part of a read for every request.
const MAX_PLUGINS: usize = 16;

/// A checked configuration.
#[derive(Debug)]
pub struct Policy {
    /// Name, keys and headers of the plugin.
    pub plugin: Plugin,
    /// Whether it does anything.
    pub enabled: bool,
    /// The routes.
    pub routes: Rules,
    /// The name of the route of what none matches.
    unmatched: Rc<str>,
    /// Whether Envoy's route name stands in for a route that none matches.
    pub envoy_route: bool,
    /// The key of the route's fact, if it is written.
    pub route_key: Option<PropertyKey>,
    /// The gRPC methods by name, if calls are counted by method.
    pub procedures: Option<Procedures>,
    /// The names of the plugins whose verdicts are counted.
    pub siblings: Vec<Rc<str>>,
    /// Who calls.
    pub consumers: Option<Consumers>,
    /// What is promised, by route.
    pub promises: BTreeMap<usize, Promise>,
    /// The most series of a counter, and of a histogram.
    pub series: (usize, usize),
    /// Which requests are logged.
    pub log: Option<Rule>,
}

/// gRPC methods by the path of their calls: a number, and the name.
pub type Procedures = BTreeMap<Box<[u8]>, (u32, Rc<str>)>;

/// Who calls.
#[derive(Debug)]
pub struct Consumers {
    /// The fact that names the consumer.
    pub fact: PropertyKey,
    /// Consumers with a name.
    pub names: Names,
    /// How many more get one.
    pub top: usize,
    /// The fact that names the tier, and the tiers.
    pub tier: Option<(PropertyKey, Names)>,
}

impl Policy {
    /// Checks a configuration.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn new(raw: RawConfig) -> Result<Policy, ConfigError> {
        let name: Rc<str> = raw.name.map_or_else(|| NAME.into(), |n| n.0);
        let patterns = routes(raw.routes)?;
        let matches: Vec<RawMatch> =
            patterns.into_iter().map(|path| RawMatch { path: Some(path), ..RawMatch::default() }).collect();
        let routes = Rules::new(&matches);
        let procedures = raw.grpc_methods.map(procedures).transpose()?;
        let promises = promises(raw.slos, &routes)?;
        let series = raw.series.unwrap_or_default();
        Ok(Policy {
            plugin: Plugin::new(&name, OwnedHeaders::default()),
            enabled: raw.enabled.unwrap_or(true),
            routes,
            unmatched: facts::UNMATCHED.into(),
            envoy_route: raw.envoy_route.unwrap_or(false),
            route_key: raw.route_fact.unwrap_or(true).then(|| facts::key(&name, "route")),
            procedures,
            siblings: siblings(raw.plugins, &name)?,
            consumers: raw.consumers.map(consumers).transpose()?,
            promises,
            series: ceilings(&series)?,
            log: raw.log.map(|log| rule(&log)).transpose()?,
        })
    }

    /// The template of a route; `_unmatched` for none.
    #[must_use]
    pub fn route_name(&self, route: Option<usize>) -> &Rc<str> {
        route.and_then(|n| self.routes.pattern(n)).map_or(&self.unmatched, |p| p.text())
    }
}

fn error(path: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::new(NAME, path.into(), problem.into())
}

fn routes(raw: Option<Vec<Pattern>>) -> Result<Vec<Pattern>, ConfigError> {
    let patterns = raw.ok_or_else(|| {
        error("routes", "missing; list path templates such as /documents/{id}, or [] to tell none apart")
    })?;
    if patterns.len() > MAX_ROUTES {
        return Err(error("routes", format!("more than {MAX_ROUTES}; each is several series for ever")));
    }
    for (n, pattern) in patterns.iter().enumerate() {
        if patterns.iter().take(n).any(|p| p == pattern) {
            return Err(error(format!("routes[{n}]"), format!("{} stands twice; keep one", pattern.text())));
        }
        if let Some(piece) = labels::reserved(pattern.text()) {
            let problem = format!(
                "contains `{piece}`, which Istio's statistics tags cut out of every name; write a capture, such as {{file}}, instead"
            );
            return Err(error(format!("routes[{n}]"), problem));
        }
    }
    Ok(patterns)
}

/// Checks a list of names that will stand in labels.
fn names(path: &str, names: &[String]) -> Result<(), ConfigError> {
    if names.is_empty() {
        return Err(error(path, "empty; list at least one, or leave the field out"));
    }
    if names.len() > MAX_NAMES {
        return Err(error(path, format!("more than {MAX_NAMES}; each is several series for ever")));
    }
    for (n, name) in names.iter().enumerate() {
        if let Some(problem) = labels::problem(name) {
            return Err(error(format!("{path}[{n}]"), problem));
        }
        if names.iter().take(n).any(|other| other == name) {
            return Err(error(format!("{path}[{n}]"), format!("{name} stands twice; keep one")));
        }
    }
    Ok(())
}

fn procedures(methods: Vec<String>) -> Result<Procedures, ConfigError> {
    names("grpc_methods", &methods)?;
    let mut all = BTreeMap::new();
    for (n, method) in methods.iter().enumerate() {
        let parts =
            method.split_once('/').filter(|(s, m)| !s.is_empty() && !m.is_empty() && !m.contains('/'));
        if parts.is_none() {
            let problem = "not a gRPC method; write its service and name, such as orders.v1.Orders/Get";
            return Err(error(format!("grpc_methods[{n}]"), problem));
        }
        let number = u32::try_from(n).unwrap_or(0).saturating_add(1);
        all.insert(format!("/{method}").into_bytes().into(), (number, method.as_str().into()));
    }
    Ok(all)
}

fn siblings(raw: Option<Vec<PluginName>>, own: &str) -> Result<Vec<Rc<str>>, ConfigError> {
    let Some(plugins) = raw else { return Ok(Vec::new()) };
    if plugins.is_empty() {
        return Err(error("plugins", "empty; list the other plugins of the chain, or leave the field out"));
    }
    if plugins.len() > MAX_PLUGINS {
        return Err(error("plugins", format!("more than {MAX_PLUGINS}; each is read for every request")));
    }
    for (n, plugin) in plugins.iter().enumerate() {
        if plugins.iter().take(n).any(|other| other == plugin) {
            return Err(error(format!("plugins[{n}]"), format!("{} stands twice; keep one", plugin.0)));
        }
        if &*plugin.0 == own {
            return Err(error(
                format!("plugins[{n}]"),
                "this plugin itself, which gives no verdict; list the others",
            ));
        }
    }
    Ok(plugins.into_iter().map(|p| p.0).collect())
}

fn consumers(raw: RawConsumers) -> Result<Consumers, ConfigError> {
    let identity = raw.identity.map_or_else(|| "jwt-auth".into(), |n| n.0);
    let fact = |path: &str, source: Option<Source>| -> Result<PropertyKey, ConfigError> {
        let source =
            source.ok_or_else(|| error(path, "missing; write subject, or a claim such as claim.azp"))?;
        // What a client can set to anything it likes would name consumers that never were.
        if !source.is_from_token() {
            let problem = format!("{source} is not from a verified token; write subject, issuer or a claim");
            return Err(error(path, problem));
        }
        Ok(facts::key(&identity, &source.to_string()))
    };
    let consumer = fact("consumers.from", raw.from)?;
    if raw.allow.is_none() && raw.top.is_none() {
        return Err(error("consumers", "nobody has a name; write allow, top or both"));
    }
    let allow = raw.allow.map_or(Ok(Vec::new()), |a| names("consumers.allow", &a).map(|()| a))?;
    let top = raw.top.map_or(Ok(0), |top| within("consumers.top", top, 100))?;
    let tier = match raw.tier {
        None => None,
        Some(tier) => {
            let key = fact("consumers.tier.from", tier.from)?;
            let allow = tier.allow.ok_or_else(|| error("consumers.tier.allow", "missing; list the tiers"))?;
            names("consumers.tier.allow", &allow)?;
            Some((key, Names::new(&allow)))
        }
    };
    Ok(Consumers { fact: consumer, names: Names::new(&allow), top, tier })
}

fn promises(raw: Option<Vec<RawSlo>>, routes: &Rules) -> Result<BTreeMap<usize, Promise>, ConfigError> {
    let Some(slos) = raw else { return Ok(BTreeMap::new()) };
    if slos.is_empty() {
        return Err(error("slos", "empty; write at least one, or leave the field out"));
    }
    let mut all = BTreeMap::new();
    for (n, slo) in slos.into_iter().enumerate() {
        let at = |field: &str| format!("slos[{n}]{field}");
        let route = slo.route.ok_or_else(|| error(at(".route"), "missing; write one of routes"))?;
        let number = (0..routes.len()).find(|r| routes.pattern(*r) == Some(&route)).ok_or_else(|| {
            error(at(".route"), format!("{} is not in routes; write it there too", route.text()))
        })?;
        let availability =
            slo.availability.map(|share| objective(&at(".availability"), share)).transpose()?;
        let latency = match slo.latency {
            None => None,
            Some(latency) => {
                let under =
                    latency.under.ok_or_else(|| error(at(".latency.under"), "missing; write a time"))?;
                let share = latency
                    .objective
                    .ok_or_else(|| error(at(".latency.objective"), "missing; write a percentage"))?;
                let under = positive(&at(".latency.under"), under)?;
                Some((under, objective(&at(".latency.objective"), share)?))
            }
        };
        let apdex = slo.apdex.map(|time| positive(&at(".apdex"), time)).transpose()?;
        if availability.is_none() && latency.is_none() && apdex.is_none() {
            return Err(error(at(""), "promises nothing; write availability, latency or apdex"));
        }
        if all.insert(number, Promise { availability, latency, apdex }).is_some() {
            return Err(error(at(".route"), format!("{} stands twice; keep one", route.text())));
        }
    }
    Ok(all)
}

/// An objective leaves something to spend, or every failure would be an alert that nothing can end.
fn objective(path: &str, share: Percent) -> Result<u32, ConfigError> {
    if share.0 == 0 || share.0 == 1_000_000 {
        return Err(error(path, "no objective; write more than 0% and less than 100%"));
    }
    Ok(share.0)
}

/// Nanoseconds.
fn positive(path: &str, time: DurationText) -> Result<u64, ConfigError> {
    match u64::try_from(time.0.as_nanos()) {
        Ok(nanos @ 1..) => Ok(nanos),
        _ => Err(error(path, "no time at all; write at least 1ms")),
    }
}

fn within(path: &str, number: Whole, most: u64) -> Result<usize, ConfigError> {
    let fits = usize::try_from(number.get()).ok().filter(|_| (1..=most).contains(&number.get()));
    fits.ok_or_else(|| error(path, format!("out of range; write a number from 1 to {most}")))
}

fn ceilings(raw: &RawSeries) -> Result<(usize, usize), ConfigError> {
    let one = |path, number: Option<Whole>, default| number.map_or(Ok(default), |n| within(path, n, 8_000));
    Ok((one("series.counters", raw.counters, 2_000)?, one("series.histograms", raw.histograms, 500)?))
}

fn rule(raw: &RawLog) -> Result<Rule, ConfigError> {
    let failures = raw.failures.unwrap_or(false);
    if raw.slow.is_none() && !failures {
        return Err(error("log", "logs nothing; write slow, failures: true, or both"));
    }
    let slow = raw.slow.map(|time| positive("log.slow", time)).transpose()?;
    Ok(Rule { slow, failures, sample: raw.sample.map_or(1_000_000, |s| s.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::config;

    fn policy(json: &str) -> Result<Policy, String> {
        config::parse(NAME, json.as_bytes()).and_then(Policy::new).map_err(|e| e.to_string())
    }

    #[test]
    fn every_error_says_where_and_what_instead() {
        for (json, want) in [
            (
                r#"{}"#,
                "metrics: routes: missing; list path templates such as /documents/{id}, or [] to tell none apart",
            ),
            (r#"{"routes":["/a","/a"]}"#, "metrics: routes[1]: /a stands twice; keep one"),
            (r#"{"routes":["/x/cache.json"]}"#, "metrics: routes[0]: contains `cache.`, which"),
            (r#"{"routes":[],"plugins":["metrics"]}"#, "metrics: plugins[0]: this plugin itself"),
            (r#"{"routes":[],"plugins":["a","a"]}"#, "metrics: plugins[1]: a stands twice"),
            (
                r#"{"routes":[],"grpc_methods":["Orders"]}"#,
                "metrics: grpc_methods[0]: not a gRPC method; write",
            ),
            (
                r#"{"routes":[],"consumers":{"from":"header.x","top":1}}"#,
                "metrics: consumers.from: header.x is not from a verified token; write",
            ),
            (
                r#"{"routes":[],"consumers":{"from":"subject"}}"#,
                "metrics: consumers: nobody has a name; write",
            ),
            (
                r#"{"routes":[],"consumers":{"from":"subject","top":101}}"#,
                "metrics: consumers.top: out of range; write",
            ),
            (
                r#"{"routes":[],"consumers":{"from":"subject","allow":["a;b"]}}"#,
                "metrics: consumers.allow[0]: has characters",
            ),
            (
                r#"{"routes":["/a"],"slos":[{"route":"/b","availability":"99%"}]}"#,
                "metrics: slos[0].route: /b is not in routes; write",
            ),
            (r#"{"routes":["/a"],"slos":[{"route":"/a"}]}"#, "metrics: slos[0]: promises nothing; write"),
            (
                r#"{"routes":["/a"],"slos":[{"route":"/a","availability":"100%"}]}"#,
                "metrics: slos[0].availability: no objective; write",
            ),
            (
                r#"{"routes":["/a"],"slos":[{"route":"/a","apdex":"0s"}]}"#,
                "metrics: slos[0].apdex: no time at all; write",
            ),
            (
                r#"{"routes":["/a"],"slos":[{"route":"/a","apdex":"1s"},{"route":"/a","apdex":"1s"}]}"#,
                "metrics: slos[1].route: /a stands twice",
            ),
            (
                r#"{"routes":[],"series":{"counters":0}}"#,
                "metrics: series.counters: out of range; write a number from 1 to 8000",
            ),
            (r#"{"routes":[],"log":{}}"#, "metrics: log: logs nothing; write"),
        ] {
            let refused = policy(json).map(drop).unwrap_err();
            assert!(refused.starts_with(want), "{json}: {refused}");
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let policy = policy(r#"{"routes":["/a"]}"#).unwrap();
        assert_eq!(policy.series, (2_000, 500));
        assert!(policy.enabled && !policy.envoy_route && policy.log.is_none() && policy.consumers.is_none());
        assert_eq!(&**policy.route_name(Some(0)), "/a");
        assert_eq!(&**policy.route_name(None), "_unmatched");
    }
}
