//! What SpiceDB is told and what it answers, against another implementation of protobuf: it reads what the filter writes, the filter
//! reads what it writes, and of bytes that are neither's the filter never makes a yes that the other one does not see.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a failing test is the point"
)]

mod peer;

use std::time::Duration;

use peer::{quoted, reads_as, written};
use portcullis_common::clock::{Mono, Now, Wall};
use portcullis_common::filter::{Answer, Callout, Event, GrpcTarget, RootStep};
use portcullis_common::memory::{MemoryHost, SharedData};
use portcullis_rebac::policy::remote::{Bearer, Place, Spicedb};
use portcullis_rebac::question::Question;
use portcullis_rebac::remote::Outcome;
use portcullis_rebac::remote::epoch::{Epoch, Floor};
use portcullis_rebac::remote::fault::{Fault, Why, of_grpc};
use portcullis_rebac::remote::spicedb::{Consistency, call, read};
use portcullis_rebac::watch::{Report, Rules, Source, Watch};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value};

fn spicedb() -> Spicedb {
    let place = Place { cluster: "engine".into(), authority: "engine.test".into() };
    let grpc = GrpcTarget::new("engine", "engine.test");
    Spicedb { place, grpc, bearer: Bearer::new(b"key").unwrap(), always_fresh: false }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300_f64..1e300).prop_map(Value::from),
        ".{0,200}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{0,10}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn question() -> impl Strategy<Value = Question> {
    let name = "[a-z][a-z0-9_]{1,63}";
    let context = prop::collection::btree_map(".{0,10}", json(), 0..4);
    let ids = "[a-zA-Z0-9/_|=+-]{1,300}";
    (name, ids, prop::option::of(name), name, name, ids, context).prop_map(
        |(kind, id, related, relation, other, its, context)| Question {
            subject: match related {
                Some(related) => format!("{kind}:{id}#{related}"),
                None => format!("{kind}:{id}"),
            },
            relation: relation.into(),
            object: format!("{other}:{its}"),
            tuples: Vec::new(),
            context: context.into_iter().collect::<Map<_, _>>(),
        },
    )
}

fn consistency() -> impl Strategy<Value = Consistency> {
    prop_oneof![
        Just(Consistency::MinimizeLatency),
        "[!-~]{1,300}".prop_map(|token| Consistency::AtLeast(token.into())),
        Just(Consistency::Full),
    ]
}

/// A question in the text format.
fn item(question: &Question) -> String {
    let reference = |text: &str| {
        let (kind, id) = text.split_once(':').unwrap();
        format!("object_type: {} object_id: {}", quoted(kind), quoted(id))
    };
    let (subject, related) = match question.subject.split_once('#') {
        Some((subject, related)) => (subject, format!("optional_relation: {}", quoted(related))),
        None => (&*question.subject, String::new()),
    };
    let context = match peer::structure(&question.context) {
        none if question.context.is_empty() => none,
        some => format!("context {{ {some} }}"),
    };
    format!(
        "resource {{ {} }} permission: {} subject {{ object {{ {} }} {related} }} {context}",
        reference(&question.object),
        quoted(&question.relation),
        reference(subject)
    )
}

fn wanted(consistency: &Consistency) -> String {
    match consistency {
        Consistency::MinimizeLatency => "consistency { minimize_latency: true }".to_owned(),
        Consistency::AtLeast(token) => {
            format!("consistency {{ at_least_as_fresh {{ token: {} }} }}", quoted(token))
        }
        Consistency::Full => "consistency { fully_consistent: true }".to_owned(),
    }
}

/// What an engine may decide: its number, the values that it lacks, and what that means.
fn decision() -> impl Strategy<Value = (i32, Vec<String>)> {
    (0..5, prop::collection::vec("[a-z_]{1,20}", 0..3))
}

fn decided((permissionship, missing): &(i32, Vec<String>)) -> String {
    let missing: String =
        missing.iter().map(|name| format!("missing_required_context: {} ", quoted(name))).collect();
    let info = if missing.is_empty() { missing } else { format!("partial_caveat_info {{ {missing} }}") };
    format!("permissionship: {permissionship} {info}")
}

fn outcome((permissionship, missing): &(i32, Vec<String>)) -> Option<Outcome> {
    match permissionship {
        1 => Some(Ok(false)),
        2 => Some(Ok(true)),
        3 => Some(Err(Fault::Condition(missing.join(" ").into()))),
        _ => None,
    }
}

fn answered(message: Vec<u8>, questions: &[&Question]) -> Vec<Outcome> {
    read(&Answer::Grpc { status: 0, message }, questions, false)
}

const GARBLED: Outcome = Err(Fault::Unavailable(Why::Garbled));

/// A watch that is open: its tag, and what it sends first.
struct Open {
    host: MemoryHost,
    watch: Watch,
    epoch: Epoch,
    tag: u64,
}

fn now() -> Now {
    Now::at(Wall(1_700_000_000_000_000_000), Mono(1_000_000_000))
}

impl Open {
    fn new(shared: &SharedData) -> (Open, Vec<u8>) {
        let host = MemoryHost::sharing(shared);
        let source = Source::Spicedb { target: GrpcTarget::new("c", "").unwrap(), authorization: "k".into() };
        let rules = Rules { source, grace: Duration::from_secs(2), lie: Duration::from_secs(10) };
        let (mut watch, mut epoch) = (Watch::new(&host, &["rebac"], rules), Epoch::default());
        let (steps, _) = watch.tick(&now(), &host, Ok(None), &mut epoch);
        let [RootStep::OpenStream { tag, .. }] = steps[..] else { panic!("{steps:?}") };
        let mut open = Open { host, watch, epoch, tag };
        let (steps, _) = open.event(Event::Opened { tag });
        let [RootStep::Send { message, end: true, .. }] = &steps[..] else { panic!("{steps:?}") };
        let message = message.clone();
        (open, message)
    }

    fn event(&mut self, event: Event) -> (Vec<RootStep>, Report) {
        self.watch.event(&event, &now(), &self.host, &mut self.epoch).unwrap()
    }

    fn hears(&mut self, message: Vec<u8>) -> Report {
        let tag = self.tag;
        self.event(Event::Message { tag, message }).1
    }
}

/// A message with some bytes changed, put in, or gone.
fn broken(mut message: Vec<u8>, edits: &[(Index, u8, u8)]) -> Vec<u8> {
    for (at, byte, kind) in edits {
        let at = at.index(message.len() + 1);
        match kind % 3 {
            0 => message.insert(at, *byte),
            1 => message.truncate(at),
            _ => message.get_mut(at).into_iter().for_each(|old| *old = *byte),
        }
    }
    message
}

proptest! {
    #[test]
    fn the_peer_reads_what_we_ask(questions in prop::collection::vec(question(), 1..5), consistency in consistency()) {
        let asked: Vec<&Question> = questions.iter().collect();
        let callout = call(&spicedb(), &asked, &consistency, &[], Duration::from_secs(1));
        let Callout::Grpc { method, message, .. } = callout else { panic!() };
        let (name, items) = match &asked[..] {
            [one] => ("CheckPermissionRequest", item(one)),
            several => {
                let items: String = several.iter().map(|one| format!("items {{ {} }} ", item(one))).collect();
                ("CheckBulkPermissionsRequest", items)
            }
        };
        prop_assert_eq!(format!("{method}Request"), name);
        prop_assert_eq!(reads_as(name, &message, &format!("{} {items}", wanted(&consistency))), Ok(()));
    }

    #[test]
    fn we_read_what_the_peer_answers(question in question(), decision in decision(), more in any::<bool>()) {
        let mut message = written("CheckPermissionResponse", &decided(&decision));
        if more {
            // checked_at { token: "t" }, debug_trace (three bytes), optional_expires_at { seconds: 1 }
            message.extend(b"\x0a\x03\x0a\x01t\x22\x03abc\x2a\x02\x08\x01");
        }
        let want = outcome(&decision).unwrap_or(GARBLED);
        prop_assert_eq!(answered(message, &[&question]), [want]);
    }

    #[test]
    fn we_read_what_the_peer_answers_to_many(
        pairs in prop::collection::vec((question(), decision(), prop::option::of(1_i32..17)), 2..6),
        swapped in any::<(Index, Index)>(),
    ) {
        let answer = |order: &[usize]| {
            let pair = |(at, of): (usize, &usize)| {
                let (_, decision, error) = &pairs[at];
                let said = match error {
                    Some(code) => format!("error {{ code: {code} message: \"no\" }}"),
                    None => format!("item {{ {} }}", decided(decision)),
                };
                format!("pairs {{ request {{ {} }} {said} }} ", item(&pairs[*of].0))
            };
            let pairs: String = order.iter().enumerate().map(pair).collect();
            written("CheckBulkPermissionsResponse", &format!("checked_at {{ token: \"t\" }} {pairs}"))
        };
        let asked: Vec<&Question> = pairs.iter().map(|(question, ..)| question).collect();
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        let want = pairs.iter().map(|(_, decision, error)| match error {
            Some(code) => Some(Err(of_grpc(u64::try_from(*code).unwrap(), b"", false))),
            None => outcome(decision),
        });
        let want = want.collect::<Option<Vec<_>>>().unwrap_or_else(|| vec![GARBLED; pairs.len()]);
        prop_assert_eq!(answered(answer(&order), &asked), want);
        // Answers to other questions are none to these.
        let (a, b) = (swapped.0.index(order.len()), swapped.1.index(order.len()));
        order.swap(a, b);
        let (one, other) = (asked[a], asked[b]);
        if (&one.subject, &one.relation, &one.object) != (&other.subject, &other.relation, &other.object) {
            prop_assert_eq!(answered(answer(&order), &asked), vec![GARBLED; asked.len()]);
        }
    }

    #[test]
    fn a_broken_answer_is_no_yes_that_the_peer_does_not_see(
        question in question(),
        decision in decision(),
        edits in prop::collection::vec(any::<(Index, u8, u8)>(), 0..4),
    ) {
        let message = broken(written("CheckPermissionResponse", &decided(&decision)), &edits);
        if answered(message.clone(), &[&question]) == [Ok(true)] {
            let read = peer::read("CheckPermissionResponse", &message);
            prop_assert!(read.is_some_and(|read| read.to_string().contains("permissionship: 2")), "{:?}", message);
        }
    }

    #[test]
    fn a_broken_change_is_none_that_only_the_peer_sees(
        updates in 0_usize..3,
        schema in any::<bool>(),
        edits in prop::collection::vec(any::<(Index, u8, u8)>(), 0..4),
    ) {
        let schema = if schema { "schema_updated: true" } else { "" };
        let text = format!("{} changes_through {{ token: \"t\" }} {schema}", "updates { operation: 3 } ".repeat(updates));
        let message = broken(written("WatchResponse", &text), &edits);
        let (mut open, _) = Open::new(&SharedData::default());
        open.hears(written("WatchResponse", "changes_through { token: \"begin\" } is_checkpoint: true"));
        let report = open.hears(message.clone());
        if !report.changed && report.broke.is_none() {
            let read = peer::read("WatchResponse", &message).map(|read| read.to_string()).unwrap_or_default();
            prop_assert!(!read.contains("updates {") && !read.contains("schema_updated: true"), "{:?} {}", message, read);
        }
    }

    #[test]
    fn no_bytes_are_too_much(message in prop::collection::vec(any::<u8>(), 0..300), questions in prop::collection::vec(question(), 1..3)) {
        let asked: Vec<&Question> = questions.iter().collect();
        prop_assert_eq!(answered(message.clone(), &asked).len(), asked.len());
        Open::new(&SharedData::default()).0.hears(message);
    }

    #[test]
    fn the_peer_reads_where_we_watch_from_and_we_read_what_changed(
        token in "[!-~]{1,300}", question in question(), updates in 0_usize..4, schema in any::<bool>(), checkpoint in any::<bool>(),
    ) {
        let shared = SharedData::default();
        let (mut open, first) = Open::new(&shared);
        let kinds = "optional_update_kinds: 1 optional_update_kinds: 2 optional_update_kinds: 3";
        let read = |message: &[u8]| peer::read("WatchRequest", message).map(|read| read.to_string());
        prop_assert_eq!(read(&first), Some(peer::made("WatchRequest", kinds).to_string()));
        // The first that is heard counts as a change, whatever it says.
        let begin = written("WatchResponse", "changes_through { token: \"begin\" } is_checkpoint: true");
        prop_assert!(open.hears(begin).lives);
        let epoch = open.epoch.number();
        let update = format!("updates {{ operation: 3 relationship {{ {} }} }} ", item(&Question { context: Map::new(), ..question })
            .replace("permission:", "relation:"));
        let mut text = format!("{} changes_through {{ token: {} }}", update.repeat(updates), quoted(&token));
        if schema {
            text.push_str(" schema_updated: true");
        }
        if checkpoint {
            text.push_str(" is_checkpoint: true");
        }
        let report = open.hears(written("WatchResponse", &text));
        prop_assert_eq!(report.broke, None);
        let changes = updates > 0 || schema;
        prop_assert_eq!(report.changed, changes);
        prop_assert_eq!(open.epoch.number() > epoch, changes);
        if changes {
            prop_assert_eq!(open.epoch.floor(Mono(1_000_000_000)), Floor::Token(token.as_str().into()));
        }
        // It goes on from there.
        let (tag, later) = (open.tag, Now::at(Wall(1_700_000_060_000_000_000), Mono(61_000_000_000)));
        open.event(Event::Closed { tag, status: 14 });
        let (steps, _) = open.watch.tick(&later, &open.host, Ok(None), &mut open.epoch);
        let [RootStep::OpenStream { tag, .. }] = steps[..] else { panic!("{steps:?}") };
        let (steps, _) = open.event(Event::Opened { tag });
        let [RootStep::Send { message, .. }] = &steps[..] else { panic!("{steps:?}") };
        let text = format!("optional_start_cursor {{ token: {} }} {kinds}", quoted(&token));
        prop_assert_eq!(read(message), Some(peer::made("WatchRequest", &text).to_string()));
    }

    #[test]
    fn the_peer_reads_where_envoy_is_to_call(cluster in "[ -~]{1,60}", authority in "[ -~]{0,60}") {
        let target = GrpcTarget::new(&cluster, &authority);
        prop_assert_eq!(target.is_some(), cluster.len() + authority.len() <= GrpcTarget::MAX);
        let Some(target) = target else { return Ok(()) };
        let authority = if authority.is_empty() { authority } else { format!("authority: {}", quoted(&authority)) };
        let bound = "max_receive_message_length { value: 2080834 }";
        let text = format!("envoy_grpc {{ cluster_name: {} {authority} {bound} }}", quoted(&cluster));
        prop_assert_eq!(reads_as("GrpcService", target.as_str().as_bytes(), &text), Ok(()));
    }
}
