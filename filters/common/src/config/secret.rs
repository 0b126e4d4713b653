//! Secrets in a configuration: by the name of an environment variable, or as a value.

use std::fmt;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{self, Deserializer};

/// A secret. `{env: NAME}` reads Envoy's `environment_variables` (Istio's `vmConfig.env`), `{value: ...}` has it in
/// the configuration. An unset variable refuses the configuration. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Rc<[u8]>);

impl Secret {
    /// The secret itself. Not for a log.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Raw {
    /// The name of an environment variable.
    env: Option<String>,
    /// The secret itself.
    value: Option<String>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Raw::deserialize(deserializer)? {
            Raw { env: Some(name), value: None } => read(&name).ok_or_else(|| {
                de::Error::custom(format!(
                    "the environment variable {name} is not set; set it, or add it to the VM's environment_variables (Istio: vmConfig.env)"
                ))
            })?,
            Raw { env: None, value: Some(value) } => value,
            Raw { .. } => return Err(de::Error::custom("not one source; write {env: NAME} or {value: ...}")),
        };
        if text.is_empty() {
            return Err(de::Error::custom("an empty secret; write {env: NAME} or {value: ...}"));
        }
        Ok(Secret(text.into_bytes().into()))
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn read(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Raw::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_one_source_and_does_not_print() {
        let secret: Secret = serde_json::from_str(r#"{"value":"hush"}"#).unwrap();
        assert_eq!(secret.expose(), b"hush");
        assert_eq!(format!("{secret:?}"), "***");
        for bad in [
            r#"{}"#,
            r#"{"value":""}"#,
            r#"{"value":"a","env":"b"}"#,
            r#"{"env":"PORTCULLIS_NOT_SET"}"#,
            r#""hush""#,
        ] {
            let error = serde_json::from_str::<Secret>(bad).unwrap_err().to_string();
            assert!(!error.contains("hush") || bad == r#""hush""#, "{error}");
        }
    }
}
