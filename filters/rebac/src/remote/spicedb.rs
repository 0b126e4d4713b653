//! SpiceDB's CheckPermission and CheckBulkPermissions, by gRPC and by its HTTP gateway.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::filter::{Answer, Callout};
use serde_json::{Map, Value};

use super::fault::{self, Fault, Why};
use super::{Outcome, text};
use crate::policy::remote::Spicedb;
use crate::protobuf::{self, Field};
use crate::question::Question;

/// The most questions of one bulk call. SpiceDB takes 10,000; so many fit into one message whatever their values.
pub const BATCH: usize = 50;

const SERVICE: &str = "authzed.api.v1.PermissionsService";

/// From which revision an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// One that SpiceDB chooses for speed.
    MinimizeLatency,
    /// At least this one.
    AtLeast(Rc<str>),
    /// The newest.
    Full,
}

/// An object or a subject, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts<'a> {
    kind: &'a str,
    id: &'a str,
    relation: &'a str,
}

fn parts(text: &str) -> Parts<'_> {
    let (object, relation) = text.split_once('#').unwrap_or((text, ""));
    let (kind, id) = object.split_once(':').unwrap_or((object, ""));
    Parts { kind, id, relation }
}

/// A call that asks these questions; `more` are further headers.
#[must_use]
pub fn call(
    engine: &Spicedb,
    questions: &[&Question],
    consistency: &Consistency,
    more: &[(String, String)],
    timeout: Duration,
) -> Callout {
    let Some(target) = &engine.grpc else {
        let (path, body) = in_json(questions, consistency);
        return super::post(&engine.place, path, Some(engine.bearer.expose()), more, body, timeout);
    };
    let (method, message) = in_protobuf(questions, consistency);
    let bearer = ("authorization".to_owned(), engine.bearer.expose().as_bytes().to_vec());
    let more = more.iter().map(|(name, value)| (name.clone(), value.as_bytes().to_vec()));
    let metadata = std::iter::once(bearer).chain(more).collect();
    Callout::Grpc { target: target.clone(), service: SERVICE, method, metadata, message, timeout }
}

/// The method, and the message for it.
fn in_protobuf(questions: &[&Question], consistency: &Consistency) -> (&'static str, Vec<u8>) {
    let mut message = Vec::new();
    let mut wanted = Vec::new();
    match consistency {
        Consistency::MinimizeLatency => protobuf::number(&mut wanted, 1, 1),
        Consistency::AtLeast(token) => {
            let mut inner = Vec::new();
            protobuf::bytes(&mut inner, 1, token.as_bytes());
            protobuf::bytes(&mut wanted, 2, &inner);
        }
        Consistency::Full => protobuf::number(&mut wanted, 4, 1),
    }
    protobuf::bytes(&mut message, 1, &wanted);
    let method = match questions {
        [one] => {
            item(&mut message, one, 2);
            "CheckPermission"
        }
        several => {
            for question in several {
                let mut inner = Vec::new();
                item(&mut inner, question, 1);
                protobuf::bytes(&mut message, 2, &inner);
            }
            "CheckBulkPermissions"
        }
    };
    (method, message)
}

/// resource, permission, subject and context, in fields from `first` on.
fn item(out: &mut Vec<u8>, question: &Question, first: u32) {
    let object = |parts: Parts<'_>| {
        let mut object = Vec::new();
        protobuf::bytes(&mut object, 1, parts.kind.as_bytes());
        protobuf::bytes(&mut object, 2, parts.id.as_bytes());
        object
    };
    let who = parts(&question.subject);
    let mut subject = Vec::new();
    protobuf::bytes(&mut subject, 1, &object(who));
    if !who.relation.is_empty() {
        protobuf::bytes(&mut subject, 2, who.relation.as_bytes());
    }
    let field = |n: u32| first.saturating_add(n);
    protobuf::bytes(out, field(0), &object(parts(&question.object)));
    protobuf::bytes(out, field(1), question.relation.as_bytes());
    protobuf::bytes(out, field(2), &subject);
    if !question.context.is_empty() {
        protobuf::bytes(out, field(3), &protobuf::structure(&question.context));
    }
}

/// The path, and the body for it.
fn in_json(questions: &[&Question], consistency: &Consistency) -> (&'static str, Map<String, Value>) {
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

/// What an answer says to these questions. `with_token` says whether the client's token was sent along.
#[must_use]
pub fn read(answer: &Answer, questions: &[&Question], with_token: bool) -> Vec<Outcome> {
    let all = |fault: Fault| vec![Err(fault); questions.len()];
    let read = match answer {
        Answer::Grpc { status: 0, message } if message.len() <= super::MAX_ANSWER => {
            from_message(message, questions, with_token)
        }
        Answer::Grpc { status: 0, .. } => return all(Fault::Unavailable(Why::Reset)),
        Answer::Grpc { status, message } => {
            return all(fault::of_grpc(u64::from(*status), message, with_token));
        }
        other => match super::http(other) {
            Err(fault) => return all(fault),
            Ok((200, body)) => from_json(body, questions, with_token),
            Ok((status, body)) => return all(refused(status, body, with_token)),
        },
    };
    read.unwrap_or_else(|| all(Fault::Unavailable(Why::Garbled)))
}

/// A refusal of the gateway: its body has the code of gRPC. What comes from a proxy in front has none.
fn refused(status: u16, body: &[u8], with_token: bool) -> Fault {
    let json = super::object(body);
    let code = json.as_ref().and_then(|j| j.get("code")).and_then(Value::as_u64);
    match (code, status) {
        (Some(code @ 1..=16), 400..) => fault::of_grpc(code, said(json.as_ref()), with_token),
        (_, 401 | 403) => Fault::Credentials,
        _ => Fault::Unavailable(Why::Status),
    }
}

/// The text of an error.
fn said(error: Option<&Map<String, Value>>) -> &[u8] {
    error.and_then(|e| e.get("message")).and_then(Value::as_str).unwrap_or_default().as_bytes()
}

const HAS: u64 = 2;
const HAS_NOT: u64 = 1;
const CONDITIONAL: u64 = 3;

fn outcome(permissionship: u64, missing: &[&str]) -> Option<Outcome> {
    match permissionship {
        HAS => Some(Ok(true)),
        HAS_NOT => Some(Ok(false)),
        CONDITIONAL => Some(Err(Fault::Condition(missing.join(" ").into()))),
        _ => None,
    }
}

fn from_message(message: &[u8], questions: &[&Question], with_token: bool) -> Option<Vec<Outcome>> {
    if questions.len() == 1 {
        return decided(message, 2).map(|outcome| vec![outcome]);
    }
    let mut outcomes = Vec::new();
    for field in protobuf::fields(message) {
        let (2, Field::Bytes(pair)) = field.ok()? else { continue };
        let question = questions.get(outcomes.len())?;
        let (mut outcome, mut is_ours) = (None, false);
        for field in protobuf::fields(pair) {
            let field = field.ok()?;
            // Whichever comes second contradicts the first.
            if matches!(field, (2 | 3, _)) && outcome.is_some() {
                return None;
            }
            match field {
                (1, Field::Bytes(request)) => {
                    let mut expected = Vec::new();
                    item(&mut expected, question, 1);
                    // Answers come in the order of their questions; one to another question is none to this.
                    if !same_start(request, &expected) {
                        return None;
                    }
                    is_ours = true;
                }
                (2, Field::Bytes(item)) => outcome = Some(decided(item, 1)?),
                (3, Field::Bytes(status)) => {
                    let (mut code, mut said) = (2, &[][..]);
                    for field in protobuf::fields(status) {
                        match field.ok()? {
                            (1, Field::Number(number)) => code = number,
                            (2, Field::Bytes(text)) => said = text,
                            _ => {}
                        }
                    }
                    outcome = Some(Err(fault::of_grpc(code, said, with_token)));
                }
                _ => {}
            }
        }
        outcomes.push(outcome.filter(|_| is_ours)?);
    }
    (outcomes.len() == questions.len()).then_some(outcomes)
}

/// Whether two items ask about the same three; their contexts may be written differently.
fn same_start(a: &[u8], b: &[u8]) -> bool {
    let three =
        |item| protobuf::fields(item).filter_map(Result::ok).take_while(|(n, _)| *n < 4).collect::<Vec<_>>();
    three(a) == three(b)
}

/// permissionship in field `first`, the missing values behind it.
fn decided(message: &[u8], first: u32) -> Option<Outcome> {
    let (mut permissionship, mut missing) = (0, Vec::new());
    for field in protobuf::fields(message) {
        match field.ok()? {
            // One that stands twice says two things.
            (n, Field::Number(_)) if n == first && permissionship != 0 => return None,
            (n, Field::Number(value)) if n == first => permissionship = value,
            (n, Field::Bytes(info)) if n == first.saturating_add(1) => {
                for field in protobuf::fields(info) {
                    if let (1, Field::Bytes(name)) = field.ok()? {
                        missing.push(std::str::from_utf8(name).ok()?);
                    }
                }
            }
            // Of another type than it has: whoever reads on guesses.
            (n, _) if n == first || n == first.saturating_add(1) => return None,
            _ => {}
        }
    }
    outcome(permissionship, &missing)
}

fn from_json(body: &[u8], questions: &[&Question], with_token: bool) -> Option<Vec<Outcome>> {
    // What is an error cannot be an answer too.
    let json = super::object(body).filter(|json| !json.contains_key("code"))?;
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
    use super::*;
    use crate::remote::tests::{body, ok, question, spicedb};
    use serde_json::json;

    const TIMEOUT: Duration = Duration::from_millis(200);

    fn grpc(status: u32, message: &[u8]) -> Answer {
        Answer::Grpc { status, message: message.to_vec() }
    }

    #[test]
    fn a_check_by_grpc_is_the_message_that_spicedb_reads() {
        let mut one = question("group:eng#member", "view", "document:1");
        one.context.insert("a".into(), json!(true));
        let callout = call(&spicedb(true), &[&one], &Consistency::AtLeast("tok".into()), &[], TIMEOUT);
        let Callout::Grpc { service, method, metadata, message, .. } = callout else { panic!() };
        assert_eq!((service, method), ("authzed.api.v1.PermissionsService", "CheckPermission"));
        assert_eq!(metadata, [("authorization".to_owned(), b"Bearer key".to_vec())]);
        let expected: Vec<u8> = [
            &b"\x0a\x07\x12\x05\x0a\x03tok"[..],
            b"\x12\x0d\x0a\x08document\x12\x011",
            b"\x1a\x04view",
            b"\x22\x16\x0a\x0c\x0a\x05group\x12\x03eng\x12\x06member",
            b"\x2a\x09\x0a\x07\x0a\x01a\x12\x02\x20\x01",
        ]
        .concat();
        assert_eq!(message, expected);
    }

    #[test]
    fn answers_by_grpc() {
        let one = question("user:ann", "view", "document:1");
        let asked = [&one];
        let read_one = |message: &[u8]| read(&grpc(0, message), &asked, false);
        assert_eq!(read_one(b"\x0a\x02\x0a\x00\x10\x02"), [Ok(true)]);
        assert_eq!(read_one(b"\x10\x01"), [Ok(false)]);
        assert_eq!(read_one(b"\x10\x03\x1a\x06\x0a\x01a\x0a\x01b"), [Err(Fault::Condition("a b".into()))]);
        for bad in [
            &b""[..],
            b"\x10\x00",
            b"\x10\x04",
            b"\x10",
            b"\xff\xff",
            b"\x10\x01\x10\x02",
            b"\x10\x02\x12\x00",
        ] {
            assert_eq!(read_one(bad), [Err(Fault::Unavailable(Why::Garbled))], "{bad:?}");
        }
        let deep =
            b"the check request has exceeded the allowable maximum depth of 50: this usually indicates";
        assert_eq!(read(&grpc(9, deep), &asked, false), [Err(Fault::TooLong)]);
        for (status, with_token, fault) in [
            (3, false, Fault::Value),
            (3, true, Fault::Freshness),
            (11, true, Fault::Freshness),
            (4, false, Fault::Unavailable(Why::Timeout)),
            (7, false, Fault::Credentials),
            (8, false, Fault::TooLong),
            (9, false, Fault::Mapping),
            (14, false, Fault::Unavailable(Why::Status)),
            (16, false, Fault::Credentials),
            (99, false, Fault::Unavailable(Why::Status)),
        ] {
            assert_eq!(read(&grpc(status, b""), &asked, with_token), [Err(fault)], "{status}");
        }
    }

    #[test]
    fn a_bulk_answer_has_one_pair_for_each_question_in_order() {
        let (one, two) =
            (question("user:ann", "view", "document:1"), question("user:ann", "view", "document:2"));
        let asked = [&one, &two];
        let pair = |question: &Question, answer: &[u8]| {
            let (mut request, mut pair, mut out) = (Vec::new(), Vec::new(), Vec::new());
            item(&mut request, question, 1);
            protobuf::bytes(&mut pair, 1, &request);
            pair.extend_from_slice(answer);
            protobuf::bytes(&mut out, 2, &pair);
            out
        };
        let (yes, no, error) = (&b"\x12\x02\x08\x02"[..], &b"\x12\x02\x08\x01"[..], &b"\x1a\x02\x08\x09"[..]);
        let read = |message: &[u8]| read(&grpc(0, message), &asked, false);
        assert_eq!(read(&[pair(&one, yes), pair(&two, no)].concat()), [Ok(true), Ok(false)]);
        assert_eq!(read(&[pair(&one, error), pair(&two, yes)].concat()), [Err(Fault::Mapping), Ok(true)]);
        // A token that the client made up is the client's fault, and says nothing of the engine.
        let future = [pair(&one, b"\x1a\x02\x08\x0b"), pair(&two, yes)].concat();
        assert_eq!(super::read(&grpc(0, &future), &asked, true), [Err(Fault::Freshness), Ok(true)]);
        let garbled = vec![Err(Fault::Unavailable(Why::Garbled)); 2];
        assert_eq!(read(&[pair(&two, yes), pair(&one, no)].concat()), garbled);
        assert_eq!(read(&pair(&one, yes)), garbled);
        let nobodys = |answer: &[u8]| {
            let mut out = Vec::new();
            protobuf::bytes(&mut out, 2, answer);
            out
        };
        assert_eq!(read(&[nobodys(yes), pair(&two, no)].concat()), garbled, "to which question?");
        for both in [[no, yes], [error, yes], [yes, error]] {
            assert_eq!(read(&[pair(&one, &both.concat()), pair(&two, yes)].concat()), garbled, "{both:?}");
        }
        assert_eq!(read(&[pair(&one, yes), pair(&two, yes), pair(&two, yes)].concat()), garbled);
        assert_eq!(read(&[pair(&one, b""), pair(&two, yes)].concat()), garbled);
    }

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
        assert_eq!(refusal(503, "upstream"), [Err(Fault::Unavailable(Why::Status))]);
        assert_eq!(refusal(404, "nothing here"), [Err(Fault::Unavailable(Why::Status))]);
    }
}
