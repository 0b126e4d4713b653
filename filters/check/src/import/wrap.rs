//! A configuration within what holds it: a filter of Envoy or a WasmPlugin of Istio.

use serde_json::{Map, Value, json};

use super::{Imported, write};
use crate::attached::Which;

/// How the results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The configurations alone, a document each.
    #[default]
    Bare,
    /// One list of `http_filters`, in the order of the originals.
    HttpFilters,
    /// A WasmPlugin each.
    WasmPlugin,
}

impl Form {
    /// The form that is called so.
    #[must_use]
    pub fn named(name: &str) -> Option<Form> {
        match name {
            "config" => Some(Form::Bare),
            "http_filters" => Some(Form::HttpFilters),
            "wasmplugin" => Some(Form::WasmPlugin),
            _ => None,
        }
    }
}

/// All of them as YAML. `file` is where they come from.
#[must_use]
pub fn text(found: &[Imported], file: &str, form: Form) -> String {
    if found.is_empty() {
        return String::new();
    }
    let from = |imported: &Imported| format!("{}, from {file}:{}", imported.which.filter(), imported.line);
    if form == Form::HttpFilters {
        let lines: String = found.iter().map(|imported| format!("# {}\n", from(imported))).collect();
        let filters: Vec<Value> = found.iter().map(filter).collect();
        return format!("---\n{lines}{}", write::yaml(&json!({"http_filters": filters})));
    }
    let one = |imported: &Imported| {
        let value = if form == Form::Bare { imported.config.clone() } else { plugin(imported) };
        format!("---\n# {}\n{}", from(imported), write::yaml(&value))
    };
    found.iter().map(one).collect()
}

fn name(imported: &Imported) -> &str {
    imported.config.get("name").and_then(Value::as_str).unwrap_or(imported.which.filter())
}

fn filter(imported: &Imported) -> Value {
    let module = format!("dist/{}.wasm", imported.which.module());
    json!({
        "name": name(imported),
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name(imported),
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "vm_id": "portcullis",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module}}
                },
                "configuration": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": imported.config}
            }
        }
    })
}

/// In front of the filters of phase AUTHZ, and a limiter in front of jwt-auth.
fn plugin(imported: &Imported) -> Value {
    let mut about = imported.about.clone();
    let mut metadata = Map::new();
    metadata.insert("name".into(), name(imported).into());
    metadata.extend(about.remove("namespace").map(|namespace| ("namespace".to_owned(), namespace)));
    let version = env!("CARGO_PKG_VERSION");
    let module = imported.which.module();
    let priority = if imported.which == Which::JwtAuth { 10 } else { 20 };
    let mut spec = about;
    spec.extend(
        [
            ("url", json!(format!("oci://registry.example.com/portcullis/{module}:{version}"))),
            ("type", json!("HTTP")),
            ("phase", json!("AUTHN")),
            ("priority", json!(priority)),
            ("failStrategy", json!("FAIL_RELOAD")),
            ("pluginConfig", imported.config.clone()),
        ]
        .map(|(field, value)| (field.to_owned(), value)),
    );
    json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": metadata, "spec": spec})
}
