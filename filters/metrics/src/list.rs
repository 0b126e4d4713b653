//! A list as the host writes it: as a header map, the items as names.
//!
//! The layout is that of the ABI's maps: a count, the lengths of each name and value, and then the bytes, each with a zero behind.
//! It is read in place; a request is too cheap for a copy of each item.

/// The items that are left of a list.
#[derive(Clone, Copy, Debug)]
pub struct Items<'a> {
    lengths: &'a [[u8; 8]],
    bytes: &'a [u8],
}

impl<'a> Items<'a> {
    /// The items of a list; `None` if it is none.
    #[must_use]
    pub fn of(list: &'a [u8]) -> Option<Items<'a>> {
        let (count, rest) = list.split_first_chunk::<4>()?;
        let lengths = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
        let (lengths, bytes) = rest.split_at_checked(lengths)?;
        Some(Items { lengths: lengths.as_chunks().0, bytes })
    }
}

impl Items<'_> {
    /// How many are left, by the list's own count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    /// `None` also where the bytes end before the item does.
    fn next(&mut self) -> Option<&'a [u8]> {
        let ([n0, n1, n2, n3, v0, v1, v2, v3], lengths) = self.lengths.split_first()?;
        let name = usize::try_from(u32::from_le_bytes([*n0, *n1, *n2, *n3])).ok()?;
        let value = usize::try_from(u32::from_le_bytes([*v0, *v1, *v2, *v3])).ok()?;
        let (item, rest) = self.bytes.split_at_checked(name)?;
        self.bytes = rest.get(value.checked_add(2)?..)?;
        self.lengths = lengths;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_common::headers::Headers;

    #[test]
    fn items_come_in_order() {
        let list = Headers::encode([(&b"a"[..], &b""[..]), (b"", b"x"), (b"bc", b"")]);
        assert_eq!(Items::of(&list).unwrap().len(), 3);
        assert_eq!(Items::of(&list).unwrap().collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
        let mut none = Items::of(&[0; 4]).unwrap();
        assert!(none.is_empty() && none.next().is_none());
    }

    #[test]
    fn what_is_cut_off_ends_early_and_nothing_panics() {
        let list = Headers::encode([(&b"abc"[..], &b"de"[..]), (b"f", b"")]);
        for cut in 0..list.len() {
            let whole = Items::of(list.get(..cut).unwrap()).map_or(0, Iterator::count);
            assert!(whole < 2, "{cut}");
        }
        for wrong in [&[255; 4][..], &[255; 64], &[1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0]]
        {
            assert_eq!(Items::of(wrong).map_or(0, Iterator::count), 0);
        }
    }
}
