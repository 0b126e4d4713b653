//! JSON, or a serialized `Struct`, to a raw type, with the path of whatever does not fit.

use serde::de::DeserializeOwned;

use super::ConfigError;
use super::located::Located;
use super::proto_struct;
use crate::json;

/// The most values in a configuration: ten thousand routes are about a hundred thousand.
const MAX_VALUES: u32 = 4_000_000;

/// Reads a plugin's configuration.
///
/// # Errors
/// Names the field and what it should have been; the value itself is not repeated if it is text, for it may be a
/// secret in the wrong place.
pub fn parse<T: DeserializeOwned>(filter: &'static str, config: &[u8]) -> Result<T, ConfigError> {
    if config.iter().all(u8::is_ascii_whitespace) {
        return Err(ConfigError::new(filter, "", "no configuration; its README shows the smallest one"));
    }
    // A serialized Struct starts with a newline, as a block of JSON in YAML may; nothing is both.
    let json = json::object(config, MAX_VALUES).or_else(|error| {
        let problem =
            || ConfigError::new(filter, "", format!("not a JSON object: {error}; check the quoting"));
        proto_struct::read(config).ok_or_else(problem)
    })?;
    T::deserialize(Located(&json.into())).map_err(|problem| {
        let (path, text) = problem.into_parts();
        ConfigError::new(filter, path, text)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{DurationText, Whole};
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        inner: BTreeMap<String, Vec<Inner>>,
        #[serde(default)]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        wait: DurationText,
        size: Option<Whole>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        One,
        Two,
    }

    fn refused(config: &str) -> String {
        parse::<Outer>("f", config.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_error_has_its_path_and_a_remedy() {
        for (config, want) in [
            ("", "f: no configuration; its README shows the smallest one"),
            ("{", "f: not a JSON object: EOF while parsing an object at line 1 column 1; check the quoting"),
            ("{}", "f: inner: missing; it is required, the README's table says what it takes"),
            (
                r#"{"inner":{"a":[{}]}}"#,
                "f: inner.a[0].wait: missing; it is required, the README's table says what it takes",
            ),
            (
                r#"{"inner":{"a":[7]}}"#,
                "f: inner.a[0]: integer `7` does not fit; write an object with wait, size",
            ),
            (
                r#"{"inner":{"a":[{"wait":"1s","who":1}]}}"#,
                "f: inner.a[0].who: no such field; the fields here are wait, size",
            ),
            (
                r#"{"inner":{},"inner":{}}"#,
                "f: not a JSON object: `inner` stands twice at line 1 column 23; check the quoting",
            ),
            (
                r#"{"inner":{"a":[{"wait":3}]}}"#,
                "f: inner.a[0].wait: integer `3` does not fit; write a duration with its unit, such as \"30s\"",
            ),
            (
                r#"{"inner":{"a":[{"wait":"soon"}]}}"#,
                "f: inner.a[0].wait: not a duration; write a duration with its unit, such as \"30s\"",
            ),
            (
                r#"{"inner":{"a":[{"wait":"1s","size":"s3cret"}]}}"#,
                "f: inner.a[0].size: text does not fit; write a whole number",
            ),
            (r#"{"inner":{},"kind":"three"}"#, "f: kind: `three` does not fit; write one of one, two"),
            (r#"{"inner":{},"kind":3}"#, "f: kind: integer `3` does not fit; write text"),
            (
                r#"{"inner":{}} x"#,
                "f: not a JSON object: trailing characters at line 1 column 14; check the quoting",
            ),
        ] {
            assert_eq!(refused(config), want, "{config}");
        }
    }

    #[test]
    fn a_struct_delivers_whole_numbers_as_doubles_and_absent_fields_as_null() {
        let read = parse::<Outer>("f", br#"{"inner":{"a":[{"wait":"1s","size":3.0}]},"kind":null}"#).unwrap();
        assert_eq!(read.inner["a"][0].size.unwrap().get(), 3);
        assert!(parse::<Outer>("f", br#"{"inner":{},"kind":"two"}"#).is_ok());
    }
}
