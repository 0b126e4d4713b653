//! Istio's RequestAuthentication, with the AuthorizationPolicies beside it.

use serde_json::{Map, Value, json};

use super::differs;
use super::head;
use super::jwt_authn::{audiences, location};
use super::keys::{self, PUBLIC, host_of};
use super::origin::{self, Origin};
use super::requests::below;
use super::taken::Taken;
use super::{Imported, Kind, Left, Lefts};
use crate::attached::Which;
use crate::yaml::{Dialect, Node};

/// The configuration that all RequestAuthentications and AuthorizationPolicies of a file come to, if there are any.
pub fn import(documents: &[Node], lefts: &mut Lefts) -> Option<Imported> {
    let of_kind = |kind: &'static str| {
        documents.iter().filter(move |d| d.text_at(&["kind"]) == Some(kind)).filter_map(|d| d.get("spec"))
    };
    let mut line = 0;
    let mut providers = Map::new();
    for spec in of_kind("RequestAuthentication") {
        line = if line == 0 { spec.line } else { line };
        let taken = Taken::new(spec, "spec");
        for rule in taken.items("jwtRules") {
            let name = format!("issuer-{}", providers.len());
            providers.insert(name.clone(), Value::Object(provider(rule, lefts)));
        }
        for field in ["selector", "targetRef", "targetRefs"] {
            taken.take(field);
        }
        taken.rest(lefts);
    }
    if providers.is_empty() {
        return None;
    }
    let about = target(documents, lefts);
    let names: Vec<String> = providers.keys().cloned().collect();
    differs::subjects(line, "jwtRules", &mut providers, lefts);
    let mut rules = Vec::new();
    let actions = || of_kind("AuthorizationPolicy").map(|spec| spec.text_at(&["action"]).unwrap_or("ALLOW"));
    let allows = actions().any(|action| action == "ALLOW");
    let audits = actions().all(|action| action == "AUDIT");
    for spec in of_kind("AuthorizationPolicy") {
        policy(spec, allows, &providers, &names, &mut rules, lefts);
    }
    if allows && rules.len() > 1 {
        let why = "there any rule that allows is enough; here the first whose match fits decides: put the narrower ones in front";
        lefts.push(Left { kind: Kind::Stricter, line, field: "AuthorizationPolicy".into(), why: why.into() });
    }
    // What an ALLOW policy does not name is refused; without one, whoever has no token passes.
    if !allows {
        rules.push(json!({"match": {}, "require": {"optional": names}}));
    }
    // What is left is refused.
    let rules = head::apart(rules, &head::nobody(&names));
    let mut config = json!({"providers": providers, "rules": rules, "unmatched": "deny"});
    if let Some(members) = config.as_object_mut().filter(|_| audits) {
        // Istio asks a preflight for no token; its policies ask it like any other request.
        members.insert("preflights".into(), "pass".into());
    }
    Some(Imported { which: Which::JwtAuth, line, config, about })
}

/// The namespace of these objects, and the workloads that they are about: those of the first. Others are said.
fn target(documents: &[Node], lefts: &mut Lefts) -> Map<String, Value> {
    let of_kind =
        |d: &&Node| matches!(d.text_at(&["kind"]), Some("RequestAuthentication" | "AuthorizationPolicy"));
    let about = |document: &Node| {
        let json = |path: &[&str]| document.at(path).map(|node| node.json(Dialect::Kubernetes));
        let mut about = Map::new();
        for (name, path) in [
            ("namespace", ["metadata", "namespace"]),
            ("selector", ["spec", "selector"]),
            ("targetRefs", ["spec", "targetRefs"]),
        ] {
            about.extend(json(&path).map(|value| (name.to_owned(), value)));
        }
        about.extend(json(&["spec", "targetRef"]).map(|value| ("targetRefs".to_owned(), json!([value]))));
        about
    };
    let mut all = documents.iter().filter(of_kind).map(|d| (d.line, about(d)));
    let first = all.next().map(|(_, about)| about).unwrap_or_default();
    for (line, other) in all {
        if other != first {
            let why = "another namespace or other workloads than the first object's; here all of them are one configuration: import those of each target \
                       from a file of their own";
            lefts.push(Left { kind: Kind::Weaker, line, field: "selector".into(), why: why.into() });
        }
    }
    first
}

fn provider(node: &Node, lefts: &mut Lefts) -> Map<String, Value> {
    let path = "jwtRules";
    let taken = Taken::new(node, path);
    let mut out = Map::new();
    let issuer = taken.text("issuer").unwrap_or_default();
    out.insert("issuer".into(), issuer.into());
    out.insert("audiences".into(), audiences(&taken, lefts));
    let mut written = false;
    if let Some(jwks) = taken.text("jwks") {
        match keys::written(jwks) {
            Ok((keys, algorithms)) => {
                out.insert("keys".into(), keys);
                out.insert("algorithms".into(), algorithms);
                written = true;
            }
            Err(why) => taken.leave(Kind::LookAt, "jwks", &why, lefts),
        }
    }
    let url = taken.text("jwksUri").or_else(|| taken.text("jwks_uri"));
    if !written {
        let (field, url) = match url {
            Some(url) => ("jwks_url", url.to_owned()),
            None => {
                ("discovery", format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
            }
        };
        let host = host_of(&url).to_owned();
        let (name, port) =
            host.split_once(':').unwrap_or((&host, if url.starts_with("http:") { "80" } else { "443" }));
        let mut fetched = Map::new();
        fetched.insert(field.into(), url.clone().into());
        fetched.insert("clusters".into(), json!({&*host: format!("outbound|{port}||{name}")}));
        if let Some(timeout) = taken.text("timeout") {
            fetched.insert("timeout".into(), timeout.into());
        }
        out.insert("keys".into(), Value::Object(fetched));
        out.insert("algorithms".into(), json!(PUBLIC));
        let why =
            format!("the proxy asks {name} itself here, not istiod: it needs a ServiceEntry for that host");
        taken.say(Kind::LookAt, "jwksUri", &why, lefts);
        taken.say(
            Kind::LookAt,
            "algorithms",
            "Istio takes what a key is good for; list the algorithms that the issuer signs with",
            lefts,
        );
    }
    let mut tokens: Vec<Value> = Vec::new();
    for header in taken.items("fromHeaders") {
        let name = header.text_at(&["name"]).unwrap_or_default().to_ascii_lowercase();
        tokens.push(location(&name, header.text_at(&["prefix"]).unwrap_or_default()));
    }
    let texts = |name: &str| taken.items(name).iter().filter_map(Node::text).collect::<Vec<_>>();
    tokens.extend(texts("fromParams").into_iter().map(|name| json!({"query": name})));
    tokens.extend(texts("fromCookies").into_iter().map(|name| json!({"cookie": name})));
    if tokens.is_empty() {
        tokens = differs::default_tokens();
    }
    differs::tokens(&taken, &tokens, taken.is_true("forwardOriginalToken"), lefts);
    out.insert("tokens".into(), Value::Array(tokens));
    if taken.is_true("forwardOriginalToken") {
        out.insert("forward_token".into(), true.into());
    }
    if let Some(header) = taken.text("outputPayloadToHeader") {
        out.insert("payload_header".into(), header.to_ascii_lowercase().into());
    }
    let mut headers = Map::new();
    for claim in taken.items("outputClaimToHeaders") {
        if let (Some(header), Some(claim)) = (claim.text_at(&["header"]), claim.text_at(&["claim"])) {
            headers.insert(header.to_ascii_lowercase(), format!("{{claim.{claim}}}").into());
        }
    }
    differs::claim_headers(&taken, "outputClaimToHeaders", &headers, lefts);
    if !headers.is_empty() {
        out.insert("claim_headers".into(), Value::Object(headers));
    }
    out.insert("clock_skew".into(), "60s".into());
    taken.leave(
        Kind::LookAt,
        "spaceDelimitedClaims",
        "scope and scp are read as words anyway; of others each text is one value",
        lefts,
    );
    taken.take("timeout");
    taken.rest(lefts);
    out
}

/// Adds the rules of a policy. Beside one that allows, one that denies cannot be carried over: both would have to hold.
fn policy(
    spec: &Node,
    allows: bool,
    providers: &Map<String, Value>,
    names: &[String],
    rules: &mut Vec<Value>,
    lefts: &mut Lefts,
) {
    let taken = Taken::new(spec, "spec");
    let action = taken.text("action").unwrap_or("ALLOW");
    for field in ["selector", "targetRef", "targetRefs"] {
        taken.take(field);
    }
    let listed = taken.items("rules");
    if action == "AUDIT" {
        return taken.leave(
            Kind::LookAt,
            "action",
            "nothing is audited here; the access log has every verdict",
            lefts,
        );
    }
    if !matches!(action, "ALLOW" | "DENY") {
        return taken.leave(Kind::Weaker, "action", "only ALLOW and DENY have counterparts", lefts);
    }
    if action == "DENY" && allows {
        let why =
            "beside an ALLOW policy: its rules are left out; write what they refuse in front of the others";
        return taken.leave(Kind::Weaker, "rules", why, lefts);
    }
    for (n, rule) in listed.iter().enumerate() {
        let path = format!("rules[{n}]");
        let is_allow = action == "ALLOW";
        let made = if is_allow { allow(rule, &path, providers, names) } else { deny(rule, &path, names) };
        match made {
            Ok(made) => {
                let origin = Origin { line: rule.line, field: path, any: is_allow };
                rules.extend(made.into_iter().map(|rule| origin::mark(rule, &origin)));
            }
            Err(Cause { line, field }) => lefts.push(Left {
                kind: if is_allow { Kind::Stricter } else { Kind::Weaker },
                line: rule.line,
                field: path,
                why: format!(
                    "this {action} rule is left out: {field} in line {line} cannot be said here; write it by hand, or keep the policy"
                ),
            }),
        }
    }
    taken.rest(lefts);
}

/// What a rule cannot be written for.
struct Cause {
    line: usize,
    field: String,
}

impl Cause {
    fn of(node: &Node, field: impl Into<String>) -> Cause {
        Cause { line: node.line, field: field.into() }
    }
}

/// The first field of a mapping that is none of these.
fn only(node: &Node, known: &[&str]) -> Result<(), Cause> {
    match node.members().iter().find(|member| !known.contains(&&*member.name)) {
        Some(member) => Err(Cause { line: member.line, field: member.name.clone() }),
        None => Ok(()),
    }
}

fn allow(
    rule: &Node,
    path: &str,
    providers: &Map<String, Value>,
    names: &[String],
) -> Result<Vec<Value>, Cause> {
    only(rule, &["from", "to", "when"])?;
    let mut whom: Option<Principals> = None;
    for from in list(rule, "from") {
        let source = from.get("source").ok_or_else(|| Cause::of(from, "from"))?;
        only(source, &["requestPrincipals"])?;
        let principals = list(source, "requestPrincipals");
        if principals.is_empty() {
            return Err(Cause::of(source, "source"));
        }
        for principal in principals {
            let added =
                principal.text().and_then(|text| whom.get_or_insert_default().add(text, providers, names));
            let text = principal.text().unwrap_or_default();
            added.ok_or_else(|| Cause::of(principal, format!("requestPrincipals {text}")))?;
        }
    }
    let mut claims: Vec<Value> = whom.as_ref().and_then(Principals::condition).into_iter().collect();
    for when in list(rule, "when") {
        let key = when.text_at(&["key"]).unwrap_or_default();
        claims.push(condition(when).ok_or_else(|| Cause::of(when, format!("when {key}")))?);
    }
    let matches = operations(rule, path)?;
    let require = match whom {
        None if claims.is_empty() => json!({"optional": names}),
        whom => {
            let mut require = json!({"any": whom.map_or_else(|| names.to_vec(), |whom| whom.names)});
            if let Some(members) = require.as_object_mut().filter(|_| !claims.is_empty()) {
                members.insert("claims".into(), Value::Array(claims));
            }
            require
        }
    };
    Ok(matches.into_iter().map(|matching| json!({"match": matching, "require": require})).collect())
}

fn list<'n>(node: &'n Node, name: &str) -> &'n [Node] {
    node.get(name).map(Node::items).unwrap_or_default()
}

/// The one DENY rule that everybody writes: whoever has no valid token is refused, at these paths or everywhere.
fn deny(rule: &Node, path: &str, names: &[String]) -> Result<Vec<Value>, Cause> {
    only(rule, &["from", "to"])?;
    let [from] = list(rule, "from") else { return Err(Cause::of(rule, "from")) };
    let source = from.get("source").ok_or_else(|| Cause::of(from, "from"))?;
    only(source, &["notRequestPrincipals"])?;
    if !list(source, "notRequestPrincipals").iter().filter_map(Node::text).eq(["*"]) {
        return Err(Cause::of(source, "source"));
    }
    let matches = operations(rule, path)?;
    Ok(matches.into_iter().map(|matching| json!({"match": matching, "require": {"any": names}})).collect())
}

/// Whose tokens: `*`, `ISSUER/*` or `ISSUER/SUBJECT`, any of several.
#[derive(Default)]
struct Principals {
    /// The providers.
    names: Vec<String>,
    /// What else has to hold, one of these; `None` for every token of a provider.
    conditions: Vec<Option<Value>>,
}

impl Principals {
    /// One more; `None` if no provider can say it.
    fn add(&mut self, principal: &str, providers: &Map<String, Value>, names: &[String]) -> Option<()> {
        if principal == "*" {
            self.names = names.to_vec();
            self.conditions.push(None);
            return Some(());
        }
        let issuer = |p: &'_ Value| p.get("issuer").and_then(Value::as_str).map(str::to_owned);
        let (name, issuer) = providers
            .iter()
            .find_map(|(n, p)| Some((n, issuer(p).filter(|i| principal.starts_with(&format!("{i}/")))?)))?;
        let subject = principal.strip_prefix(&*issuer)?.strip_prefix('/')?;
        if !self.names.contains(name) {
            self.names.push(name.clone());
        }
        let of_issuer = json!({"value": "issuer", "equals": issuer});
        self.conditions.push(Some(match subject {
            "*" => of_issuer,
            subject if subject.contains('*') => return None,
            subject => json!({"all": [of_issuer, {"value": "claim.sub", "equals": subject}]}),
        }));
        Some(())
    }

    /// What has to hold beside the providers: nothing, unless single subjects are named.
    fn condition(&self) -> Option<Value> {
        let held: Vec<&Value> = self.conditions.iter().map(Option::as_ref).collect::<Option<_>>()?;
        let single = held.iter().any(|condition| condition.get("all").is_some());
        single.then(|| if let [one] = *held { one.clone() } else { json!({"any": held}) })
    }
}

/// `request.auth.claims[a][b]` with values: the claim is one of them, or a list with one of them in it.
fn condition(when: &Node) -> Option<Value> {
    let key = when.text_at(&["key"])?;
    let values: Vec<&str> = when.get("values")?.items().iter().filter_map(Node::text).collect();
    if when.get("notValues").is_some() || values.iter().any(|v| v.contains('*')) || values.is_empty() {
        return None;
    }
    let source = match key.strip_prefix("request.auth.claims") {
        Some(claims) => {
            let steps = claims.split(']').filter(|step| !step.is_empty());
            let steps: Option<Vec<String>> =
                steps.map(|step| Some(format!("[{}]", Value::from(step.strip_prefix('[')?)))).collect();
            format!("claim{}", steps?.concat())
        }
        None if key == "request.auth.presenter" => "claim.azp".to_owned(),
        None if key == "request.auth.audiences" => "claim.aud".to_owned(),
        None => return None,
    };
    let held = values.iter().map(|value| json!({"value": source, "contains": value}));
    Some(
        json!({"any": std::iter::once(json!({"value": source, "one_of": values})).chain(held).collect::<Vec<_>>()}),
    )
}

/// The matches of `to`; one that matches everything without it.
fn operations(rule: &Node, path: &str) -> Result<Vec<Value>, Cause> {
    let operations = list(rule, "to");
    if operations.is_empty() {
        return Ok(vec![json!({})]);
    }
    let mut matches = Vec::new();
    for to in operations {
        let operation = to.get("operation").ok_or_else(|| Cause::of(to, format!("{path}.to")))?;
        only(operation, &["paths", "methods", "hosts"])?;
        let texts = |name: &str| list(operation, name).iter().filter_map(Node::text).collect::<Vec<_>>();
        let (paths, methods, hosts) = (texts("paths"), texts("methods"), texts("hosts"));
        if methods.iter().any(|method| method.contains('*')) {
            return Err(Cause::of(operation, "methods"));
        }
        if hosts.iter().any(|host| host.strip_prefix("*.").unwrap_or(host).contains(['*', ':'])) {
            return Err(Cause::of(operation, "hosts"));
        }
        let mut matching = Map::new();
        if !methods.is_empty() {
            matching.insert("methods".into(), json!(methods));
        }
        if !hosts.is_empty() {
            matching.insert("hosts".into(), json!(hosts));
        }
        if paths.is_empty() {
            matches.push(Value::Object(matching.clone()));
        }
        let cause = || Cause::of(operation, format!("paths {}", paths.join(", ")));
        for template in templates(&paths).ok_or_else(cause)? {
            let mut matching = matching.clone();
            matching.insert("path".into(), template.into());
            matches.push(Value::Object(matching));
        }
    }
    Ok(matches)
}

/// The templates of these paths: `/a/*` of Istio is `/a/` and all below it, `{*}` is a segment, `{**}` at the end all below. `/a` itself is
/// among them only if it is written too.
fn templates(paths: &[&str]) -> Option<Vec<String>> {
    let mut out = Vec::new();
    for path in paths {
        let base = path.strip_suffix("/*").or_else(|| path.strip_suffix("/{**}"));
        match base {
            _ if *path == "*" => out.push("/**".into()),
            Some("") => out.push("/**".into()),
            Some(base) if paths.contains(&base) => out.push(format!("{}/**", segments(base)?)),
            Some(base) => out.extend(below(&segments(base)?)),
            None if ["/*", "/{**}"].iter().any(|end| paths.contains(&&*format!("{path}{end}"))) => {}
            None => out.push(segments(path)?),
        }
    }
    out.dedup();
    Some(out)
}

fn segments(path: &str) -> Option<String> {
    let mut number = 0_usize;
    let segment = |segment: &str| {
        number = number.saturating_add(usize::from(segment == "{*}"));
        if segment == "{*}" { format!("{{p{number}}}") } else { segment.to_owned() }
    };
    let path = path.split('/').map(segment).collect::<Vec<_>>().join("/");
    (path.starts_with('/') && !path.contains('*')).then_some(path)
}
