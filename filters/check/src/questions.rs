//! The questions in a call to OpenFGA or SpiceDB, as text: `relation@object by subject`.

use portcullis_common::filter::Callout;
use portcullis_rebac::protobuf::{Field, fields};
use serde_json::Value;

/// The questions of a call, as far as it is one of those.
#[must_use]
pub fn of(callout: &Callout) -> Vec<String> {
    let mut found = Vec::new();
    match callout {
        Callout::Http { body, .. } => {
            if let Ok(body) = serde_json::from_slice(body) {
                json(&body, &mut found);
            }
        }
        Callout::Grpc { method: "CheckPermission", message, .. } => found.extend(permission(message, 2)),
        Callout::Grpc { method: "CheckBulkPermissions", message, .. } => {
            found.extend(all(message, 2).into_iter().filter_map(|item| permission(item, 1)));
        }
        Callout::Grpc { .. } => {}
    }
    found
}

/// OpenFGA's `tuple_key`, and SpiceDB's `resource`, `permission` and `subject`, wherever they stand.
fn json(value: &Value, found: &mut Vec<String>) {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if let (Some(user), Some(relation), Some(object)) = (text("user"), text("relation"), text("object")) {
        return found.push(format!("{relation}@{object} by {user}"));
    }
    if let (Some(resource), Some(permission), Some(subject)) =
        (value.get("resource").and_then(reference), text("permission"), value.get("subject"))
        && let Some(who) = subject.get("object").and_then(reference)
    {
        let relation = subject.get("optionalRelation").and_then(Value::as_str);
        let relation = relation.map(|r| format!("#{r}")).unwrap_or_default();
        return found.push(format!("{permission}@{resource} by {who}{relation}"));
    }
    value.as_array().into_iter().flatten().for_each(|item| json(item, found));
    value.as_object().into_iter().flat_map(|members| members.values()).for_each(|item| json(item, found));
}

fn reference(value: &Value) -> Option<String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    Some(format!("{}:{}", text("objectType")?, text("objectId")?))
}

/// `resource`, `permission` and `subject`, in fields from `first` on.
fn permission(message: &[u8], first: u32) -> Option<String> {
    let field = |n: u32| all(message, first.saturating_add(n)).into_iter().next();
    let object = |bytes: &[u8]| Some(format!("{}:{}", text(bytes, 1)?, text(bytes, 2)?));
    let resource = object(field(0)?)?;
    let permission = String::from_utf8(field(1)?.to_vec()).ok()?;
    let subject = field(2)?;
    let who = object(all(subject, 1).into_iter().next()?)?;
    let relation = text(subject, 2).map(|r| format!("#{r}")).unwrap_or_default();
    Some(format!("{permission}@{resource} by {who}{relation}"))
}

fn text(message: &[u8], number: u32) -> Option<String> {
    String::from_utf8(all(message, number).into_iter().next()?.to_vec()).ok()
}

fn all(message: &[u8], number: u32) -> Vec<&[u8]> {
    let bytes = |(at, field)| match field {
        Field::Bytes(bytes) if at == number => Some(bytes),
        _ => None,
    };
    fields(message).map_while(Result::ok).filter_map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_rebac::protobuf::bytes;
    use serde_json::json;

    #[test]
    fn json_questions_are_found_wherever_they_stand() {
        let mut found = Vec::new();
        let reference = |kind: &str, id: &str| json!({"objectType": kind, "objectId": id});
        let one = json!({"tuple_key": {"user": "user:ann", "relation": "viewer", "object": "document:1"}});
        let other = json!({"resource": reference("document", "1"), "permission": "view",
            "subject": {"object": reference("group", "a"), "optionalRelation": "member"}});
        json(&json!({"checks": [one], "items": [other]}), &mut found);
        assert_eq!(found, ["viewer@document:1 by user:ann", "view@document:1 by group:a#member"]);
    }

    #[test]
    fn a_permission_is_read_from_its_message() {
        let object = |kind: &str, id: &str| {
            let mut out = Vec::new();
            bytes(&mut out, 1, kind.as_bytes());
            bytes(&mut out, 2, id.as_bytes());
            out
        };
        let (mut subject, mut message) = (Vec::new(), Vec::new());
        bytes(&mut subject, 1, &object("user", "ann"));
        bytes(&mut message, 2, &object("document", "1"));
        bytes(&mut message, 3, b"view");
        bytes(&mut message, 4, &subject);
        assert_eq!(permission(&message, 2).as_deref(), Some("view@document:1 by user:ann"));
        assert_eq!(permission(b"\xff", 2), None);
    }
}
