//! Who calls, in a bounded number of names.
//!
//! A list of names is exact. Beside it, the busiest of the rest can have names of their own: each VM keeps the Space-Saving
//! summary (Metwally, Agrawal, El Abbadi, 2005), a fixed number of counters that is sure to hold whoever makes up more
//! than its share. Envoy never forgets a series, so a name is given late and kept for ever: to whoever surely made a
//! sizeable share of many requests, as long as the process has places left.

use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_common::host::Host;

use crate::labels;
use crate::registry::{Admission, Registry};

/// Nobody said who calls.
pub const ANONYMOUS: &str = "_anonymous";
/// Somebody without a name of his own.
pub const OTHERS: &str = "__other__";
/// The list of names in the registry.
const LIST: &str = "consumers";
/// The least requests before a name is given.
const LEAST: u32 = 100;
/// When all counts are halved, so that yesterday's traffic does not decide about today's names.
const HALF_LIFE: u32 = 100_000;
/// The longest name that is counted; a longer one is an other.
const MAX_NAME: usize = 256;

/// A closed list of values, told apart by their fact.
#[derive(Debug)]
pub struct Names {
    names: Vec<Rc<str>>,
    by_fact: BTreeMap<Vec<u8>, u32>,
}

/// The position of [`ANONYMOUS`].
const NOBODY: u32 = 0;
/// The position of [`OTHERS`].
const SOMEBODY: u32 = 1;

impl Names {
    /// These names. A fact may be the text itself, or the text as JSON.
    #[must_use]
    pub fn new(allow: &[String]) -> Self {
        let mut names = Names { names: vec![ANONYMOUS.into(), OTHERS.into()], by_fact: BTreeMap::new() };
        for name in allow {
            let number = names.push(name.as_bytes().to_vec(), name);
            names.by_fact.insert(format!("\"{name}\"").into_bytes(), number);
        }
        names
    }

    fn push(&mut self, fact: Vec<u8>, name: &str) -> u32 {
        let number = u32::try_from(self.names.len()).unwrap_or(SOMEBODY);
        self.names.push(name.into());
        self.by_fact.insert(fact, number);
        number
    }

    /// The number of whom a fact names.
    #[must_use]
    pub fn number(&self, fact: Option<&[u8]>) -> u32 {
        match fact {
            None | Some(b"" | b"null" | b"\"\"") => NOBODY,
            Some(fact) => self.by_fact.get(fact).copied().unwrap_or(SOMEBODY),
        }
    }

    /// The name of a number.
    #[must_use]
    pub fn name(&self, number: u32) -> &str {
        let name = usize::try_from(number).ok().and_then(|n| self.names.get(n));
        name.map_or(OTHERS, |n| n)
    }
}

/// Names that are found out.
#[derive(Debug)]
pub struct Busiest {
    top: usize,
    counters: Vec<Counter>,
    by_fact: BTreeMap<Vec<u8>, usize>,
    total: u32,
}

#[derive(Debug)]
struct Counter {
    fact: Vec<u8>,
    count: u32,
    /// How much of the count may be somebody else's.
    error: u32,
}

impl Busiest {
    /// At most `top` names.
    #[must_use]
    pub fn new(top: usize) -> Self {
        Busiest { top, counters: Vec::new(), by_fact: BTreeMap::new(), total: 0 }
    }

    /// A request by somebody without a name. Gives the number of the name, once there is one.
    pub fn seen(&mut self, names: &mut Names, registry: &Registry, host: &dyn Host, fact: &[u8]) -> u32 {
        if fact.len() > MAX_NAME {
            return SOMEBODY;
        }
        self.total = self.total.saturating_add(1);
        let slot = self.slot(fact);
        let sure = self.counters.get_mut(slot).map_or(0, |counter| {
            counter.count = counter.count.saturating_add(1);
            counter.count.saturating_sub(counter.error)
        });
        let share = u64::from(sure).saturating_mul(u64::try_from(self.top).unwrap_or(1)).saturating_mul(2);
        let number = if sure >= LEAST && share >= u64::from(self.total) {
            // Whether it gets a name or not, it starts anew: a list that is full is not asked for every request.
            if let Some(counter) = self.counters.get_mut(slot) {
                counter.error = counter.count;
            }
            let name = labels::defused(unquoted(fact));
            match registry.admit(host, LIST, &name, self.top) {
                Admission::New | Admission::Known => names.push(fact.to_vec(), &name),
                Admission::Full | Admission::Unavailable => SOMEBODY,
            }
        } else {
            SOMEBODY
        };
        if self.total >= HALF_LIFE {
            self.total /= 2;
            for counter in &mut self.counters {
                counter.count /= 2;
                counter.error /= 2;
            }
        }
        number
    }

    /// The counter of a fact; the smallest one changes hands if none is free.
    fn slot(&mut self, fact: &[u8]) -> usize {
        if let Some(slot) = self.by_fact.get(fact) {
            return *slot;
        }
        let most = self.top.saturating_mul(4).max(64);
        let slot = self.counters.len();
        if slot < most {
            self.counters.push(Counter { fact: fact.to_vec(), count: 0, error: 0 });
            self.by_fact.insert(fact.to_vec(), slot);
            return slot;
        }
        let smallest = self.counters.iter().enumerate().min_by_key(|(_, c)| c.count).map_or(0, |(n, _)| n);
        if let Some(counter) = self.counters.get_mut(smallest) {
            self.by_fact.remove(&counter.fact);
            counter.error = counter.count;
            counter.fact = fact.to_vec();
            self.by_fact.insert(fact.to_vec(), smallest);
        }
        smallest
    }
}

/// The text of a fact that may be JSON.
fn unquoted(fact: &[u8]) -> &[u8] {
    fact.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")).unwrap_or(fact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::memory::MemoryHost;

    #[test]
    fn a_list_is_exact() {
        let names = Names::new(&["web".into(), "7".into()]);
        for (fact, name) in [
            (Some(&b"web"[..]), "web"),
            (Some(b"\"web\""), "web"),
            (Some(b"7"), "7"),
            (Some(b"mobile"), OTHERS),
            (Some(b"Web"), OTHERS),
            (Some(b"null"), ANONYMOUS),
            (Some(b""), ANONYMOUS),
            (None, ANONYMOUS),
        ] {
            assert_eq!(names.name(names.number(fact)), name, "{fact:?}");
        }
        assert_eq!(names.name(99), OTHERS);
    }

    struct Rig {
        host: MemoryHost,
        registry: Registry,
        names: Names,
        busiest: Busiest,
    }

    fn rig(top: usize) -> Rig {
        let registry = Registry::new(b"", "m");
        Rig { host: MemoryHost::default(), registry, names: Names::new(&[]), busiest: Busiest::new(top) }
    }

    impl Rig {
        fn seen(&mut self, fact: &str) -> String {
            let mut number = self.names.number(Some(fact.as_bytes()));
            if number == SOMEBODY {
                number = self.busiest.seen(&mut self.names, &self.registry, &self.host, fact.as_bytes());
            }
            self.names.name(number).to_owned()
        }
    }

    #[test]
    fn the_busiest_get_names_and_the_crowd_none() {
        let mut rig = rig(2);
        for n in 0..20_000 {
            rig.seen(&format!("\"crowd-{n}\""));
            rig.seen("\"big\"");
            if n % 2 == 0 {
                rig.seen("\"half\"");
            }
        }
        assert_eq!(rig.seen("\"big\""), "big");
        assert_eq!(rig.seen("\"half\""), "half");
        assert_eq!(rig.seen("\"crowd-7\""), OTHERS);
        assert_eq!(rig.names.names.len(), 4);
        assert!(rig.busiest.counters.len() <= 64 && rig.busiest.by_fact.len() <= 64);
    }

    #[test]
    fn places_are_the_processes() {
        let (mut one, mut two) = (rig(1), rig(1));
        two.host = MemoryHost::sharing(&one.host.shared);
        for _ in 0..1_000 {
            one.seen("first");
            two.seen("second");
        }
        assert_eq!(one.seen("first"), "first");
        assert_eq!(two.seen("second"), OTHERS);
        for _ in 0..5_000 {
            two.seen("first");
        }
        assert_eq!(two.seen("first"), "first", "a name that another VM gave is taken over");
    }

    #[test]
    fn a_hundred_thousand_names_take_no_memory() {
        let mut rig = rig(100);
        for n in 0..100_000 {
            assert_eq!(rig.seen(&n.to_string()), OTHERS);
        }
        assert!(rig.busiest.counters.len() <= 400 && rig.names.names.len() == 2);
        assert_eq!(rig.seen(&"a".repeat(1_000)), OTHERS);
    }
}
