//! `explain`: telling chosen callers how they were judged.
//!
//! A refusal then carries one header that says rule, verdict, source and time; a request that passes leaves the same text in a
//! fact, for the log. Who is told is decided by what was verified (a claim of the token, the peer's certificate), never by a
//! header that anybody can send.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::facts::Verdict;
use crate::values::source::Source;

/// The header of an explained refusal.
pub const HEADER: &str = "x-portcullis-explain";

/// Who is told.
#[derive(Debug, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Explain"))]
#[serde(deny_unknown_fields)]
pub struct RawExplain {
    /// What must hold of the caller: sources and their values, all of them. `claim.NAME`, `subject`, `issuer`, `peer.spiffe` or
    /// `peer.sha256`, each with one value or a list.
    #[cfg_attr(feature = "schema", schemars(required, extend("minProperties" = 1)))]
    pub when: Option<BTreeMap<String, OneOf>>,
}

/// One text, or several of which any will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOf(pub Vec<String>);

impl<'de> de::Deserialize<'de> for OneOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = OneOf;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOf, E> {
                Ok(OneOf(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOf, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(OneOf(texts))
            }
        }
        let one_of: OneOf = deserializer.deserialize_any(Seen)?;
        if one_of.0.is_empty()
            || one_of.0.iter().any(|text| text.is_empty() || text.chars().any(char::is_control))
        {
            return Err(de::Error::custom("empty; write a text, or a list of texts"));
        }
        Ok(one_of)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for OneOf {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOf".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
        ]})
    }
}

/// Checked: who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    when: Vec<(Source, OneOf)>,
}

impl Explain {
    /// Checks what was written.
    ///
    /// # Errors
    /// The path below `explain`, and what is wrong there.
    pub fn new(raw: RawExplain) -> Result<Explain, (String, String)> {
        let missing = || {
            (
                "when".to_owned(),
                "missing or empty; write {claim.NAME: VALUE} or {peer.spiffe: [ID]}".to_owned(),
            )
        };
        let raw = raw.when.filter(|when| !when.is_empty()).ok_or_else(missing)?;
        let mut when = Vec::new();
        for (text, values) in raw {
            let at = |problem: String| (format!("when.{text}"), problem);
            let source = Source::parse(&text).map_err(|problem| {
                at(format!("{problem}; write claim.NAME, subject, issuer, peer.spiffe or peer.sha256"))
            })?;
            if !(source.is_from_token() || matches!(source, Source::PeerSpiffe | Source::PeerSha256)) {
                return Err(at(
                    "not verified, so anybody can send it; write claim.NAME, subject, issuer, peer.spiffe or peer.sha256"
                        .into(),
                ));
            }
            when.push((source, values));
        }
        Ok(Explain { when })
    }

    /// Whether the caller whose values `value` gives is told.
    #[must_use]
    pub fn is_for(&self, value: impl Fn(&Source) -> Option<String>) -> bool {
        self.when.iter().all(|(source, wanted)| value(source).is_some_and(|v| wanted.0.contains(&v)))
    }
}

/// The explanation: a Structured Field item (RFC 9651, section 3.3) with parameters. `source` says where the answer came from.
#[must_use]
pub fn text(plugin: &str, verdict: &Verdict, source: &str, micros: u64) -> String {
    let reason = verdict.reason.map_or("", crate::reason::Reason::word);
    let outcome = verdict.outcome.word();
    format!(
        "{plugin};rule=\"{}\";verdict={outcome};reason=\"{reason}\";source={source};us={micros}",
        verdict.rule
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn explain(json: &str) -> Result<Explain, (String, String)> {
        Explain::new(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn all_that_is_written_must_hold() {
        let explain = explain(r#"{"when":{"claim.staff":"true","issuer":["a","b"]}}"#).unwrap();
        let with = |staff: &'static str, issuer: &'static str| {
            explain.is_for(|s| Some(if *s == Source::Issuer { issuer } else { staff }.to_owned()))
        };
        assert!(with("true", "a") && with("true", "b"));
        assert!(!with("true", "c") && !with("false", "a"));
        assert!(!explain.is_for(|_| None));
    }

    #[test]
    fn what_a_client_can_send_decides_nothing() {
        for bad in [
            r#"{"when":{"header.x-debug":"1"}}"#,
            r#"{"when":{"query.debug":"1"}}"#,
            r#"{"when":{"client.ip":"10.0.0.1"}}"#,
            r#"{"when":{"nonsense":"1"}}"#,
            r#"{"when":{}}"#,
            r#"{}"#,
        ] {
            assert!(explain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_explanation_is_one_structured_field() {
        let verdict = Verdict::deny(Reason::ScopeInsufficient, "orders".into());
        assert_eq!(
            text("jwt-auth", &verdict, "remembered", 12),
            r#"jwt-auth;rule="orders";verdict=deny;reason="scope_insufficient";source=remembered;us=12"#
        );
    }
}
