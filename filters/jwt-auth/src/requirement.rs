//! What a verified token has to grant: scopes, roles, conditions on its claims.

use portcullis_common::json::{Kind, Ref};
use portcullis_common::values::source::Source;

use crate::claims::{self, Claims};
use crate::config::rules::Scalar;

/// What a rule asks of a token beyond being valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Scopes.
    pub scopes: Option<Names>,
    /// Roles.
    pub roles: Option<Names>,
    /// Conditions, all of them.
    pub claims: Vec<Condition>,
}

/// Names of which all are needed, or one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// All.
    All(Vec<Box<str>>),
    /// One.
    Any(Vec<Box<str>>),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// One of these holds.
    Any(Vec<Condition>),
    /// All of these hold.
    All(Vec<Condition>),
    /// The value passes the test.
    Test(Source, Test),
}

/// A test of one value. Types are told apart: the text `1` is not the number 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is one of these.
    OneOf(Vec<Scalar>),
    /// It is a list with this in it.
    Contains(Scalar),
    /// It is text and starts with this.
    Prefix(Box<str>),
    /// It is there, and not null.
    Exists,
    /// It is not there, or null.
    Forbidden,
}

/// What a token lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A scope.
    Scope,
    /// A role, or a condition does not hold.
    Claim,
}

/// What is looked at.
#[derive(Clone, Copy)]
pub struct Granted<'a> {
    /// The claims.
    pub claims: &'a Claims,
    /// The subject, as it is handed on.
    pub subject: &'a str,
    /// Where the provider's roles are.
    pub roles: &'a [Source],
}

impl Requirement {
    /// Whether the token grants all of it.
    ///
    /// # Errors
    /// What it lacks; scopes first, for a client can ask for those.
    pub fn check(&self, granted: Granted<'_>) -> Result<(), Lack> {
        if let Some(scopes) = &self.scopes
            && !scopes.met_by(|scope| has_scope(granted.claims, scope))
        {
            return Err(Lack::Scope);
        }
        if let Some(roles) = &self.roles
            && !roles.met_by(|role| has_role(granted, role))
        {
            return Err(Lack::Claim);
        }
        if self.claims.iter().all(|condition| condition.holds(granted)) { Ok(()) } else { Err(Lack::Claim) }
    }
}

impl Names {
    fn met_by(&self, has: impl Fn(&str) -> bool) -> bool {
        match self {
            Names::All(names) => names.iter().all(|name| has(name)),
            Names::Any(names) => names.iter().any(|name| has(name)),
        }
    }

    /// Names that would do.
    #[must_use]
    pub fn sufficient(&self) -> &[Box<str>] {
        match self {
            Names::All(names) => names,
            Names::Any(names) => names.get(..1).unwrap_or_default(),
        }
    }
}

impl Condition {
    fn holds(&self, granted: Granted<'_>) -> bool {
        match self {
            Condition::Any(conditions) => conditions.iter().any(|c| c.holds(granted)),
            Condition::All(conditions) => conditions.iter().all(|c| c.holds(granted)),
            Condition::Test(Source::Claim(keys), test) => {
                let value = claims::at(granted.claims, keys).filter(|value| !value.is_null());
                test.passes(value.map(Ref::kind), value)
            }
            Condition::Test(Source::Subject, test) => test.passes(Some(Kind::Text(granted.subject)), None),
            Condition::Test(Source::Issuer, test) => {
                test.passes(claims::issuer(granted.claims).map(Kind::Text), None)
            }
            // The configuration lets no other source in here.
            Condition::Test(..) => false,
        }
    }
}

impl Test {
    /// `kind` is the value's own, `value` the value if it can be a list.
    fn passes(&self, kind: Option<Kind<'_>>, value: Option<Ref<'_>>) -> bool {
        let Some(kind) = kind else { return *self == Test::Forbidden };
        match self {
            Test::OneOf(wanted) => wanted.iter().any(|w| w.is(kind)),
            Test::Contains(wanted) => {
                value.is_some_and(|list| list.items().any(|item| wanted.is(item.kind())))
            }
            Test::Prefix(prefix) => matches!(kind, Kind::Text(text) if text.starts_with(&**prefix)),
            Test::Exists => true,
            Test::Forbidden => false,
        }
    }
}

impl Scalar {
    fn is(&self, kind: Kind<'_>) -> bool {
        match (self, kind) {
            (Scalar::Text(wanted), Kind::Text(text)) => **wanted == *text,
            (Scalar::Bool(wanted), Kind::Bool(b)) => *wanted == b,
            (Scalar::Whole(wanted), Kind::Unsigned(n)) => i64::try_from(n) == Ok(*wanted),
            (Scalar::Whole(wanted), Kind::Signed(n)) => *wanted == n,
            (Scalar::Whole(wanted), Kind::Float(n)) => {
                n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0 && n as i64 == *wanted
            }
            _ => false,
        }
    }
}

/// `scope` is text with spaces between (RFC 8693, section 4.2; RFC 9068, section 2.2.3); some issuers write a list, or call it
/// `scp`.
fn has_scope(claims: &Claims, scope: &str) -> bool {
    let listed = |value: Ref<'_>| match value.kind() {
        Kind::Text(text) => text.split(' ').any(|s| s == scope),
        Kind::Array => value.items().any(|item| item.text() == Some(scope)),
        _ => false,
    };
    ["scope", "scp"].iter().filter_map(|name| claims.root().get(name)).any(listed)
}

fn has_role(granted: Granted<'_>, role: &str) -> bool {
    let listed = |value: Ref<'_>| match value.kind() {
        Kind::Text(text) => text == role,
        Kind::Array => value.items().any(|item| item.text() == Some(role)),
        _ => false,
    };
    granted.roles.iter().any(|source| match source {
        Source::Claim(keys) => claims::at(granted.claims, keys).is_some_and(listed),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::json::Document;

    fn holds(condition: Condition, json: &str) -> bool {
        let claims = Document::parse(json.as_bytes(), 99).unwrap();
        condition.holds(Granted { claims: &claims, subject: "ann", roles: &[] })
    }

    fn test(source: &str, test: Test) -> Condition {
        Condition::Test(Source::parse(source).unwrap(), test)
    }

    fn scalar(json: &str) -> Scalar {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn types_are_told_apart() {
        for (json, wanted, want) in [
            (r#"{"a":"1"}"#, "\"1\"", true),
            (r#"{"a":1}"#, "\"1\"", false),
            (r#"{"a":"1"}"#, "1", false),
            (r#"{"a":1}"#, "1.0", true),
            (r#"{"a":1.0}"#, "1", true),
            (r#"{"a":-1}"#, "-1", true),
            (r#"{"a":18446744073709551615}"#, "-1", false),
            (r#"{"a":true}"#, "true", true),
            (r#"{"a":"true"}"#, "true", false),
            (r#"{"a":["1"]}"#, "\"1\"", false),
            (r#"{"a":null}"#, "\"null\"", false),
            ("{}", "\"1\"", false),
        ] {
            let condition = test("claim.a", Test::OneOf(vec![scalar(wanted)]));
            assert_eq!(holds(condition, json), want, "{json} {wanted}");
        }
    }

    #[test]
    fn lists_prefixes_and_absence() {
        let contains = || test("claim.a", Test::Contains(scalar("\"x\"")));
        assert!(holds(contains(), r#"{"a":["y","x"]}"#));
        assert!(!holds(contains(), r#"{"a":"x"}"#) && !holds(contains(), r#"{"a":["xy"]}"#));
        let prefix = || test("claim.a", Test::Prefix("ab".into()));
        assert!(holds(prefix(), r#"{"a":"abc"}"#));
        assert!(!holds(prefix(), r#"{"a":["abc"]}"#) && !holds(prefix(), "{}"));
        for (json, there) in [(r#"{"a":0}"#, true), (r#"{"a":null}"#, false), ("{}", false)] {
            assert_eq!(holds(test("claim.a", Test::Exists), json), there, "{json}");
            assert_eq!(holds(test("claim.a", Test::Forbidden), json), !there, "{json}");
        }
        assert!(holds(test("subject", Test::Prefix("an".into())), "{}"));
        assert!(holds(test("issuer", Test::OneOf(vec![scalar("\"i\"")])), r#"{"iss":"i"}"#));
    }

    #[test]
    fn groups_nest() {
        let is = |v: &str| test("claim.a", Test::OneOf(vec![scalar(v)]));
        let either =
            Condition::Any(vec![is("1"), Condition::All(vec![is("2"), test("claim.b", Test::Exists)])]);
        for (json, want) in
            [(r#"{"a":1}"#, true), (r#"{"a":2}"#, false), (r#"{"a":2,"b":0}"#, true), (r#"{"a":3}"#, false)]
        {
            assert_eq!(holds(either.clone(), json), want, "{json}");
        }
    }

    #[test]
    fn scopes_are_words_and_roles_are_whole() {
        for (json, want) in [
            (r#"{"scope":"a b"}"#, true),
            (r#"{"scope":"ab"}"#, false),
            (r#"{"scp":["a","b"]}"#, true),
            (r#"{"scp":"a"}"#, true),
            (r#"{"scope":["a b"]}"#, false),
            (r#"{"scope":{"a":1}}"#, false),
            ("{}", false),
        ] {
            assert_eq!(has_scope(&Document::parse(json.as_bytes(), 99).unwrap(), "a"), want, "{json}");
        }
        let claims =
            Document::parse(r#"{"realm_access":{"roles":["buyer"]},"role":"chief"}"#.as_bytes(), 99).unwrap();
        let roles = ["claim.realm_access.roles", "claim.role"].map(|s| Source::parse(s).unwrap());
        let granted = Granted { claims: &claims, subject: "", roles: &roles };
        assert!(has_role(granted, "buyer") && has_role(granted, "chief") && !has_role(granted, "buy"));
    }
}
