//! How full the table is, from a sample.
//!
//! Reading the whole table would hold up every worker. So each VM looks at a few pages now and then, in turn, and tells the mean of
//! the last that it saw.

use portcullis_common::host::Host;
use portcullis_common::table::Table;

use crate::counters::Counters;

/// Requests between two looks.
const EVERY: u32 = 256;
/// Pages that are looked at.
const PAGES: u32 = 4;
/// How many pages the mean goes back.
const MEMORY: u64 = 64;

/// The sample.
#[derive(Debug, Default)]
pub(crate) struct Load {
    requests: u32,
    next: u32,
    live: u64,
    of: u64,
}

impl Load {
    /// Counts a request, and looks at some pages if it is time.
    pub(crate) fn sample(&mut self, table: &Table, now: u64, host: &dyn Host, counters: &mut Counters) {
        let turn = self.requests.is_multiple_of(EVERY);
        self.requests = self.requests.wrapping_add(1);
        if !turn {
            return;
        }
        for _ in 0..PAGES.min(table.pages()) {
            let Some((live, of)) = table.load(host, self.next, now) else { return };
            // An odd step meets every page of a power of two.
            self.next = self.next.wrapping_add(0x9E37_79B1);
            let (live, of) = (live as u64, of as u64);
            if self.of >= of.saturating_mul(MEMORY) {
                self.live = self.live.saturating_sub(self.live / MEMORY);
                self.of = self.of.saturating_sub(self.of / MEMORY);
            }
            self.live = self.live.saturating_add(live);
            self.of = self.of.saturating_add(of);
        }
        let percent = self.live.saturating_mul(100).checked_div(self.of).unwrap_or(0);
        counters.load(host, percent);
    }
}
