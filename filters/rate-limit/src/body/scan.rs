//! Numbers in JSON that comes in pieces.
//!
//! It follows the pointers and steps over everything else, so what it remembers is bounded by the pointers, not by the text: a
//! container that no pointer leads into is only a count of brackets. It is no validator: what is no JSON has no numbers.

use super::pointer::Pointer;

/// A scan of one text after the other.
#[derive(Debug)]
pub struct Scan {
    pointers: Vec<Pointer>,
    state: State,
    /// The containers that pointers lead into, outermost first.
    open: Vec<Container>,
    /// The pointers that lead to the value that is next.
    next: Set,
    /// What the present text said so far.
    said: Vec<Option<u64>>,
    /// What whole texts said; of several, the last that said anything.
    found: Vec<Option<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Container {
    object: bool,
    /// The pointers that lead into it.
    inside: Set,
    /// Of an array, the place of the present value.
    index: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A value is next.
    Value,
    /// A value is next, or the end of an empty array.
    First,
    /// A member's name is next; in an empty object, its end.
    Name { first: bool },
    /// In a member's name: the pointers that it may still be for, and its length so far.
    InName { left: Set, at: usize, escape: Escape },
    /// Behind a name.
    Colon,
    /// In a text that is a value.
    InText { escaped: bool },
    /// In a number that is looked for by these pointers.
    InNumber { wanted: Set, number: Number },
    /// In `true`, `false` or `null`.
    InWord,
    /// In a container that nobody asks for: how many are open, and whether in a text.
    Skipped { depth: usize, text: bool, escaped: bool },
    /// Behind a value.
    After,
    /// The text is complete.
    Over,
    /// It is no JSON.
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    None,
    /// Behind a backslash.
    Begun,
    /// In `\uXXXX`: digits to come, and their value so far.
    Hex(u8, u32),
}

/// Which pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u32);

impl Set {
    const NONE: Set = Set(0);

    fn all(pointers: &[Pointer]) -> Set {
        let count = u32::try_from(pointers.len()).unwrap_or(u32::MAX);
        Set(1_u32.checked_shl(count).map_or(u32::MAX, |bit| bit.wrapping_sub(1)))
    }

    fn keep(self, mut which: impl FnMut(usize) -> bool) -> Set {
        let (mut rest, mut kept) = (self.0, 0);
        while rest != 0 {
            let n = rest.trailing_zeros();
            let bit = 1_u32.wrapping_shl(n);
            rest &= !bit;
            if usize::try_from(n).is_ok_and(&mut which) {
                kept |= bit;
            }
        }
        Set(kept)
    }
}

/// A number in the making: what is not negative and has no exponent, rounded up.
#[derive(Clone, Copy, Debug)]
struct Number {
    whole: u64,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// Behind the point; whether anything but zeros was there.
    Fraction(bool),
    /// It is none that counts.
    Other,
}

impl Number {
    fn of(byte: u8) -> Number {
        let part = if byte == b'-' { Part::Other } else { Part::Whole };
        Number { whole: u64::from(byte.wrapping_sub(b'0')), part }
    }

    /// With one more byte; `None` if that is not of the number.
    fn with(self, byte: u8) -> Option<Number> {
        Some(match (byte, self.part) {
            (b'0'..=b'9', Part::Whole) => {
                let digit = u64::from(byte.wrapping_sub(b'0'));
                Number { whole: self.whole.saturating_mul(10).saturating_add(digit), ..self }
            }
            (b'0'..=b'9', Part::Fraction(some)) => {
                Number { part: Part::Fraction(some || byte != b'0'), ..self }
            }
            (b'.', Part::Whole) => Number { part: Part::Fraction(false), ..self },
            (b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-', _) => Number { part: Part::Other, ..self },
            _ => return None,
        })
    }

    fn rounded(self) -> Option<u64> {
        match self.part {
            Part::Whole => Some(self.whole),
            Part::Fraction(some) => Some(self.whole.saturating_add(u64::from(some))),
            Part::Other => None,
        }
    }
}

impl Scan {
    /// A scan for these pointers.
    #[must_use]
    pub fn new(pointers: Vec<Pointer>) -> Scan {
        let none = vec![None; pointers.len()];
        let next = Set::all(&pointers);
        Scan { pointers, state: State::Value, open: Vec::new(), next, said: none.clone(), found: none }
    }

    /// Another text begins; what the last one said without coming to its end is forgotten.
    pub fn restart(&mut self) {
        self.state = State::Value;
        self.open.clear();
        self.next = Set::all(&self.pointers);
        self.said.fill(None);
    }

    /// Whether the text is complete, or no JSON.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::Broken)
    }

    /// One for each pointer.
    #[must_use]
    pub fn found(&self) -> &[Option<u64>] {
        &self.found
    }

    /// The next piece of the text.
    pub fn feed(&mut self, mut piece: &[u8]) {
        while let Some((byte, rest)) = piece.split_first() {
            // Most of an answer is what nobody asks for.
            let step = match self.state {
                State::InText { escaped: false } | State::Skipped { text: true, escaped: false, .. } => {
                    piece.iter().position(|b| matches!(b, b'"' | b'\\'))
                }
                State::Skipped { text: false, .. } => {
                    piece.iter().position(|b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']'))
                }
                State::Over | State::Broken => None,
                _ => Some(0),
            };
            let Some(step) = step else { return };
            if step != 0 {
                piece = piece.get(step..).unwrap_or_default();
                continue;
            }
            self.byte(*byte);
            piece = rest;
        }
    }

    fn byte(&mut self, byte: u8) {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.state = match self.state {
            State::Value | State::First | State::Name { .. } | State::Colon | State::After if space => return,
            State::Value => self.value(byte),
            State::First if byte == b']' => self.close(byte),
            State::First => self.value(byte),
            State::Name { first } => match byte {
                b'"' => {
                    let left = self.open.last().map_or(Set::NONE, |c| c.inside);
                    State::InName { left, at: 0, escape: Escape::None }
                }
                b'}' if first => self.close(byte),
                _ => State::Broken,
            },
            State::InName { left, at, escape } => self.name(byte, left, at, escape),
            State::Colon if byte == b':' => State::Value,
            State::Colon => State::Broken,
            State::InText { escaped } => match byte {
                b'"' if !escaped => self.after(),
                _ => State::InText { escaped: byte == b'\\' && !escaped },
            },
            State::InNumber { wanted, number } => {
                if let Some(number) = number.with(byte) {
                    State::InNumber { wanted, number }
                } else {
                    self.say(wanted, number);
                    self.state = self.after();
                    return self.byte(byte);
                }
            }
            State::InWord if byte.is_ascii_lowercase() => State::InWord,
            State::InWord => {
                self.state = self.after();
                return self.byte(byte);
            }
            State::Skipped { depth, text, escaped } => self.skip(byte, depth, text, escaped),
            State::After => match byte {
                b',' => self.next_value(),
                _ => self.close(byte),
            },
            State::Over | State::Broken => return,
        };
    }

    fn value(&mut self, byte: u8) -> State {
        let depth = self.open.len();
        match byte {
            b'{' | b'[' => {
                let inside = self.next.keep(|n| self.pointers.get(n).is_some_and(|p| p.len() > depth));
                if inside == Set::NONE {
                    return State::Skipped { depth: 1, text: false, escaped: false };
                }
                let object = byte == b'{';
                self.open.push(Container { object, inside, index: 0 });
                if object {
                    return State::Name { first: true };
                }
                self.at_index(inside, 0);
                State::First
            }
            b'"' => State::InText { escaped: false },
            b'-' | b'0'..=b'9' => {
                let wanted = self.next.keep(|n| self.pointers.get(n).is_some_and(|p| p.len() == depth));
                State::InNumber { wanted, number: Number::of(byte) }
            }
            b't' | b'f' | b'n' => State::InWord,
            _ => State::Broken,
        }
    }

    fn name(&mut self, byte: u8, left: Set, at: usize, escape: Escape) -> State {
        let mut utf8 = [0; 4];
        let (decoded, escape): (&[u8], Escape) = match (escape, byte) {
            (Escape::None, b'"') => {
                let depth = self.open.len().saturating_sub(1);
                let whole = |n| self.named(n, depth).is_some_and(|name| name.len() == at);
                self.next = left.keep(whole);
                return State::Colon;
            }
            (Escape::None, b'\\') => (&[], Escape::Begun),
            (Escape::None, _) => (&[byte], Escape::None),
            (Escape::Begun, b'u') => (&[], Escape::Hex(4, 0)),
            (Escape::Begun, b'"' | b'\\' | b'/') => (&[byte], Escape::None),
            (Escape::Begun, b'b') => (&[8], Escape::None),
            (Escape::Begun, b'f') => (&[12], Escape::None),
            (Escape::Begun, b'n') => (b"\n", Escape::None),
            (Escape::Begun, b'r') => (b"\r", Escape::None),
            (Escape::Begun, b't') => (b"\t", Escape::None),
            (Escape::Hex(digits, value), _) => {
                let Some(digit) = char::from(byte).to_digit(16) else { return State::Broken };
                let value = value.wrapping_mul(16).wrapping_add(digit);
                match digits {
                    // Half of a pair is a name that no pointer has.
                    1 => {
                        let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
                        (c.encode_utf8(&mut utf8).as_bytes(), Escape::None)
                    }
                    _ => (&[], Escape::Hex(digits.saturating_sub(1), value)),
                }
            }
            (Escape::Begun, _) => return State::Broken,
        };
        let depth = self.open.len().saturating_sub(1);
        let end = at.saturating_add(decoded.len());
        let left = left.keep(|n| self.named(n, depth).and_then(|name| name.get(at..end)) == Some(decoded));
        State::InName { left, at: end, escape }
    }

    fn skip(&mut self, byte: u8, depth: usize, text: bool, escaped: bool) -> State {
        let (depth, text, escaped) = match byte {
            _ if escaped => (depth, text, false),
            b'\\' if text => (depth, text, true),
            b'"' => (depth, !text, false),
            b'{' | b'[' if !text => (depth.saturating_add(1), false, false),
            b'}' | b']' if !text => (depth.saturating_sub(1), false, false),
            _ => (depth, text, false),
        };
        if depth == 0 { self.after() } else { State::Skipped { depth, text, escaped } }
    }

    /// Behind a comma.
    fn next_value(&mut self) -> State {
        let Some(container) = self.open.last_mut() else { return State::Broken };
        if container.object {
            return State::Name { first: false };
        }
        container.index = container.index.saturating_add(1);
        let (inside, index) = (container.inside, container.index);
        self.at_index(inside, index);
        State::Value
    }

    fn close(&mut self, byte: u8) -> State {
        match (self.open.pop(), byte) {
            (Some(Container { object: true, .. }), b'}') | (Some(Container { object: false, .. }), b']') => {
                self.after()
            }
            _ => State::Broken,
        }
    }

    /// Behind a value, which may have been the whole text.
    fn after(&mut self) -> State {
        if !self.open.is_empty() {
            return State::After;
        }
        for (found, said) in self.found.iter_mut().zip(&self.said) {
            *found = said.or(*found);
        }
        State::Over
    }

    fn at_index(&mut self, inside: Set, index: usize) {
        let depth = self.open.len().saturating_sub(1);
        self.next = inside.keep(|n| self.pointers.get(n).is_some_and(|p| p.is_index(depth, index)));
    }

    fn say(&mut self, wanted: Set, number: Number) {
        if let Some(number) = number.rounded() {
            wanted.keep(|n| {
                if let Some(said) = self.said.get_mut(n) {
                    *said = Some(number);
                }
                true
            });
        }
    }

    fn named(&self, n: usize, depth: usize) -> Option<&[u8]> {
        self.pointers.get(n)?.name(depth)
    }
}
