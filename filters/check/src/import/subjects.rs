//! `subjects` of a provider: whose tokens it takes. Here that is a condition on the claims in each rule.

use serde_json::{Map, Value, json};

use super::taken::Taken;
use super::{Kind, Lefts};

/// The name under which the condition stands in the provider until the rules are known.
const KEPT: &str = "subjects";

/// Keeps the condition in the provider, or says that there is none.
pub fn take(taken: &Taken<'_>, provider: &mut Map<String, Value>, lefts: &mut Lefts) {
    let Some(node) = taken.take("subjects") else { return };
    let test = |name: &str| node.text_at(&[name]);
    let sensitive = test("ignore_case") != Some("true");
    let condition = match (test("exact"), test("prefix")) {
        (Some(exact), _) if sensitive => json!({"value": "claim.sub", "equals": exact}),
        (_, Some(prefix)) if sensitive => json!({"value": "claim.sub", "prefix": prefix}),
        _ => {
            let why = "tokens of other subjects pass: only exact and prefix have counterparts; write a condition on claim.sub in the claims of each rule";
            return taken.leave(Kind::Weaker, "subjects", why, lefts);
        }
    };
    provider.insert(KEPT.into(), condition);
}

/// Moves the conditions from the providers into the rules.
pub fn place(providers: &mut Map<String, Value>, rules: &mut [Value], taken: &Taken<'_>, lefts: &mut Lefts) {
    let mut kept = Map::new();
    for (name, provider) in providers.iter_mut() {
        let condition = provider.as_object_mut().and_then(|p| p.remove(KEPT));
        kept.extend(condition.map(|condition| (name.clone(), condition)));
    }
    for require in rules.iter_mut().filter_map(|rule| rule.get_mut("require")?.as_object_mut()) {
        let Some((word, names)) =
            require.iter().find_map(|(word, names)| Some((word.clone(), names.as_array()?)))
        else {
            continue;
        };
        let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
        if !names.iter().any(|name| kept.contains_key(*name)) {
            continue;
        }
        if let [name] = *names {
            let condition = kept.get(name).cloned();
            require.insert("claims".into(), Value::from_iter(condition));
        } else if word == "all" {
            let why = "of several tokens the claims of one are looked at; tokens of other subjects pass: write a rule by hand";
            taken.say(Kind::Weaker, "subjects", why, lefts);
        } else {
            let of = |name: &str| {
                let issuer = json!({"value": "issuer", "equals": providers.get(name)?.get("issuer")?});
                Some(match kept.get(name) {
                    Some(condition) => json!({"all": [issuer, condition]}),
                    None => issuer,
                })
            };
            let either: Vec<Value> = names.iter().filter_map(|name| of(name)).collect();
            require.insert("claims".into(), json!([{"any": either}]));
        }
    }
}
