//! The key of a decision: every input of it, by value.
//!
//! Engine, store, model and credentials are the configuration's, and each configuration has a memory of its own. All else is in the
//! key, each part with its length before it, so that no two questions have one key.
//!
//! What is remembered of a question has one key, without a client's token: a newer answer takes the place of an older one, whoever
//! asked. What is on its way has the token in its key, for whoever presents another one cannot wait for it.

use serde_json::{Map, Value};

use super::freshness::Wanted;
use crate::question::Question;

/// Writes the key of a question over what `key` held.
pub fn write(key: &mut Vec<u8>, question: &Question, wanted: &Wanted) {
    key.clear();
    part(key, question.subject.as_bytes());
    part(key, question.relation.as_bytes());
    part(key, question.object.as_bytes());
    match wanted {
        Wanted::Any | Wanted::Fresh => part(key, b""),
        Wanted::Since(token) => part(key, token.as_bytes()),
    }
    map(key, &question.context);
    count(key, question.tuples.len());
    for tuple in &question.tuples {
        part(key, tuple.object.as_bytes());
        part(key, tuple.relation.as_bytes());
        part(key, tuple.subject.as_bytes());
        match &tuple.condition {
            None => key.push(0),
            Some(condition) => {
                key.push(1);
                part(key, condition.name.as_bytes());
                map(key, &condition.context);
            }
        }
    }
}

fn count(key: &mut Vec<u8>, n: usize) {
    key.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
}

fn part(key: &mut Vec<u8>, bytes: &[u8]) {
    count(key, bytes.len());
    key.extend_from_slice(bytes);
}

fn map(key: &mut Vec<u8>, map: &Map<String, Value>) {
    count(key, map.len());
    for (name, value) in map {
        part(key, name.as_bytes());
        json(key, value);
    }
}

/// Values by type and content. Numbers are written as their text, which tells all of them apart.
fn json(key: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => key.push(b'n'),
        Value::Bool(true) => key.push(b't'),
        Value::Bool(false) => key.push(b'f'),
        Value::Number(number) => {
            key.push(b'#');
            part(key, number.to_string().as_bytes());
        }
        Value::String(text) => {
            key.push(b's');
            part(key, text.as_bytes());
        }
        Value::Array(items) => {
            key.push(b'a');
            count(key, items.len());
            items.iter().for_each(|item| json(key, item));
        }
        Value::Object(members) => {
            key.push(b'o');
            map(key, members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::tests::question;
    use crate::tuples::Tuple;
    use serde_json::json;

    #[test]
    fn every_input_is_in_the_key() {
        let plain = question("user:a", "view", "document:1");
        let mut others = vec![
            (question("user:ab", "view", "document:1"), Wanted::Any),
            (question("user:a", "viewd", "ocument:1"), Wanted::Any),
            (question("user:a", "view", "document:2"), Wanted::Any),
            (plain.clone(), Wanted::Since("t".into())),
            (plain.clone(), Wanted::Since("u".into())),
        ];
        for context in [
            json!({"a": 1}),
            json!({"a": "1"}),
            json!({"a": true}),
            json!({"a": [1]}),
            json!({"a": {"b": 1}}),
            json!({"b": 1}),
            json!({"a": [[], 1]}),
            json!({"a": [[1]]}),
            json!({"a": 1.5}),
        ] {
            let mut other = plain.clone();
            other.context = context.as_object().cloned().unwrap();
            others.push((other, Wanted::Any));
        }
        for tuple in ["group:1#member@user:a", "group:1#member@user:b", "group:2#member@user:a"] {
            let mut other = plain.clone();
            other.tuples.push(Tuple::parse(tuple).unwrap());
            others.push((other, Wanted::Any));
        }
        let mut both = plain.clone();
        both.tuples =
            ["group:1#member@user:a", "group:1#member@user:b"].map(|t| Tuple::parse(t).unwrap()).to_vec();
        others.push((both, Wanted::Any));
        others.push((plain, Wanted::Any));
        let mut keys = Vec::new();
        for (question, wanted) in &others {
            let mut key = vec![7; 100];
            write(&mut key, question, wanted);
            assert!(!keys.contains(&key), "{question:?} {wanted:?}");
            keys.push(key);
        }
    }
}
