//! Charging a request: all limits on one key at once or not at all, and what was charged on other keys is given back.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::host::Host;
use portcullis_common::table::{Entry, Full, Slot, Table, Unavailable, Update, View};

use crate::meter::{Decision, Standing, Times};
use crate::policy::budget::{Budget, Metered};

/// What one limit is asked.
#[derive(Debug)]
pub struct Ask {
    /// The limit, by its position.
    pub limit: usize,
    /// Its key for this request.
    pub key: Rc<[u8]>,
    /// Its rates for this request.
    pub rates: Rc<[Metered]>,
    /// How many may be in flight.
    pub in_flight: Option<NonZeroU32>,
    /// What the request costs; 0 asks without charging.
    pub cost: u64,
    /// Whether a refusal is only recorded.
    pub shadow: bool,
}

/// What one limit said.
#[derive(Clone, Debug)]
pub struct Said {
    /// One for each rate.
    pub rates: Vec<Rated>,
}

/// What one rate said.
#[derive(Clone, Copy, Debug)]
pub struct Rated {
    /// Where the entry is kept.
    slot: Slot,
    /// The entry after the charge, where it passed.
    receipt: Option<Entry>,
    /// How much is left.
    pub standing: Standing,
    /// When the same request would pass, where it did not.
    pub retry_after: Option<Duration>,
}

/// What was charged, to be given back or settled.
#[derive(Debug)]
pub struct Charged {
    key: Rc<[u8]>,
    rates: Rc<[Metered]>,
    receipts: Vec<Entry>,
    /// How much.
    pub cost: u64,
}

impl Ask {
    /// An ask of `budget`.
    #[must_use]
    pub fn new(limit: usize, key: Rc<[u8]>, budget: &Budget, cost: u64, shadow: bool) -> Ask {
        Ask { limit, key, rates: Rc::clone(&budget.rates), in_flight: budget.in_flight, cost, shadow }
    }
}

impl Said {
    /// When the same request would pass, if it did not.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.rates.iter().filter_map(|r| r.retry_after).max()
    }

    /// Whether a rate said no.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.rates.iter().any(|r| r.retry_after.is_some())
    }
}

impl Charged {
    /// What `ask` was charged, if it was.
    #[must_use]
    pub fn new(ask: &Ask, said: &Said) -> Option<Charged> {
        let receipts: Option<Vec<Entry>> = said.rates.iter().map(|r| r.receipt).collect();
        let receipts = receipts.filter(|_| ask.cost != 0)?;
        let (key, rates) = (Rc::clone(&ask.key), Rc::clone(&ask.rates));
        (!receipts.is_empty()).then_some(Charged { key, rates, receipts, cost: ask.cost })
    }

    /// Makes the charge `cost` instead.
    ///
    /// # Errors
    /// If the table cannot answer; then it stays what it was.
    pub fn settle(
        &self,
        table: &Table,
        host: &dyn Host,
        now: Times,
        cost: u64,
    ) -> Result<Update<()>, Unavailable> {
        let update = table.exchange(host, &self.key, now.mono, |view| {
            for (rate, receipt) in self.rates.iter().zip(&self.receipts) {
                if let Some(back) = self.cost.checked_sub(cost) {
                    // What is no longer there has nothing to get back.
                    if let Some(slot) = view.find(rate.meter).filter(|_| back != 0) {
                        let entry = view.entry(slot);
                        view.set(slot, rate.measure.give_back(entry, *receipt, now, back));
                    }
                } else {
                    let slot = view.open(rate.meter)?;
                    let entry = view.entry(slot);
                    view.set(slot, rate.measure.charge(entry, now, cost.saturating_sub(self.cost)));
                }
            }
            Ok(Ok::<(), ()>(()))
        })?;
        Ok(Update { value: (), conflicts: update.conflicts, evicted: update.evicted })
    }
}

/// One answer for each ask: `Err` if nothing was charged because one that counts refused.
pub type Answers = Result<Vec<Said>, Vec<Said>>;

/// Asks all limits on one key. `Err` holds the same answers where one that is not in shadow refused: then none was charged.
///
/// # Errors
/// If the table cannot answer; then none was charged.
pub fn exchange(
    table: &Table,
    host: &dyn Host,
    asks: &[&Ask],
    now: Times,
) -> Result<Update<Answers>, Unavailable> {
    let Some(first) = asks.first() else {
        return Ok(Update { value: Ok(Vec::new()), conflicts: 0, evicted: 0 });
    };
    table.exchange(host, &first.key, now.mono, |view| {
        let mut all = Vec::with_capacity(asks.len());
        let mut refused = false;
        for ask in asks {
            let said = ask_one(view, ask, now)?;
            refused |= said.refused() && !ask.shadow;
            all.push(said);
        }
        Ok(if refused { Err(all) } else { Ok(all) })
    })
}

fn ask_one(view: &mut View, ask: &Ask, now: Times) -> Result<Said, Full> {
    let mut rates = Vec::with_capacity(ask.rates.len());
    for rate in ask.rates.iter() {
        let slot = view.open(rate.meter)?;
        rates.push(match rate.measure.decide(view.entry(slot), now, ask.cost) {
            Decision::Admit { entry, standing } => {
                Rated { slot, receipt: Some(entry), standing, retry_after: None }
            }
            Decision::Refuse { retry_after, standing } => {
                Rated { slot, receipt: None, standing, retry_after: Some(retry_after) }
            }
        });
    }
    let said = Said { rates };
    if said.retry_after().is_none() && ask.cost != 0 {
        for rated in &said.rates {
            if let Some(entry) = rated.receipt {
                view.set(rated.slot, entry);
            }
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RawConfig;
    use crate::policy::Policy;
    use portcullis_common::memory::{MemoryHost, SharedData};
    use portcullis_common::table::SLOTS;
    use proptest::prelude::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    const SECOND: u64 = 1_000_000_000;

    fn budget(limit: &str) -> Budget {
        let config = format!(r#"{{"limits":[{{"name":"l","key":["k"],{limit}}}]}}"#);
        let raw: RawConfig = portcullis_common::config::parse("rate-limit", config.as_bytes()).unwrap();
        let policy = Policy::new(raw).unwrap();
        let request = portcullis_common::request::Request::default();
        let host = MemoryHost::default();
        let context = portcullis_common::values::context::Context {
            request: &request,
            path: None,
            pattern: None,
            host: &host,
        };
        policy.limits[0].budget(&context).clone()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Real threads on the rules of shared data, each with its own idea of when it looked at the clock: no window d has more
        /// than burst + rate x d, whatever the schedule, and nothing that fits is lost.
        #[test]
        fn threads_never_admit_more_than_the_limit_in_any_window(
            pauses in prop::collection::vec(prop::collection::vec(0_u64..SECOND / 20, 60..120), 4),
            sliding in any::<bool>(),
        ) {
            let (count, burst) = (20_u64, if sliding { 20 } else { 5 });
            let limit = if sliding {
                r#""rate":"20/second","algorithm":"sliding_window""#
            } else {
                r#""rate":"20/second","burst":5"#
            };
            let shared = SharedData::default();
            let clock = AtomicU64::new(100 * SECOND);
            let admitted = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for pauses in &pauses {
                    let (shared, clock, admitted) = (&shared, &clock, &admitted);
                    scope.spawn(move || {
                        let host = MemoryHost::sharing(shared);
                        let table = Table::open(&host, &["t"], SLOTS, 1 << 16).unwrap();
                        let ask = Ask::new(0, Rc::from(&b"k"[..]), &budget(limit), 1, false);
                        for pause in pauses {
                            let mono = clock.fetch_add(*pause, Ordering::SeqCst);
                            let now = Times { mono, calendar: 0 };
                            // A schedule that starves a thread is an error to be counted, never an admission.
                            if let Ok(Update { value: Ok(_), .. }) = exchange(&table, &host, &[&ask], now) {
                                admitted.lock().unwrap().push(mono);
                            }
                        }
                    });
                }
            });
            let mut admitted = admitted.into_inner().unwrap();
            admitted.sort_unstable();
            prop_assert!(admitted.len() as u64 >= burst);
            for (i, from) in admitted.iter().enumerate() {
                for (j, to) in admitted.iter().enumerate().skip(i) {
                    let most = burst + ((to - from) * count).div_ceil(SECOND);
                    prop_assert!((j - i + 1) as u64 <= most, "{} in {}", j - i + 1, to - from);
                }
            }
        }
    }
}
