//! What one question has found not to hold, so that groups which many others have in them are not walked once for each of them.
//!
//! Only a no is kept that is the same on every way: nothing below it came back to where it was, and nothing below it was too far away.
//! Then it is the same from every place that is no further away than to leave the ways below it their length. A yes is not kept: the
//! way to it is short once what lies beside it is known.

use std::collections::BTreeMap;

/// After how many steps a question begins to keep what it finds. Nearly all are answered before.
const FROM: u32 = 256;
/// What took fewer steps is as quickly walked again.
const WORTH: u32 = 4;

/// An object and its relation; and whether that is within what is subtracted, where more is looked at.
pub(super) type Place = (u32, u16, bool);

/// What is known not to hold, and how far the ways below it go.
pub(super) struct Memo {
    known: BTreeMap<Place, u32>,
    /// How far the ways have gone since the last relation was entered.
    deepest: u32,
    /// How often a way came back to where it was, or was too long.
    ended: u32,
    pub(super) from: u32,
    pub(super) worth: u32,
}

/// How it was when a relation was entered.
pub(super) struct Entered {
    deepest: u32,
    ended: u32,
}

impl Default for Memo {
    fn default() -> Self {
        Memo { known: BTreeMap::new(), deepest: 0, ended: 0, from: FROM, worth: WORTH }
    }
}

impl Memo {
    /// A way ended that might not have ended, had it come from somewhere else.
    pub(super) fn way_ends(&mut self) {
        self.ended = self.ended.saturating_add(1);
    }

    /// Whether it is known not to hold, also at this distance.
    pub(super) fn knows(&mut self, place: Place, depth: u32, furthest: u32) -> bool {
        let below = self.known.get(&place).map(|height| depth.saturating_add(*height));
        let Some(below) = below.filter(|below| *below <= furthest) else { return false };
        self.deepest = self.deepest.max(below);
        true
    }

    pub(super) fn enter(&mut self, depth: u32) -> Entered {
        let before = Entered { deepest: self.deepest, ended: self.ended };
        self.deepest = depth;
        before
    }

    /// Keeps a plain no, unless something below it depends on the way.
    pub(super) fn leave(&mut self, before: &Entered, place: Place, depth: u32, is_no: bool, steps: u32) {
        if is_no && steps >= self.worth && self.ended == before.ended {
            self.known.insert(place, self.deepest.saturating_sub(depth));
        }
        self.deepest = self.deepest.max(before.deepest);
    }
}
