//! Tuples: who has which relation to what.

use serde_json::{Map, Value as Json};

/// The most bytes of a subject, as in OpenFGA.
const LONGEST_SUBJECT: usize = 512;
/// The most characters of an object, as in OpenFGA.
const LONGEST_OBJECT: usize = 256;

/// A tuple as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuple {
    /// `document:1`
    pub object: Box<str>,
    /// `viewer`
    pub relation: Box<str>,
    /// `user:ann`, `user:*` or `group:1#member`
    pub subject: Box<str>,
    /// The condition under which it holds.
    pub condition: Option<Conditioned>,
}

/// A condition of a tuple.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditioned {
    /// Its name.
    pub name: Box<str>,
    /// Values for its parameters.
    pub context: Map<String, Json>,
}

/// A tuple that lies somewhere else.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// `document:1`
    pub object: &'a str,
    /// `viewer`
    pub relation: &'a str,
    /// `user:ann`, `user:*` or `group:1#member`
    pub subject: &'a str,
    /// The name of the condition under which it holds, and values for its parameters.
    pub condition: Option<(&'a str, &'a Map<String, Json>)>,
}

impl Tuple {
    /// Reads `document:1#viewer@user:ann`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Tuple, &'static str> {
        let given = Given::parse(text)?;
        Object::parse(given.object)?;
        if !is_relation(given.relation) {
            return Err("the relation is empty, or holds blanks or : # @");
        }
        Subject::parse(given.subject)?;
        Ok(Tuple {
            object: given.object.into(),
            relation: given.relation.into(),
            subject: given.subject.into(),
            condition: None,
        })
    }

    /// As one that lies here.
    #[must_use]
    pub fn given(&self) -> Given<'_> {
        Given {
            object: &self.object,
            relation: &self.relation,
            subject: &self.subject,
            condition: self.condition.as_ref().map(|c| (&*c.name, &c.context)),
        }
    }
}

impl<'a> Given<'a> {
    /// Takes `document:1#viewer@user:ann` apart. Its parts are not looked at.
    ///
    /// # Errors
    /// If it has not three.
    pub fn parse(text: &'a str) -> Result<Given<'a>, &'static str> {
        const FORM: &str = "not a tuple; write it as document:1#viewer@user:ann";
        let (object, rest) = text.split_once('#').ok_or(FORM)?;
        let (relation, subject) = rest.split_once('@').ok_or(FORM)?;
        Ok(Given { object, relation, subject, condition: None })
    }

    /// Holds its parts to their grammar.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn is_tuple(&self) -> Result<(), &'static str> {
        if !is_relation(self.relation) {
            return Err("the relation is empty, or holds blanks or : # @");
        }
        Object::parse(self.object).and(Subject::parse(self.subject)).map(drop)
    }
}

/// An object: `type:id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// All of it.
    pub text: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// Which one of its type.
    pub id: &'a str,
}

impl<'a> Object<'a> {
    /// Reads an object, which is not everybody of a type.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'a str) -> Result<Object<'a>, &'static str> {
        let object = typed(text)?;
        if object.id == "*" {
            return Err("an object cannot be everybody of a type; write its id");
        }
        if is_longer(text, LONGEST_OBJECT) {
            return Err("an object is longer than 256 characters");
        }
        Ok(object)
    }
}

/// What is wrong with an object, said of a user.
fn of_a_subject(problem: &'static str) -> &'static str {
    match problem {
        WITHOUT_TYPE => "a user without a type; write it as user:ann",
        WITHOUT_ID => "a user without a type or an id; write it as user:ann",
        HOLDS => "a user holds blanks, control characters or a second colon",
        other => other,
    }
}

const WITHOUT_TYPE: &str = "an object without a type; write it as document:1";
const WITHOUT_ID: &str = "an object without a type or an id; write it as document:1";
const HOLDS: &str = "an object holds blanks, control characters, # or a second colon";

fn typed(text: &str) -> Result<Object<'_>, &'static str> {
    let (kind, id) = text.split_once(':').ok_or(WITHOUT_TYPE)?;
    if kind.is_empty() || id.is_empty() {
        return Err(WITHOUT_ID);
    }
    if holds_blank_or(text, |b| b == b'#') || id.contains(':') {
        return Err(HOLDS);
    }
    Ok(Object { text, kind, id })
}

/// Whether a text holds a blank, a control character, or one of `others`, which are ASCII. Nearly all texts are, and there are many
/// of them. Blanks of other alphabets are letters to OpenFGA.
pub(crate) fn holds_blank_or(text: &str, others: impl Fn(u8) -> bool) -> bool {
    // One pass for nearly all of them.
    if !text.bytes().any(|b| b <= b' ' || b >= 0x7F || others(b)) {
        return false;
    }
    text.contains(|c: char| c.is_control() || c == ' ' || u8::try_from(c).is_ok_and(&others))
}

/// Whether a text has more characters than this.
fn is_longer(text: &str, most: usize) -> bool {
    text.len() > most && text.chars().count() > most
}

/// Whether objects may have this id, by the rule of OpenFGA's own validators, which is narrower than its server's.
#[must_use]
pub fn is_plain_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_|*@.+/-".contains(c);
    !id.is_empty() && !id.starts_with('*') && id.chars().all(plain)
}

/// Whether a relation could have this name.
#[must_use]
pub fn is_relation(text: &str) -> bool {
    !text.is_empty() && !is_longer(text, 50) && !holds_blank_or(text, |b| matches!(b, b':' | b'#' | b'@'))
}

/// Who is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// `user:ann`
    One(Object<'a>),
    /// `user:*`: everybody of a type.
    Everybody(&'a str),
    /// `group:1#member`: those with a relation to an object.
    Related(Object<'a>, &'a str),
}

impl<'a> Subject<'a> {
    /// Reads a subject.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'a str) -> Result<Subject<'a>, &'static str> {
        if text.len() > LONGEST_SUBJECT {
            return Err("a subject is longer than 512 bytes");
        }
        if let Some((object, relation)) = text.split_once('#') {
            if !is_relation(relation) {
                return Err("a subject's relation is empty, or holds blanks or : # @");
            }
            let object = typed(object)?;
            if object.id.contains('*') || relation.contains('*') {
                return Err("those with a relation to an object cannot have a * in them");
            }
            return Ok(Subject::Related(object, relation));
        }
        let object = typed(text).map_err(of_a_subject)?;
        Ok(if object.id == "*" { Subject::Everybody(object.kind) } else { Subject::One(object) })
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        match self {
            Subject::One(object) | Subject::Related(object, _) => object.kind,
            Subject::Everybody(kind) => kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_are_read_as_they_are_written() {
        let tuple = Tuple::parse("document:1#viewer@group:eng#member").unwrap();
        assert_eq!(
            (&*tuple.object, &*tuple.relation, &*tuple.subject),
            ("document:1", "viewer", "group:eng#member")
        );
        assert!(Tuple::parse("document:a@b.c#viewer@user:x@y.z").is_ok());
        for bad in [
            "",
            "document:1",
            "document:1#viewer",
            "document:1#viewer@",
            "document:1#@user:ann",
            "document#viewer@user:ann",
            "document:1#viewer@ann",
            "document:1#vie wer@user:ann",
            "document:*#viewer@user:ann",
            ":1#viewer@user:ann",
            "document:#viewer@user:ann",
            "document:1#viewer@user:a b",
            "document:1:2#viewer@user:ann",
            "document:1#viewer@group:1#",
            "document:1#viewer@user:a\u{0}",
        ] {
            assert!(Tuple::parse(bad).is_err(), "{bad}");
        }
        assert!(Tuple::parse(&format!("document:{}#viewer@user:a", "x".repeat(247))).is_ok());
        assert!(Tuple::parse(&format!("document:{}#viewer@user:a", "x".repeat(248))).is_err());
    }

    #[test]
    fn subjects_are_one_all_or_those_with_a_relation() {
        assert!(
            matches!(Subject::parse("user:ann"), Ok(Subject::One(o)) if o.id == "ann" && o.kind == "user")
        );
        assert_eq!(Subject::parse("user:*"), Ok(Subject::Everybody("user")));
        assert!(
            matches!(Subject::parse("group:1#member"), Ok(Subject::Related(o, "member")) if o.text == "group:1")
        );
        for bad in
            ["*", "ann", "user:", "user:a#", "user:a#b#c", "#member", "group:*#member", "group:a*#member"]
        {
            assert!(Subject::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_and_blanks_are_counted_as_openfga_counts_them() {
        for good in [
            "user:\u{a0}a".to_owned(),
            "user:a\u{3000}b#member".to_owned(),
            "user:**".to_owned(),
            format!("user:{}", "a".repeat(507)),
            format!("user:{}a", "\u{e4}".repeat(253)),
        ] {
            assert!(Subject::parse(&good).is_ok(), "{good}");
        }
        for bad in [
            "user:a b".to_owned(),
            "user:a\tb".to_owned(),
            "user:a\u{7f}".to_owned(),
            "user:a\u{85}".to_owned(),
            format!("user:{}", "a".repeat(508)),
            format!("user:{}", "\u{e4}".repeat(254)),
        ] {
            assert!(Subject::parse(&bad).is_err(), "{bad}");
        }
        assert!(Object::parse(&format!("document:{}", "\u{f6}".repeat(247))).is_ok());
        assert!(Object::parse(&format!("document:{}", "\u{f6}".repeat(248))).is_err());
    }
}
