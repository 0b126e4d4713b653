//! Several VMs over one shared data, and a server that is whatever a test makes of it.

use super::*;
use crate::filter::{Answer, Callout};
use crate::memory::{MemoryHost, SharedData};
use std::collections::BTreeSet;
use times::Times;

const SECOND: u64 = 1_000_000_000;

/// The second user of snapshots beside key sets: plain text, one line each.
#[derive(Debug, Default)]
struct Lines(Vec<String>);

impl Reader for Lines {
    fn accept(&mut self, content: &[u8]) -> Result<(), Unfit> {
        let text = std::str::from_utf8(content).map_err(|_| Unfit("no text"))?;
        if text.is_empty() {
            return Err(Unfit("empty"));
        }
        self.0 = text.lines().map(str::to_owned).collect();
        Ok(())
    }

    fn follow(&mut self, _: u8, body: &[u8]) -> Result<Option<Target>, Unfit> {
        let Some(url) = body.strip_prefix(b"see ") else { return Ok(None) };
        let url = std::str::from_utf8(url).ok().and_then(Url::parse).ok_or(Unfit("no URL"))?;
        Ok(Some(Target { url, cluster: "c".into() }))
    }
}

use target::Url;

fn spec() -> Spec {
    Spec {
        target: Target { url: Url::parse("http://a/x").unwrap(), cluster: "c".into() },
        times: Times {
            min_fresh: Duration::from_secs(10),
            max_fresh: Duration::from_secs(1000),
            default_fresh: Duration::from_secs(100),
            stale: Duration::from_secs(300),
            timeout: Duration::from_secs(5),
            interval: Duration::from_secs(10),
        },
        max_bytes: 300_000,
    }
}

/// One worker.
struct Vm {
    host: MemoryHost,
    snapshot: Snapshot,
    lines: Lines,
    call: Option<u32>,
    /// What the server was last told of what is known.
    told: Option<String>,
}

impl Vm {
    fn new(shared: &SharedData, dice: u8) -> Vm {
        Vm::named(shared, dice, &["p", "lines"])
    }

    fn named(shared: &SharedData, dice: u8, name: &[&str]) -> Vm {
        let host = MemoryHost::sharing(shared);
        host.roll(dice);
        let snapshot = Snapshot::new(&host, name, spec());
        Vm { host, snapshot, lines: Lines::default(), call: None, told: None }
    }

    fn tick(&mut self, seconds: u64) -> Progress {
        let mut progress = self.snapshot.tick(Mono(seconds * SECOND), &self.host, &mut self.lines);
        if let Some((number, callout)) = progress.call.take() {
            self.call = Some(number);
            self.told = told(&callout);
        }
        progress
    }

    fn calls(&mut self, seconds: u64) -> bool {
        self.tick(seconds);
        self.call.is_some()
    }

    fn answered(&mut self, seconds: u64, answer: Answer) -> Progress {
        let number = self.call.take().expect("a call");
        self.snapshot.answered(number, answer, Mono(seconds * SECOND), &self.host, &mut self.lines)
    }

    fn gets(&mut self, seconds: u64, text: &str) -> Progress {
        self.answered(seconds, ok(text))
    }

    fn text(&self) -> &str {
        self.lines.0.first().map_or("", String::as_str)
    }
}

fn told(callout: &Callout) -> Option<String> {
    let Callout::Http { headers, .. } = callout else { panic!("HTTP") };
    headers.iter().find(|(name, _)| name == "if-none-match").map(|(_, value)| value.clone())
}

fn with(status: u16, headers: &[(&str, &str)], text: &str) -> Answer {
    let response = headers.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
    Answer::Http { status, response, body: text.into() }
}

fn ok(text: &str) -> Answer {
    Answer::Http { status: 200, response: Vec::new(), body: text.into() }
}

fn status(status: u16) -> Answer {
    Answer::Http { status, response: Vec::new(), body: b"<html>".to_vec() }
}

fn two() -> (SharedData, Vm, Vm) {
    let shared = SharedData::default();
    let (a, b) = (Vm::new(&shared, 1), Vm::new(&shared, 2));
    (shared, a, b)
}

#[test]
fn one_fetches_and_all_read() {
    let (_, mut a, mut b) = two();
    assert!(a.calls(1) && !b.calls(1));
    assert!(!a.snapshot.is_usable() && !b.snapshot.is_usable());
    assert_eq!(a.gets(2, "one").fetched, Some(Fetched::New));
    let progress = b.tick(2);
    assert!(progress.adopted && progress.moved && b.call.is_none());
    assert_eq!((a.text(), b.text()), ("one", "one"));
    assert!(a.snapshot.is_usable() && b.snapshot.is_usable());
    // A VM that comes later, after a trap or a new configuration, has it at once.
    let mut late = Vm::new(&b.host.shared, 3);
    assert!(late.snapshot.look(Mono(3 * SECOND), &late.host, &mut late.lines).adopted);
    assert_eq!(late.text(), "one");
}

#[test]
fn the_times_of_the_configuration_in_force_hold_for_what_an_earlier_one_fetched() {
    let (shared, mut before, _) = two();
    assert!(before.calls(1));
    before.gets(1, "one");
    let mut after = Vm::new(&shared, 0);
    let times = Times { max_fresh: Duration::from_secs(20), stale: Duration::from_secs(5), ..spec().times };
    after.snapshot = Snapshot::new(&after.host, &["p", "lines"], Spec { times, ..spec() });
    assert!(!after.calls(16) && after.snapshot.is_usable());
    assert!(after.calls(21) && after.snapshot.is_usable(), "fetched at 1, fresh for 20");
    after.answered(22, status(500));
    after.tick(27);
    assert!(!after.snapshot.is_usable(), "and stale for 5 more");
    assert!(!before.calls(27) && before.snapshot.is_usable());
}

#[test]
fn each_configuration_makes_its_own_times_of_what_the_server_said() {
    let (shared, mut long, _) = two();
    let mut short = Vm::new(&shared, 0);
    let times = Times {
        min_fresh: Duration::from_secs(5),
        stale: Duration::ZERO,
        max_fresh: Duration::from_secs(20),
        ..spec().times
    };
    short.snapshot = Snapshot::new(&short.host, &["p", "lines"], Spec { times, ..spec() });
    // The one with the shorter times fetched; the other one's window is as long as its own.
    assert!(short.calls(1));
    short.answered(1, with(200, &[("cache-control", "max-age=60")], "one"));
    long.tick(2);
    short.tick(22);
    assert!(!short.snapshot.is_usable() && short.call.take().is_some());
    long.tick(300);
    assert!(long.snapshot.is_usable(), "fresh for 60, and stale for 300 more");
    long.tick(361);
    assert!(!long.snapshot.is_usable());
}

#[test]
fn a_fetch_of_another_vm_is_seen_while_it_is_under_way() {
    let (_, mut a, mut b) = two();
    a.tick(1);
    a.gets(1, "one");
    assert!(!b.snapshot.is_under_way(Mono(SECOND)));
    b.tick(2);
    a.snapshot.want(Mono(2 * SECOND));
    assert!(a.calls(2));
    b.snapshot.look(Mono(3 * SECOND), &b.host, &mut b.lines);
    assert!(b.snapshot.is_under_way(Mono(3 * SECOND)));
    assert!(!b.snapshot.is_under_way(Mono(9 * SECOND)), "who took longer than it may is gone");
    a.gets(4, "two");
    b.snapshot.look(Mono(4 * SECOND), &b.host, &mut b.lines);
    assert!(!b.snapshot.is_under_way(Mono(4 * SECOND)));
}

#[test]
fn what_a_request_finds_first_wakes_those_who_wait() {
    let (_, mut a, mut b) = two();
    assert!(a.calls(1));
    b.tick(1);
    a.gets(2, "one");
    assert!(b.snapshot.look(Mono(2 * SECOND), &b.host, &mut b.lines).adopted);
    let progress = b.tick(2);
    assert!(progress.moved && !progress.adopted);
    assert!(!b.tick(2).moved, "once");
}

#[test]
fn what_differs_in_name_shares_nothing() {
    let shared = SharedData::default();
    let mut a = Vm::named(&shared, 1, &["p", "ab", "c"]);
    let mut b = Vm::named(&shared, 2, &["p", "a", "bc"]);
    assert!(a.calls(1) && b.calls(1));
    a.gets(1, "a");
    assert!(!b.tick(1).adopted);
}

#[test]
fn it_is_refreshed_before_its_end_and_once_for_all() {
    let (shared, mut a, mut b) = two();
    let mut c = Vm::new(&shared, 200);
    a.tick(0);
    a.gets(0, "one");
    b.tick(0);
    c.tick(0);
    // 100 seconds are fresh; the last fifth is where VMs refresh, each somewhere else.
    assert!(!a.calls(79) && !b.calls(79) && !c.calls(79));
    let begun = (80..100).find(|at| a.calls(*at) || b.calls(*at) || c.calls(*at)).expect("in time");
    assert!(c.call.is_some() && begun < 90, "{begun}: the one with the most jitter is first");
    assert!(!a.calls(99) && !b.calls(99), "while one fetches, the others do not");
    assert_eq!(c.gets(99, "two").fetched, Some(Fetched::New));
    assert!(!a.calls(99) && !b.calls(99));
    assert_eq!((a.text(), b.text(), c.text()), ("two", "two", "two"));
}

#[test]
fn nobody_fetches_what_was_fetched_between_look_and_lease() {
    let (shared, mut a, b) = two();
    // B looks, A fetches and is done, and only then B asks for the lease.
    a.tick(1);
    a.gets(1, "one");
    let mut b = b;
    let mut progress = Progress::default();
    b.snapshot.begin(Mono(SECOND), &b.host, &mut b.lines, &mut progress);
    assert!(progress.call.is_none() && progress.adopted);
    assert_eq!(b.text(), "one");
    let mut c = Vm::new(&shared, 9);
    c.snapshot.wanted = Some(Mono(2 * SECOND));
    assert!(c.calls(20), "B gave the lease back");
}

#[test]
fn the_same_content_keeps_its_version() {
    let (_, mut a, mut b) = two();
    a.tick(0);
    a.gets(0, "one");
    b.tick(0);
    let version = a.snapshot.version();
    assert!(a.calls(100));
    assert_eq!(a.gets(100, "one").fetched, Some(Fetched::Same));
    let progress = b.tick(101);
    assert!(!progress.adopted && progress.moved);
    assert_eq!((a.snapshot.version(), b.snapshot.version()), (version, version));
    assert!(b.call.is_none() && b.snapshot.is_usable());
}

#[test]
fn what_has_not_changed_need_not_be_sent_again() {
    let (_, mut a, mut b) = two();
    assert!(a.calls(0) && a.told.is_none());
    a.answered(0, with(200, &[("ETag", "\"v1\""), ("cache-control", "max-age=50")], "one"));
    // Another VM, which only read it, says so too.
    b.tick(0);
    let version = b.snapshot.version();
    assert!(b.calls(50) && b.told.as_deref() == Some("\"v1\""));
    let progress = b.answered(50, with(304, &[("etag", "\"v1\"")], ""));
    assert_eq!((progress.fetched, progress.adopted, progress.moved), (Some(Fetched::Same), false, true));
    assert_eq!((b.text(), b.snapshot.version()), ("one", version));
    // Fresh for another 50 s, as the server did not say otherwise; then it does.
    assert!(!a.calls(89) && a.snapshot.is_usable() && a.calls(100) && a.told.is_some());
    a.answered(100, with(304, &[("cache-control", "max-age=20")], ""));
    assert!(!b.calls(115) && b.calls(120));
    assert_eq!(b.answered(120, with(200, &[("etag", "\"v2\"")], "two")).fetched, Some(Fetched::New));
    a.tick(120);
    assert_eq!((a.text(), b.text()), ("two", "two"));
    assert!(a.calls(220) && a.told.as_deref() == Some("\"v2\""));
}

#[test]
fn nothing_changed_is_no_answer_to_who_did_not_say_what_is_known() {
    let (_, mut a, _) = two();
    a.tick(0);
    assert_eq!(a.answered(0, with(304, &[("etag", "\"v1\"")], "")).fetched, Some(Fetched::Status(304)));
    assert!(!a.snapshot.is_usable());
    // A name that could not be sent back as it is, is no name; nor is none.
    let long = "x".repeat(129);
    for (n, tag) in ["\"a b\"", "\"\u{e9}\"", &long, ""].into_iter().enumerate() {
        let at = 100 * (u64::try_from(n).unwrap() + 1);
        assert!(a.calls(at) && a.told.is_none(), "{tag}");
        a.answered(at, with(200, &[("etag", tag)], "one"));
    }
    assert!(a.calls(500) && a.told.is_none());
}

#[test]
fn who_could_not_read_what_is_known_asks_for_all_of_it() {
    let (shared, mut a, mut b) = two();
    a.tick(0);
    a.answered(0, with(200, &[("etag", "\"v1\"")], "one"));
    b.tick(0);
    assert!(a.calls(100));
    a.answered(100, with(200, &[("etag", "\"v2\"")], "two"));
    shared.set(&a.snapshot.store.chunk(0, 0), b"", Cas(0)).unwrap();
    for at in 101..103 {
        assert!(!b.calls(at));
    }
    assert!(b.calls(103) && b.told.is_none(), "it has the first, and `v2` is the name of the second");
    b.gets(103, "two");
    assert_eq!(b.text(), "two");
}

#[test]
fn a_name_is_good_only_where_it_was_given() {
    let (_, mut a, _) = two();
    let tagged = |text: &str| with(200, &[("etag", "\"v1\"")], text);
    let follow = |a: &mut Vm, at: u64, text: &str| {
        let (number, callout) = a.answered(at, tagged(text)).call.expect("a second call");
        a.call = Some(number);
        told(&callout)
    };
    a.tick(0);
    // The first document is asked for whole: it says where the content is.
    assert_eq!(follow(&mut a, 0, "see http://b/y"), None);
    a.answered(0, tagged("one"));
    assert!(a.calls(100) && a.told.is_none());
    assert_eq!(follow(&mut a, 100, "see http://b/y").as_deref(), Some("\"v1\""));
    assert_eq!(a.answered(100, with(304, &[], "")).fetched, Some(Fetched::Same));
    assert!(a.calls(200));
    assert_eq!(follow(&mut a, 200, "see http://b/z"), None, "elsewhere it may be the name of something else");
    assert_eq!(a.answered(200, with(304, &[], "")).fetched, Some(Fetched::Status(304)));
    assert_eq!(a.text(), "one");
}

#[test]
fn only_one_name_is_sent_back() {
    for (tag, is_told) in [
        ("\"v1\"", true),
        ("W/\"v1\"", true),
        ("\"\"", true),
        ("*", false),
        ("v1", false),
        ("\"a\",\"b\"", false),
        ("\"", false),
    ] {
        let (_, mut a, _) = two();
        a.tick(0);
        a.answered(0, with(200, &[("etag", tag)], "one"));
        assert!(a.calls(100));
        assert_eq!(a.told.as_deref(), is_told.then_some(tag), "{tag}");
    }
}

#[test]
fn what_the_reader_does_not_take_replaces_nothing() {
    let (_, mut a, mut b) = two();
    a.tick(0);
    a.gets(0, "one");
    b.tick(0);
    let mut at = 100;
    for (answer, want) in [
        (ok(""), "invalid"),
        (Answer::Http { status: 200, response: Vec::new(), body: vec![0xFF] }, "invalid"),
        (status(500), "status"),
        (status(503), "unreachable"),
        (status(504), "timeout"),
        (ok(&"x".repeat(300_001)), "too_large"),
        (Answer::Reset, "reset"),
        (Answer::Refused, "unreachable"),
        (ok("see nothing"), "invalid"),
    ] {
        assert!(a.calls(at), "{want} at {at}");
        let progress = a.answered(at, answer);
        assert_eq!(progress.fetched.map(Fetched::word), Some(want));
        assert!(progress.moved && !progress.adopted && a.snapshot.is_failing());
        b.tick(at);
        assert_eq!((a.text(), b.text()), ("one", "one"));
        assert_eq!(a.snapshot.is_usable(), at < 400);
        at += 60;
    }
    assert!(!b.snapshot.is_usable(), "the stale window is over");
    assert!(a.calls(at));
    a.gets(at, "two");
    b.tick(at);
    assert!(b.snapshot.is_usable() && !b.snapshot.is_failing() && b.text() == "two");
}

#[test]
fn failures_are_spaced_out_for_all() {
    let (_, mut a, mut b) = two();
    let mut calls = BTreeSet::new();
    for at in 0..200 {
        for vm in [&mut a, &mut b] {
            if vm.calls(at) {
                calls.insert(at);
                vm.answered(at, status(500));
            }
        }
    }
    let calls: Vec<u64> = calls.into_iter().collect();
    let gaps: Vec<u64> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_dead_holder_costs_its_lease_and_no_more() {
    let (_, mut a, mut b) = two();
    assert!(a.calls(10));
    // The VM of A traps: nobody answers, nobody gives the lease back. The call may take 5 s, the lease 6.
    assert!(!b.calls(15));
    assert!(b.calls(16));
    b.gets(16, "one");
    // A was not dead, only late: what it got is dropped.
    let late = a.gets(17, "old");
    assert!(!late.adopted);
    a.tick(17);
    assert_eq!((a.text(), b.text()), ("one", "one"));
}

#[test]
fn a_host_that_never_answers_is_given_up() {
    let (_, mut a, _) = two();
    assert!(a.calls(0));
    let number = a.call.take().unwrap();
    assert_eq!(a.tick(6).fetched, Some(Fetched::Timeout));
    assert!(a.call.is_none() && a.calls(7), "after a second's wait");
    let late = a.snapshot.answered(number, ok("late"), Mono(8 * SECOND), &a.host, &mut a.lines);
    assert_eq!(late, Progress::default());
}

#[test]
fn who_misses_something_gets_one_fetch_and_an_interval() {
    let (_, mut a, mut b) = two();
    a.tick(0);
    a.gets(0, "one");
    b.tick(0);
    // The first fetch out of turn may follow a regular one at once.
    assert!(a.snapshot.want(Mono(SECOND)) <= Mono(SECOND));
    b.snapshot.want(Mono(SECOND));
    assert!(a.calls(1) && !b.calls(1));
    a.gets(2, "two");
    assert!(b.tick(2).adopted);
    assert!(b.snapshot.looked_since(Mono(SECOND)) && b.snapshot.wanted.is_none());
    // From then on all share the interval, and what is asked every moment is fetched once in it.
    let mut calls = 0;
    for at in 3..=63 {
        for vm in [&mut a, &mut b] {
            vm.snapshot.want(Mono(at * SECOND));
            if vm.calls(at) {
                calls += 1;
                vm.gets(at, "two");
            }
        }
    }
    assert_eq!(calls, 6);
    assert_eq!(a.snapshot.want(Mono(63 * SECOND)), Mono(71 * SECOND));
}

#[test]
fn a_fetch_that_began_before_the_question_does_not_answer_it() {
    let (_, mut a, _) = two();
    a.tick(0);
    a.snapshot.want(Mono(SECOND));
    a.gets(2, "one");
    assert!(!a.snapshot.looked_since(Mono(SECOND)));
    assert!(a.tick(2).out_of_turn && a.call.is_some());
}

#[test]
fn one_document_may_name_another() {
    let (_, mut a, mut b) = two();
    a.tick(0);
    let progress = a.gets(1, "see http://b/y?z");
    let Some((number, Callout::Http { headers, .. })) = progress.call else { panic!("a second call") };
    assert!(
        headers.contains(&(":authority".into(), "b".into()))
            && headers.contains(&(":path".into(), "/y?z".into()))
    );
    // The lease is prolonged with the second call.
    assert!(!b.calls(6));
    a.call = Some(number);
    assert!(a.gets(6, "one").adopted);
    // One that names itself comes to an end.
    a.snapshot.want(Mono(7 * SECOND));
    a.tick(7);
    for _ in 0..2 {
        a.call = a.gets(7, "see http://a/x").call.map(|(number, _)| number);
    }
    assert_eq!(a.gets(7, "see http://a/x").fetched.map(Fetched::word), Some("invalid"));
    assert_eq!(a.text(), "one");
}

#[test]
fn long_content_goes_in_chunks_and_two_sets_take_turns() {
    let (shared, mut a, mut b) = two();
    let long = |c: &str| format!("{}\n{}", c, c.repeat(200_000));
    a.tick(0);
    a.gets(0, &long("a"));
    assert!(b.tick(0).adopted);
    assert_eq!(b.lines.0[1].len(), 200_000);
    for (n, c) in ["b", "c", "d"].into_iter().enumerate() {
        let at = 100 * (u64::try_from(n).unwrap() + 1);
        assert!(a.calls(at));
        a.gets(at, &long(c));
        b.tick(at);
        assert_eq!(b.text(), c);
    }
    // A lease, a state, and four chunks in each of two sets, for ever.
    assert_eq!(shared.keys(), 10);
    let largest = (0..4).map(|n| shared.get(&a.snapshot.store.chunk(0, n)).map_or(0, |(v, _)| v.len()));
    assert!(largest.max().unwrap() <= (64 << 10));
}

#[test]
fn torn_content_is_read_again_and_at_last_fetched_again() {
    let (shared, mut a, mut b) = two();
    a.tick(0);
    a.gets(0, "one");
    let chunk = a.snapshot.store.chunk(1, 0);
    let (good, cas) = shared.get(&chunk).unwrap();
    // A chunk of another version, and one of this version with other bytes.
    shared.set(&chunk, b"12345678one", cas).unwrap();
    assert!(!b.tick(1).adopted && b.call.is_none());
    shared.set(&chunk, &[&good[..8], b"two"].concat(), Cas(0)).unwrap();
    assert!(!b.tick(1).adopted && b.call.is_none());
    shared.set(&chunk, &good, Cas(0)).unwrap();
    assert!(b.tick(1).adopted);
    let mut c = Vm::new(&shared, 3);
    shared.set(&chunk, b"", Cas(0)).unwrap();
    for at in 1..3 {
        assert!(!c.calls(at));
    }
    assert!(c.calls(3), "nobody puts it right");
    c.gets(3, "two");
    b.tick(4);
    assert_eq!(b.text(), "two");
}

#[test]
fn a_host_that_conflicts_or_has_no_shared_data_is_no_end() {
    let (_, mut a, mut b) = two();
    a.host.faults.borrow_mut().conflicts = 1;
    assert!(!a.calls(1) && a.calls(2));
    a.gets(2, "one");
    let mut alone = Vm::new(&SharedData::default(), 5);
    alone.host.faults.borrow_mut().shared_data = true;
    assert!(alone.calls(1));
    alone.gets(1, "own");
    assert!(alone.snapshot.is_usable() && !alone.calls(50) && alone.text() == "own");
    assert!(alone.calls(101));
    alone.gets(101, "other");
    assert_eq!(alone.text(), "other");
    assert!(b.tick(3).adopted);
}

#[test]
fn foreign_state_is_no_state() {
    let (shared, mut a, _) = two();
    shared.set(&a.snapshot.store.key(b"s"), &[9; 300], Cas(0)).unwrap();
    assert!(a.calls(0));
    a.gets(0, "one");
    assert_eq!(a.text(), "one");
}

proptest::proptest! {
    /// Whatever the order of ticks, answers and deaths: nobody has what no answer said, and all who look have the latest.
    #[test]
    fn all_have_what_was_said_last(steps in proptest::collection::vec((0_usize..3, 0_u8..6), 1..200)) {
        let shared = SharedData::default();
        let mut vms: Vec<Vm> = (1..4).map(|dice| Vm::new(&shared, dice)).collect();
        let (mut at, mut said) = (0, 0_u32);
        for (who, what) in steps {
            at += 1;
            let vm = &mut vms[who];
            match what {
                0 | 1 => { vm.tick(at); }
                2 if vm.call.is_some() => { vm.answered(at, status(500)); }
                3 if vm.call.is_some() => {
                    said += 1;
                    vm.gets(at, &format!("{said}"));
                }
                4 => { vm.snapshot.want(Mono(at * SECOND)); }
                5 => *vm = Vm::new(&shared, u8::try_from(at % 250).unwrap()),
                _ => {}
            }
            proptest::prop_assert!(vms.iter().all(|vm| vm.text().parse::<u32>().unwrap_or(0) <= said));
        }
        // The dust settles: with a fetch that works, everybody agrees.
        for _ in 0..200 {
            at += 1;
            for vm in &mut vms {
                if vm.calls(at) {
                    vm.gets(at, "last");
                }
            }
        }
        proptest::prop_assert!(vms.iter().all(|vm| vm.text() == "last" && vm.snapshot.is_usable()));
    }
}

/// Takes one line of a document at a time, and has a line only once it has all.
#[derive(Debug, Default)]
struct Slowly {
    part: Vec<String>,
    whole: Vec<String>,
}

impl Reader for Slowly {
    fn accept(&mut self, _: &[u8]) -> Result<(), Unfit> {
        Err(Unfit("it takes pieces"))
    }

    fn take(&mut self, content: &[u8], first: bool) -> Result<bool, Unfit> {
        if first {
            self.part.clear();
        }
        let lines: Vec<&str> = std::str::from_utf8(content).map_err(|_| Unfit("no text"))?.lines().collect();
        match lines.get(self.part.len()) {
            Some(&"bad") => return Err(Unfit("bad")),
            Some(line) => self.part.push((*line).to_owned()),
            None => self.whole.clone_from(&self.part),
        }
        Ok(self.whole.len() == lines.len() && self.whole == self.part)
    }
}

#[test]
fn what_takes_long_is_taken_in_pieces_and_the_last_good_one_serves_until_then() {
    let shared = SharedData::default();
    let host = MemoryHost::sharing(&shared);
    let other_host = MemoryHost::sharing(&shared);
    host.roll(1);
    other_host.roll(2);
    let (mut a, mut b) = (Slowly::default(), Slowly::default());
    let mut first = Snapshot::new(&host, &["slow"], spec());
    let mut second = Snapshot::new(&other_host, &["slow"], spec());
    let at = |ms: u64| Mono(ms * 1_000_000);
    let fetch = |snapshot: &mut Snapshot, reader: &mut Slowly, ms: u64, text: &str| {
        let (number, _) = snapshot.tick(at(ms), &host, reader).call.expect("a call");
        snapshot.answered(number, ok(text), at(ms), &host, reader)
    };
    let progress = fetch(&mut first, &mut a, 0, "1\n2\n3");
    assert!(progress.fetched.is_none() && !progress.adopted && first.is_making() && !first.is_usable());
    // While one makes, nobody else fetches, nor has anything: however long it takes, for the lease goes on.
    for ms in [5_000, 10_000] {
        assert!(first.tick(at(ms), &host, &mut a).fetched.is_none());
        assert_eq!(second.tick(at(ms), &other_host, &mut b), Progress::default());
    }
    let progress = first.tick(at(15_000), &host, &mut a);
    assert!(progress.adopted && progress.fetched == Some(Fetched::New), "{progress:?}");
    assert!(first.is_usable() && !first.is_making() && a.whole == ["1", "2", "3"]);
    // The other one takes it in pieces too, and calls nobody for it.
    let mut ms = 15_000;
    while !second.is_usable() {
        ms += 50;
        assert!(second.tick(at(ms), &other_host, &mut b).call.is_none());
        assert_eq!(second.is_making(), !second.is_usable());
    }
    assert!(ms == 15_200 && b.whole == a.whole, "{ms}");
    // What turns out bad at its end replaces nothing, here or there.
    assert!(fetch(&mut first, &mut a, 120_000, "4\nbad").fetched.is_none());
    let progress = first.tick(at(120_050), &host, &mut a);
    assert_eq!(progress.fetched.map(Fetched::word), Some("invalid"));
    assert!(first.is_failing() && first.is_usable() && !first.is_making() && a.whole == ["1", "2", "3"]);
    // Newer content in the middle of older begins anew.
    assert!(fetch(&mut first, &mut a, 122_000, "5\n6").fetched.is_none());
    while first.is_making() {
        first.tick(at(122_050), &host, &mut a);
    }
    second.tick(at(122_100), &other_host, &mut b);
    assert!(second.is_making());
    first.want(at(123_000));
    fetch(&mut first, &mut a, 123_000, "7");
    while first.is_making() {
        first.tick(at(123_050), &host, &mut a);
    }
    while b.whole != ["7"] {
        assert!(second.tick(at(123_100), &other_host, &mut b).call.is_none() && b.whole != ["5", "6"]);
    }
}
