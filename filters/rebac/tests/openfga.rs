//! The engine against a real OpenFGA server: generated models, the same tuples, the same questions, the same answers.
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
#[path = "../../../tests/src/engines/start.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the harness, which uses more of it")]
mod start;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use generator::{Case, QUESTIONS};
use portcullis_rebac::condition::{Condition, Failure};
use portcullis_rebac::engine::{Answer, Engine, Fault, Question, Unaskable};
use portcullis_rebac::model::{Facet, Rewrite, parser, print};
use portcullis_rebac::tuples::Tuple;
use serde_json::{Value, json};
use start::{Kind, Server};

/// A server of our own; gone with the value.
fn server() -> Server {
    let get = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/engines/get");
    let found = Command::new(get).arg("openfga").stderr(Stdio::inherit()).output().unwrap();
    assert!(found.status.success(), "no openfga");
    let binary = String::from_utf8(found.stdout).unwrap();
    let patient = ["--request-timeout=120s", "--http-upstream-timeout=120s"];
    Server::start(Kind::Openfga, Path::new(binary.trim()), &patient)
}

/// One connection that is used again and again.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn new(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { reader: BufReader::new(stream) }
    }

    fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: openfga\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.reader.get_mut().write_all((head + &body).as_bytes()).unwrap();
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let status =
            line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            chunked |= header == "transfer-encoding: chunked";
        }
        let mut body = Vec::new();
        while chunked {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let start = body.len();
            body.resize(start + size + 2, 0);
            self.reader.read_exact(&mut body[start..]).unwrap();
            body.truncate(start + size);
            chunked = size > 0;
        }
        if length > 0 {
            body.resize(length, 0);
            self.reader.read_exact(&mut body).unwrap();
        }
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    fn done(&mut self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send("POST", path, Some(body));
        assert!((200..300).contains(&status), "{path}: {status} {answer}\n{body}");
        answer
    }
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
    errors: BTreeMap<String, u64>,
    different: Vec<String>,
    long: u64,
    excluded: BTreeMap<&'static str, u64>,
    answers: BTreeMap<u64, String>,
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

fn compare(client: &mut Client, seed: u64, tally: &Mutex<Tally>) {
    let case = generator::case(seed);
    let engine = Engine::new(&case.model, &case.tuples).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    let text = print::print(&case.model, false).unwrap();
    // Text has no word for parameters of any type.
    if !text.contains(": any") {
        let back = parser::parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {}\n{text}", e[0]));
        assert_eq!(print::print(&back, false).unwrap(), text, "seed {seed}");
    }
    let (model, tuples, questions) = generator::requests(&case);
    let store = client.done("/stores", &json!({"name": "portcullis"}))["id"].as_str().unwrap().to_owned();
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
    let mut letters = String::new();
    for (at, answer) in answers.iter().enumerate() {
        if !short(at) {
            letters.push('-');
            tally.lock().unwrap().long += 1;
            continue;
        }
        let result = &results["result"][at.to_string()];
        let letter = letter(answer);
        let said = theirs(result);
        letters.push(match said.as_str() {
            "yes" => 'y',
            "no" => 'n',
            _ => 'e',
        });
        let same = |said: &str| match letter {
            'y' => said == "yes",
            'n' => said == "no",
            _ => said.starts_with("error"),
        };
        let mut locked = tally.lock().unwrap();
        *locked.letters.entry(letter).or_default() += 1;
        if letter == 'e' {
            let kind = match answer {
                Err(Unaskable::Tuple(_)) => "own tuple",
                Err(_) => "unaskable",
                Ok(Answer { holds: Err(Fault::Depth), .. }) => "depth",
                Ok(Answer { holds: Err(Fault::Steps), .. }) => "steps",
                Ok(_) => "condition",
            };
            *locked.errors.entry(format!("{kind}: {said}")).or_default() += 1;
        }
        if same(&said) {
            continue;
        }
        drop(locked);
        // The server plans by how long earlier answers took: it may say something else the next time.
        let mut others = vec![];
        for _ in 0..20 {
            let one = json!({"checks": [questions["checks"][at]]});
            let again = client.done(&path("batch-check"), &one);
            others.push(theirs(&again["result"][at.to_string()]));
        }
        let asked = &case.questions[at];
        let why = if others.iter().any(|other| same(other)) {
            "OpenFGA says now this and now that"
        } else if answer.as_ref().is_ok_and(|a| a.doubtful) && letter != 'y' && said == "yes" {
            "a circle in what is subtracted"
        } else if shaky(&case, at)
            && matches!((letter, said.as_str()), ('e', "no") | (_, "error \"validation_error\""))
        {
            "a condition without an answer, and plans that look at other tuples"
        } else if shadowed(&case, at) && letter == 'y' && said == "no" {
            "OpenFGA passes over a tuple beside one on everybody whose condition does not hold"
        } else if confused(&case) && letter == 'n' && said == "yes" {
            "OpenFGA grants by another relation of the same group"
        } else {
            tally.lock().unwrap().different.push(format!(
                "seed {seed}, question {at}: {}#{}@{} with {:?} and {:?}: we say {answer:?}, OpenFGA {result}\n{text}\n{}",
                asked.object,
                asked.relation,
                asked.subject,
                asked.tuples,
                asked.context,
                case.tuples.iter().map(|t| format!("{t:?}\n")).collect::<String>(),
            ));
            continue;
        };
        letters.pop();
        letters.push('-');
        *tally.lock().unwrap().excluded.entry(why).or_default() += 1;
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

/// So many that at least 2,000 of them are models to the server too.
const MODELS: u64 = 3000;

#[test]
fn the_engine_answers_as_openfga_does() {
    let (first, models) = (option("PORTCULLIS_SEED", 1), option("PORTCULLIS_MODELS", MODELS));
    println!("seeds {first} to {}", first + models - 1);
    let server = server();
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::new(server.http);
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
    println!("errors: {:#?}", tally.errors);
    println!("not asked, for they take too long: {}", tally.long);
    println!("excluded: {:#?}", tally.excluded);
    println!("different: {}", tally.different.len());
    let lines: String = tally.answers.iter().map(|(seed, letters)| format!("{seed} {letters}\n")).collect();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("answers");
    std::fs::write(&place, lines).unwrap();
    for one in tally.different.iter().take(5) {
        println!("{one}");
    }
    assert!(tally.different.is_empty(), "{} differences", tally.different.len());
    assert!(models != MODELS || asked >= 2000, "{asked} models");
    let excluded: u64 = tally.excluded.values().sum();
    assert!((excluded + tally.long) * 500 < all, "{excluded} of {all} excluded");
    let share = |letter| tally.letters.get(&letter).copied().unwrap_or(0) * 100 / all;
    assert!(share('y') >= 20 && share('n') >= 20 && share('e') >= 5, "{:?}", tally.letters);
    assert!(tally.kinds.len() == 8 && tally.kinds.values().all(|n| n * 10 >= asked), "{:?}", tally.kinds);
}
