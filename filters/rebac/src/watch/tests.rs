use portcullis_common::clock::Wall;
use portcullis_common::filter::{Answer, Callout};
use portcullis_common::memory::{MemoryHost, SharedData};

use super::*;
use crate::protobuf;

const MS: u64 = 1_000_000;

/// One VM: its host, its part in the watch, and what its memory is told.
struct Vm {
    host: MemoryHost,
    watch: Watch,
    epoch: Epoch,
}

impl Vm {
    fn new(shared: &SharedData, me: u8, rules: &Rules) -> Vm {
        let host = MemoryHost::sharing(shared);
        host.roll(me);
        let watch = Watch::new(&host, &["rebac"], rules.clone());
        Vm { host, watch, epoch: Epoch::default() }
    }

    fn tick(&mut self, ms: u64) -> (Vec<RootStep>, Report) {
        self.watch.tick(&at(ms), &self.host, Ok(None), &mut self.epoch)
    }

    fn event(&mut self, ms: u64, event: Event) -> (Vec<RootStep>, Report) {
        self.watch.event(&event, &at(ms), &self.host, &mut self.epoch).expect("the watch's own")
    }

    fn is_watched(&self, ms: u64) -> bool {
        self.epoch.is_watched(mono(ms))
    }

    fn floor(&self, ms: u64) -> Floor {
        self.epoch.floor(mono(ms))
    }
}

fn at(ms: u64) -> Now {
    Now::at(Wall(1_700_000_000_000 * MS + ms * MS), mono(ms))
}

/// The clock began a second before the test.
fn mono(ms: u64) -> Mono {
    Mono((ms + 1_000) * MS)
}

fn openfga() -> Rules {
    Rules {
        source: Source::Openfga {
            cluster: "fga".into(),
            authority: "fga".into(),
            store: "S".into(),
            interval: Duration::from_millis(250),
        },
        grace: Duration::from_secs(2),
        lie: Duration::from_secs(10),
    }
}

fn spicedb() -> Rules {
    Rules {
        source: Source::Spicedb {
            target: GrpcTarget::new("spicedb", "").unwrap(),
            authorization: "Bearer k".into(),
        },
        grace: Duration::from_secs(2),
        lie: Duration::from_secs(10),
    }
}

fn page(changes: usize, token: &str) -> Answer {
    let body = format!(r#"{{"changes":[{}],"continuation_token":"{token}"}}"#, vec!["{}"; changes].join(","));
    Answer::Http { response: Vec::new(), status: 200, body: body.into() }
}

fn asked(steps: &[RootStep]) -> (u64, String) {
    match steps {
        [RootStep::Call { tag, callout: Callout::Http { headers, .. } }] => (*tag, headers[1].1.clone()),
        other => panic!("not a question: {other:?}"),
    }
}

/// Two VMs that know of a watch, which one of them keeps: it heard of a change at 10 ms, the other of it at 20 ms.
fn two_that_know() -> (Vm, Vm) {
    let shared = SharedData::default();
    let (mut a, mut b) = (Vm::new(&shared, 1, &openfga()), Vm::new(&shared, 2, &openfga()));
    let (tag, _) = asked(&a.tick(0).0);
    a.event(10, Event::Answered { tag, answer: page(1, "t") });
    b.tick(20);
    (a, b)
}

#[test]
fn one_asks_and_all_know_within_two_ticks() {
    let shared = SharedData::default();
    let (mut a, mut b) = (Vm::new(&shared, 1, &openfga()), Vm::new(&shared, 2, &openfga()));
    let (tag, _) = asked(&a.tick(0).0);
    assert_eq!(b.tick(0).0, []);
    assert!(!a.is_watched(0), "nothing was heard yet");
    a.event(10, Event::Answered { tag, answer: page(0, "") });
    assert!(a.is_watched(10));
    b.tick(20);
    assert!(b.is_watched(20));
    let epochs = (a.epoch.number(), b.epoch.number());
    // Nothing changed: nothing is voided.
    let (tag, _) = asked(&a.tick(260).0);
    a.event(270, Event::Answered { tag, answer: page(0, "") });
    b.tick(280);
    assert_eq!((a.epoch.number(), b.epoch.number()), epochs);
    let (tag, _) = asked(&a.tick(520).0);
    let (_, report) = a.event(530, Event::Answered { tag, answer: page(1, "t") });
    assert!(report.changed && report.lives);
    b.tick(540);
    assert!(a.epoch.number() > epochs.0 && b.epoch.number() > epochs.1);
    // For as long as the server's own caches may know no better, they are not asked.
    let until = Floor::FreshUntil(mono(10_530));
    assert_eq!((a.floor(541), b.floor(541)), (until.clone(), until));
    let (_, path) = asked(&a.tick(780).0);
    assert!(path.ends_with("&continuation_token=t"), "{path}");
}

#[test]
fn a_full_page_is_followed_by_the_next_at_once_and_promises_nothing() {
    let shared = SharedData::default();
    let mut a = Vm::new(&shared, 1, &openfga());
    let (tag, _) = asked(&a.tick(0).0);
    a.event(10, Event::Answered { tag, answer: page(100, "t1") });
    assert!(!a.is_watched(10));
    let (tag, path) = asked(&a.tick(20).0);
    assert!(path.ends_with("continuation_token=t1"));
    a.event(30, Event::Answered { tag, answer: page(3, "t2") });
    assert!(a.is_watched(30));
}

#[test]
fn a_late_tick_is_as_if_nobody_watched() {
    let shared = SharedData::default();
    let (mut a, mut b) = (Vm::new(&shared, 1, &openfga()), Vm::new(&shared, 2, &openfga()));
    let (tag, _) = asked(&a.tick(0).0);
    a.event(0, Event::Answered { tag, answer: page(0, "") });
    b.tick(0);
    assert!(b.is_watched(499) && !b.is_watched(500));
    let before = b.epoch.number();
    b.tick(600);
    assert!(b.epoch.number() > before, "what was remembered before is void");
}

#[test]
fn a_break_is_known_at_once_and_the_next_try_comes_later() {
    let (mut a, mut b) = two_that_know();
    let (tag, _) = asked(&a.tick(260).0);
    let (_, report) = a.event(270, Event::Answered { tag, answer: Answer::Timeout });
    assert_eq!((report.broke, report.lives), (Some("unreachable"), false));
    b.tick(280);
    assert!(!a.is_watched(280) && !b.is_watched(280));
    assert_eq!(a.tick(300).0, []);
    let (tag, path) = asked(&a.tick(530).0);
    assert!(path.ends_with("continuation_token=t"), "it goes on where it was");
    let before = b.epoch.number();
    a.event(540, Event::Answered { tag, answer: page(0, "t") });
    b.tick(550);
    assert!(b.is_watched(550) && b.epoch.number() > before);
    // Longer and longer, up to a bound.
    let mut pauses = Vec::new();
    let mut now = 1_000;
    for _ in 0..8 {
        let (tag, _) = asked(&a.tick(now).0);
        a.event(now, Event::Answered { tag, answer: Answer::Refused });
        pauses.push(a.watch.next.since(mono(now)).as_millis());
        now += 10_000;
    }
    assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
}

#[test]
fn a_watch_that_goes_on_after_a_break_voids_everything_also_where_the_break_went_unnoticed() {
    let (mut a, mut b) = two_that_know();
    let before = b.epoch.number();
    let (tag, _) = asked(&a.tick(260).0);
    a.event(265, Event::Answered { tag, answer: Answer::Reset });
    let (tag, _) = asked(&a.tick(515).0);
    // Another server may have answered, that takes the cursor and never knew what was before it.
    a.event(518, Event::Answered { tag, answer: page(0, "t") });
    b.tick(519);
    assert!(b.is_watched(519) && b.epoch.number() > before);
}

#[test]
fn a_cursor_that_is_refused_voids_everything_and_begins_anew() {
    let (mut a, mut b) = two_that_know();
    let before = b.epoch.number();
    let (tag, _) = asked(&a.tick(260).0);
    let refused = Answer::Http { response: Vec::new(), status: 400, body: Vec::new() };
    a.event(270, Event::Answered { tag, answer: refused });
    b.tick(280);
    assert!(b.epoch.number() > before && !b.is_watched(280));
    let (_, path) = asked(&a.tick(600).0);
    assert!(path.contains("start_time="), "{path}");
}

#[test]
fn a_watch_that_fails_again_and_again_begins_anew_and_voids_everything_once_it_hears() {
    let (mut a, mut b) = two_that_know();
    let (mut ms, mut paths) = (20, Vec::new());
    let (epochs, changes) = ((a.epoch.number(), b.epoch.number()), b.watch.told);
    while paths.len() < 6 {
        ms += 250;
        let (steps, _) = a.tick(ms);
        b.tick(ms);
        if let [RootStep::Call { .. }] = steps[..] {
            let (tag, path) = asked(&steps);
            paths.push(path);
            a.event(ms, Event::Answered { tag, answer: Answer::Reset });
        }
    }
    assert!(paths[..5].iter().all(|path| path.ends_with("continuation_token=t")), "{paths:?}");
    assert!(paths[5].contains("start_time="), "{paths:?}");
    assert_eq!(((a.epoch.number(), b.epoch.number()), b.watch.told), (epochs, changes), "it may serve stale");
    let (steps, ms) = loop {
        ms += 250;
        let (steps, _) = a.tick(ms);
        if !steps.is_empty() {
            break (steps, ms);
        }
    };
    let (_, report) = a.event(ms, Event::Answered { tag: asked(&steps).0, answer: page(0, "") });
    b.tick(ms);
    assert!(report.changed && report.lives && b.watch.told != changes);
}

#[test]
fn another_takes_over_where_one_died() {
    let shared = SharedData::default();
    let (mut a, mut b) = (Vm::new(&shared, 1, &openfga()), Vm::new(&shared, 2, &openfga()));
    let (tag, _) = asked(&a.tick(0).0);
    a.event(10, Event::Answered { tag, answer: page(1, "t") });
    for ms in (250..2_000).step_by(250) {
        assert_eq!(b.tick(ms).0, [], "the lease is another's");
    }
    let (_, path) = asked(&b.tick(2_000).0);
    assert!(path.ends_with("continuation_token=t"));
    // Who comes back late leaves it.
    a.tick(2_100);
    assert!(!a.watch.ours);
}

#[test]
fn without_shared_data_nobody_is_watched() {
    let mut a = Vm::new(&SharedData::default(), 1, &openfga());
    a.host.faults.borrow_mut().shared_data = true;
    let (tag, _) = asked(&a.tick(0).0);
    let (_, report) = a.event(10, Event::Answered { tag, answer: page(0, "") });
    assert_eq!(report.broke, Some("host"));
    assert!(!a.is_watched(10));
}

#[test]
fn a_change_that_shared_data_did_not_take_is_asked_for_again() {
    let shared = SharedData::default();
    let mut a = Vm::new(&shared, 1, &openfga());
    let (tag, _) = asked(&a.tick(0).0);
    a.event(10, Event::Answered { tag, answer: page(0, "") });
    let before = a.epoch.number();
    let (tag, _) = asked(&a.tick(260).0);
    a.host.faults.borrow_mut().conflicts = TRIES_AND_MORE;
    a.event(270, Event::Answered { tag, answer: page(1, "t") });
    a.host.faults.borrow_mut().conflicts = 0;
    let (tag, path) = asked(&a.tick(600).0);
    assert!(path.contains("start_time="), "{path}");
    a.event(610, Event::Answered { tag, answer: page(1, "t") });
    assert!(a.epoch.number() > before && a.is_watched(610));
}

const TRIES_AND_MORE: u32 = 8;

/// A `WatchResponse` with one update, or a checkpoint.
fn message(token: &str, changed: bool) -> Vec<u8> {
    let (mut message, mut through) = (Vec::new(), Vec::new());
    protobuf::bytes(&mut through, 1, token.as_bytes());
    if changed {
        protobuf::bytes(&mut message, 1, b"");
    } else {
        message.extend([5 << 3, 1]);
    }
    protobuf::bytes(&mut message, 2, &through);
    message
}

fn opened(vm: &mut Vm, ms: u64) -> u64 {
    let (steps, _) = vm.tick(ms);
    let Some(RootStep::OpenStream { tag, .. }) = steps.last() else { panic!("no stream: {steps:?}") };
    let tag = *tag;
    let (steps, _) = vm.event(ms, Event::Opened { tag });
    assert!(matches!(steps[..], [RootStep::Send { end: true, .. }]));
    tag
}

#[test]
fn a_stream_tells_at_once_and_its_token_is_the_floor() {
    let shared = SharedData::default();
    let (mut a, mut b) = (Vm::new(&shared, 1, &spicedb()), Vm::new(&shared, 2, &spicedb()));
    let tag = opened(&mut a, 0);
    a.event(100, Event::Message { tag, message: message("t1", false) });
    b.tick(100);
    assert!(a.is_watched(100) && b.is_watched(100));
    assert_eq!(a.floor(100), Floor::FreshUntil(mono(10_100)), "what was before the watch is not known");
    let before = b.epoch.number();
    a.event(200, Event::Message { tag, message: message("t2", true) });
    b.tick(250);
    assert!(b.epoch.number() > before);
    assert_eq!((a.floor(250), b.floor(250)), (Floor::Token("t2".into()), Floor::Token("t2".into())));
    // A checkpoint says that it lives; the floor stays that of the change.
    let before = b.epoch.number();
    a.event(1_000, Event::Message { tag, message: message("t3", false) });
    b.tick(1_000);
    assert_eq!(b.floor(1_000), Floor::Token("t2".into()));
    assert!(b.epoch.number() > before, "its tick was late");
    let before = b.epoch.number();
    b.tick(1_250);
    assert_eq!(b.epoch.number(), before);
}

#[test]
fn a_stream_that_is_stuck_counts_until_its_grace_is_over_and_is_opened_anew() {
    let shared = SharedData::default();
    let mut a = Vm::new(&shared, 1, &spicedb());
    let tag = opened(&mut a, 0);
    a.event(0, Event::Message { tag, message: message("t1", false) });
    for ms in (250..2_000).step_by(250) {
        a.tick(ms);
        assert!(a.is_watched(ms));
    }
    a.tick(2_000);
    assert!(!a.is_watched(2_000));
    for ms in (2_250..=4_000).step_by(250) {
        a.tick(ms);
    }
    let (steps, report) = a.tick(4_250);
    assert_eq!(steps, [RootStep::Close { tag }]);
    assert_eq!(report.broke, Some("unreachable"));
    let again = opened(&mut a, 4_500);
    assert_ne!(again, tag);
    let (_, report) = a.event(4_600, Event::Closed { tag: again, status: 11 });
    assert_eq!(report.broke, Some("cursor"));
    assert_eq!(a.floor(4_600), Floor::FreshUntil(mono(14_600)));
}

#[test]
fn what_is_not_the_watchs_is_left_alone() {
    let mut a = Vm::new(&SharedData::default(), 1, &spicedb());
    let event = Event::Closed { tag: 7, status: 0 };
    assert!(a.watch.event(&event, &at(0), &a.host, &mut a.epoch).is_none());
}
