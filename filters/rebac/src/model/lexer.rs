//! The words of the modelling language.
//!
//! A port of nothing: written after OpenFGA's grammar (openfga/language, `OpenFGALexer.g4`), so that errors stand where its
//! own tools report them. The longest word wins, of equally long ones the first rule.

use super::Span;

/// What kind of word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hash,
    Colon,
    Comma,
    And,
    Or,
    ButNot,
    From,
    With,
    Module,
    Model,
    Schema,
    Version,
    Extend,
    Type,
    Condition,
    Relations,
    Relation,
    Define,
    Less,
    Greater,
    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    LeftParen,
    RightParen,
    Star,
    Blank,
    Newline,
    /// `expression` behind a `$`: the name of conditions that stand in tuples.
    Inline,
    /// A name as types and conditions have it.
    Name,
    /// A name with dots and slashes.
    LongName,
    /// `map`, `list` inside a condition's parentheses.
    Container,
    /// `string` and its like inside a condition's parentheses.
    ParameterType,
    /// A piece of an expression.
    Other,
    /// A remark inside an expression: no part of it.
    Remark,
    /// No word at all.
    Bad,
    End,
}

/// A word and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) span: Span,
}

/// The text without remarks and without blanks at the ends of its lines, which may end as Windows ends them. A remark begins a line,
/// or follows a blank.
pub(super) fn cleaned(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !line.trim_start_matches(' ').starts_with('#') {
            let code = line.split(" #").next().unwrap_or_default();
            out.push_str(code.trim_end_matches(' '));
        }
    }
    let length = out.trim_end_matches(['\n', '\r']).len();
    out.truncate(length);
    out
}

/// All words of a cleaned text, and the end.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line, mut column) = (text, 0_u32, 0_u32);
    let mut in_parameters = false;
    while !rest.is_empty() {
        let (kind, length) = word(rest, in_parameters);
        let (text, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        let characters = |t: &str| u32::try_from(t.chars().count()).unwrap_or(u32::MAX);
        let end = column.saturating_add(characters(text));
        tokens.push(Token { kind, text, span: Span { line, start: column, end } });
        match text.rsplit_once('\n') {
            Some((_, last)) => {
                let breaks = text.bytes().filter(|b| *b == b'\n').count();
                line = line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
                column = characters(last);
            }
            None => column = end,
        }
        match kind {
            Kind::Condition => in_parameters = true,
            Kind::RightParen => in_parameters = false,
            _ => {}
        }
        rest = behind;
    }
    let span = Span { line, start: column, end: column };
    tokens.push(Token { kind: Kind::End, text: "<EOF>", span });
    tokens.retain(|t| t.kind != Kind::Remark);
    tokens
}

const KEYWORDS: [(&str, Kind); 15] = [
    ("and", Kind::And),
    ("or", Kind::Or),
    ("from", Kind::From),
    ("with", Kind::With),
    ("module", Kind::Module),
    ("model", Kind::Model),
    ("schema", Kind::Schema),
    ("extend", Kind::Extend),
    ("type", Kind::Type),
    ("condition", Kind::Condition),
    ("relations", Kind::Relations),
    ("relation", Kind::Relation),
    ("define", Kind::Define),
    ("in", Kind::Other),
    ("null", Kind::Other),
];

const PARAMETER_TYPES: [(&str, Kind); 10] = [
    ("map", Kind::Container),
    ("list", Kind::Container),
    ("bool", Kind::ParameterType),
    ("string", Kind::ParameterType),
    ("int", Kind::ParameterType),
    ("uint", Kind::ParameterType),
    ("double", Kind::ParameterType),
    ("duration", Kind::ParameterType),
    ("timestamp", Kind::ParameterType),
    ("ipaddress", Kind::ParameterType),
];

/// The kind and length in bytes of the first word of a text that is not empty.
fn word(text: &str, in_parameters: bool) -> (Kind, usize) {
    if let Some(length) = newline(text) {
        return (Kind::Newline, length);
    }
    let blanks = text.len().saturating_sub(text.trim_start_matches([' ', '\t', '\x0c']).len());
    if blanks > 0 {
        return (Kind::Blank, blanks);
    }
    let name = name(text);
    if in_parameters {
        return in_condition(text, name);
    }
    if let Some(length) = string(text) {
        return (Kind::Other, length);
    }
    if text.starts_with("but not") && name.max(long_name(text)) <= 7 {
        return (Kind::ButNot, 7);
    }
    let long = long_name(text);
    if long > name {
        return (Kind::LongName, long);
    }
    if name > 0 {
        let kind = keyword(text.get(..name).unwrap_or_default(), &KEYWORDS);
        return (kind, name);
    }
    if text.starts_with("//") {
        return (Kind::Remark, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return number(text);
    }
    if let Some(rest) = text.strip_prefix("$expression")
        && !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    {
        return (Kind::Inline, 11);
    }
    if ["==", "!=", "<=", ">=", "&&", "||"].iter().any(|two| text.starts_with(two)) {
        return (Kind::Other, 2);
    }
    let first = text.chars().next().unwrap_or_default();
    let kind = match first {
        '#' => Kind::Hash,
        ':' => Kind::Colon,
        ',' => Kind::Comma,
        '<' => Kind::Less,
        '>' => Kind::Greater,
        '[' => Kind::LeftBracket,
        ']' => Kind::RightBracket,
        '{' => Kind::LeftBrace,
        '}' => Kind::RightBrace,
        '(' => Kind::LeftParen,
        ')' => Kind::RightParen,
        '*' => Kind::Star,
        '.' | '-' | '!' | '?' | '+' | '/' | '%' => Kind::Other,
        _ => Kind::Bad,
    };
    (kind, first.len_utf8())
}

/// A word between a condition's name and the closing parenthesis.
fn in_condition(text: &str, name: usize) -> (Kind, usize) {
    if name > 0 {
        return (keyword(text.get(..name).unwrap_or_default(), &PARAMETER_TYPES), name);
    }
    let first = text.chars().next().unwrap_or_default();
    let kind = match first {
        ':' => Kind::Colon,
        ',' => Kind::Comma,
        '<' => Kind::Less,
        '>' => Kind::Greater,
        '(' => Kind::LeftParen,
        ')' => Kind::RightParen,
        _ => Kind::Bad,
    };
    (kind, first.len_utf8())
}

fn keyword(word: &str, list: &[(&str, Kind)]) -> Kind {
    list.iter().find(|(keyword, _)| *keyword == word).map_or(Kind::Name, |(_, kind)| *kind)
}

/// One or more line breaks with the blanks around them.
fn newline(text: &str) -> Option<usize> {
    let rest = text.trim_start_matches([' ', '\t', '\x0c', '\n', '\r']);
    let length = text.len().checked_sub(rest.len())?;
    text.get(..length)?.contains(['\n', '\r']).then_some(length)
}

/// Letters, digits, underscores and hyphens, not beginning with a digit or a hyphen.
fn name(text: &str) -> usize {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(text.len())
}

/// A name in which single slashes, dots and hyphens may stand between others.
fn long_name(text: &str) -> usize {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return 0;
    }
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let joins = matches!(c, '/' | '.' | '-') && chars.peek().is_some_and(|(_, next)| plain(*next));
        if !plain(c) && !joins {
            return at;
        }
    }
    text.len()
}

/// `1.1`, or any other number of an expression.
fn number(text: &str) -> (Kind, usize) {
    let digits = |t: &str| t.find(|c: char| !c.is_ascii_digit()).unwrap_or(t.len());
    let whole = digits(text);
    let behind = text.get(whole..).unwrap_or_default();
    if let Some(rest) = behind.strip_prefix('.') {
        let fraction = digits(rest);
        if fraction > 0 {
            let length = whole.saturating_add(1).saturating_add(fraction);
            let kind = if rest.get(fraction..).is_some_and(exponent) { Kind::Other } else { Kind::Version };
            return (kind, length);
        }
    }
    if text.starts_with("0x") {
        let hex = text.get(2..).map_or(0, |t| t.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(t.len()));
        return (Kind::Other, hex.saturating_add(2));
    }
    (Kind::Other, whole)
}

fn exponent(text: &str) -> bool {
    text.starts_with(['e', 'E'])
}

/// A quoted text of CEL, with its prefixes `r` and `b`.
fn string(text: &str) -> Option<usize> {
    let mut at = 0_usize;
    let mut raw = false;
    let mut rest = text;
    if let Some(behind) = rest.strip_prefix(['b', 'B']) {
        rest = behind;
        at = 1;
    }
    if let Some(behind) = rest.strip_prefix(['r', 'R']) {
        rest = behind;
        raw = true;
        at = at.saturating_add(1);
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let triple = [quote, quote, quote].iter().collect::<String>();
    let long = rest.starts_with(&triple);
    let close = if long { triple.as_str() } else { triple.get(..1)? };
    let mut inner = rest.get(close.len()..)?;
    at = at.saturating_add(close.len());
    loop {
        if inner.starts_with(close) {
            return Some(at.saturating_add(close.len()));
        }
        let mut chars = inner.chars();
        let c = chars.next().filter(|c| long || !matches!(c, '\n' | '\r'))?;
        at = at.saturating_add(c.len_utf8());
        if c == '\\' && !raw {
            at = at.saturating_add(chars.next()?.len_utf8());
        }
        inner = chars.as_str();
    }
}
