//! Tuples, one a line, and a question in the first: no panic, and a tuple that was loaded holds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_rebac::engine::{Engine, Question};
use portcullis_rebac::model::{Model, parser};
use portcullis_rebac::tuples::Tuple;
use serde_json::Map;

const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define parent: [group]
    define member: [user, user:*, group#member] or member from parent
    define guest: member but not banned
    define banned: [user, group#member]
";

thread_local! {
    static READ: Model = parser::parse(MODEL).expect("a model");
}

fuzz_target!(|text: &str| {
    let tuples: Vec<Tuple> = text.lines().filter_map(|line| Tuple::parse(line).ok()).collect();
    let Some(first) = tuples.first() else { return };
    READ.with(|model| {
        let engine = Engine::new(model, &tuples);
        let (engine, loaded) = match engine {
            Ok(engine) => (engine, true),
            Err(_) => (Engine::new(model, &[]).expect("no tuples"), false),
        };
        let ask = |relation: &str, own: &[Tuple]| {
            engine.check(Question {
                subject: &first.subject,
                relation,
                object: &first.object,
                tuples: own,
                context: &Map::new(),
                steps: 5_000,
                explain: true,
            })
        };
        if let Ok(answer) = ask(&first.relation, &[]) {
            let holds = answer.holds;
            assert!(!loaded || holds.is_err() || holds == Ok(true), "{first:?}");
        }
        let _ = ask("guest", &tuples);
    });
});
