//! The watch of one plugin: its name in shared data, its metrics, its lines in the log.

use std::rc::Rc;

use portcullis_common::clock::Now;
use portcullis_common::facts;
use portcullis_common::filter::{Event, RootStep};
use portcullis_common::host::{Host, MetricKind};
use portcullis_common::metrics::{Family, Label, Series};

use crate::policy::Policy;
use crate::remote::client::NoToken;
use crate::remote::epoch::Epoch;
use crate::watch::{Report, Source, Watch};

/// Whether changes are watched.
pub const UP: Family = Family {
    name: "portcullis_rebac_watch_up",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin],
    help: "1 while the engine's changes are watched, 0 while they are not.",
};

/// When it was last heard of.
pub const LAG: Family = Family {
    name: "portcullis_rebac_watch_lag_milliseconds",
    kind: MetricKind::Gauge,
    labels: &[Label::Plugin],
    help: "How long ago the watch last showed that it lives.",
};

/// Changes.
pub const CHANGES: Family = Family {
    name: "portcullis_rebac_watch_changes_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin],
    help: "How often remembered answers were dropped because something changed in the engine, or may have.",
};

/// Breaks.
pub const BREAKS: Family = Family {
    name: "portcullis_rebac_watch_breaks_total",
    kind: MetricKind::Counter,
    labels: &[Label::Plugin, Label::Cause],
    help: "How often the watch broke: `unreachable`, `refused`, `malformed` (an answer that is none), `cursor` (the engine does not know where it was to go on), `host` (shared data did not take it).",
};

/// The watch.
#[derive(Debug)]
pub struct Watching {
    watch: Watch,
    name: Rc<str>,
    up: Series<()>,
    lag: Series<()>,
    changes: Series<()>,
    breaks: Series<&'static str>,
    /// Whether it lived when it was last looked at.
    lives: bool,
}

impl Watching {
    /// A watch that begins with the first tick; `None` if nothing is to be watched.
    #[must_use]
    pub fn new(policy: &Policy, host: &dyn Host) -> Option<Watching> {
        let rules = policy.remote.as_ref()?.watch.as_ref()?;
        let attached = facts::attached(host);
        let of: [&str; 3] = match &rules.source {
            Source::Openfga { cluster, authority, store, .. } => [cluster, authority, store],
            Source::Spicedb { target, .. } => ["spicedb", target.as_str(), ""],
        };
        let name = [&["rebac", &*attached, &policy.plugin.name][..], &of].concat();
        let watch = Watch::new(host, &name, rules.clone());
        Some(Watching {
            watch,
            name: Rc::clone(&policy.plugin.name),
            up: Series::new(&UP),
            lag: Series::new(&LAG),
            changes: Series::new(&CHANGES),
            breaks: Series::new(&BREAKS),
            lives: false,
        })
    }

    /// Time passed. `authorization` is what OpenFGA is shown.
    pub fn tick(
        &mut self,
        now: &Now,
        host: &dyn Host,
        authorization: Result<Option<&str>, NoToken>,
        epoch: &mut Epoch,
    ) -> Vec<RootStep> {
        let (steps, report) = self.watch.tick(now, host, authorization, epoch);
        self.report(report, host);
        steps
    }

    /// Something happened; `None` if it was not about the watch.
    pub fn event(
        &mut self,
        event: &Event,
        now: &Now,
        host: &dyn Host,
        epoch: &mut Epoch,
    ) -> Option<Vec<RootStep>> {
        let (steps, report) = self.watch.event(event, now, host, epoch)?;
        self.report(report, host);
        Some(steps)
    }

    fn report(&mut self, report: Report, host: &dyn Host) {
        let Report { changed, broke, lives, lag } = report;
        let name = &self.name;
        if changed {
            self.changes.count(host, (), || vec![name]);
        }
        if let Some(cause) = broke {
            self.breaks.count(host, cause, || vec![&**name, cause]);
            log::warn!("{name}: the watch broke: {cause}");
        }
        if let Some(gauge) = self.up.id(host, (), || vec![name]) {
            host.record(gauge, u64::from(lives));
        }
        if let (Some(lag), Some(gauge)) = (lag, self.lag.id(host, (), || vec![name])) {
            host.record(gauge, u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
        }
        if lives != self.lives {
            self.lives = lives;
            let state =
                if lives { "the engine's changes are watched" } else { "its changes are not watched" };
            log::info!("{name}: {state}");
        }
    }
}
