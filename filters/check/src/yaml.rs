//! YAML, and with it JSON, as a tree that knows its lines.
//!
//! A scalar stays text until somebody asks what it is, for Envoy and Kubernetes give different answers ([`Dialect`]).

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Number, Value};

/// Aliases are copies: without an end, a small file could be a tree that fills the memory.
const MAX_NODES: usize = 1_000_000;
/// The deepest nesting that is read.
const MAX_DEPTH: usize = 200;

/// Who reads the file, which decides what a plain scalar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Envoy: `yes` and `on` are booleans; a number with a fraction or beyond 32 bits arrives as text.
    Envoy,
    /// Kubernetes: `yes` and `on` are booleans, numbers are numbers.
    Kubernetes,
    /// JSON.
    Json,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its line, from 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A scalar.
    Scalar {
        /// Its text, unquoted.
        text: String,
        /// Whether it is text whatever it looks like.
        quoted: bool,
        /// Whether it is a block, which keeps the lines of its text; its own line is its first.
        block: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order.
    Map(Vec<Member>),
}

/// A member of a mapping.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Whether the name is quoted.
    pub quoted: bool,
    /// The line of its name.
    pub line: usize,
    /// Its value.
    pub value: Node,
}

/// Something that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

impl From<ScanError> for Unreadable {
    fn from(error: ScanError) -> Self {
        Unreadable { line: error.marker().line(), problem: error.info().to_owned() }
    }
}

/// The documents of a file; empty ones are left out.
///
/// # Errors
/// What cannot be read, and where.
pub fn documents(text: &str) -> Result<Vec<Node>, Unreadable> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut found = Vec::new();
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) => reader.anchors.clear(),
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            first => {
                let node = reader.node(first, span, 0)?;
                if !node.is_null() {
                    found.push(node);
                }
            }
        }
    }
    Ok(found)
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Unreadable> {
        self.parser.next_event().transpose().map_err(Unreadable::from)
    }

    /// The next event, which there has to be.
    fn within(&mut self, line: usize) -> Result<(Event<'t>, Span), Unreadable> {
        self.next()?.ok_or_else(|| Unreadable { line, problem: "the file ends in the middle".into() })
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Unreadable> {
        let line = span.start.line();
        let too_much = |problem: &str| Err(Unreadable { line, problem: problem.to_owned() });
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            return too_much("larger or deeper than any configuration");
        }
        let deeper = depth.saturating_add(1);
        let (anchor, kind) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let quoted =
                    style != ScalarStyle::Plain || tag.is_some_and(|t| t.suffix == "str" || t.handle == "!");
                (anchor, Kind::Scalar { text: text.into_owned(), quoted, block })
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.within(line)?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    items.push(self.node(event, span, deeper)?);
                }
                (anchor, Kind::List(items))
            }
            Event::MappingStart(anchor, _) => (anchor, Kind::Map(self.members(line, deeper)?)),
            Event::Alias(anchor) => {
                let Some(copy) = self.anchors.get(&anchor).cloned() else {
                    return too_much("an alias without its anchor");
                };
                self.nodes = self.nodes.saturating_add(copy.size());
                if self.nodes > MAX_NODES {
                    return too_much("larger or deeper than any configuration");
                }
                return Ok(copy);
            }
            _ => return too_much("not a value"),
        };
        let node = Node { line, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn members(&mut self, line: usize, depth: usize) -> Result<Vec<Member>, Unreadable> {
        let mut members: Vec<Member> = Vec::new();
        let mut merged: Vec<Member> = Vec::new();
        loop {
            let (event, span) = self.within(line)?;
            let at = span.start.line();
            let (name, quoted) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, _, _) => (text.into_owned(), style != ScalarStyle::Plain),
                _ => return Err(Unreadable { line: at, problem: "a name that is no text".into() }),
            };
            let (event, span) = self.within(line)?;
            let value = self.node(event, span, depth)?;
            if name == "<<" && !quoted {
                match value.kind {
                    Kind::Map(more) => merged.extend(more),
                    Kind::List(all) => merged.extend(all.into_iter().flat_map(Node::into_members)),
                    Kind::Scalar { .. } => {}
                }
                continue;
            }
            if members.iter().any(|m| m.name == name) {
                let problem = format!("`{name}` stands twice; keep one");
                return Err(Unreadable { line: at, problem });
            }
            members.push(Member { name, quoted, line: at, value });
        }
        for member in merged {
            if !members.iter().any(|m| m.name == member.name) {
                members.push(member);
            }
        }
        Ok(members)
    }
}

impl Member {
    /// Whether Kubernetes takes the name for a boolean, and hands on `true` or `false` in its place.
    #[must_use]
    pub fn is_boolean(&self) -> bool {
        !self.quoted && boolean(&self.name).is_some()
    }
}

impl Node {
    fn into_members(self) -> Vec<Member> {
        match self.kind {
            Kind::Map(members) => members,
            Kind::List(_) | Kind::Scalar { .. } => Vec::new(),
        }
    }

    fn size(&self) -> usize {
        let inner = match &self.kind {
            Kind::Scalar { .. } => 0,
            Kind::List(items) => items.iter().map(Node::size).fold(0, usize::saturating_add),
            Kind::Map(members) => members.iter().map(|m| m.value.size()).fold(0, usize::saturating_add),
        };
        inner.saturating_add(1)
    }

    /// Whether nothing stands there.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, quoted: false, .. } if is_null(text))
    }

    /// The members of a mapping; none of anything else.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Map(members) => members,
            Kind::List(_) | Kind::Scalar { .. } => &[],
        }
    }

    /// The items of a list; none of anything else.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Map(_) | Kind::Scalar { .. } => &[],
        }
    }

    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The member called `name`, or as protobuf's JSON spells it, in camels.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        let members = self.members();
        let found = members.iter().find(|m| m.name == name);
        found.or_else(|| members.iter().find(|m| m.name == camel(name))).map(|m| &m.value)
    }

    /// What several `get` lead to.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The text that several `get` lead to.
    #[must_use]
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.text()
    }

    /// Whether a boolean that several `get` lead to is true.
    #[must_use]
    pub fn is_true(&self, path: &[&str]) -> bool {
        self.text_at(path).and_then(boolean) == Some(true)
    }

    /// The value, as `dialect` reads it.
    #[must_use]
    pub fn json(&self, dialect: Dialect) -> Value {
        match &self.kind {
            Kind::Scalar { text, quoted: true, .. } => Value::String(text.clone()),
            Kind::Scalar { text, .. } => scalar(text, dialect),
            Kind::List(items) => items.iter().map(|item| item.json(dialect)).collect(),
            Kind::Map(members) => {
                let member = |m: &Member| (m.name.clone(), m.value.json(dialect));
                Value::Object(members.iter().map(member).collect::<Map<_, _>>())
            }
        }
    }
}

fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        if c == '_' {
            raise = true;
        } else if raise {
            out.extend(c.to_uppercase());
            raise = false;
        } else {
            out.push(c);
        }
    }
    out
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The booleans of YAML 1.1, which both readers know: all small, all large, or with a large first letter.
fn boolean(text: &str) -> Option<bool> {
    let small = text.to_ascii_lowercase();
    let mut rest = text.chars();
    let large = rest.next().is_some_and(|c| c.is_ascii_uppercase());
    let uniform = text == small || text == text.to_ascii_uppercase();
    if !(uniform || (large && rest.all(|c| c.is_ascii_lowercase()))) {
        return None;
    }
    match &*small {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

fn scalar(text: &str, dialect: Dialect) -> Value {
    if is_null(text) {
        return Value::Null;
    }
    let word = match dialect {
        Dialect::Json => matches!(text, "true" | "false").then_some(text == "true"),
        Dialect::Envoy | Dialect::Kubernetes => boolean(text),
    };
    if let Some(b) = word {
        return Value::Bool(b);
    }
    match whole(text) {
        Some(n) if dialect == Dialect::Envoy && i32::try_from(n).is_err() => return n.to_string().into(),
        Some(n) => return n.into(),
        None => {}
    }
    let fraction = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    let number =
        text.parse::<f64>().ok().filter(|_| fraction && dialect != Dialect::Envoy).and_then(Number::from_f64);
    number.map_or_else(|| text.into(), Value::Number)
}

fn whole(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let radix = |digits: &str, radix| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok();
    if let Some(hex) = digits.strip_prefix("0x") {
        return radix(hex, 16);
    }
    match digits.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => radix(octal.strip_prefix('o').unwrap_or(octal), 8),
        _ => radix(digits, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(text: &str) -> Node {
        documents(text).unwrap().remove(0)
    }

    #[test]
    fn every_value_knows_its_line() {
        let node = one("a: 1\nb:\n- x\n- {c: 2,\n   d: 3}\n");
        assert_eq!(node.get("a").unwrap().line, 1);
        let list = node.get("b").unwrap();
        assert_eq!(list.items()[0].line, 3);
        assert_eq!(list.items()[1].get("d").unwrap().line, 5);
        assert_eq!(list.items()[1].members()[1].line, 5);
        let block = one("x: |\n  {\"a\":\n  1}\n");
        assert_eq!(block.get("x").unwrap().line, 2);
        assert!(matches!(block.get("x").unwrap().kind, Kind::Scalar { block: true, .. }));
    }

    #[test]
    fn envoy_and_kubernetes_read_scalars_in_their_own_ways() {
        let text = "{a: yes, b: '1', c: 0x10, d: 4294967296, e: 1.5, f: ~, g: nO, h: -7, y: 1, i: 007}";
        let envoy = one(text).json(Dialect::Envoy);
        assert_eq!(
            envoy,
            json!({"a": true, "b": "1", "c": 16, "d": "4294967296", "e": "1.5", "f": null, "g": "nO", "h": -7, "y": 1, "i": 7})
        );
        let kubernetes = one(text).json(Dialect::Kubernetes);
        assert_eq!((&kubernetes["d"], &kubernetes["e"]), (&json!(4294967296_u64), &json!(1.5)));
        let booleans = |text: &str| one(text).members().iter().map(Member::is_boolean).collect::<Vec<_>>();
        assert_eq!(booleans("{y: 1, 'y': 1}".replace("'y'", "\"n\"").as_str()), [true, false]);
        assert_eq!(booleans("{No: 1, x: 1, oN: 1}"), [true, false, false]);
    }

    #[test]
    fn anchors_merges_and_several_documents() {
        let all = documents("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\n---\n---\nz: *b\n");
        assert!(all.is_err(), "an anchor ends with its document");
        let all = documents("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\n---\n---\nz: 1\n").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].json(Dialect::Json)["more"], json!({"x": 1, "y": 3}));
    }

    #[test]
    fn what_cannot_be_read_has_its_line() {
        assert_eq!(
            documents("a: 1\na: 2\n").unwrap_err(),
            Unreadable { line: 2, problem: "`a` stands twice; keep one".into() }
        );
        assert_eq!(documents("a: 1\nb: [1\nc: 2\n").unwrap_err().line, 3);
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
        assert!(documents(bomb).unwrap_err().problem.starts_with("larger"));
        assert!(documents(&"[".repeat(10_000)).is_err());
    }
}
