//! OpenFGA's changes, by asking for them again and again: `GET /stores/{store}/changes`.
//!
//! The first question asks for what was written in the last minute, the others go on where the one before ended. What the server
//! answered tells of everything that was written before the question left, so that is how far the watch has seen.
//! Changes of models are not among them: the model is written down in the configuration.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::{Mono, Now};
use portcullis_common::filter::{Answer, Callout};
use portcullis_common::json;
use serde_json::Value;

use super::{Broken, Heard};
use crate::condition::time::print_instant;

/// How many changes one answer holds at most; the server's own limit.
const PAGE: usize = 100;
/// How many values an answer holds at most: a page whose tuples have a large context each.
const VALUES: u32 = 200_000;
/// The longest continuation token. OpenFGA's have about 100 bytes; it goes into a path and into shared data.
const LONGEST: usize = 2048;
/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How far before the present the first question begins: the clocks of two machines.
const MARGIN: u64 = 60;
/// How far it goes back at most for a server whose clock is behind.
const MOST_MARGIN: u64 = 366 * 86_400;

/// The questions.
#[derive(Debug)]
pub(super) struct Poll {
    cluster: Rc<str>,
    authority: Rc<str>,
    path: String,
    margin: u64,
    /// The question that is out, and when it left.
    out: Option<(u64, Mono)>,
}

impl Poll {
    pub(super) fn new(cluster: Rc<str>, authority: Rc<str>, store: &str) -> Poll {
        Poll {
            cluster,
            authority,
            path: format!("/stores/{store}/changes?page_size={PAGE}"),
            margin: MARGIN,
            out: None,
        }
    }

    /// Whether a question is out.
    pub(super) fn is_asking(&self) -> bool {
        self.out.is_some()
    }

    /// The next question, going on from `cursor`.
    pub(super) fn ask(&mut self, tag: u64, cursor: &[u8], authorization: Option<&str>, now: &Now) -> Callout {
        self.out = Some((tag, now.mono()));
        let mut path = self.path.clone();
        match std::str::from_utf8(cursor) {
            Ok(cursor) if !cursor.is_empty() => {
                path.push_str("&continuation_token=");
                path.push_str(&escaped(cursor));
            }
            _ => {
                let since = now.wall().seconds().saturating_sub(self.margin);
                let since = i128::from(since).saturating_mul(1_000_000_000);
                path.push_str("&start_time=");
                path.push_str(&escaped(&print_instant(since).unwrap_or_default()));
            }
        }
        let mut headers: Vec<(String, String)> = [
            (":method", "GET"),
            (":path", &path),
            (":authority", &self.authority),
            ("accept", "application/json"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if let Some(value) = authorization {
            headers.push(("authorization".to_owned(), value.to_owned()));
        }
        Callout::Http { cluster: Rc::clone(&self.cluster), headers, body: Vec::new(), timeout: TIMEOUT }
    }
    /// What the answer to question `tag` says; `None` if nobody asked.
    pub(super) fn answered(
        &mut self,
        tag: u64,
        cursor: &[u8],
        answer: &Answer,
    ) -> Option<Result<Heard, Broken>> {
        let (_, left) = self.out.take_if(|(asked, _)| *asked == tag)?;
        Some(match answer {
            Answer::Http { status: 200, body, .. } => read(body, left).ok_or(Broken::Malformed),
            Answer::Http { status: 400, .. } if !cursor.is_empty() => Err(Broken::Cursor),
            Answer::Http { status: 400, .. } => {
                // The beginning lies in the server's future, perhaps.
                self.margin = self.margin.saturating_mul(60).min(MOST_MARGIN);
                Err(Broken::Refused)
            }
            Answer::Http { status: 401 | 403 | 404, .. } => Err(Broken::Refused),
            _ => Err(Broken::Unreachable),
        })
    }

    /// Gives up a question that the host never answers.
    pub(super) fn expire(&mut self, now: Mono) -> Option<Broken> {
        let overdue = |(_, left): &mut (u64, Mono)| now.since(*left) > TIMEOUT.saturating_mul(2);
        self.out.take_if(overdue).map(|_| Broken::Unreachable)
    }

    /// Another VM watches.
    pub(super) fn stop(&mut self) {
        self.out = None;
    }
}

fn read(body: &[u8], left: Mono) -> Option<Heard> {
    let answer = json::object(body, VALUES).ok()?;
    let changes = match answer.get("changes") {
        None | Some(Value::Null) => 0,
        Some(Value::Array(changes)) => changes.len(),
        Some(_) => return None,
    };
    let cursor = match answer.get("continuation_token") {
        None | Some(Value::Null) => "",
        Some(Value::String(token))
            if token.len() <= LONGEST && token.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            token
        }
        Some(_) => return None,
    };
    // An answer with neither is that of another server.
    answer.get("continuation_token").or(answer.get("changes"))?;
    if changes > 0 && cursor.is_empty() {
        return None;
    }
    let more = changes >= PAGE;
    Some(Heard {
        changed: (changes > 0).then(Vec::new),
        cursor: (!cursor.is_empty()).then(|| cursor.as_bytes().to_vec()),
        seen: (!more).then_some(left),
        more,
    })
}

/// As the value of a query's parameter.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use portcullis_common::clock::Wall;

    use super::*;

    fn poll() -> Poll {
        Poll::new("c".into(), "fga".into(), "S")
    }

    fn path(callout: &Callout) -> String {
        let Callout::Http { headers, .. } = callout else { panic!("not HTTP") };
        headers.iter().find(|(name, _)| name == ":path").unwrap().1.clone()
    }

    fn http(status: u16, body: &str) -> Answer {
        Answer::Http { response: Vec::new(), status, body: body.into() }
    }

    #[test]
    fn the_first_question_is_about_the_last_minute_and_the_next_goes_on() {
        let mut poll = poll();
        let now = Now::at(Wall(1_700_000_060 * 1_000_000_000), Mono(5));
        let first = poll.ask(1, b"", Some("Bearer t"), &now);
        assert_eq!(path(&first), "/stores/S/changes?page_size=100&start_time=2023-11-14T22%3A13%3A20Z");
        let Callout::Http { headers, .. } = &first else { panic!() };
        assert!(headers.contains(&("authorization".into(), "Bearer t".into())));
        assert_eq!(
            path(&poll.ask(2, b"a+b/c==", None, &now)),
            "/stores/S/changes?page_size=100&continuation_token=a%2Bb%2Fc%3D%3D"
        );
    }

    #[test]
    fn answers_tell_of_what_was_before_the_question() {
        let now = Now::at(Wall(0), Mono(5));
        let change = r#"{"tuple_key":{"user":"u:a","relation":"r","object":"o:1"},"operation":"TUPLE_OPERATION_DELETE"}"#;
        let page =
            |n: usize| format!(r#"{{"changes":[{}],"continuation_token":"t"}}"#, vec![change; n].join(","));
        let heard = |changed: bool, cursor: &str, seen: Option<u64>| Heard {
            changed: changed.then(Vec::new),
            cursor: (!cursor.is_empty()).then(|| cursor.into()),
            seen: seen.map(Mono),
            more: seen.is_none(),
        };
        let with = |token: &str| format!(r#"{{"changes":[],"continuation_token":"{token}"}}"#);
        let long = "t".repeat(LONGEST);
        for (answer, want) in [
            (http(200, r#"{"changes":[],"continuation_token":""}"#), Ok(heard(false, "", Some(5)))),
            (http(200, &page(1)), Ok(heard(true, "t", Some(5)))),
            (http(200, &page(100)), Ok(heard(true, "t", None))),
            (http(200, "{}"), Err(Broken::Malformed)),
            (http(200, "[]"), Err(Broken::Malformed)),
            (http(200, r#"{"changes":[{}],"continuation_token":""}"#), Err(Broken::Malformed)),
            (http(200, r#"{"changes":{},"continuation_token":""}"#), Err(Broken::Malformed)),
            (http(200, r#"{"changes":[],"continuation"#), Err(Broken::Malformed)),
            (http(200, &with("a+b/c==")), Ok(heard(false, "a+b/c==", Some(5)))),
            (http(200, &with(&long)), Ok(heard(false, &long, Some(5)))),
            (http(200, &with(&format!("{long}t"))), Err(Broken::Malformed)),
            (http(200, &with("a b")), Err(Broken::Malformed)),
            (http(200, &with("a\\u0000")), Err(Broken::Malformed)),
            (http(200, &with("\u{e9}")), Err(Broken::Malformed)),
            (http(401, ""), Err(Broken::Refused)),
            (http(500, ""), Err(Broken::Unreachable)),
            (Answer::Timeout, Err(Broken::Unreachable)),
            (Answer::Refused, Err(Broken::Unreachable)),
        ] {
            let mut poll = poll();
            poll.ask(1, b"", None, &now);
            assert_eq!(poll.answered(2, b"", &answer), None, "nobody asked");
            assert_eq!(poll.answered(1, b"", &answer), Some(want));
            assert_eq!(poll.answered(1, b"", &answer), None, "twice");
        }
    }

    #[test]
    fn a_cursor_that_is_not_known_is_given_up_and_a_beginning_in_the_future_is_moved() {
        let mut poll = poll();
        let now = Now::at(Wall(1_700_000_000 * 1_000_000_000), Mono(5));
        poll.ask(1, b"t", None, &now);
        assert_eq!(poll.answered(1, b"t", &http(400, "")), Some(Err(Broken::Cursor)));
        let before = path(&poll.ask(2, b"", None, &now));
        assert_eq!(poll.answered(2, b"", &http(400, "")), Some(Err(Broken::Refused)));
        assert!(path(&poll.ask(3, b"", None, &now)) < before);
        assert_eq!(poll.expire(Mono(5)), None);
        assert_eq!(poll.expire(Mono(3_000_000_000)), Some(Broken::Unreachable));
        assert!(!poll.is_asking());
    }
}
