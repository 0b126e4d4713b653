//! What an engine takes for an id. A question is held to it before it is asked, so that what an engine refuses afterwards is not a
//! value.

use crate::policy::remote::Server;
use crate::question::Question;
use crate::tuples::{Object, Subject, is_relation};

/// Whether an engine could be asked this.
#[must_use]
pub fn can_be_asked(server: &Server, question: &Question) -> bool {
    let (Ok(object), Ok(subject)) = (Object::parse(&question.object), Subject::parse(&question.subject))
    else {
        return false;
    };
    match server {
        Server::Openfga(_) => is_relation(&question.relation),
        Server::Spicedb(_) => {
            let is_object = |object: Object<'_>| is_type(object.kind) && is_id(object.id);
            let is_subject = match subject {
                Subject::One(object) => is_object(object),
                Subject::Related(object, relation) => is_object(object) && is_name(relation),
                Subject::Everybody(_) => false,
            };
            is_object(object) && is_subject && is_name(&question.relation)
        }
    }
}

/// `^[a-zA-Z0-9/_|\-=+]{1,1024}$`
fn is_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'|' | b'-' | b'=' | b'+');
    (1..=1024).contains(&id.len()) && id.bytes().all(plain)
}

/// `^[a-z][a-z0-9_]{1,62}[a-z0-9]$`
fn is_name(name: &str) -> bool {
    let (first, last) = (name.bytes().next(), name.bytes().next_back());
    let low = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (3..=64).contains(&name.len())
        && first.is_some_and(|b| b.is_ascii_lowercase())
        && last.is_some_and(low)
        && name.bytes().all(|b| low(b) || b == b'_')
}

/// Names with slashes between.
fn is_type(kind: &str) -> bool {
    kind.len() <= 128 && kind.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::tests::{openfga, question, spicedb};

    #[test]
    fn each_engine_has_its_alphabet() {
        for (subject, relation, object, by_openfga, by_spicedb) in [
            ("user:ann", "view", "document:1", true, true),
            ("user:ann@a.test", "view", "document:1", true, false),
            ("user:ann", "view", "document:a.b", true, false),
            ("group:eng#member", "view", "document:1", true, true),
            ("user:*", "view", "document:1", true, false),
            ("user:ann", "can-view", "document:1", true, false),
            ("user:ann", "vi ew", "document:1", false, false),
            ("org/user:ann", "view", "org/document:a/b|c=", true, true),
            ("user:a b", "view", "document:1", false, false),
            ("user:ann", "view", "document:*", false, false),
            ("user:ann", "view", "document", false, false),
        ] {
            let question = question(subject, relation, object);
            assert_eq!(can_be_asked(&Server::Openfga(openfga()), &question), by_openfga, "{question}");
            assert_eq!(can_be_asked(&Server::Spicedb(spicedb(true)), &question), by_spicedb, "{question}");
        }
    }
}
