//! Documents of tuples, read in pieces.
//!
//! A document is a JSON array of tuples, `{"tuples": [...]}`, or text with a tuple on each line; a tuple is
//! `document:1#viewer@user:ann` or an object of OpenFGA's (`user`, `relation`, `object`, `condition`). It is taken as a whole or not at
//! all, and it shows where it ends: a line that breaks off is no line, and a document without a tuple is `[]`, not nothing.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::engine::schema::Schema;
use crate::engine::store::{Builder, Store};
use crate::tuples::Given;

/// The longest tuple as text, in bytes: OpenFGA's own limit for a context, and some.
const LONGEST: usize = 64 << 10;
/// The longest description of a problem, in characters.
const LONGEST_PROBLEM: usize = 200;

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// So many bytes are read.
    pub bytes: usize,
    /// So many tuples are sorted.
    pub tuples: usize,
}

/// A document being read.
#[derive(Debug, Default)]
pub struct Loading {
    form: Form,
    /// Where the next tuple begins.
    at: usize,
    tuples: usize,
    builder: Builder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Unknown,
    Lines,
    /// An array; `wrapped` if it is in an object.
    Array {
        wrapped: bool,
    },
    /// All was read.
    Read,
}

/// Why a document is not taken. No id stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which tuple, from 1; 0 for the whole.
    pub tuple: usize,
    /// What is wrong, for the log.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tuple {
            0 => f.write_str(&self.what),
            n => write!(f, "tuple {n}: {}", self.what),
        }
    }
}

/// A tuple in a document of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    relation: Cow<'a, str>,
    #[serde(borrow)]
    object: Cow<'a, str>,
    condition: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    name: String,
    context: Option<Map<String, Json>>,
}

/// Text of a document, without copying it where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Loading {
    /// Reads or sorts one more piece of `content`; gives the store once it is done.
    ///
    /// # Errors
    /// Why the document is not taken.
    pub fn go_on(&mut self, schema: &Schema, content: &[u8], piece: Piece) -> Result<Option<Store>, Problem> {
        if self.form == Form::Read {
            return self.sort(piece.tuples);
        }
        let (start, end) = (self.at, self.at.saturating_add(piece.bytes));
        if self.form == Form::Unknown {
            self.begin(content)?;
        }
        while self.at < end && self.form != Form::Read {
            match self.form {
                Form::Lines => self.line(schema, content)?,
                _ => self.item(schema, content)?,
            }
        }
        // A short document is done at once.
        if self.form == Form::Read && self.at.saturating_sub(start) <= piece.bytes / 8 {
            return self.sort(piece.tuples / 8);
        }
        Ok(None)
    }

    fn sort(&mut self, tuples: usize) -> Result<Option<Store>, Problem> {
        self.builder.sort(tuples).map_err(|_| self.whole("a tuple is there twice"))
    }

    /// Finds out how the document is written.
    fn begin(&mut self, content: &[u8]) -> Result<(), Problem> {
        self.skip_blank(content);
        self.form = match content.get(self.at) {
            None => return Err(self.whole("empty; a document without tuples is []")),
            Some(b'[') => Form::Array { wrapped: false },
            Some(b'{') if self.enters_object(content) => Form::Array { wrapped: true },
            Some(_) => {
                self.form = Form::Lines;
                return Ok(());
            }
        };
        self.skip(content, b'[').then_some(()).ok_or_else(|| self.whole("tuples is no list"))
    }

    /// Goes to the value of `{"tuples": `, if that is how it begins.
    fn enters_object(&mut self, content: &[u8]) -> bool {
        let start = self.at;
        let found = self.skip(content, b'{') && {
            self.skip_blank(content);
            let rest = content.get(self.at..).unwrap_or_default();
            let named = rest.starts_with(b"\"tuples\"");
            self.at = self.at.saturating_add(if named { 8 } else { 0 });
            named && self.skip(content, b':')
        };
        if found {
            self.skip_blank(content);
        } else {
            self.at = start;
        }
        found
    }

    /// Reads a line: a tuple, a comment, or nothing.
    fn line(&mut self, schema: &Schema, content: &[u8]) -> Result<(), Problem> {
        let rest = content.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            if self.tuples == 0 {
                return Err(self.whole("no tuples; a document without any is []"));
            }
            self.form = Form::Read;
            return Ok(());
        }
        let near = rest.get(..LONGEST).unwrap_or(rest);
        let Some(length) = near.iter().position(|b| *b == b'\n') else {
            let what =
                if near.len() < rest.len() { "longer than 64 KiB" } else { "the last line has no end" };
            return Err(self.next(what));
        };
        let line = near.get(..length).unwrap_or_default().trim_ascii();
        self.at = self.at.saturating_add(length).saturating_add(1);
        match line.first() {
            None | Some(b'#') => Ok(()),
            Some(b'{') => {
                let parts: Parts<'_> = serde_json::from_slice(line).map_err(|e| self.next(&not_json(&e)))?;
                self.parts(schema, &parts)
            }
            Some(_) => {
                let text = std::str::from_utf8(line).map_err(|_| self.next("not text"))?;
                self.text(schema, text)
            }
        }
    }

    /// Reads an item of an array with the comma behind it, or the array's end.
    fn item(&mut self, schema: &Schema, content: &[u8]) -> Result<(), Problem> {
        self.skip_blank(content);
        let rest = content.get(self.at..).unwrap_or_default();
        let near = rest.get(..LONGEST).unwrap_or(rest);
        match near.first() {
            Some(b']') if self.tuples == 0 => return self.end(content),
            Some(b'"') => {
                let (Text(text), length) = self.value(near)?;
                self.at = self.at.saturating_add(length);
                self.text(schema, &text)?;
            }
            Some(_) => {
                let (parts, length) = self.value::<Parts<'_>>(near)?;
                self.at = self.at.saturating_add(length);
                self.parts(schema, &parts)?;
            }
            None => return Err(self.whole("it breaks off")),
        }
        self.skip_blank(content);
        match content.get(self.at) {
            Some(b',') => {
                self.at = self.at.saturating_add(1);
                Ok(())
            }
            Some(b']') => self.end(content),
            _ => Err(self.whole("it breaks off, or a comma is missing")),
        }
    }

    /// The value that `near` begins with, and its length.
    fn value<'a, T: Deserialize<'a>>(&self, near: &'a [u8]) -> Result<(T, usize), Problem> {
        let mut values = serde_json::Deserializer::from_slice(near).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => Ok((value, values.byte_offset())),
            Some(Err(e)) => Err(self.next(&not_json(&e))),
            None => Err(self.next("nothing")),
        }
    }

    /// The end of the array, and of the document.
    fn end(&mut self, content: &[u8]) -> Result<(), Problem> {
        self.skip(content, b']');
        if self.form == (Form::Array { wrapped: true }) && !self.skip(content, b'}') {
            // A part of something longer, such as a page, is not the whole.
            return Err(self.whole("there is more in it than tuples"));
        }
        self.skip_blank(content);
        if self.at < content.len() {
            return Err(self.whole("something follows its end"));
        }
        self.form = Form::Read;
        Ok(())
    }

    fn text(&mut self, schema: &Schema, text: &str) -> Result<(), Problem> {
        let given = Given::parse(text).map_err(|e| self.next(e))?;
        self.add(schema, given)
    }

    fn parts(&mut self, schema: &Schema, parts: &Parts<'_>) -> Result<(), Problem> {
        let none = Map::new();
        let condition = parts.condition.as_ref().map(|c| (&*c.name, c.context.as_ref().unwrap_or(&none)));
        let Parts { user, relation, object, .. } = parts;
        self.add(schema, Given { object, relation, subject: user, condition })
    }

    fn add(&mut self, schema: &Schema, given: Given<'_>) -> Result<(), Problem> {
        self.builder.add(schema, given).map_err(|e| self.next(&e))?;
        self.tuples = self.tuples.saturating_add(1);
        Ok(())
    }

    fn skip_blank(&mut self, content: &[u8]) {
        let rest = content.get(self.at..).unwrap_or_default();
        let blank = rest.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(rest.len());
        self.at = self.at.saturating_add(blank);
    }

    /// Goes past this byte, if it comes next.
    fn skip(&mut self, content: &[u8], byte: u8) -> bool {
        self.skip_blank(content);
        let is_next = content.get(self.at) == Some(&byte);
        self.at = self.at.saturating_add(usize::from(is_next));
        is_next
    }

    #[cold]
    fn whole(&self, what: &str) -> Problem {
        Problem { tuple: 0, what: what.to_owned() }
    }

    /// A problem of the next tuple.
    #[cold]
    fn next(&self, what: &str) -> Problem {
        let plain = |c: char| if c.is_control() { '?' } else { c };
        let what = what.chars().map(plain).take(LONGEST_PROBLEM).collect();
        Problem { tuple: self.tuples.saturating_add(1), what }
    }
}

/// What serde says about it without what the document says.
fn not_json(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Eof => "it breaks off, or is longer than 64 KiB".to_owned(),
        serde_json::error::Category::Data => {
            "not {user, relation, object, condition: {name, context}}".to_owned()
        }
        _ => "not JSON".to_owned(),
    }
}

#[cfg(test)]
mod tests;
