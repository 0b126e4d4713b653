//! What a real OpenFGA answered to generated questions, replayed without one.
//!
//! Each line of `answers` is a seed and a letter for each question: yes, no, error, or `-` for one that says nothing about the
//! engine: OpenFGA answers it now so and now so, or by a plan that looks at other tuples. `openfga.rs` writes the file anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failing test is the point"
)]

mod generator;

use portcullis_rebac::engine::{Answer, Engine, Question};

#[test]
fn the_engine_answers_as_a_real_openfga_did() {
    let (mut models, mut asked) = (0, 0);
    for line in include_str!("answers").lines() {
        let (seed, letters) = line.split_once(' ').unwrap();
        if letters == "refused" {
            continue;
        }
        let case = generator::case(seed.parse().unwrap());
        let engine = Engine::new(&case.model, &case.tuples).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        models += 1;
        assert_eq!(letters.len(), generator::QUESTIONS, "seed {seed}");
        for (at, (question, expected)) in case.questions.iter().zip(letters.chars()).enumerate() {
            if expected == '-' {
                continue;
            }
            let answer = engine.check(Question {
                subject: &question.subject,
                relation: &question.relation,
                object: &question.object,
                tuples: &question.tuples,
                context: &question.context,
                steps: 1_000_000,
                explain: at % 2 == 0,
            });
            let letter = match answer {
                Ok(Answer { holds: Ok(true), .. }) => 'y',
                Ok(Answer { holds: Ok(false), .. }) => 'n',
                _ => 'e',
            };
            assert_eq!(letter, expected, "seed {seed}, question {at}: {answer:?}");
            asked += 1;
        }
    }
    assert!(models >= 2000 && asked >= 99_000, "{models} models, {asked} questions");
    let _ = generator::requests;
}
