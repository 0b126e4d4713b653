use serde_json::{Map, json};

use super::{Answer, Engine, Fault, LoadError, Question, Unaskable};
use crate::condition::Failure;
use crate::model::parser;
use crate::tuples::{Conditioned, Tuple};

const MODEL: &str = "model
  schema 1.1
type user
type group
  relations
    define member: [user, user:*, group#member, user with in_time]
type folder
  relations
    define parent: [folder]
    define owner: [user]
    define viewer: [user, group#member] or owner or viewer from parent
type document
  relations
    define parent: [folder]
    define blocked: [user, group#member]
    define editor: [user]
    define viewer: [user, user:*, group#member] or editor or viewer from parent
    define can_view: viewer but not blocked
    define can_sign: viewer and editor
condition in_time(hour: int) {
  hour < 18
}
";

fn engine(tuples: &[&str]) -> Engine {
    let tuples: Vec<Tuple> = tuples.iter().map(|t| tuple(t)).collect();
    Engine::new(&parser::parse(MODEL).unwrap(), &tuples).unwrap_or_else(|e| panic!("{e}"))
}

/// A tuple as text; `in_time` behind a blank is its condition.
fn tuple(text: &str) -> Tuple {
    let (text, condition) = text.split_once(' ').unwrap_or((text, ""));
    let condition =
        (!condition.is_empty()).then(|| Conditioned { name: condition.into(), context: Map::new() });
    Tuple { condition, ..Tuple::parse(text).unwrap() }
}

fn ask(
    engine: &Engine,
    question: &str,
    own: &[Tuple],
    context: serde_json::Value,
) -> Result<Answer, Unaskable> {
    let (object, rest) = question.split_once('#').unwrap();
    let (relation, subject) = rest.split_once('@').unwrap();
    let context = context.as_object().unwrap();
    engine.check(Question { subject, relation, object, tuples: own, context, steps: 10_000, explain: true })
}

fn holds(engine: &Engine, question: &str) -> Result<bool, Fault> {
    ask(engine, question, &[], json!({})).unwrap().holds
}

#[test]
fn every_kind_of_definition_is_followed() {
    let engine = engine(&[
        "document:1#viewer@user:ann",
        "document:1#blocked@user:bob",
        "document:1#viewer@user:bob",
        "document:1#editor@user:cat",
        "document:1#parent@folder:a",
        "folder:a#parent@folder:b",
        "folder:b#viewer@group:eng#member",
        "group:eng#member@user:dan",
        "group:eng#member@group:ops#member",
        "group:ops#member@user:eve",
        "document:2#viewer@user:*",
        "document:2#blocked@group:ops#member",
    ]);
    for (question, expected) in [
        ("document:1#can_view@user:ann", true),
        ("document:1#can_view@user:bob", false),
        ("document:1#viewer@user:bob", true),
        ("document:1#can_sign@user:cat", true),
        ("document:1#can_sign@user:ann", false),
        ("document:1#viewer@user:dan", true),
        ("document:1#viewer@user:eve", true),
        ("document:1#viewer@user:nobody", false),
        ("document:2#can_view@user:anybody", true),
        ("document:2#can_view@user:eve", false),
        ("document:2#viewer@user:*", true),
        ("document:1#viewer@user:*", false),
        ("document:1#viewer@group:ops#member", true),
        ("group:new#member@group:new#member", true),
        ("folder:a#viewer@document:1", false),
        ("document:none#viewer@user:ann", false),
    ] {
        assert_eq!(holds(&engine, question), Ok(expected), "{question}");
    }
}

#[test]
fn the_way_that_grants_is_told() {
    let engine = engine(&[
        "document:1#parent@folder:a",
        "folder:a#viewer@group:eng#member",
        "group:eng#member@user:dan",
    ]);
    let answer = ask(&engine, "document:1#can_view@user:dan", &[], json!({})).unwrap();
    let path: Vec<&str> = answer.path.iter().map(|hop| hop.0.as_str()).collect();
    assert_eq!(
        path,
        ["document:1#parent@folder:a", "folder:a#viewer@group:eng#member", "group:eng#member@user:dan"]
    );
    assert!(ask(&engine, "document:1#can_view@user:eve", &[], json!({})).unwrap().path.is_empty());
}

#[test]
fn a_way_in_a_circle_leads_nowhere() {
    let engine = engine(&[
        "group:a#member@group:b#member",
        "group:b#member@group:a#member",
        "document:1#viewer@user:ann",
        "document:1#blocked@group:a#member",
    ]);
    assert_eq!(holds(&engine, "group:a#member@user:ann"), Ok(false));
    // What is subtracted ends in a circle: then nothing is granted.
    assert_eq!(holds(&engine, "document:1#can_view@user:ann"), Ok(false));
    assert_eq!(holds(&engine, "document:1#viewer@user:ann"), Ok(true));
}

#[test]
fn ways_have_a_limit_of_length_and_answers_one_of_steps() {
    let chain = |n: u32| {
        let mut tuples: Vec<String> = (0..n).map(|i| format!("folder:{i}#parent@folder:{}", i + 1)).collect();
        tuples.push(format!("folder:{n}#owner@user:ann"));
        engine(&tuples.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(holds(&chain(20), "folder:0#viewer@user:ann"), Ok(true));
    assert_eq!(holds(&chain(30), "folder:0#viewer@user:ann"), Err(Fault::Depth));
    let question = Question {
        subject: "user:ann",
        relation: "viewer",
        object: "folder:0",
        tuples: &[],
        context: &Map::new(),
        steps: 10,
        explain: false,
    };
    assert_eq!(chain(20).check(question).unwrap().holds, Err(Fault::Steps));
}

#[test]
fn what_conditions_take_counts_and_tuples_that_do_not_lead_on_do_not() {
    let model = "model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member with fits]
condition fits(text: string) {
  text.matches('^(a|aa)*b$')
}
";
    let conditioned = |n| {
        let condition = Some(Conditioned { name: "fits".into(), context: Map::new() });
        Tuple { condition, ..Tuple::parse(&format!("group:all#member@group:{n}#member")).unwrap() }
    };
    let plain = |n| Tuple::parse(&format!("group:all#member@user:{n}")).unwrap();
    let tuples: Vec<Tuple> = (0..5_000).map(plain).chain((0..100).map(conditioned)).collect();
    let engine = Engine::new(&parser::parse(model).unwrap(), &tuples).unwrap();
    let asked =
        |text: String| ask(&engine, "group:all#member@user:nobody", &[], json!({"text": text})).unwrap();
    let few = asked("a".into());
    assert_eq!((few.holds, few.steps), (Ok(false), 101), "one to begin, and one for each that could lead on");
    assert_eq!(asked("a".repeat(1_000)).holds, Err(Fault::Steps));
}

#[test]
fn conditions_count_and_their_failures_only_where_nothing_else_holds() {
    let engine = engine(&[
        "group:a#member@user:ann in_time",
        "group:b#member@user:*",
        "group:b#member@user:ann in_time",
    ]);
    let ask = |question: &str, context| super::tests::ask(&engine, question, &[], context).unwrap().holds;
    assert_eq!(ask("group:a#member@user:ann", json!({"hour": 9})), Ok(true));
    assert_eq!(ask("group:a#member@user:ann", json!({"hour": "20"})), Ok(false));
    let missing = Fault::Condition("in_time".into(), Failure::Missing(vec!["hour".into()]));
    assert_eq!(ask("group:a#member@user:ann", json!({})), Err(missing));
    assert_eq!(ask("group:b#member@user:ann", json!({})), Ok(true));
    assert_eq!(ask("group:a#member@user:bob", json!({})), Ok(false));
}

#[test]
fn tuples_of_a_question_count_for_it_alone() {
    let engine = engine(&["document:1#viewer@group:eng#member", "group:a#member@user:ann in_time"]);
    let own = [tuple("group:eng#member@user:zoe"), tuple("group:new#member@user:zoe")];
    let with = |question: &str, own: &[Tuple]| ask(&engine, question, own, json!({})).unwrap().holds;
    assert_eq!(with("document:1#viewer@user:zoe", &own), Ok(true));
    assert_eq!(with("group:new#member@user:zoe", &own), Ok(true));
    assert_eq!(with("document:1#viewer@user:zoe", &[]), Ok(false));
    // Without its condition it counts instead of the stored one.
    assert_eq!(with("group:a#member@user:ann", &[tuple("group:a#member@user:ann")]), Ok(true));
    let strange = ask(&engine, "document:1#viewer@user:zoe", &[tuple("group:a#member@folder:1")], json!({}));
    assert!(matches!(strange, Err(Unaskable::Tuple(_))), "{strange:?}");
}

#[test]
fn what_cannot_be_asked_is_told_apart() {
    let engine = engine(&[]);
    let ask = |question| ask(&engine, question, &[], json!({}));
    assert!(matches!(ask("document:1#viewer@robot:1"), Err(Unaskable::Subject(_))));
    assert!(matches!(ask("document:1#viewer@ann"), Err(Unaskable::Subject(_))));
    assert!(matches!(ask("document:1#viewer@group:1#boss"), Err(Unaskable::Subject(_))));
    assert!(matches!(ask("document:1#reader@user:ann"), Err(Unaskable::Relation(_))));
    assert!(matches!(ask("page:1#viewer@user:ann"), Err(Unaskable::Object(_))));
    assert!(matches!(ask("document:*#viewer@user:ann"), Err(Unaskable::Object(_))));
}

#[test]
fn tuples_that_do_not_fit_are_refused_with_their_place() {
    for (bad, problem) in [
        ("document:1#can_view@user:ann", "cannot be given"),
        ("document:1#parent@user:ann", "cannot be given"),
        ("document:1#parent@folder:*", "plain objects"),
        ("document:1#owner@user:ann", "no relation"),
        ("page:1#viewer@user:ann", "no type"),
        ("document:1#viewer@robot:1", "no type"),
        ("document:1#viewer@group:1#boss", "no relation"),
        ("document:1#viewer@user:ann in_time", "not under this condition"),
        ("group:1#member@user:ann nowhere", "no condition"),
        ("group:1#member@user:ann", "twice"),
        ("group:2#member@group:2#member", "without a tuple"),
    ] {
        let tuples = [tuple("group:1#member@user:ann"), tuple(bad)];
        let error = Engine::new(&parser::parse(MODEL).unwrap(), &tuples).unwrap_err();
        assert!(matches!(error, LoadError::Tuple { at: 1, .. }), "{bad}: {error:?}");
        assert!(error.to_string().contains(problem), "{bad}: {error}");
    }
}

#[test]
fn a_condition_that_is_none_is_refused_with_its_place() {
    let text = MODEL.replace("hour < 18", "duration(\"1x\") > duration(\"1s\")");
    let error = Engine::new(&parser::parse(&text).unwrap(), &[]).unwrap_err().to_string();
    assert!(error.starts_with("line 20, column 11: in_time: duration: "), "{error}");
}

#[test]
fn the_context_of_a_tuples_condition_has_the_length_that_openfga_takes() {
    let model = parser::parse(&MODEL.replace("(hour: int)", "(hour: int, note: string)")).unwrap();
    let with = |length: usize| {
        let context = json!({"note": "x".repeat(length)}).as_object().unwrap().clone();
        let condition = Some(Conditioned { name: "in_time".into(), context });
        Engine::new(&model, &[Tuple { condition, ..Tuple::parse("group:1#member@user:ann").unwrap() }])
    };
    // 18 bytes go with it: what they are, and how long.
    assert!(with(32 * 1024 - 18).is_ok());
    let error = with(32 * 1024 - 17).unwrap_err().to_string();
    assert_eq!(error, "tuple 0: the context of the condition is longer than 32 KiB");
}
