//! OpenFGA's own examples: models as text and as JSON, and what is wrong with others.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failing test is the point"
)]

use std::fs;
use std::path::PathBuf;

use portcullis_rebac::model::{Kind, Model, ModelError, json, modules, parser, print, validate};
use serde::Deserialize;
use serde_json::Value;

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/openfga-language/tests/data")
}

fn read(path: &str) -> String {
    fs::read_to_string(data().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn folders(path: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(data().join(path))
        .unwrap()
        .map(|entry| format!("{path}/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    names.sort();
    names
}

/// Without what says nothing: nulls, and lists and objects that are empty. `this`, `wildcard` and relations without types stay.
fn normal(value: Value) -> Value {
    let nothing = |v: &Value| match v {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(key, v)| ["this", "wildcard"].contains(&key.as_str()) || !nothing(v))
            .map(|(key, v)| (key, normal(v)))
            .filter(|(key, v)| ["this", "wildcard"].contains(&key.as_str()) || !nothing(v))
            .collect(),
        Value::Array(list) => list.into_iter().map(normal).collect(),
        other => other,
    }
}

/// Types and conditions in the order of their names: JSON objects have none, and modules are joined in the order of files.
fn sorted(mut model: Value) -> Value {
    if let Some(types) = model.get_mut("type_definitions").and_then(Value::as_array_mut) {
        types.sort_by_key(|t| t["type"].as_str().unwrap_or_default().to_owned());
    }
    model
}

fn both(model: &Model, expected: &str) -> (Value, Value) {
    (sorted(normal(json::print(model))), sorted(normal(serde_json::from_str(expected).unwrap())))
}

#[test]
fn models_are_the_same_as_text_and_as_json() {
    let mut pairs = 0;
    for folder in folders("transformer") {
        let text = read(&format!("{folder}/authorization-model.fga"));
        let as_json = read(&format!("{folder}/authorization-model.json"));
        let model = parser::parse(&text).unwrap_or_else(|e| panic!("{folder}: {}", e[0]));
        let (is, expected) = both(&model, &as_json);
        assert_eq!(is, expected, "{folder}: as JSON");
        let back = json::parse(&as_json).unwrap_or_else(|e| panic!("{folder}: {e}"));
        let (is, expected) = both(&back, &as_json);
        assert_eq!(is, expected, "{folder}: from JSON and back");
        assert_eq!(print::print(&back, false).unwrap().trim(), text.trim(), "{folder}: as text");
        pairs += 1;
    }
    assert_eq!(pairs, 29);
}

#[derive(Deserialize)]
struct Case {
    name: String,
    dsl: String,
    #[serde(default)]
    expected_errors: Vec<Expected>,
    #[serde(default)]
    skip: bool,
}

#[derive(Debug, Deserialize)]
struct Expected {
    msg: String,
    line: Option<Range>,
    column: Option<Range>,
    metadata: Option<Metadata>,
    file: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Range {
    start: u32,
    end: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    error_type: Option<String>,
}

/// Line and columns of an error, as the vectors write them.
fn place(error: &ModelError) -> (u32, u32, u32) {
    (error.span.line, error.span.start, error.span.end)
}

fn expected_place(expected: &Expected) -> (u32, u32, u32) {
    let (line, column) = (expected.line.as_ref().unwrap(), expected.column.as_ref().unwrap());
    (line.start, column.start, column.end)
}

fn check(dsl: &str) -> Result<Model, Vec<ModelError>> {
    let model = parser::parse(dsl)?;
    validate::validate(&model)?;
    Ok(model)
}

#[test]
fn what_is_no_model_is_refused_where_openfga_refuses_it() {
    let cases: Vec<Case> = serde_yaml_ng::from_str(&read("dsl-syntax-validation-cases.yaml")).unwrap();
    assert_eq!(cases.len(), 81);
    let mut wrong = Vec::new();
    for case in cases {
        match (parser::parse(&case.dsl), case.expected_errors.as_slice()) {
            (Ok(_), []) => {}
            (Err(found), expected @ [first, ..]) => {
                // Behind the first word that does not fit only what stands twice is reported further.
                let of_words = found[0].kind == Kind::Syntax;
                let same = if of_words {
                    found.len() == 1
                        && place(&found[0]) == expected_place(first)
                        && first.msg.contains("input")
                        || first.msg.contains("missing ':'") && place(&found[0]) == expected_place(first)
                } else {
                    found.iter().map(place).eq(expected.iter().map(expected_place))
                        && expected.iter().all(|e| e.msg.contains("already") || e.msg.contains("extend"))
                };
                if !same {
                    wrong.push(format!("{}: {found:?} instead of {expected:?}", case.name));
                }
            }
            (Ok(_), expected) => wrong.push(format!("{}: taken, instead of {expected:?}", case.name)),
            (Err(found), []) => wrong.push(format!("{}: {}", case.name, found[0])),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_makes_no_sense_is_refused_where_openfga_refuses_it() {
    let cases: Vec<Case> = serde_yaml_ng::from_str(&read("dsl-semantic-validation-cases.yaml")).unwrap();
    assert_eq!(cases.len(), 91);
    let mut wrong = Vec::new();
    let mut stricter = 0;
    for case in cases {
        let found = check(&case.dsl).err().unwrap_or_default();
        let is: Vec<_> = found.iter().map(|e| (place(e), e.kind.word().to_owned())).collect();
        let expected: Vec<_> = case
            .expected_errors
            .iter()
            .map(|e| (expected_place(e), e.metadata.as_ref().unwrap().error_type.clone().unwrap()))
            .collect();
        if case.skip && expected.is_empty() {
            // OpenFGA's validators skip these three; its server refuses them, for each relation follows from itself.
            assert!(found.iter().all(|e| e.kind == Kind::NoEntryPoint) && !found.is_empty(), "{}", case.name);
            stricter += 1;
        } else if is != expected {
            wrong.push(format!("{}: {is:?} instead of {expected:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(stricter, 3);
}

/// What the other tests hold to OpenFGA, with the ends of lines that Windows writes: the same models, and the same errors in the same
/// places.
#[test]
fn lines_may_end_as_windows_ends_them() {
    let mut texts: Vec<String> = folders("transformer")
        .iter()
        .map(|folder| read(&format!("{folder}/authorization-model.fga")))
        .chain(["model\n  schema 1.1\ntype user\n".to_owned(), "model\n  schema 1.1 # x\n\n# y\n".to_owned()])
        .collect();
    for cases in ["dsl-syntax-validation-cases.yaml", "dsl-semantic-validation-cases.yaml"] {
        let cases: Vec<Case> = serde_yaml_ng::from_str(&read(cases)).unwrap();
        texts.extend(cases.into_iter().map(|case| case.dsl));
    }
    for text in &texts {
        assert_eq!(check(&text.replace('\n', "\r\n")), check(text), "{text}");
    }
    assert_eq!(texts.len(), 29 + 2 + 81 + 91);
}

#[test]
fn modules_are_joined_as_openfga_joins_them() {
    let mut joined = 0;
    for folder in folders("transformer-module") {
        if !data().join(&folder).join("module").exists() {
            // Only for taking a model apart.
            let (is, expected) = both(
                &json::parse(&read(&format!("{folder}/authorization-model.json"))).unwrap(),
                &read(&format!("{folder}/authorization-model.json")),
            );
            assert_eq!(is, expected, "{folder}");
            continue;
        }
        let mut files: Vec<(String, String)> = folders(&format!("{folder}/module"))
            .into_iter()
            .map(|path| (path.rsplit('/').next().unwrap().to_owned(), read(&path)))
            .collect();
        files.sort();
        let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let found = modules::join(&files, "1.2").and_then(|model| validate::validate(&model).map(|()| model));
        let errors = data().join(&folder).join("expected_errors.json");
        if errors.exists() {
            let mut expected: Vec<Expected> =
                serde_json::from_str(&fs::read_to_string(errors).unwrap()).unwrap();
            expected.sort_by_key(|e| (e.file.clone(), expected_place(e)));
            let mut found = found.expect_err(&folder);
            found.sort_by_key(|e| (e.file.clone().map(String::from), place(e)));
            let is: Vec<_> = found.iter().map(place).collect();
            let expected: Vec<_> = expected.iter().map(expected_place).collect();
            assert_eq!(is, expected, "{folder}: {found:?}");
        } else {
            let model = found.unwrap_or_else(|e| panic!("{folder}: {}", e[0]));
            let (is, expected) = both(&model, &read(&format!("{folder}/authorization-model.json")));
            assert_eq!(is, expected, "{folder}");
            for (file, sources) in [("combined.fga", false), ("combined-sourceinfo.fga", true)] {
                let path = data().join(&folder).join(file);
                if path.exists() {
                    let text = fs::read_to_string(path).unwrap();
                    assert_eq!(print::print(&model, sources).unwrap().trim(), text.trim(), "{folder}/{file}");
                }
            }
        }
        joined += 1;
    }
    assert_eq!(joined, 6);
}

#[derive(Deserialize)]
struct JsonCase {
    name: String,
    json: String,
    expected_errors: Option<Vec<Expected>>,
}

#[test]
fn json_is_refused_where_openfga_refuses_it() {
    let cases: Vec<JsonCase> = serde_yaml_ng::from_str(&read("json-validation-cases.yaml")).unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let found: Vec<String> = match json::parse(&case.json) {
            Err(e) => vec![e.kind.word().to_owned()],
            Ok(model) => validate::validate(&model)
                .err()
                .unwrap_or_default()
                .iter()
                .map(|e| e.kind.word().to_owned())
                .collect(),
        };
        let expected: Vec<String> = case
            .expected_errors
            .unwrap_or_default()
            .into_iter()
            .map(|e| e.metadata.unwrap().error_type.unwrap())
            .collect();
        if found != expected {
            wrong.push(format!("{}: {found:?} instead of {expected:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
