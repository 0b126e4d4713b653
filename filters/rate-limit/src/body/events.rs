//! Server-sent events that come in pieces (WHATWG HTML, section 9.2.6): each one's data is a JSON text, up to `[DONE]`.

use super::pointer::Pointer;
use super::scan::Scan;

/// What ends a stream of events that ends by an event.
const DONE: &[u8] = b"[DONE]";
/// What a stream may begin with.
const MARK: &[u8] = "\u{feff}".as_bytes();
const FIELD: &[u8] = b"data";

/// Reads a stream of events.
#[derive(Debug)]
pub struct Events {
    scan: Scan,
    line: Line,
    /// How much of `[DONE]` the event's data is; nothing if it is something else.
    done: Option<usize>,
    /// Whether the event has a line of data already.
    data: bool,
    /// Behind a carriage return, whose line feed is no line of its own.
    returned: bool,
    over: bool,
}

/// Where in a line.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// In the byte order mark.
    Mark(usize),
    /// In a name that may become `data`.
    Name(usize),
    /// Behind the colon, where one space is not of the value.
    Colon,
    /// In the value.
    Value,
    /// In a line of something else.
    Other,
}

impl Events {
    /// A reader for these pointers.
    #[must_use]
    pub fn new(pointers: Vec<Pointer>) -> Events {
        Events {
            scan: Scan::new(pointers),
            line: Line::Mark(0),
            done: Some(0),
            data: false,
            returned: false,
            over: false,
        }
    }

    /// Whether `[DONE]` came.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// One for each pointer: the number in the last event that had one.
    #[must_use]
    pub fn found(&self) -> &[Option<u64>] {
        self.scan.found()
    }

    /// The next piece of the stream.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while !self.over && !piece.is_empty() {
            let here = match self.line {
                Line::Value | Line::Other => {
                    piece.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(piece.len())
                }
                Line::Mark(_) | Line::Name(_) | Line::Colon => 0,
            };
            let (value, rest) = piece.split_at_checked(here).unwrap_or((piece, &[]));
            if matches!(self.line, Line::Value) {
                self.value(value);
            }
            let Some((byte, rest)) = rest.split_first() else { return };
            self.byte(*byte);
            piece = rest;
        }
    }

    fn byte(&mut self, byte: u8) {
        let feed_behind_return = byte == b'\n' && self.returned;
        self.returned = byte == b'\r';
        if feed_behind_return {
            return;
        }
        if matches!(byte, b'\r' | b'\n') {
            self.end_of_line();
            return;
        }
        self.line = match self.line {
            Line::Mark(at) if MARK.get(at) == Some(&byte) => {
                let at = at.saturating_add(1);
                if at == MARK.len() { Line::Name(0) } else { Line::Mark(at) }
            }
            Line::Mark(0) => Events::name(0, byte),
            Line::Name(at) => Events::name(at, byte),
            Line::Colon => {
                self.begin_value();
                if byte != b' ' {
                    self.value(&[byte]);
                }
                Line::Value
            }
            // The value and what is skipped are taken in pieces.
            Line::Value => Line::Value,
            Line::Mark(_) | Line::Other => Line::Other,
        };
    }

    fn name(at: usize, byte: u8) -> Line {
        match FIELD.get(at) {
            Some(next) if *next == byte => Line::Name(at.saturating_add(1)),
            None if byte == b':' => Line::Colon,
            _ => Line::Other,
        }
    }

    /// A second line of data continues the first one, behind a line feed.
    fn begin_value(&mut self) {
        if self.data {
            self.value(b"\n");
        }
        self.data = true;
    }

    fn value(&mut self, piece: &[u8]) {
        self.done = self.done.and_then(|at| {
            let end = at.checked_add(piece.len())?;
            (DONE.get(at..end)? == piece).then_some(end)
        });
        self.scan.feed(piece);
    }

    fn end_of_line(&mut self) {
        match self.line {
            Line::Value if self.done == Some(DONE.len()) => self.over = true,
            // An empty line ends the event.
            Line::Name(0) | Line::Mark(0) => {
                self.scan.restart();
                self.done = Some(0);
                self.data = false;
            }
            Line::Mark(_) | Line::Name(_) | Line::Colon | Line::Value | Line::Other => {}
        }
        self.line = Line::Name(0);
    }
}
