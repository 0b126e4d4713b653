//! The JSON Schemas of the filters, generated from the types that read their configurations.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of each filter, by name, as it lies in `filters/<name>/schema.json`.
#[must_use]
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("jwt-auth", print(generator().into_root_schema_for::<portcullis_jwt_auth::config::RawConfig>())),
        ("metrics", print(generator().into_root_schema_for::<portcullis_metrics::config::RawConfig>())),
        ("rebac", print(generator().into_root_schema_for::<portcullis_rebac::config::RawConfig>())),
        ("rate-limit", print(generator().into_root_schema_for::<portcullis_rate_limit::config::RawConfig>())),
    ]
}

/// The schema of one filter.
///
/// # Panics
/// If there is no such filter.
#[must_use]
pub fn of(name: &str) -> Value {
    let (_, text) = all().into_iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no filter {name}"));
    serde_json::from_str(&text).expect("JSON")
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

fn print(schema: schemars::Schema) -> String {
    let mut text = serde_json::to_string_pretty(&schema).expect("JSON");
    text.push('\n');
    text
}

/// A field of a configuration, as the schema has it.
#[derive(Clone, Debug)]
pub struct Field {
    /// The names from the outermost in; `*` is any name of a map, `[]` any item of a list.
    pub path: Vec<String>,
    /// What the schema says of it.
    pub schema: Value,
    /// Whether it may be left out.
    pub required: bool,
}

impl Field {
    /// `providers.*.tokens[].header`
    #[must_use]
    pub fn name(&self) -> String {
        let mut out = String::new();
        for part in &self.path {
            if part != "[]" && !out.is_empty() {
                out.push('.');
            }
            out.push_str(part);
        }
        out
    }
}

/// All fields of a schema.
#[must_use]
pub fn fields(root: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    walk(root, root, &mut Vec::new(), &mut Vec::new(), &mut found);
    found
}

/// `open` holds the definitions that are being walked: one that contains itself is listed once.
fn walk<'a>(
    root: &'a Value,
    schema: &'a Value,
    path: &mut Vec<String>,
    open: &mut Vec<&'a Value>,
    found: &mut Vec<Field>,
) {
    let schema = resolve(root, schema);
    if open.iter().any(|other| std::ptr::eq(*other, schema)) {
        return;
    }
    open.push(schema);
    for choice in schema["anyOf"]
        .as_array()
        .into_iter()
        .flatten()
        .chain(schema["oneOf"].as_array().into_iter().flatten())
    {
        walk(root, choice, path, open, found);
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        found.push(Field {
            path: path.clone(),
            schema: resolve(root, property).clone(),
            required: required.contains(&name.as_str()),
        });
        walk(root, property, path, open, found);
        path.pop();
    }
    // A map whose names have to look like something has its values under that pattern.
    let named = schema["patternProperties"].as_object().into_iter().flatten().map(|(_, below)| ("*", below));
    for (part, below) in named.chain([("*", &schema["additionalProperties"]), ("[]", &schema["items"])]) {
        if below.is_object() {
            path.push(part.into());
            walk(root, below, path, open, found);
            path.pop();
        }
    }
    open.pop();
}

/// Follows `$ref` and drops the `null` of an optional field.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        return resolve(root, &root["$defs"][name]);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let real: Vec<&Value> = choices.iter().filter(|c| c["type"] != "null").collect();
        if let [only] = real.as_slice() {
            return resolve(root, only);
        }
    }
    schema
}
