//! Questions and answers as protobuf, for gRPC.

use super::{Consistency, Parts, outcome, parts};
use crate::protobuf::{self, Field};
use crate::question::Question;
use crate::remote::Outcome;
use crate::remote::fault;

/// The method, and the message for it.
pub(super) fn ask(questions: &[&Question], consistency: &Consistency) -> (&'static str, Vec<u8>) {
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

/// What an answer says to these questions; `None` for one that is not SpiceDB's.
pub(super) fn read(message: &[u8], questions: &[&Question], with_token: bool) -> Option<Vec<Outcome>> {
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

#[cfg(test)]
mod tests {
    use portcullis_common::filter::Callout;
    use serde_json::json;

    use super::super::tests::{TIMEOUT, grpc};
    use super::super::{Consistency, call, read};
    use super::item;
    use crate::protobuf;
    use crate::question::Question;
    use crate::remote::fault::{Fault, Why};
    use crate::remote::tests::{question, spicedb};

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
        assert_eq!(super::super::read(&grpc(0, &future), &asked, true), [Err(Fault::Freshness), Ok(true)]);
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
}
