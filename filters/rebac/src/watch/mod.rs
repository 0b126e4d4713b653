//! The engine's changes, watched: by one VM of the process, for all of them.
//!
//! A lease in shared data says which VM watches. It writes what it hears on a board there: how many changes there were, and until when
//! everything was heard of. Every VM reads the board in its tick and tells its memory of decisions: a change voids what is remembered,
//! and a board that says nothing new, or a tick that comes late, is as if nobody watched.
//!
//! What a changed tuple can affect is not worked out: every change voids everything, which is never too little.
//!
//! How old a remembered answer can be while all is well: the change has to reach the VM that watches (a stream's delay, or
//! OpenFGA's interval and a round trip), and then the tick of the others. A VM whose tick is later than [`LATE`] no longer counts as watched.
//!
//! | file | one idea |
//! |---|---|
//! | this one | who watches, and what follows from what is heard |
//! | `board` | what all VMs know, in shared data |
//! | `openfga` | changes by asking again and again |
//! | `spicedb` | changes as a stream |

mod board;
mod openfga;
mod spicedb;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::{Mono, Now};
use portcullis_common::filter::{Event, GrpcTarget, RootStep};
use portcullis_common::host::Host;
use portcullis_common::lease::{Contender, Lease};

use self::board::{Board, Place};
use self::openfga::Poll;
use self::spicedb::Stream;
use crate::remote::client::NoToken;
use crate::remote::epoch::{Epoch, Floor};

/// How long a VM may watch without taking the lease anew: its ticks come four times a second.
const TERM: Duration = Duration::from_secs(2);
/// After so long without a tick a VM does not know what changed. Two ticks.
pub const LATE: Duration = Duration::from_millis(500);
/// After so long without a sign of life a watch counts as broken: two of SpiceDB's checkpoints and a tick.
pub const GRACE: Duration = Duration::from_millis(2500);
/// How long a watch that broke is left alone at first, and at most.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After so many failures in a row the watch begins anew: perhaps it is the cursor that something on the way does not take.
const PATIENCE: u32 = 5;
/// The tags of the watch's calls and streams: the upper half of the number.
const TAG: u64 = 0x7761_7463 << 32;

/// What is watched, and what follows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The engine.
    pub source: Source,
    /// After so long without a sign of life it counts as broken; at most [`GRACE`].
    pub grace: Duration,
    /// How long after a change the engine's own caches may answer as before it.
    pub lie: Duration,
}

/// The engine that is watched.
#[derive(Clone, Debug)]
pub enum Source {
    /// OpenFGA.
    Openfga {
        /// Envoy's cluster.
        cluster: Rc<str>,
        /// `:authority`
        authority: Rc<str>,
        /// The store's id.
        store: Rc<str>,
        /// How often it is asked.
        interval: Duration,
    },
    /// SpiceDB.
    Spicedb {
        /// Where to.
        target: GrpcTarget,
        /// The value of `authorization`.
        authorization: Rc<str>,
    },
}

/// What a watch heard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    /// Something changed: what the engine calls the state after it, if it has a name for that.
    changed: Option<Vec<u8>>,
    /// Where to go on, if that is elsewhere now.
    cursor: Option<Vec<u8>>,
    /// Everything before then was heard of.
    seen: Option<Mono>,
    /// There is more to be asked for at once.
    more: bool,
}

/// Why a watch broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// The engine is away, or its answer broke off.
    Unreachable,
    /// The engine does not let us watch.
    Refused,
    /// What it said is none of its messages.
    Malformed,
    /// It does not know where the watch was to go on.
    Cursor,
    /// Shared data does not take what was heard.
    Host,
}

impl Broken {
    /// The word for metrics and the log.
    const fn word(self) -> &'static str {
        match self {
            Broken::Unreachable => "unreachable",
            Broken::Refused => "refused",
            Broken::Malformed => "malformed",
            Broken::Cursor => "cursor",
            Broken::Host => "host",
        }
    }
}

/// What became of the watch: for metrics and the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// This VM heard of changes.
    pub changed: bool,
    /// The watch of this VM broke.
    pub broke: Option<&'static str>,
    /// The watch lives, as this VM knows.
    pub lives: bool,
    /// How long ago it was last heard of; `None` if never.
    pub lag: Option<Duration>,
}

/// One VM's part in the watch.
#[derive(Debug)]
pub struct Watch {
    rules: Rules,
    place: Place,
    lease: Contender,
    line: Line,
    /// Whether this VM watches.
    ours: bool,
    /// This VM's watch began without a cursor, or after a break, and nothing was heard of it yet.
    fresh: bool,
    /// Where the watch goes on, as this VM knows it; shared data has it too.
    cursor: Vec<u8>,
    next: Mono,
    failures: u32,
    tags: u32,
    /// The changes that this VM's memory was told of.
    told: Option<u64>,
}

#[derive(Debug)]
enum Line {
    Openfga(Poll),
    Spicedb(Stream),
}

impl Watch {
    /// A watch. `name` tells it from all others under one `vm_id`.
    #[must_use]
    pub fn new(host: &dyn Host, name: &[&str], rules: Rules) -> Watch {
        let key = |kind: &str| -> Vec<u8> {
            let parts = name.iter().flat_map(|part| [part.len().to_string(), (*part).to_owned()]);
            ["watch".to_owned(), kind.to_owned()]
                .into_iter()
                .chain(parts)
                .collect::<Vec<_>>()
                .join(" ")
                .into_bytes()
        };
        let mut me = [0; 8];
        // Without randomness all VMs are one to the lease, and each of them watches.
        let _ = host.random(&mut me);
        let line = match &rules.source {
            Source::Openfga { cluster, authority, store, .. } => {
                Line::Openfga(Poll::new(Rc::clone(cluster), Rc::clone(authority), store))
            }
            Source::Spicedb { target, authorization } => {
                Line::Spicedb(Stream::new(target.clone(), authorization))
            }
        };
        Watch {
            rules,
            place: Place::new(key("board")),
            lease: Contender::new(key("lease"), u64::from_le_bytes(me)),
            line,
            ours: false,
            fresh: true,
            cursor: Vec::new(),
            next: Mono(0),
            failures: 0,
            tags: 0,
            told: None,
        }
    }

    /// Time passed. `authorization` is what OpenFGA is shown.
    pub fn tick(
        &mut self,
        now: &Now,
        host: &dyn Host,
        authorization: Result<Option<&str>, NoToken>,
        epoch: &mut Epoch,
    ) -> (Vec<RootStep>, Report) {
        let mut report = Report::default();
        let mono = now.mono();
        let ours = self.lease.take(host, mono, mono.after(TERM)) == Lease::Ours;
        let steps = match (ours, self.ours) {
            (true, before) => {
                self.ours = true;
                if !before {
                    self.take_over(host);
                }
                self.watch(now, host, authorization, &mut report)
            }
            (false, true) => {
                self.ours = false;
                self.stop().into_iter().collect()
            }
            (false, false) => Vec::new(),
        };
        self.tell(mono, host, epoch, &mut report);
        (steps, report)
    }

    /// Something that the watch asked for happened; `None` if it was not the watch.
    pub fn event(
        &mut self,
        event: &Event,
        now: &Now,
        host: &dyn Host,
        epoch: &mut Epoch,
    ) -> Option<(Vec<RootStep>, Report)> {
        let (Event::Answered { tag, .. }
        | Event::Opened { tag }
        | Event::Message { tag, .. }
        | Event::Closed { tag, .. }) = event;
        if tag & !u64::from(u32::MAX) != TAG {
            return None;
        }
        let mono = now.mono();
        let (mut steps, mut report) = (Vec::new(), Report::default());
        let said = match (&mut self.line, event) {
            (Line::Openfga(poll), Event::Answered { tag, answer }) => {
                poll.answered(*tag, &self.cursor, answer)
            }
            (Line::Spicedb(stream), Event::Answered { tag, answer }) => stream.probed(*tag, answer).map(Ok),
            (Line::Spicedb(stream), Event::Opened { tag }) => {
                steps.extend(stream.opened(*tag, &self.cursor));
                None
            }
            (Line::Spicedb(stream), Event::Message { tag, message }) => stream.message(*tag, message, mono),
            (Line::Spicedb(stream), Event::Closed { tag, status }) => {
                stream.closed(*tag, *status, &self.cursor).map(Err)
            }
            _ => None,
        };
        match said {
            Some(Ok(heard)) => steps.extend(self.heard(heard, mono, host, &mut report)),
            Some(Err(broken)) => steps.extend(self.broke(broken, mono, host, &mut report)),
            None => {}
        }
        self.tell(mono, host, epoch, &mut report);
        Some((steps, report))
    }

    /// This VM watches from now on, and goes on where another one ended.
    fn take_over(&mut self, host: &dyn Host) {
        self.cursor = self.place.read(host).unwrap_or_default().cursor;
        self.fresh = self.cursor.is_empty();
        (self.next, self.failures) = (Mono(0), 0);
    }

    fn watch(
        &mut self,
        now: &Now,
        host: &dyn Host,
        authorization: Result<Option<&str>, NoToken>,
        report: &mut Report,
    ) -> Vec<RootStep> {
        let mono = now.mono();
        let mut steps = Vec::new();
        let overdue = match &mut self.line {
            Line::Openfga(poll) => poll.expire(mono),
            Line::Spicedb(stream) => stream.expire(mono).map(|close| {
                steps.push(close);
                Broken::Unreachable
            }),
        };
        if let Some(broken) = overdue {
            steps.extend(self.broke(broken, mono, host, report));
        }
        let tag = self.tag();
        match &mut self.line {
            Line::Openfga(poll) if mono >= self.next && !poll.is_asking() => {
                let Ok(authorization) = authorization else { return steps };
                let callout = poll.ask(tag, &self.cursor, authorization, now);
                if let Source::Openfga { interval, .. } = &self.rules.source {
                    self.next = mono.after(*interval);
                }
                steps.push(RootStep::Call { tag, callout });
            }
            Line::Spicedb(stream) if stream.is_open() => steps.extend(stream.probe(tag, mono)),
            Line::Spicedb(stream) if mono >= self.next => steps.push(stream.open(tag, mono)),
            _ => {}
        }
        steps
    }

    fn tag(&mut self) -> u64 {
        self.tags = self.tags.wrapping_add(1);
        TAG | u64::from(self.tags)
    }

    fn heard(&mut self, heard: Heard, now: Mono, host: &dyn Host, report: &mut Report) -> Option<RootStep> {
        self.failures = 0;
        if heard.more {
            self.next = Mono(0);
        }
        // A watch that begins anew does not know what it missed.
        let begins = self.fresh && heard.seen.is_some();
        let changed = begins || heard.changed.is_some();
        let taken = self.place.update(host, |board| {
            if changed {
                board.changes = board.changes.wrapping_add(1);
                board.changed = now;
                board.floor = heard.changed.clone().unwrap_or_default();
            }
            if let Some(cursor) = &heard.cursor {
                board.cursor.clone_from(cursor);
            }
            board.seen = heard.seen.map_or(board.seen, |seen| seen.max(board.seen));
        });
        if !taken {
            // What was heard would be lost; it is asked for again.
            return self.broke(Broken::Host, now, host, report);
        }
        report.changed = changed;
        self.fresh &= !begins;
        if let Some(cursor) = heard.cursor {
            self.cursor = cursor;
        }
        None
    }

    fn broke(&mut self, broken: Broken, now: Mono, host: &dyn Host, report: &mut Report) -> Option<RootStep> {
        report.broke = Some(broken.word());
        let pause = PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let lost = broken == Broken::Cursor;
        // Nothing is voided before the engine is heard of again, so that what is remembered may serve while it is away.
        let anew = lost || self.failures >= PATIENCE;
        if anew {
            self.cursor.clear();
        }
        // Whoever comes back may be another server, which takes the cursor and knows nothing of what was before it.
        self.fresh = true;
        // The others see that nobody watches; if they cannot be told, they see in time that nothing is heard.
        let _ = self.place.update(host, |board| {
            board.seen = Mono(0);
            if anew {
                board.cursor.clear();
            }
            if lost {
                board.floor.clear();
                board.changes = board.changes.wrapping_add(1);
                board.changed = now;
            }
        });
        self.next = now.after(pause);
        self.stop()
    }

    fn stop(&mut self) -> Option<RootStep> {
        match &mut self.line {
            Line::Openfga(poll) => {
                poll.stop();
                None
            }
            Line::Spicedb(stream) => stream.stop(),
        }
    }

    /// Tells the memory of decisions what the board says.
    fn tell(&mut self, now: Mono, host: &dyn Host, epoch: &mut Epoch, report: &mut Report) {
        let board = self.place.read(host).unwrap_or_default();
        if self.told.is_some_and(|told| told != board.changes) || (self.told.is_none() && board.changes != 0)
        {
            epoch.invalidate(self.floor(&board));
        }
        self.told = Some(board.changes);
        let until = board.seen.after(self.rules.grace).min(now.after(LATE));
        report.lives = board.seen != Mono(0) && now < until;
        report.lag = (board.seen != Mono(0)).then(|| now.since(board.seen));
        if report.lives {
            epoch.alive(now, until);
        } else {
            epoch.broken();
        }
    }

    fn floor(&self, board: &Board) -> Floor {
        match std::str::from_utf8(&board.floor) {
            Ok(token) if !token.is_empty() => Floor::Token(token.into()),
            _ => Floor::FreshUntil(board.changed.after(self.rules.lie)),
        }
    }
}
