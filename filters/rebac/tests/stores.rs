//! OpenFGA's sample stores: every assertion of a check holds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failing test is the point"
)]

mod written;

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_rebac::engine::{Engine, Question};
use portcullis_rebac::model::{Model, modules, parser};
use portcullis_rebac::tuples::Tuple;
use serde::Deserialize;
use serde_json::{Map, Value};
use written::Key;

#[derive(Deserialize)]
struct Store {
    model: Option<String>,
    model_file: Option<String>,
    #[serde(default)]
    tuples: Vec<Key>,
    tuple_file: Option<String>,
    #[serde(default)]
    tuple_files: Vec<String>,
    #[serde(default)]
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    tuples: Vec<Key>,
    tuple_file: Option<String>,
    #[serde(default)]
    check: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    user: Option<String>,
    #[serde(default)]
    users: Vec<String>,
    object: Option<String>,
    #[serde(default)]
    objects: Vec<String>,
    #[serde(default)]
    context: Map<String, Value>,
    assertions: std::collections::BTreeMap<String, bool>,
}

#[derive(Deserialize)]
struct ModFile {
    schema: String,
    contents: Vec<String>,
}

fn stores(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            stores(&path, found);
        } else if path.to_string_lossy().ends_with(".fga.yaml") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn model(folder: &Path, store: &Store) -> Model {
    if let Some(text) = &store.model {
        return parser::parse(text).unwrap_or_else(|e| panic!("{}: {}", folder.display(), e[0]));
    }
    let file = folder.join(store.model_file.as_ref().unwrap());
    let text = read(&file);
    if file.extension().is_some_and(|e| e == "mod") {
        let list: ModFile = serde_yaml_ng::from_str(&text).unwrap();
        let texts: Vec<String> =
            list.contents.iter().map(|name| read(&file.parent().unwrap().join(name))).collect();
        let files: Vec<(&str, &str)> =
            list.contents.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
        return modules::join(&files, &list.schema)
            .unwrap_or_else(|e| panic!("{}: {}", file.display(), e[0]));
    }
    parser::parse(&text).unwrap_or_else(|e| panic!("{}: {}", file.display(), e[0]))
}

fn tuples_of(folder: &Path, file: &str) -> Vec<Key> {
    let path = folder.join(file);
    let text = read(&path);
    serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_assertion_of_the_sample_stores_holds() {
    let mut files = Vec::new();
    stores(
        &PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/openfga-sample-stores/stores"),
        &mut files,
    );
    files.sort();
    assert_eq!(files.len(), 32);
    let (mut asked, mut wrong) = (0, Vec::new());
    for file in files {
        let folder = file.parent().unwrap();
        let store: Store =
            serde_yaml_ng::from_str(&read(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let model = model(folder, &store);
        let mut all = store.tuples.clone();
        all.extend(store.tuple_file.iter().chain(&store.tuple_files).flat_map(|f| tuples_of(folder, f)));
        for test in &store.tests {
            let mut tuples = all.clone();
            tuples.extend(test.tuples.iter().cloned());
            tuples.extend(test.tuple_file.iter().flat_map(|f| tuples_of(folder, f)));
            let tuples: Vec<Tuple> = tuples.iter().map(Key::tuple).collect();
            let engine = Engine::new(&model, &tuples).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            for check in &test.check {
                for subject in check.user.iter().chain(&check.users) {
                    for object in check.object.iter().chain(&check.objects) {
                        for (relation, expected) in &check.assertions {
                            let answer = engine.check(Question {
                                subject,
                                relation,
                                object,
                                tuples: &[],
                                context: &check.context,
                                steps: 10_000,
                                explain: false,
                            });
                            asked += 1;
                            if answer.as_ref().map(|a| &a.holds) != Ok(&Ok(*expected)) {
                                wrong.push(format!(
                                    "{}: {object}#{relation}@{subject}: {answer:?}",
                                    file.display()
                                ));
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{asked} assertions");
    assert!(asked >= 327, "{asked}");
}
