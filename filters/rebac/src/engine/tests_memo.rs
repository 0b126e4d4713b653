//! What a question keeps changes how long its answer takes, and nothing else.

use serde_json::Map;

use super::check::Run;
use super::{Answer, Engine, Fault, Question};
use crate::model::parser;
use crate::tuples::Tuple;

#[path = "../../tests/generator/mod.rs"]
mod generator;

fn ask(engine: &Engine, question: (&str, &str, &str), keeps_from: u32, steps: u32) -> Answer {
    let (object, relation, subject) = question;
    let (context, store) = (Map::new(), engine.store());
    let question =
        Question { subject, relation, object, tuples: &[], context: &context, steps, explain: true };
    Run::new(&engine.schema, &store, question).unwrap().keeping(keeps_from).answer()
}

fn engine(model: &str, tuples: &[String]) -> Engine {
    let tuples: Vec<Tuple> = tuples.iter().map(|t| Tuple::parse(t).unwrap()).collect();
    Engine::new(&parser::parse(model).unwrap(), &tuples).unwrap()
}

/// Ten groups, each with the same thirty in them, each of which has the same thirty others.
#[test]
fn groups_that_share_groups_are_walked_once() {
    let model = "model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type document
  relations
    define viewer: [user]
    define banned: [group#member]
    define admin: [group#member]
    define see: viewer but not banned
    define either: banned or viewer
    define edit: viewer and admin
";
    let mut tuples = vec!["document:w#viewer@user:ann".to_owned(), "group:c29#member@user:bad".to_owned()];
    for a in 0..10 {
        tuples.push(format!("document:w#banned@group:a{a}#member"));
        tuples.extend((0..30).map(|b| format!("group:a{a}#member@group:b{b}#member")));
    }
    for b in 0..30 {
        tuples.extend((0..30).map(|c| format!("group:b{b}#member@group:c{c}#member")));
    }
    let engine = engine(model, &tuples);
    let context = Map::new();
    for (relation, subject, holds) in [
        ("see", "user:ann", true),
        ("see", "user:bad", false),
        ("banned", "user:ann", false),
        ("banned", "user:bad", true),
        ("either", "user:ann", true),
        ("edit", "user:ann", false),
    ] {
        let question = Question {
            subject,
            relation,
            object: "document:w",
            tuples: &[],
            context: &context,
            steps: 10_000,
            explain: true,
        };
        let answer = engine.check(question).unwrap();
        assert_eq!(answer.holds, Ok(holds), "{relation} {subject} after {} steps", answer.steps);
        assert!(answer.steps < 3_000, "{relation} {subject}: {} steps", answer.steps);
    }
    // As before, without what is kept.
    assert_eq!(ask(&engine, ("document:w", "see", "user:ann"), u32::MAX, 10_000).holds, Err(Fault::Steps));
}

/// What did not hold close by is too far away from elsewhere, as OpenFGA says.
#[test]
fn a_no_that_was_near_is_no_answer_from_further_away() {
    let model = "model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
";
    let mut links: Vec<(String, String)> = (0..20).map(|n| (n.to_string(), (n + 1).to_string())).collect();
    // They are gone in this order: the last comes to `mid` when it is known, and so is what lies behind it.
    for (from, to) in [
        ("all", "0"),
        ("all", "mid"),
        ("mid", "0"),
        ("mid", "empty"),
        ("all", "far"),
        ("far", "far1"),
        ("far1", "far2"),
        ("far2", "far3"),
        ("far3", "mid"),
    ] {
        links.push((from.into(), to.into()));
    }
    let link = |(from, to): &(String, String)| format!("group:{from}#member@group:{to}#member");
    let engine = engine(model, &links.iter().map(link).collect::<Vec<_>>());
    for (object, holds) in [("mid", Ok(false)), ("far2", Ok(false)), ("all", Err(Fault::Depth))] {
        for from in [0, u32::MAX] {
            let answer = ask(&engine, (&format!("group:{object}"), "member", "user:ann"), from, 10_000);
            assert_eq!(answer.holds, holds, "{object}, kept from {from}");
        }
    }
}

#[test]
fn generated_answers_are_the_same_whether_anything_is_kept() {
    let (mut asked, mut shorter) = (0, 0);
    for seed in 1..=1_200 {
        let case = generator::case(seed);
        // Some lack an entry: the server refuses them too.
        let Ok(engine) = Engine::new(&case.model, &case.tuples) else { continue };
        let store = engine.store();
        for one in &case.questions {
            let question = Question {
                subject: &one.subject,
                relation: &one.relation,
                object: &one.object,
                tuples: &one.tuples,
                context: &one.context,
                steps: 30_000,
                explain: true,
            };
            let answer = |from| Some(Run::new(&engine.schema, &store, question).ok()?.keeping(from).answer());
            let Some(plain) = answer(u32::MAX).filter(|a| a.holds != Err(Fault::Steps)) else { continue };
            for from in [0, 10] {
                let kept = answer(from).unwrap();
                assert!(kept.steps <= plain.steps);
                shorter += u32::from(kept.steps < plain.steps);
                let alike = Answer { steps: plain.steps, ..kept };
                assert_eq!(alike, plain, "seed {seed}: {}#{}@{}", one.object, one.relation, one.subject);
            }
            asked += 1;
        }
    }
    assert!(asked > 40_000 && shorter > 300, "{asked} asked, {shorter} shorter");
    let _ = generator::requests;
}
