//! Objects by numbers: all their names in one text, sorted.
//!
//! A search by halves takes 17 comparisons among 100,000 names, whatever names somebody chose; a hash would need a secret key.

/// The names of a store's objects.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    /// Where each name ends.
    ends: Vec<u32>,
    /// The type of each.
    kinds: Vec<u16>,
}

impl Names {
    /// The names of these objects, each with its type's number. `None` if they are longer than 4 GiB together.
    pub(super) fn new(mut all: Vec<(&str, u16)>) -> Option<Names> {
        all.sort_unstable();
        all.dedup();
        let mut names = Names {
            text: String::with_capacity(all.iter().map(|(name, _)| name.len()).sum()),
            ends: Vec::with_capacity(all.len()),
            kinds: Vec::with_capacity(all.len()),
        };
        for (name, kind) in all {
            names.text.push_str(name);
            names.ends.push(u32::try_from(names.text.len()).ok()?);
            names.kinds.push(kind);
        }
        Some(names)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The name of a number.
    pub(super) fn name(&self, number: usize) -> Option<&str> {
        let end = *self.ends.get(number)?;
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    pub(super) fn kind(&self, number: usize) -> Option<u16> {
        self.kinds.get(number).copied()
    }

    /// The number of a name.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle)?.cmp(name) {
                std::cmp::Ordering::Equal => return u32::try_from(middle).ok(),
                std::cmp::Ordering::Less => low = middle.saturating_add(1),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    pub(super) fn bytes(&self) -> usize {
        let ends = self.ends.capacity().saturating_mul(size_of::<u32>());
        let kinds = self.kinds.capacity().saturating_mul(size_of::<u16>());
        self.text.capacity().saturating_add(ends).saturating_add(kinds)
    }
}
