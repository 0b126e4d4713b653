//! OpenFGA's HTTP API: Check for one question, BatchCheck for several.

use portcullis_common::filter::{Answer, Callout};
use serde_json::{Map, Value};
use std::rc::Rc;
use std::time::Duration;

use super::fault::{self, Fault, Why};
use super::{Outcome, text};
use crate::policy::remote::Openfga;
use crate::question::Question;
use crate::tuples::Tuple;

/// The most questions of one BatchCheck.
pub const BATCH: usize = 50;

/// A call that asks these questions. `bearer` is the value of `authorization`, `fresh` whether the engine's caches may not answer;
/// `more` are further headers.
#[must_use]
pub fn call(
    engine: &Openfga,
    questions: &[&Question],
    fresh: bool,
    bearer: Option<&str>,
    more: &[(String, String)],
    timeout: Duration,
) -> Callout {
    let mut body = Map::new();
    body.insert("authorization_model_id".to_owned(), text(&engine.model));
    let consistency = if fresh { "HIGHER_CONSISTENCY" } else { "MINIMIZE_LATENCY" };
    body.insert("consistency".to_owned(), text(consistency));
    let method = match questions {
        [one] => {
            body.extend(item(one));
            "check"
        }
        several => {
            let checks = several.iter().enumerate().map(|(n, question)| {
                let mut item = item(question);
                item.insert("correlation_id".to_owned(), text(&n.to_string()));
                Value::Object(item)
            });
            body.insert("checks".to_owned(), Value::Array(checks.collect()));
            "batch-check"
        }
    };
    let path = format!("/stores/{}/{method}", engine.store);
    super::post(&engine.place, &path, bearer, more, body, timeout)
}

fn item(question: &Question) -> Map<String, Value> {
    let mut item = Map::new();
    item.insert("tuple_key".to_owned(), triple(&question.subject, &question.relation, &question.object));
    if !question.tuples.is_empty() {
        let keys = question.tuples.iter().map(own).collect();
        let tuples = Map::from_iter([("tuple_keys".to_owned(), Value::Array(keys))]);
        item.insert("contextual_tuples".to_owned(), Value::Object(tuples));
    }
    if !question.context.is_empty() {
        item.insert("context".to_owned(), Value::Object(question.context.clone()));
    }
    item
}

fn triple(user: &str, relation: &str, object: &str) -> Value {
    let fields = [("user", user), ("relation", relation), ("object", object)];
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect())
}

fn own(tuple: &Tuple) -> Value {
    let mut key = triple(&tuple.subject, &tuple.relation, &tuple.object);
    if let (Some(condition), Value::Object(key)) = (&tuple.condition, &mut key) {
        let context = Value::Object(condition.context.clone());
        let fields = [("name".to_owned(), text(&condition.name)), ("context".to_owned(), context)];
        key.insert("condition".to_owned(), Value::Object(Map::from_iter(fields)));
    }
    key
}

/// What an answer says to `count` questions.
#[must_use]
pub fn read(answer: &Answer, count: usize) -> Vec<Outcome> {
    let (status, body) = match super::http(answer) {
        Ok(answer) => answer,
        Err(fault) => return vec![Err(fault); count],
    };
    let json = super::object(body);
    if status != 200 {
        return vec![Err(refused(status, json.as_ref())); count];
    }
    let garbled = || Err(Fault::Unavailable(Why::Garbled));
    // What is an error cannot be an answer too.
    let contradicts = if count == 1 { ["code", "error", "result"] } else { ["code", "error", "allowed"] };
    let json = json.filter(|json| !contradicts.iter().any(|field| json.contains_key(*field)));
    let Some(json) = json else { return vec![garbled(); count] };
    if count == 1 {
        let allowed = json.get("allowed").and_then(Value::as_bool);
        return vec![allowed.map_or_else(garbled, Ok)];
    }
    // An answer to what nobody asked is not an answer to this.
    let results = json.get("result").and_then(Value::as_object).filter(|results| results.len() <= count);
    let one = |n: usize| {
        let result = results.and_then(|r| r.get(&n.to_string()))?;
        match (result.get("allowed"), result.get("error")) {
            (Some(Value::Bool(allowed)), None) => Some(Ok(*allowed)),
            (None, Some(error)) => {
                let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
                let input = error.get("input_error").and_then(Value::as_str);
                Some(Err(input.map_or(Fault::Unavailable(Why::Status), |code| of_code(code, message))))
            }
            _ => None,
        }
    };
    (0..count).map(|n| one(n).unwrap_or_else(garbled)).collect()
}

/// A refusal by its status, and its code where the status is not enough (openfga, `pkg/server/errors`).
fn refused(status: u16, json: Option<&Map<String, Value>>) -> Fault {
    let field = |name: &str| json.and_then(|j| j.get(name)).and_then(Value::as_str).unwrap_or_default();
    match status {
        400 => of_code(field("code"), field("message")),
        401 | 403 => Fault::Credentials,
        404 => Fault::Model,
        // The request is larger than the server takes: that does not mean that it is away.
        _ if field("code") == "resource_exhausted" => Fault::TooLong,
        _ => fault::of_status(status),
    }
}

fn of_code(code: &str, message: &str) -> Fault {
    match code {
        // One code for a value that is none, a type that is none, and a condition without its values.
        "validation_error" if message.contains("condition") || message.contains("context") => {
            Fault::Condition(missing(message))
        }
        "validation_error" if message.contains("not found") => Fault::Mapping,
        "validation_error" | "invalid_tuple" => Fault::Value,
        "type_not_found" | "relation_not_found" => Fault::Mapping,
        "authorization_model_not_found"
        | "latest_authorization_model_not_found"
        | "invalid_authorization_model"
        | "store_id_invalid_length"
        | "store_id_not_found" => Fault::Model,
        "authorization_model_resolution_too_complex" => Fault::TooLong,
        "bearer_token_missing" | "invalid_token" => Fault::Credentials,
        "" => Fault::Unavailable(Why::Garbled),
        _ => Fault::Value,
    }
}

/// `... is missing context parameters '[hour now]'`: names of parameters, which are the model's.
fn missing(message: &str) -> Rc<str> {
    let inner = message.split_once("parameters '[").and_then(|(_, rest)| rest.split_once(']'));
    let names = inner.map_or("", |(names, _)| names);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | '-');
    if names.len() <= 512 && names.chars().all(plain) { names.into() } else { "".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::tests::{body, ok, openfga, question};
    use serde_json::json;

    fn status(status: u16, body: &str) -> Answer {
        Answer::Http { response: Vec::new(), status, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn one_question_is_a_check_and_several_are_a_batch() {
        let mut one = question("user:ann", "viewer", "document:1");
        one.context.insert("hour".into(), json!(9));
        one.tuples.push(Tuple::parse("group:1#member@user:ann").unwrap());
        let timeout = Duration::from_millis(200);
        let callout = call(&openfga(), &[&one], false, Some("Bearer t"), &[], timeout);
        let Callout::Http { headers, .. } = &callout else { panic!() };
        assert!(headers.contains(&(":path".into(), "/stores/S/check".into())));
        assert!(headers.contains(&("authorization".into(), "Bearer t".into())));
        assert_eq!(
            body(&callout),
            json!({
                "authorization_model_id": "M",
                "consistency": "MINIMIZE_LATENCY",
                "tuple_key": {"user": "user:ann", "relation": "viewer", "object": "document:1"},
                "contextual_tuples": {"tuple_keys": [
                    {"user": "user:ann", "relation": "member", "object": "group:1"}
                ]},
                "context": {"hour": 9},
            })
        );
        let two = question("user:ann", "viewer", "document:2");
        let callout = call(&openfga(), &[&one, &two], true, None, &[], timeout);
        assert_eq!(body(&callout)["consistency"], "HIGHER_CONSISTENCY");
        assert_eq!(body(&callout)["checks"][1]["correlation_id"], "1");
        assert_eq!(body(&callout)["checks"][1]["tuple_key"]["object"], "document:2");
    }

    #[test]
    fn only_a_truth_is_an_answer() {
        assert_eq!(read(&ok(r#"{"allowed":true,"resolution":""}"#), 1), [Ok(true)]);
        assert_eq!(read(&ok(r#"{"allowed":false}"#), 1), [Ok(false)]);
        let garbled = Err(Fault::Unavailable(Why::Garbled));
        for bad in ["", "{}", "true", r#"{"allowed":"true"}"#, r#"{"allowed":1}"#, "{\"allowed\":true", "[]"]
        {
            assert_eq!(read(&ok(bad), 1), std::slice::from_ref(&garbled), "{bad}");
        }
        let batch = r#"{"result":{"0":{"allowed":true},"1":{"allowed":false},"2":{"error":{"input_error":"validation_error","message":"x"}}}}"#;
        assert_eq!(read(&ok(batch), 3), [Ok(true), Ok(false), Err(Fault::Value)]);
        assert_eq!(read(&ok(batch), 4)[3], garbled);
        for two in [
            r#"{"allowed":false,"allowed":true}"#,
            r#"{"allowed":false,"\u0061llowed":true}"#,
            r#"{"allowed":true,"code":"validation_error"}"#,
            r#"{"allowed":true,"x":{"y":1,"y":2}}"#,
            r#"{"allowed":true,"error":{"message":"x"}}"#,
            r#"{"allowed":true,"result":{"0":{"allowed":false}}}"#,
        ] {
            assert_eq!(read(&ok(two), 1), std::slice::from_ref(&garbled), "{two}");
        }
        for two in [
            r#"{"result":{"0":{"allowed":false,"allowed":true},"1":{"allowed":true}}}"#,
            r#"{"result":{"0":{"allowed":false},"1":{"allowed":true},"0":{"allowed":true}}}"#,
            r#"{"code":"validation_error","result":{"0":{"allowed":true},"1":{"allowed":true}}}"#,
            r#"{"error":"x","result":{"0":{"allowed":true},"1":{"allowed":true}}}"#,
            r#"{"result":{"0":{"allowed":true},"1":{"allowed":true},"7":{"allowed":false}}}"#,
        ] {
            assert_eq!(read(&ok(two), 2), [garbled.clone(), garbled.clone()], "{two}");
        }
        let both = r#"{"result":{"0":{"allowed":true,"error":{}},"1":{}}}"#;
        assert_eq!(read(&ok(both), 2), [garbled.clone(), garbled]);
    }

    #[test]
    fn kinds_of_errors_are_told_apart() {
        let missing = r#"{"code":"validation_error","message":"failed to evaluate relationship condition: 'early' - tuple 'document:1#viewer@user:bob' is missing context parameters '[hour now]'"}"#;
        for (code, body, fault) in [
            (400, missing, Fault::Condition("hour now".into())),
            (
                400,
                r#"{"code":"validation_error","message":"relation 'document#x' not found"}"#,
                Fault::Mapping,
            ),
            (400, r#"{"code":"validation_error","message":"invalid 'user' value"}"#, Fault::Value),
            (400, r#"{"code":"authorization_model_not_found","message":""}"#, Fault::Model),
            (400, r#"{"code":"authorization_model_resolution_too_complex","message":""}"#, Fault::TooLong),
            (400, "nonsense", Fault::Unavailable(Why::Garbled)),
            (400, r#"{"code":"a","code":"invalid_tuple"}"#, Fault::Unavailable(Why::Garbled)),
            (401, r#"{"code":"bearer_token_missing","message":""}"#, Fault::Credentials),
            (404, r#"{"code":"store_id_not_found","message":""}"#, Fault::Model),
            (422, "{}", Fault::Unavailable(Why::Status)),
            (500, "{}", Fault::Unavailable(Why::Status)),
            (429, "{}", Fault::Unavailable(Why::Status)),
            (502, "", Fault::Unavailable(Why::Unreachable)),
            (503, "", Fault::Unavailable(Why::Unreachable)),
            (504, "upstream request timeout", Fault::Unavailable(Why::Timeout)),
            (204, r#"{"allowed":true}"#, Fault::Unavailable(Why::Status)),
            (302, "", Fault::Unavailable(Why::Status)),
            (0, "", Fault::Unavailable(Why::Status)),
        ] {
            assert_eq!(read(&status(code, body), 1), [Err(fault)], "{code} {body}");
        }
        assert_eq!(read(&Answer::Timeout, 2), vec![Err(Fault::Unavailable(Why::Timeout)); 2]);
        assert_eq!(read(&Answer::Refused, 1), [Err(Fault::Unavailable(Why::Unreachable))]);
        assert_eq!(read(&Answer::Reset, 1), [Err(Fault::Unavailable(Why::Reset))]);
    }
}
