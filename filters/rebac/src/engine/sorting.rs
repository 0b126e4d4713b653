//! Sorting in pieces: a worker thread that sorts a hundred thousand tuples serves requests in between.

/// How many stand in a run that is sorted at once.
const RUN: usize = 2048;

/// A list that is being sorted: runs first, then two by two until there is one.
#[derive(Debug)]
pub(super) struct Sorting<T> {
    list: Vec<T>,
    merged: Vec<T>,
    /// How long runs are; 0 while they are being made.
    run: usize,
    /// Where the runs begin that are being made or merged.
    from: usize,
    /// How many were taken of the two.
    taken: [usize; 2],
}

impl<T: Ord + Copy> Sorting<T> {
    pub(super) fn new(list: Vec<T>) -> Self {
        Sorting { list, merged: Vec::new(), run: 0, from: 0, taken: [0; 2] }
    }

    /// Goes on for about `work` items; gives the list once it is sorted.
    pub(super) fn work(&mut self, work: usize) -> Option<Vec<T>> {
        let mut left = work.max(1);
        while self.run == 0 {
            let to = self.from.saturating_add(RUN).min(self.list.len());
            let length = to.saturating_sub(self.from);
            // A run costs as much as a few rounds of merging it.
            let spent = length.saturating_mul(length.max(1).ilog2() as usize) / 4;
            if let Some(run) = self.list.get_mut(self.from..to) {
                run.sort_unstable();
            }
            self.from = to;
            if to == self.list.len() {
                (self.run, self.from) = (RUN, 0);
            }
            left = left.saturating_sub(spent);
            if left == 0 {
                return None;
            }
        }
        while self.run < self.list.len() {
            if !self.merge(&mut left) {
                return None;
            }
            std::mem::swap(&mut self.list, &mut self.merged);
            self.merged.clear();
            self.run = self.run.saturating_mul(2);
            self.from = 0;
        }
        Some(std::mem::take(&mut self.list))
    }

    /// Merges runs two by two; whether it came to the end.
    fn merge(&mut self, left: &mut usize) -> bool {
        let length = self.list.len();
        self.merged.reserve_exact(length.saturating_sub(self.merged.len()));
        while self.from < length {
            let middle = self.from.saturating_add(self.run).min(length);
            let end = middle.saturating_add(self.run).min(length);
            loop {
                let [a, b] = self.taken;
                let a = self.list.get(self.from.saturating_add(a)..middle).and_then(<[T]>::first);
                let b = self.list.get(middle.saturating_add(b)..end).and_then(<[T]>::first);
                let (next, of) = match (a, b) {
                    (Some(a), Some(b)) if a <= b => (*a, 0),
                    (_, Some(b)) => (*b, 1),
                    (Some(a), None) => (*a, 0),
                    (None, None) => break,
                };
                if *left == 0 {
                    return false;
                }
                *left = left.saturating_sub(1);
                self.merged.push(next);
                if let Some(taken) = self.taken.get_mut(of) {
                    *taken = taken.saturating_add(1);
                }
            }
            (self.from, self.taken) = (end, [0; 2]);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(list: Vec<u32>, work: usize) -> Vec<u32> {
        let mut sorting = Sorting::new(list);
        loop {
            if let Some(list) = sorting.work(work) {
                return list;
            }
        }
    }

    #[test]
    fn long_lists_are_sorted_whatever_the_pieces() {
        for length in [0, 1, RUN - 1, RUN, RUN + 1, 3 * RUN, 5 * RUN + 7, 8 * RUN] {
            let list: Vec<u32> =
                (0..length).map(|n| u32::try_from(n).unwrap().wrapping_mul(2_654_435_761) % 10_007).collect();
            let mut want = list.clone();
            want.sort_unstable();
            for work in [1000, RUN, usize::MAX] {
                assert_eq!(sorted(list.clone(), work), want, "{length} by {work}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(list in proptest::collection::vec(any::<u32>(), 0..200), work in 1_usize..50) {
            let mut want = list.clone();
            want.sort_unstable();
            prop_assert_eq!(sorted(list, work), want);
        }
    }
}
