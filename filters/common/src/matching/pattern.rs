//! Path templates: `/documents/{id}`, `/files/**`.

use std::rc::Rc;

use super::path::{EncodedSlash, NormalPath};

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The segments before a `**`.
    pub segments: Vec<Segment>,
    /// Whether it ends in `/**`, which matches the path itself, with and without a trailing slash, and all below.
    pub rest: bool,
    text: Rc<str>,
}

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text, decoded.
    Literal(Box<[u8]>),
    /// `{name}`: one segment that is not empty.
    Capture(Rc<str>),
}

impl Pattern {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let Some(body) = text.strip_prefix('/') else {
            return Err("not a path template; start it with `/`".into());
        };
        let (body, rest) = match body.strip_suffix("**") {
            Some("") => (None, true),
            Some(front) => match front.strip_suffix('/') {
                Some(front) => (Some(front), true),
                None => return Err("`**` stands alone in the last segment; write `/files/**`".into()),
            },
            None => (Some(body), false),
        };
        let mut segments = Vec::new();
        for part in body.into_iter().flat_map(|b| b.split('/')) {
            let segment = segment(part)?;
            if let Segment::Capture(name) = &segment
                && segments.contains(&segment)
            {
                return Err(format!("`{{{name}}}` stands twice; give each capture its own name"));
            }
            segments.push(segment);
        }
        let empty = |s: &Segment| matches!(s, Segment::Literal(l) if l.is_empty());
        let inner = if rest { segments.len() } else { segments.len().saturating_sub(1) };
        if segments.iter().take(inner).any(empty) {
            return Err("an empty segment; no request's path has one, so write the path without `//`".into());
        }
        Ok(Pattern { segments, rest, text: text.into() })
    }

    /// The template as written.
    #[must_use]
    pub fn text(&self) -> &Rc<str> {
        &self.text
    }

    /// The names of its captures.
    pub fn captures(&self) -> impl Iterator<Item = &Rc<str>> {
        self.segments.iter().filter_map(|s| match s {
            Segment::Capture(name) => Some(name),
            Segment::Literal(_) => None,
        })
    }

    /// The value of a capture in a path that this template matches.
    #[must_use]
    pub fn capture<'p>(&self, path: &'p NormalPath<'_>, name: &str) -> Option<&'p [u8]> {
        let wanted = |s: &Segment| matches!(s, Segment::Capture(n) if &**n == name);
        let at = self.segments.iter().position(wanted)?;
        path.segments().nth(at)
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            return Err(format!(
                "`{text}` is no capture; name it with letters, digits and `_`, as in `{{id}}`"
            ));
        }
        return Ok(Segment::Capture(name.into()));
    }
    if text.contains(['{', '}', '*']) {
        return Err(format!(
            "`{text}` mixes text and wildcards; a segment is text, `{{name}}`, or a last `**`"
        ));
    }
    let path = format!("/{text}");
    let form = NormalPath::new(path.as_bytes(), EncodedSlash::Keep)
        .map_err(|_| format!("`{text}` is ambiguous in a path; no request with it would get this far"))?;
    Ok(Segment::Literal(form.segments().next().unwrap_or_default().into()))
}

impl<'de> serde::Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::config::from_text(
            deserializer,
            "a path template, such as \"/documents/{id}\" or \"/files/**\"",
            Pattern::parse,
        )
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PathTemplate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^/"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_literals_captures_and_a_last_rest() {
        let pattern = Pattern::parse("/a/{id}/**").unwrap();
        assert_eq!(pattern.segments, [Segment::Literal((*b"a").into()), Segment::Capture("id".into())]);
        assert!(pattern.rest);
        assert_eq!(Pattern::parse("/**").unwrap().segments, []);
        assert_eq!(Pattern::parse("/").unwrap().segments.len(), 1);
        assert_eq!(
            Pattern::parse("/caf%C3%A9").unwrap().segments,
            Pattern::parse("/caf\u{e9}").unwrap().segments
        );
    }

    #[test]
    fn templates_that_cannot_match_are_refused_with_a_remedy() {
        for bad in [
            "",
            "a",
            "a/b",
            "/a**",
            "/**/a",
            "/a/*",
            "/a*",
            "/{}",
            "/{a-b}",
            "/{a}{b}",
            "/{a}/{a}",
            "/a//b",
            "/a;b",
            "/../a",
            "/a%2",
            "//**",
            "/{id}.json",
        ] {
            let error = Pattern::parse(bad).unwrap_err();
            assert!(error.contains("; ") || error.contains("no request"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_capture_is_the_decoded_segment() {
        let pattern = Pattern::parse("/d/{id}/x").unwrap();
        let path = NormalPath::new(b"/d/a%20b/x", EncodedSlash::Refuse).unwrap();
        assert_eq!(pattern.capture(&path, "id"), Some(&b"a b"[..]));
        assert_eq!(pattern.capture(&path, "no"), None);
    }
}
