//! The answer of `expr_evaluate` to an expression that is a list: a serialized `google.protobuf.ListValue`.
//!
//! Envoy turns the values of the expression language into those of JSON: whole numbers into doubles, spans of time into text
//! such as `1.500s`, bytes into base64.

/// One value of the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// null, or something that the lists here never hold.
    Nothing,
    /// A number.
    Number(f64),
    /// Text, bytes or a span of time.
    Text(&'a [u8]),
    /// true or false.
    Bool(bool),
}

impl<'a> Item<'a> {
    /// A whole number that is not negative.
    #[must_use]
    pub fn whole(self) -> Option<u64> {
        match self {
            // 2^53: beyond it a double no longer tells neighbours apart, and the host writes text instead.
            Item::Number(n) if (0.0..=9_007_199_254_740_992.0).contains(&n) => Some(n as u64),
            Item::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The nanoseconds of a span of time.
    #[must_use]
    pub fn nanos(self) -> Option<u64> {
        let Item::Text(text) = self else { return None };
        let text = std::str::from_utf8(text).ok()?.strip_suffix('s')?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mut nanos = whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?;
        let mut unit = 100_000_000_u64;
        for digit in fraction.bytes() {
            let digit = u64::from(digit.checked_sub(b'0').filter(|d| *d < 10)?);
            nanos = nanos.checked_add(digit.checked_mul(unit)?)?;
            unit /= 10;
        }
        Some(nanos)
    }

    /// Text; empty for anything else.
    #[must_use]
    pub fn text(self) -> &'a [u8] {
        if let Item::Text(text) = self { text } else { b"" }
    }
}

/// Reads the message. `None` if it is none.
#[must_use]
pub fn read(message: &[u8]) -> Option<Vec<Item<'_>>> {
    const VALUES: u64 = 1;
    let mut items = Vec::with_capacity(16);
    let mut rest = message;
    while !rest.is_empty() {
        let (tag, after) = varint(rest)?;
        if tag != (VALUES << 3 | 2) {
            return None;
        }
        let (value, after) = delimited(after)?;
        items.push(item(value)?);
        rest = after;
    }
    Some(items)
}

/// A `google.protobuf.Value`.
fn item(value: &[u8]) -> Option<Item<'_>> {
    const NUMBER: u64 = 2 << 3 | 1;
    const TEXT: u64 = 3 << 3 | 2;
    const BOOL: u64 = 4 << 3;
    if value.is_empty() {
        return Some(Item::Nothing);
    }
    let (tag, rest) = varint(value)?;
    Some(match tag {
        NUMBER => Item::Number(f64::from_le_bytes(rest.get(..8)?.try_into().ok()?)),
        TEXT => Item::Text(delimited(rest)?.0),
        BOOL => Item::Bool(varint(rest)?.0 == 1),
        _ => Item::Nothing,
    })
}

fn delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = varint(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (n, byte) in bytes.iter().enumerate().take(10) {
        let shift = u32::try_from(n).ok()?.checked_mul(7)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(n.checked_add(1)?..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_as_envoy_writes_it() {
        let message = [
            &b"\x0a\x05\x1a\x03GET"[..],
            b"\x0a\x09\x11\0\0\0\0\0\0\x69\x40",
            b"\x0a\x02\x20\x01",
            b"\x0a\x0a\x1a\x080.00123s",
            b"\x0a\0",
            b"\x0a\x02\x08\0",
        ]
        .concat();
        let items = read(&message).unwrap();
        assert_eq!(items[0].text(), b"GET");
        assert_eq!(items[1].whole(), Some(200));
        assert_eq!(items[2], Item::Bool(true));
        assert_eq!(items[3].nanos(), Some(1_230_000));
        assert_eq!(items[4..], [Item::Nothing, Item::Nothing]);
    }

    #[test]
    fn spans_of_time_are_exact() {
        for (text, nanos) in [("0s", 0), ("1s", 1_000_000_000), ("1.5s", 1_500_000_000), ("0.000000001s", 1)] {
            assert_eq!(Item::Text(text.as_bytes()).nanos(), Some(nanos), "{text}");
        }
        for bad in ["", "s", "-1s", "1", "1.xs", "99999999999999999999s"] {
            assert_eq!(Item::Text(bad.as_bytes()).nanos(), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn junk_panics_nobody(junk in prop::collection::vec(any::<u8>(), 0..64)) {
            for item in read(&junk).unwrap_or_default() {
                let _ = (item.whole(), item.nanos());
            }
        }
    }
}
