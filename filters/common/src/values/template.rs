//! Text with sources in braces: `"user:{subject}"`.

use serde::{Deserialize, Deserializer};

use super::Failure;
use super::source::Source;
use crate::config::from_text;

/// Room for most texts at once, for each time that one grows costs more than the rest of filling it.
const USUAL: usize = 64;

/// A parsed template. `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Source(Source),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match (c, chars.peek().map(|(_, next)| *next)) {
                ('{', Some('{')) | ('}', Some('}')) => {
                    literal.push(c);
                    chars.next();
                }
                ('{', _) => {
                    let inner = text.get(at.saturating_add(1)..).unwrap_or_default();
                    let end = inner.find('}').ok_or("a `{` without `}`; write `{{` for a brace")?;
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal).into()));
                    }
                    parts.push(Part::Source(Source::parse(inner.get(..end).unwrap_or_default())?));
                    while chars.next().is_some_and(|(_, c)| c != '}') {}
                }
                ('}', _) => return Err("a `}` without `{`; write `}}` for a brace".into()),
                _ => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        if parts.is_empty() {
            return Err("an empty template".into());
        }
        Ok(Template { parts })
    }

    /// Whether two sources stand side by side, so that two different pairs of values give the same text.
    #[must_use]
    pub fn runs_together(&self) -> bool {
        self.parts.windows(2).any(|pair| matches!(pair, [Part::Source(_), Part::Source(_)]))
    }

    /// Its source, if it is one source and nothing else.
    #[must_use]
    pub fn lone_source(&self) -> Option<&Source> {
        match self.parts.as_slice() {
            [Part::Source(source)] => Some(source),
            _ => None,
        }
    }

    /// Whether its braces were not forgotten; `what` is what would be one for all: a bucket, say.
    ///
    /// # Errors
    /// What is wrong and what to write instead, if its text is the name of a source and nothing else.
    pub fn braced(&self, what: &str) -> Result<(), String> {
        self.without_braces().map_or(Ok(()), |text| {
            Err(format!("a source without its braces, so one {what} for all; write \"{{{text}}}\""))
        })
    }

    /// Its text, if that is the name of a source and nothing else: what tells people apart would be one text for everybody.
    fn without_braces(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] if Source::parse(text).is_ok() => Some(text),
            _ => None,
        }
    }

    /// The text in front of its first source.
    #[must_use]
    pub fn lead(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Its sources.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.parts.iter().filter_map(|part| match part {
            Part::Source(source) => Some(source),
            Part::Text(_) => None,
        })
    }

    /// The text, with each source replaced by what `value` says.
    ///
    /// # Errors
    /// The first failure.
    pub fn fill<T: AsRef<str>>(
        &self,
        mut value: impl FnMut(&Source) -> Result<T, Failure>,
    ) -> Result<String, Failure> {
        let mut out = String::with_capacity(USUAL);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Source(source) => out.push_str(value(source)?.as_ref()),
            }
        }
        Ok(out)
    }

    /// As [`Template::fill`], but a value that contains the text which parts it from the next source is
    /// unusable: otherwise `{claim.a}/{claim.b}` would give one text for two identities.
    ///
    /// # Errors
    /// The first failure.
    pub fn fill_apart<T: AsRef<str>>(
        &self,
        mut value: impl FnMut(&Source) -> Result<T, Failure>,
    ) -> Result<String, Failure> {
        let mut out = String::with_capacity(USUAL);
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Source(source) => {
                    let filled = value(source)?;
                    let filled = filled.as_ref();
                    let follows = |n: usize| self.parts.get(at.saturating_add(n));
                    if let (Some(Part::Text(between)), Some(Part::Source(_))) = (follows(1), follows(2))
                        && filled.contains(&**between)
                    {
                        return Err(Failure::Unusable);
                    }
                    out.push_str(filled);
                }
            }
        }
        Ok(out)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "text with sources in braces, such as \"user:{subject}\"", Template::parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Template".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, Failure> {
        Template::parse(text).unwrap().fill(|source| Ok(format!("<{source}>")))
    }

    #[test]
    fn sources_are_replaced_and_doubled_braces_are_braces() {
        assert_eq!(fill("user:{subject}").unwrap(), "user:<subject>");
        assert_eq!(fill("{{{method}}}").unwrap(), "{<method>}");
        assert_eq!(fill(r#"{claim["a b"]}!"#).unwrap(), r#"<claim["a b"]>!"#);
        assert_eq!(fill("plain").unwrap(), "plain");
        let lone = |text: &str| Template::parse(text).unwrap().lone_source().map(ToString::to_string);
        assert_eq!(lone("{claim.a}").as_deref(), Some("claim.a"));
        assert_eq!((lone("{claim.a} "), lone("a"), lone("{subject}{issuer}")), (None, None, None));
    }

    #[test]
    fn a_source_without_its_braces_is_told_from_a_constant() {
        let forgotten = |text: &str| Template::parse(text).unwrap().without_braces().map(str::to_owned);
        for source in
            ["client.ip", "client.ip/24,48", "subject", "claim.email", "header.x", "path.id", "host"]
        {
            assert_eq!(forgotten(source).as_deref(), Some(source));
        }
        for meant in
            ["everyone", "user:subject", "{subject}", "subject{issuer}", "{{subject}}", "Host", "a.b"]
        {
            assert_eq!(forgotten(meant), None, "{meant}");
        }
    }

    #[test]
    fn broken_templates_are_refused() {
        for bad in ["", "{", "}", "{}", "{nope}", "a{subject", "a}b"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_identities_never_give_one_text() {
        let template = Template::parse("{issuer}#{subject}").unwrap();
        let with = |i: &str, s: &str| {
            template
                .fill_apart(|source| Ok(if *source == Source::Issuer { i.to_owned() } else { s.to_owned() }))
        };
        assert_eq!(with("a", "b#c").unwrap(), "a#b#c");
        assert_eq!(with("a#b", "c"), Err(Failure::Unusable));
        assert!(Template::parse("{issuer}{subject}").unwrap().runs_together());
    }
}
