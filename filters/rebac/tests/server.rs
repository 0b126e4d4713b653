//! OpenFGA's own tests of its server: every assertion of a check holds, with the tuples stored, and with the tuples in the question.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failing test is the point"
)]

mod written;

use std::fs;
use std::path::PathBuf;

use portcullis_rebac::engine::{Answer, Engine, Fault, LoadError, Question, Unaskable};
use portcullis_rebac::model::parser;
use portcullis_rebac::tuples::Tuple;
use serde::Deserialize;
use serde_json::{Map, Value};
use written::Key;

#[derive(Deserialize)]
struct File {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    name: String,
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stage {
    #[serde(default)]
    model: String,
    #[serde(default)]
    tuples: Vec<Key>,
    #[serde(default)]
    check_assertions: Vec<Assertion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertion {
    tuple: Key,
    #[serde(default)]
    contextual_tuples: Vec<Key>,
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    expectation: bool,
    /// As OpenFGA's API numbers its errors.
    #[serde(default)]
    error_code: u32,
}

/// A question that cannot be asked, or a condition without its context.
const VALIDATION: u32 = 2000;
/// The way is too long.
const TOO_COMPLEX: u32 = 2002;
/// A tuple of the question does not fit.
const INVALID_TUPLE: u32 = 2027;

fn code(answer: &Result<Answer, Unaskable>) -> u32 {
    match answer {
        Ok(Answer { holds: Ok(_), .. }) => 0,
        Ok(Answer { holds: Err(Fault::Condition(..)), .. }) => VALIDATION,
        Ok(Answer { holds: Err(Fault::Depth), .. }) => TOO_COMPLEX,
        Ok(Answer { holds: Err(Fault::Steps), .. }) => 0,
        Err(Unaskable::Tuple(_)) => INVALID_TUPLE,
        Err(_) => VALIDATION,
    }
}

/// What was asked, and which answers were others.
#[derive(Default)]
struct Tally {
    asked: u32,
    wrong: Vec<String>,
}

impl Tally {
    fn ask(&mut self, name: &str, engine: &Engine, assertion: &Assertion, more: &[Tuple]) {
        let mut tuples: Vec<Tuple> = assertion.contextual_tuples.iter().map(Key::tuple).collect();
        tuples.extend_from_slice(more);
        let answer = engine.check(Question {
            subject: &assertion.tuple.user,
            relation: &assertion.tuple.relation,
            object: &assertion.tuple.object,
            tuples: &tuples,
            context: &assertion.context,
            steps: 100_000,
            explain: false,
        });
        self.asked += 1;
        let same = match assertion.error_code {
            0 => matches!(&answer, Ok(Answer { holds: Ok(holds), .. }) if *holds == assertion.expectation),
            error => code(&answer) == error,
        };
        if !same {
            let Key { object, relation, user, .. } = &assertion.tuple;
            let want = (assertion.expectation, assertion.error_code);
            self.wrong.push(format!("{name}: {object}#{relation}@{user}: {want:?}, not {answer:?}"));
        }
    }

    fn stage(&mut self, name: &str, model: &str, stored: &[Key], stage: &Stage, alone: bool) {
        let model = parser::parse(model).unwrap_or_else(|e| panic!("{name}: {}", e[0]));
        let mut tuples: Vec<Tuple> = stored.iter().map(Key::tuple).collect();
        let engine = loop {
            match Engine::new(&model, &tuples) {
                Ok(engine) => break engine,
                // OpenFGA passes over a tuple that an earlier model allowed; we load none that does not fit.
                Err(LoadError::Tuple { at, .. }) if at + stage.tuples.len() < tuples.len() => {
                    drop(tuples.remove(at))
                }
                Err(e) => panic!("{name}: {e}"),
            }
        };
        for assertion in &stage.check_assertions {
            self.ask(name, &engine, assertion, &[]);
        }
        // OpenFGA takes a hundred tuples with a question.
        if alone && tuples.len() <= 100 {
            let engine = Engine::new(&model, &[]).unwrap();
            for assertion in &stage.check_assertions {
                self.ask(&format!("{name}, contextual"), &engine, assertion, &tuples);
            }
        }
    }
}

fn read(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/openfga-server/tests");
    fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn tests(name: &str) -> Vec<Test> {
    let file: File = serde_yaml_ng::from_str(&read(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    file.tests
}

#[test]
fn every_check_of_openfgas_own_tests_is_answered_alike() {
    let mut tally = Tally::default();
    // Conditions that stand in tuples: an experiment of OpenFGA, off by default; we refuse them by name.
    let plain = |test: &Test| !test.name.starts_with("inline_expression_");
    let all = ["consolidated_1_1_tests.yaml", "abac_tests.yaml"].map(tests);
    for test in all.iter().flatten().filter(|test| plain(test)) {
        // The stages of a test share a store.
        let mut stored = Vec::new();
        for stage in &test.stages {
            stored.extend(stage.tuples.iter().cloned());
            tally.stage(&test.name, &stage.model, &stored, stage, test.stages.len() == 1);
        }
    }
    let matrix = read("matrix.fga");
    for test in tests("matrix.json") {
        for stage in &test.stages {
            tally.stage(&test.name, &matrix, &stage.tuples, stage, true);
        }
    }
    assert!(tally.wrong.is_empty(), "{} of {}:\n{}", tally.wrong.len(), tally.asked, tally.wrong.join("\n"));
    assert_eq!(tally.asked, 2313);
}
