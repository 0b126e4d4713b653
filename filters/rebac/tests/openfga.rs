//! The engine against a real OpenFGA server: generated models, the same tuples, the same questions, the same answers. The server is
//! asked twice: in this test's own words, and by the filter's client for engines outside.
//!
//! The first seed is printed; PORTCULLIS_SEED chooses another, PORTCULLIS_MODELS how many. What was answered is left in the
//! target folder, in the form of `tests/answers`, which `recorded.rs` replays without a server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test; it waits for another process and reads its own options"
)]

mod generator;
mod remote;
#[path = "../../../tests/src/engines/start.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the harness, which uses more of it")]
mod start;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use generator::{Asked, Case, QUESTIONS};
use portcullis_rebac::condition::{Condition, Failure};
use portcullis_rebac::engine::{Answer, Engine, Fault, Question, Unaskable};
use portcullis_rebac::model::{Facet, Rewrite, json as model_json, parser, print};
use portcullis_rebac::remote::Outcome;
use portcullis_rebac::tuples::Tuple;
use remote::{Connection, Leg};
use serde_json::{Value, json};
use start::{Kind, Server};

/// A server of our own; gone with the value.
fn server(more: &[&str]) -> Server {
    let get = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/engines/get");
    let found = Command::new(get).arg("openfga").stderr(Stdio::inherit()).output().unwrap();
    assert!(found.status.success(), "no openfga");
    let binary = String::from_utf8(found.stdout).unwrap();
    let options = [&["--request-timeout=120s", "--http-upstream-timeout=120s"], more].concat();
    Server::start(Kind::Openfga, Path::new(binary.trim()), &options)
}

/// What an answer says: yes, no, or which kind of error.
fn theirs(result: &Value) -> String {
    match (&result["allowed"], &result["error"]) {
        (Value::Bool(true), _) => "yes".into(),
        (_, Value::Object(error)) => format!(
            "error {}",
            error.get("input_error").or(error.get("internal_error")).unwrap_or(&Value::Null)
        ),
        _ => "no".into(),
    }
}

fn ours(engine: &Engine, case: &Case, at: usize) -> Result<Answer, Unaskable> {
    let asked = &case.questions[at];
    engine.check(Question {
        subject: &asked.subject,
        relation: &asked.relation,
        object: &asked.object,
        tuples: &asked.tuples,
        context: &asked.context,
        steps: 1_000_000,
        explain: false,
    })
}

fn letter(answer: &Result<Answer, Unaskable>) -> char {
    match answer {
        Ok(Answer { holds: Ok(true), .. }) => 'y',
        Ok(Answer { holds: Ok(false), .. }) => 'n',
        _ => 'e',
    }
}

/// What kind of error an answer is.
fn kind(answer: &Result<Answer, Unaskable>) -> &'static str {
    match answer {
        Err(Unaskable::Tuple(_)) => "own tuple",
        Err(Unaskable::Subject(_)) => "subject",
        Err(Unaskable::Relation(_)) => "relation",
        Err(Unaskable::Object(_)) => "object",
        Ok(Answer { holds: Err(Fault::Depth), .. }) => "depth",
        Ok(Answer { holds: Err(Fault::Steps), .. }) => "steps",
        Ok(_) => "condition",
    }
}

/// Who heard the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Voice {
    /// This test, in a BatchCheck of its own.
    Test,
    /// The filter's client, in a Check.
    Check,
    /// The filter's client, in a BatchCheck.
    Batch,
}

/// What the filter's client makes of an answer.
fn word(outcome: &Outcome) -> String {
    match outcome {
        Ok(true) => "yes".into(),
        Ok(false) => "no".into(),
        Err(fault) => format!("error {}", fault.word()),
    }
}

/// Whether the server says what the engine says. The filter's client has to take an error for one of the same kind, too.
fn same(voice: Voice, answer: &Result<Answer, Unaskable>, said: &str) -> bool {
    match letter(answer) {
        'y' => said == "yes",
        'n' => said == "no",
        _ if voice == Voice::Test => said.starts_with("error"),
        _ => match kind(answer) {
            "condition" => said == "error condition",
            "depth" | "steps" => said == "error too_long",
            "own tuple" => said == "error value",
            // A text that is no subject at all is the client's, a type or relation that is none is the configuration's.
            "subject" => matches!(said, "error value" | "error mapping"),
            _ => said == "error mapping",
        },
    }
}

/// Why an answer that is another one says nothing about the engine, if it does not.
fn excluded(case: &Case, at: usize, answer: &Result<Answer, Unaskable>, said: &str) -> Option<&'static str> {
    let letter = letter(answer);
    let unresolved = matches!(said, "error \"validation_error\"" | "error condition");
    if answer.as_ref().is_ok_and(|a| a.doubtful) && letter != 'y' && said == "yes" {
        Some("a circle in what is subtracted")
    } else if shaky(case, at) && ((letter, said) == ('e', "no") || unresolved) {
        Some("a condition without an answer, and plans that look at other tuples")
    } else if shadowed(case, at) && letter == 'y' && said == "no" {
        Some("OpenFGA passes over a tuple beside one on everybody whose condition does not hold")
    } else if confused(case) && letter == 'n' && said == "yes" {
        Some("OpenFGA grants by another relation of the same group")
    } else {
        None
    }
}

/// Whether the condition of a tuple holds for a question.
fn holds(case: &Case, at: usize, tuple: &Tuple) -> Result<bool, Failure> {
    let Some(conditioned) = &tuple.condition else { return Ok(true) };
    let condition = case.model.conditions.iter().find(|c| c.name.text == conditioned.name).unwrap();
    Condition::new(condition).unwrap().holds(&case.questions[at].context, &conditioned.context)
}

/// Whether the condition of some tuple has no answer to this question.
fn shaky(case: &Case, at: usize) -> bool {
    case.tuples.iter().chain(&case.questions[at].tuples).any(|t| {
        let known =
            case.model.conditions.iter().any(|c| t.condition.as_ref().is_some_and(|d| d.name == c.name.text));
        known && holds(case, at, t).is_err()
    })
}

/// Whether one object's relation is given to the subject and to everybody of its type, one of them under a condition that does not
/// hold. OpenFGA's plan that starts from the subject keeps one tuple of an object, and looks at its condition afterwards.
fn shadowed(case: &Case, at: usize) -> bool {
    let asked = &case.questions[at];
    let everybody = format!("{}:*", asked.subject.split(':').next().unwrap());
    let all: Vec<&Tuple> = case.tuples.iter().chain(&asked.tuples).collect();
    let mine: Vec<&&Tuple> =
        all.iter().filter(|t| *t.subject == asked.subject || *t.subject == everybody).collect();
    mine.iter().any(|a| {
        let same = |b: &&&&Tuple| a.object == b.object && a.relation == b.relation;
        mine.iter().filter(same).count() > 1 && holds(case, at, a) == Ok(false)
    })
}

/// Whether a relation can be given to those who have it on another object of its type, and to those with another relation there.
/// OpenFGA's plan for such chains looks at the objects alone: with `define owner: [group#owner, user:*, group#viewer]` it takes
/// `group:b#owner@group:a#viewer` for `group:b#owner@group:a#owner`.
fn confused(case: &Case) -> bool {
    case.model.types.iter().any(|t| {
        t.relations.iter().any(|r| {
            let mut own =
                r.restrictions.iter().filter(|s| s.subject == t.name).filter_map(|s| match &s.facet {
                    Facet::Related(name) => Some(name),
                    _ => None,
                });
            own.clone().any(|name| *name == r.name) && own.any(|name| *name != r.name)
        })
    })
}

#[derive(Default)]
struct Tally {
    letters: BTreeMap<char, u64>,
    kinds: BTreeMap<&'static str, u64>,
    voices: BTreeMap<Voice, Heard>,
    different: Vec<String>,
    long: u64,
    answers: BTreeMap<u64, String>,
}

#[derive(Debug, Default)]
struct Heard {
    asked: u64,
    errors: BTreeMap<String, u64>,
    excluded: BTreeMap<&'static str, u64>,
}

fn kinds(case: &Case) -> Vec<&'static str> {
    fn see(rewrite: &Rewrite, kinds: &mut Vec<&'static str>) {
        match rewrite {
            Rewrite::This => kinds.push("direct"),
            Rewrite::Computed(_) => kinds.push("computed"),
            Rewrite::FromTupleset { .. } => kinds.push("from"),
            Rewrite::Union(children) => {
                kinds.push("or");
                children.iter().for_each(|c| see(c, kinds));
            }
            Rewrite::Intersection(children) => {
                kinds.push("and");
                children.iter().for_each(|c| see(c, kinds));
            }
            Rewrite::Difference(both) => {
                kinds.push("but not");
                see(&both.0, kinds);
                see(&both.1, kinds);
            }
        }
    }
    let mut kinds = Vec::new();
    case.model.types.iter().flat_map(|t| &t.relations).for_each(|r| see(&r.rewrite, &mut kinds));
    if !case.model.conditions.is_empty() {
        kinds.push("conditions");
    }
    if case.questions.iter().any(|q| !q.tuples.is_empty()) {
        kinds.push("own tuples");
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn compare(client: &mut Connection, seed: u64, tally: &Mutex<Tally>) {
    let case = generator::case(seed);
    let engine = Engine::new(&case.model, &case.tuples).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    let text = print::print(&case.model, false).unwrap();
    // Text has no word for parameters of any type.
    if !text.contains(": any") {
        let back = parser::parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {}\n{text}", e[0]));
        assert_eq!(print::print(&back, false).unwrap(), text, "seed {seed}");
    }
    let (model, tuples, questions) = generator::requests(&case);
    let store = client.store();
    let path = |rest: &str| format!("/stores/{store}/{rest}");
    let (status, answer) = client.send("POST", &path("authorization-models"), Some(&model));
    if status != 201 {
        // The server looks for entries with a memory that siblings share, so that it finds fewer than there are; OpenFGA's own
        // validators take these models.
        let message = answer["message"].as_str().unwrap_or_default();
        let of_entries = ["no entrypoints defined", "potential loop"].iter().any(|m| message.ends_with(m));
        assert!(of_entries, "seed {seed}: {status} {answer}\n{text}");
        tally.lock().unwrap().answers.insert(seed, "refused".to_owned());
        return;
    }
    let leg = Leg::new(&store, answer["authorization_model_id"].as_str().unwrap(), None);
    if !tuples.is_empty() {
        client.done(&path("write"), &json!({"writes": {"tuple_keys": tuples}}));
    }
    let answers: Vec<_> = (0..QUESTIONS).map(|at| ours(&engine, &case, at)).collect();
    // Where every way leads to every other the server would take minutes.
    let short = |at: usize| answers[at].as_ref().map_or(0, |a| a.steps) <= LONG;
    let mut asked = questions.clone();
    let mut at = 0;
    asked["checks"].as_array_mut().unwrap().retain(|_| {
        at += 1;
        short(at - 1)
    });
    let results = if at > 0 { client.done(&path("batch-check"), &asked) } else { json!({}) };
    let asked: Vec<&Asked> = (0..QUESTIONS).filter(|at| short(*at)).map(|at| &case.questions[at]).collect();
    // The filter's client asks the same: about some models all at once, about most one after the other.
    let (voice, heard) = match seed % BATCHED {
        0 if asked.len() > 1 => (Voice::Batch, leg.ask(client, &asked)),
        _ => (Voice::Check, asked.iter().flat_map(|one| leg.ask(client, &[one])).collect()),
    };
    assert_eq!(heard.len(), asked.len());
    let mut heard = heard.iter().map(word);
    let mut letters = String::new();
    for (at, answer) in answers.iter().enumerate() {
        if !short(at) {
            letters.push('-');
            tally.lock().unwrap().long += 1;
            continue;
        }
        let question = &case.questions[at];
        let result = &results["result"][at.to_string()];
        let letter = letter(answer);
        *tally.lock().unwrap().letters.entry(letter).or_default() += 1;
        letters.push(match theirs(result).as_str() {
            "yes" => 'y',
            "no" => 'n',
            _ => 'e',
        });
        let voices = [(Voice::Test, theirs(result)), (voice, heard.next().unwrap())];
        for (voice, said) in voices {
            let mut locked = tally.lock().unwrap();
            let heard = locked.voices.entry(voice).or_default();
            heard.asked += 1;
            if letter == 'e' {
                *heard.errors.entry(format!("{}: {said}", kind(answer))).or_default() += 1;
            }
            if same(voice, answer, &said) {
                continue;
            }
            drop(locked);
            let mut again = || match voice {
                Voice::Test => {
                    let one = json!({"checks": [questions["checks"][at]]});
                    theirs(&client.done(&path("batch-check"), &one)["result"][at.to_string()])
                }
                Voice::Check => word(&leg.ask(client, &[question])[0]),
                Voice::Batch => word(&leg.ask(client, &[question, question])[0]),
            };
            // The server plans by how long earlier answers took: it may say something else the next time.
            let others: Vec<String> = (0..20).map(|_| again()).collect();
            let why = if others.iter().any(|other| same(voice, answer, other)) {
                Some("OpenFGA says now this and now that")
            } else {
                excluded(&case, at, answer, &said)
            };
            let mut locked = tally.lock().unwrap();
            match why {
                Some(why) => {
                    *locked.voices.entry(voice).or_default().excluded.entry(why).or_default() += 1;
                    if voice == Voice::Test {
                        letters.pop();
                        letters.push('-');
                    }
                }
                None => locked.different.push(format!(
                    "seed {seed}, question {at}: {}#{}@{} with {:?} and {:?}: we say {answer:?}, OpenFGA {said} ({voice:?})\n{text}\n{}",
                    question.object,
                    question.relation,
                    question.subject,
                    question.tuples,
                    question.context,
                    case.tuples.iter().map(|t| format!("{t:?}\n")).collect::<String>(),
                )),
            }
        }
    }
    let mut tally = tally.lock().unwrap();
    for kind in kinds(&case) {
        *tally.kinds.entry(kind).or_default() += 1;
    }
    tally.answers.insert(seed, letters);
}

fn option(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The most steps of a question that the server is asked.
const LONG: u32 = 2000;

/// Of so many models the filter's client asks about one by BatchCheck, and about the others by Check.
const BATCHED: u64 = 4;

/// So many that at least 2,000 of them are models to the server too.
const MODELS: u64 = 3000;

#[test]
fn the_engine_answers_as_openfga_does() {
    let (first, models) = (option("PORTCULLIS_SEED", 1), option("PORTCULLIS_MODELS", MODELS));
    println!("seeds {first} to {}", first + models - 1);
    let server = server(&[]);
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Connection::new(server.http);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + models {
                        break;
                    }
                    compare(&mut client, seed, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    let all: u64 = tally.letters.values().sum();
    let asked = all / QUESTIONS as u64;
    println!("{all} questions about {asked} models: {:?}", tally.letters);
    println!("models that the server refuses for want of an entry: {}", models - asked);
    println!("models with: {:?}", tally.kinds);
    println!("{:#?}", tally.voices);
    println!("not asked, for they take too long: {}", tally.long);
    println!("different: {}", tally.different.len());
    let lines: String = tally.answers.iter().map(|(seed, letters)| format!("{seed} {letters}\n")).collect();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("answers");
    std::fs::write(&place, lines).unwrap();
    for one in tally.different.iter().take(5) {
        println!("{one}");
    }
    assert!(tally.different.is_empty(), "{} differences", tally.different.len());
    assert!(models != MODELS || asked >= 2000, "{asked} models");
    let excluded_by = |voice| -> u64 { tally.voices.get(&voice).map_or(0, |h| h.excluded.values().sum()) };
    for excluded in [excluded_by(Voice::Test), excluded_by(Voice::Check) + excluded_by(Voice::Batch)] {
        assert!((excluded + tally.long) * 500 < all, "{excluded} of {all} excluded");
    }
    let asked_by = |voice| tally.voices.get(&voice).map_or(0, |heard| heard.asked);
    assert_eq!((asked_by(Voice::Test), asked_by(Voice::Check) + asked_by(Voice::Batch)), (all, all));
    let by_check = asked_by(Voice::Check) / QUESTIONS as u64;
    assert!(models != MODELS || (by_check >= 2000 && asked_by(Voice::Batch) * 5 > all), "{by_check} models");
    let share = |letter| tally.letters.get(&letter).copied().unwrap_or(0) * 100 / all;
    assert!(share('y') >= 20 && share('n') >= 20 && share('e') >= 5, "{:?}", tally.letters);
    assert!(tally.kinds.len() == 8 && tally.kinds.values().all(|n| n * 10 >= asked), "{:?}", tally.kinds);
}

/// Errors that generated questions do not lead to: those of the configuration, and a way that is too long.
#[test]
fn the_filters_client_tells_the_servers_errors_apart() {
    const KEY: &str = "a-key-of-the-tests";
    let server = server(&["--authn-method=preshared", &format!("--authn-preshared-keys={KEY}")]);
    let client = &mut Connection::new(server.http);
    client.token = Some(KEY);
    let text = "model\n  schema 1.1\ntype user\ntype group\n  relations\n    define banned: [user]\n    define member: [user, group#member] but not banned\n";
    let store = client.store();
    let model = model_json::print(&parser::parse(text).unwrap());
    let model = client.done(&format!("/stores/{store}/authorization-models"), &model);
    let model = model["authorization_model_id"].as_str().unwrap();
    let link = |n: u32| json!({"user": format!("group:{}#member", n + 1), "relation": "member", "object": format!("group:{n}")});
    let links: Vec<Value> = (0..30).map(link).collect();
    client.done(&format!("/stores/{store}/write"), &json!({"writes": {"tuple_keys": links}}));
    let asked = |object: &str| Asked {
        subject: "user:ann".into(),
        relation: "member".into(),
        object: object.into(),
        tuples: Vec::new(),
        context: serde_json::Map::new(),
    };
    let (near, far) = (asked("group:30"), asked("group:0"));
    let other = "01JD0000000000000000STARE0";
    for (store, model, token, question, want) in [
        (&*store, model, Some(KEY), &near, "no"),
        (&store, model, Some(KEY), &far, "error too_long"),
        (&store, model, Some("another"), &near, "error credentials"),
        (&store, model, None, &near, "error credentials"),
        (&store, other, Some(KEY), &near, "error model"),
        (other, model, Some(KEY), &near, "error model"),
    ] {
        let leg = Leg::new(store, model, token);
        for questions in [&[question][..], &[question, &near]] {
            let said = word(&leg.ask(client, questions)[0]);
            assert_eq!(said, want, "{store} {model} {token:?}, {} questions", questions.len());
        }
    }
}
