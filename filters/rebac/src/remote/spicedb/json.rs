//! Questions and answers as JSON, for the HTTP gateway.

use serde_json::{Map, Value};

use super::{CONDITIONAL, Consistency, HAS, HAS_NOT, Parts, outcome, parts, said};
use crate::question::Question;
use crate::remote::{self, Outcome, fault, text};

/// The path, and the body for it.
pub(super) fn ask(questions: &[&Question], consistency: &Consistency) -> (&'static str, Map<String, Value>) {
    let consistency = match consistency {
        Consistency::MinimizeLatency => object([("minimizeLatency", Value::Bool(true))]),
        Consistency::AtLeast(token) => object([("atLeastAsFresh", object([("token", text(token))]))]),
        Consistency::Full => object([("fullyConsistent", Value::Bool(true))]),
    };
    let mut body = Map::from_iter([("consistency".to_owned(), consistency)]);
    let path = match questions {
        [one] => {
            body.extend(json_item(one));
            "/v1/permissions/check"
        }
        several => {
            let items = several.iter().map(|question| Value::Object(json_item(question))).collect();
            body.insert("items".to_owned(), Value::Array(items));
            "/v1/permissions/checkbulk"
        }
    };
    (path, body)
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn json_item(question: &Question) -> Map<String, Value> {
    let reference =
        |parts: Parts<'_>| object([("objectType", text(parts.kind)), ("objectId", text(parts.id))]);
    let who = parts(&question.subject);
    let subject = match who.relation {
        "" => object([("object", reference(who))]),
        relation => object([("object", reference(who)), ("optionalRelation", text(relation))]),
    };
    let mut item = Map::from_iter([
        ("resource".to_owned(), reference(parts(&question.object))),
        ("permission".to_owned(), text(&question.relation)),
        ("subject".to_owned(), subject),
    ]);
    if !question.context.is_empty() {
        item.insert("context".to_owned(), Value::Object(question.context.clone()));
    }
    item
}

/// What an answer says to these questions; `None` for one that is not SpiceDB's.
pub(super) fn read(body: &[u8], questions: &[&Question], with_token: bool) -> Option<Vec<Outcome>> {
    // What is an error cannot be an answer too.
    let json = remote::object(body).filter(|json| !json.contains_key("code"))?;
    if questions.len() == 1 {
        return of_json(&json).map(|outcome| vec![outcome]);
    }
    let pairs = json.get("pairs")?.as_array()?;
    if pairs.len() != questions.len() {
        return None;
    }
    let one = |(pair, question): (&Value, &&Question)| {
        if !is_of(pair.get("request")?, question) {
            return None;
        }
        match (pair.get("item"), pair.get("error")) {
            (Some(item), None) => of_json(item.as_object()?),
            (None, Some(error)) => {
                let code = error.get("code").and_then(Value::as_u64);
                Some(Err(fault::of_grpc(code.unwrap_or(2), said(error.as_object()), with_token)))
            }
            _ => None,
        }
    };
    pairs.iter().zip(questions).map(one).collect()
}

/// Whether a request that comes back asks about the same three. Where the subject has no relation the gateway may write an empty one.
fn is_of(request: &Value, question: &Question) -> bool {
    let (expected, subject) = (json_item(question), request.get("subject"));
    let relation = match subject.and_then(|subject| subject.get("optionalRelation")) {
        None | Some(Value::Null) => Some(""),
        Some(relation) => relation.as_str(),
    };
    request.get("resource") == expected.get("resource")
        && request.get("permission") == expected.get("permission")
        && subject.and_then(|subject| subject.get("object"))
            == expected.get("subject").and_then(|subject| subject.get("object"))
        && relation == Some(parts(&question.subject).relation)
}

fn of_json(item: &Map<String, Value>) -> Option<Outcome> {
    let permissionship = match item.get("permissionship")?.as_str()? {
        "PERMISSIONSHIP_HAS_PERMISSION" => HAS,
        "PERMISSIONSHIP_NO_PERMISSION" => HAS_NOT,
        "PERMISSIONSHIP_CONDITIONAL_PERMISSION" => CONDITIONAL,
        _ => return None,
    };
    let missing = item.get("partialCaveatInfo").and_then(|info| info.get("missingRequiredContext"));
    let missing: Vec<&str> =
        missing.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    outcome(permissionship, &missing)
}

#[cfg(test)]
mod tests {
    use portcullis_common::filter::Answer;
    use serde_json::json;

    use super::super::tests::TIMEOUT;
    use super::super::{Consistency, call, read};
    use super::json_item;
    use crate::remote::fault::{Fault, Why};
    use crate::remote::tests::{body, ok, question, spicedb};

    #[test]
    fn the_gateway_speaks_json() {
        let (one, two) =
            (question("group:eng#member", "view", "document:1"), question("user:b", "view", "document:2"));
        let callout = call(&spicedb(false), &[&one], &Consistency::Full, &[], TIMEOUT);
        assert_eq!(
            body(&callout),
            json!({
                "consistency": {"fullyConsistent": true},
                "resource": {"objectType": "document", "objectId": "1"},
                "permission": "view",
                "subject": {"object": {"objectType": "group", "objectId": "eng"}, "optionalRelation": "member"},
            })
        );
        let has = r#"{"checkedAt":{"token":"t"},"permissionship":"PERMISSIONSHIP_HAS_PERMISSION","partialCaveatInfo":null}"#;
        assert_eq!(read(&ok(has), &[&one], false), [Ok(true)]);
        let lacks = r#"{"permissionship":"PERMISSIONSHIP_CONDITIONAL_PERMISSION","partialCaveatInfo":{"missingRequiredContext":["ip"]}}"#;
        assert_eq!(read(&ok(lacks), &[&one], false), [Err(Fault::Condition("ip".into()))]);
        for bad in ["{}", "", r#"{"permissionship":2}"#, r#"{"permissionship":"PERMISSIONSHIP_UNSPECIFIED"}"#]
        {
            assert_eq!(read(&ok(bad), &[&one], false), [Err(Fault::Unavailable(Why::Garbled))], "{bad}");
        }
        let bulk = json!({"pairs": [
            {"request": json_item(&one), "item": {"permissionship": "PERMISSIONSHIP_NO_PERMISSION"}},
            {"request": json_item(&two), "error": {"code": 9, "message": ""}},
        ]});
        let answers = read(&ok(&bulk.to_string()), &[&one, &two], false);
        assert_eq!(answers, [Ok(false), Err(Fault::Mapping)]);
        let future = json!({"pairs": [
            {"request": json_item(&one), "error": {"code": 11, "message": ""}},
            {"request": json_item(&two), "error": {"code": 9, "message": "exceeded the allowable maximum depth of 50"}},
        ]});
        let answers_to_future = read(&ok(&future.to_string()), &[&one, &two], true);
        assert_eq!(answers_to_future, [Err(Fault::Freshness), Err(Fault::TooLong)]);
        let garbled = [Err(Fault::Unavailable(Why::Garbled)), Err(Fault::Unavailable(Why::Garbled))];
        for (place, value, is_ours) in [
            (
                "/pairs/1/request/subject",
                json!({"object": {"objectType": "user", "objectId": "b"}, "optionalRelation": ""}),
                true,
            ),
            ("/pairs/1/request/subject", json!({"object": {"objectType": "user", "objectId": "c"}}), false),
            ("/pairs/1/request/subject/object/objectType", json!("robot"), false),
            ("/pairs/1/request/subject", json!(null), false),
            ("/pairs/0/request/subject/optionalRelation", json!("owner"), false),
            (
                "/pairs/0/request/subject",
                json!({"object": {"objectType": "group", "objectId": "eng"}}),
                false,
            ),
            ("/pairs/0/request/resource/objectId", json!("2"), false),
            ("/pairs/0/request/permission", json!("edit"), false),
            ("/code", json!(9), false),
        ] {
            let mut other = bulk.clone();
            other["code"] = json!(null);
            *other.pointer_mut(place).unwrap() = value.clone();
            if place != "/code" {
                other.as_object_mut().unwrap().remove("code");
            }
            let expected = if is_ours { &answers[..] } else { &garbled };
            assert_eq!(read(&ok(&other.to_string()), &[&one, &two], false), expected, "{place} {value}");
        }
        let twice = r#"{"permissionship":"PERMISSIONSHIP_NO_PERMISSION","permissionship":"PERMISSIONSHIP_HAS_PERMISSION"}"#;
        assert_eq!(read(&ok(twice), &[&one], false), garbled[..1]);
        let refusal = |status, body: &str| {
            read(&Answer::Http { response: vec![], status, body: body.as_bytes().to_vec() }, &[&one], true)
        };
        assert_eq!(refusal(400, r#"{"code":9,"message":""}"#), [Err(Fault::Mapping)]);
        assert_eq!(refusal(403, r#"{"code":7,"message":""}"#), [Err(Fault::Credentials)]);
        assert_eq!(refusal(400, r#"{"code":3,"message":""}"#), [Err(Fault::Freshness)]);
        assert_eq!(refusal(503, "upstream"), [Err(Fault::Unavailable(Why::Unreachable))]);
        assert_eq!(refusal(504, "upstream"), [Err(Fault::Unavailable(Why::Timeout))]);
        assert_eq!(refusal(404, "nothing here"), [Err(Fault::Unavailable(Why::Status))]);
    }
}
