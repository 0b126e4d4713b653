//! A number in the body of an answer, read while it passes by.
//!
//! Nothing is held up and next to nothing is kept: of a body of any length, the names on the way to the numbers, and the numbers.
//!
//! | module | one idea |
//! |---|---|
//! | [`mod@pointer`] | where a number stands |
//! | [`scan`] | JSON, in pieces |
//! | [`events`] | server-sent events, in pieces |

pub mod events;
pub mod pointer;
pub mod scan;

use std::ops::Range;

use portcullis_common::headers::{Headers, Lookup};

use events::Events;
use pointer::Pointer;
use scan::Scan;

/// The most pointers that one body is searched for.
pub const MAX_POINTERS: usize = 32;

/// Reads one body.
#[derive(Debug)]
pub struct Reader {
    kind: Kind,
    /// How many bytes more it looks at.
    window: usize,
}

#[derive(Debug)]
enum Kind {
    Json(Scan),
    Events(Events),
}

impl Reader {
    /// A reader for the answer with these headers; `None` if its body is no JSON, or is compressed.
    #[must_use]
    pub fn new(headers: &Headers, pointers: Vec<Pointer>, window: usize) -> Option<Reader> {
        let plain = match headers.get("content-encoding") {
            Lookup::Absent => true,
            Lookup::One(value) => value.trim_ascii().eq_ignore_ascii_case(b"identity"),
            Lookup::Many => false,
        };
        let kind = headers.get("content-type").one().filter(|_| plain)?;
        let kind = kind.split(|b| *b == b';').next()?.trim_ascii().to_ascii_lowercase();
        let kind = match kind.as_slice() {
            b"text/event-stream" => Kind::Events(Events::new(pointers)),
            b"application/json" => Kind::Json(Scan::new(pointers)),
            // RFC 6839, section 3.1: JSON by its suffix.
            other if other.ends_with(b"+json") => Kind::Json(Scan::new(pointers)),
            _ => return None,
        };
        Some(Reader { kind, window })
    }

    /// The next piece of the body.
    pub fn feed(&mut self, piece: &[u8]) {
        let piece = piece.get(..self.window).unwrap_or(piece);
        self.window = self.window.saturating_sub(piece.len());
        match &mut self.kind {
            Kind::Json(scan) => scan.feed(piece),
            Kind::Events(events) => events.feed(piece),
        }
    }

    /// Whether nothing that follows counts.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.window == 0
            || match &self.kind {
                Kind::Json(scan) => scan.is_over(),
                Kind::Events(events) => events.is_over(),
            }
    }

    /// The number at the first of these pointers that has one so far.
    #[must_use]
    pub fn number(&self, among: &Range<usize>) -> Option<u64> {
        let found = match &self.kind {
            Kind::Json(scan) => scan.found(),
            Kind::Events(events) => events.found(),
        };
        found.get(among.clone())?.iter().find_map(|n| *n)
    }
}

#[cfg(test)]
mod tests;
