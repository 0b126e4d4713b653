//! A header map as the host hands it over: one buffer, read once, borrowed from then on.
//!
//! The wire form (proxy-wasm ABI 0.2.1, "header maps") is `u32 count`, then `count` pairs of `u32` lengths, then
//! each name and value, each followed by a NUL; all little-endian. Names and values are bytes: nothing here assumes
//! UTF-8, because a client need not send it.

/// What a header map says about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// No such header.
    Absent,
    /// Exactly one.
    One(&'a [u8]),
    /// More than one: who is to say which of them the next hop takes?
    Many,
}

impl<'a> Lookup<'a> {
    /// The value, if there is exactly one.
    #[must_use]
    pub fn one(self) -> Option<&'a [u8]> {
        match self {
            Lookup::One(value) => Some(value),
            Lookup::Absent | Lookup::Many => None,
        }
    }
}

/// The host's buffer was not a header map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A header map whose lengths fit. It is the host's buffer as it came: where a header lies is worked out when somebody asks, which is
/// cheaper than a list of places that most filters look at once.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    buffer: Vec<u8>,
    pseudo: Pseudo,
}

/// Where the pseudo-headers are that every filter asks for, found on the way.
#[derive(Clone, Copy, Debug, Default)]
struct Pseudo {
    method: (u32, u32),
    path: Option<(u32, u32)>,
    authority: (u32, u32),
}

impl Pseudo {
    fn note(&mut self, name: &[u8], value: (u32, u32)) {
        match name {
            b":method" => self.method = value,
            b":path" => self.path = Some(value),
            b":authority" => self.authority = value,
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Span {
    name: (u32, u32),
    value: (u32, u32),
}

/// Walks over a buffer that [`Headers::parse`] found in order: no sum of its lengths overflows.
struct Spans<'a> {
    lengths: std::slice::Iter<'a, [[u8; 4]; 2]>,
    at: u32,
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let [name, value] = self.lengths.next()?;
        let name_end = self.at.wrapping_add(u32::from_le_bytes(*name));
        let value_at = name_end.wrapping_add(1);
        let value_end = value_at.wrapping_add(u32::from_le_bytes(*value));
        let span = Span { name: (self.at, name_end), value: (value_at, value_end) };
        self.at = value_end.wrapping_add(1);
        Some(span)
    }
}

/// The values of the headers of one name.
struct Named<'a, 'n> {
    headers: &'a Headers,
    spans: Spans<'a>,
    name: &'n [u8],
}

impl<'a> Iterator for Named<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let Named { headers, spans, name } = self;
        // Most names are told apart by their length, without a look at them.
        let is_called = |s: &Span| {
            s.name.1.wrapping_sub(s.name.0) as usize == name.len()
                && headers.slice(s.name).eq_ignore_ascii_case(name)
        };
        spans.find(is_called).map(|span| headers.slice(span.value))
    }
}

impl Headers {
    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Malformed`] if the lengths do not fit the buffer.
    pub fn parse(buffer: Vec<u8>) -> Result<Self, Malformed> {
        if buffer.is_empty() {
            return Ok(Headers::default());
        }
        let count = word(&buffer, 0).ok_or(Malformed)?;
        let data = count.checked_mul(8).and_then(|n| n.checked_add(4)).ok_or(Malformed)?;
        // A count that the buffer cannot hold must not reserve memory.
        let lengths = buffer.get(4..data as usize).ok_or(Malformed)?;
        let mut pseudo = Pseudo::default();
        // Sums of three 32-bit lengths: 64 bits cannot overflow.
        let mut at = u64::from(data);
        for [name, value] in lengths.as_chunks().0.as_chunks().0 {
            let name_end = at.wrapping_add(u32::from_le_bytes(*name).into());
            let value_at = name_end.wrapping_add(1);
            let value_end = value_at.wrapping_add(u32::from_le_bytes(*value).into());
            let next = value_end.wrapping_add(1);
            if next > buffer.len() as u64 {
                return Err(Malformed);
            }
            // Within the buffer, whose length fits 32 bits where this runs.
            if buffer.get(at as usize) == Some(&b':') {
                pseudo.note(cut(&buffer, (at as u32, name_end as u32)), (value_at as u32, value_end as u32));
            }
            at = next;
        }
        Ok(Headers { buffer, pseudo })
    }

    /// `:method`; empty if there is none.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.slice(self.pseudo.method)
    }

    /// `:path`, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.pseudo.path.map(|span| self.slice(span))
    }

    /// `:authority`; empty if there is none.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.slice(self.pseudo.authority)
    }

    /// The wire form of `pairs`: for tests, fakes and the in-process host.
    #[must_use]
    pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
        encode(&pairs.into_iter().collect::<Vec<_>>())
    }

    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans().next().is_none()
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans().map(|s| (self.slice(s.name), self.slice(s.value)))
    }

    /// All values of a header, in order. Names compare without case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        Named { headers: self, spans: self.spans(), name: name.as_bytes() }
    }

    /// The value of a header, or that it is absent or repeated.
    #[must_use]
    pub fn get(&self, name: &str) -> Lookup<'_> {
        let mut values = Named { headers: self, spans: self.spans(), name: name.as_bytes() };
        match (values.next(), values.next()) {
            (None, _) => Lookup::Absent,
            (Some(value), None) => Lookup::One(value),
            (Some(_), Some(_)) => Lookup::Many,
        }
    }

    /// Drops the headers whose name `unwanted` names; gives those names back, for the host to drop too.
    pub fn remove(&mut self, mut unwanted: impl FnMut(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut removed: Vec<Vec<u8>> = Vec::new();
        for (name, _) in self.iter().filter(|(name, _)| unwanted(name)) {
            if !removed.iter().any(|seen| seen == name) {
                removed.push(name.to_vec());
            }
        }
        if !removed.is_empty() {
            let kept = self.iter().filter(|(name, _)| !removed.iter().any(|gone| gone == name));
            // What was parsed is parsed again without fail.
            *self = Headers::parse(Headers::encode(kept)).unwrap_or_default();
        }
        removed
    }

    fn spans(&self) -> Spans<'_> {
        let count = word(&self.buffer, 0).unwrap_or(0) as usize;
        let data = count.wrapping_mul(8).wrapping_add(4);
        let lengths = self.buffer.get(4..data).unwrap_or_default().as_chunks().0.as_chunks().0;
        Spans { lengths: lengths.iter(), at: data as u32 }
    }

    fn slice(&self, span: (u32, u32)) -> &[u8] {
        cut(&self.buffer, span)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let encoded = Headers::encode(pairs.into_iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
        Headers::parse(encoded).unwrap_or_default()
    }
}

fn encode(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = length(pairs.len()).to_vec();
    for (name, value) in pairs {
        out.extend_from_slice(&length(name.len()));
        out.extend_from_slice(&length(value.len()));
    }
    for (name, value) in pairs {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    out
}

fn cut(buffer: &[u8], (from, to): (u32, u32)) -> &[u8] {
    buffer.get(from as usize..to as usize).unwrap_or_default()
}

fn word(buffer: &[u8], at: u32) -> Option<u32> {
    let at = at as usize;
    let bytes = buffer.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_repeated_header_is_not_its_first_value() {
        let headers: Headers = [("a", "1"), ("b", ""), ("A", "2")].into_iter().collect();
        assert_eq!(headers.get("a"), Lookup::Many);
        assert_eq!(headers.get("b"), Lookup::One(b""));
        assert_eq!(headers.get("c"), Lookup::Absent);
        assert_eq!(headers.all("a").collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[test]
    fn removed_headers_are_gone_and_named_once() {
        let mut headers: Headers = [("x", "1"), ("keep", "2"), ("x", "3")].into_iter().collect();
        assert_eq!(headers.remove(|name| name == b"x"), [b"x".to_vec()]);
        assert_eq!(headers.iter().collect::<Vec<_>>(), [(&b"keep"[..], &b"2"[..])]);
    }

    #[test]
    fn a_count_larger_than_the_buffer_reserves_nothing() {
        assert!(Headers::parse(u32::MAX.to_le_bytes().to_vec()).is_err());
        assert!(Headers::parse(vec![1, 0, 0]).is_err());
        assert!(Headers::parse(Vec::new()).is_ok_and(|h| h.is_empty()));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..9)), 0..9)) {
            let encoded = Headers::encode(pairs.iter().map(|(n, v)| (&n[..], &v[..])));
            let read = Headers::parse(encoded).unwrap();
            let back: Vec<_> = read.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(back, pairs);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Headers::parse(bytes).map(|h| h.iter().count());
        }
    }
}
