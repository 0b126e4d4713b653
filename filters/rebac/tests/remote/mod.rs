//! A server on a socket, asked in the test's own words or in those of the filter's client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use portcullis_common::filter::{Answer, Callout};
use portcullis_rebac::policy::remote::{Bearer, Credentials, Openfga, Place};
use portcullis_rebac::question::Question;
use portcullis_rebac::remote::{Outcome, openfga};
use serde_json::{Value, json};

use crate::generator::Asked;

/// One connection that is used again and again.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    /// What the test shows the server. The filter's client has its own.
    pub(crate) token: Option<&'static str>,
}

impl Connection {
    pub(crate) fn new(port: u16) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Connection { reader: BufReader::new(stream), token: None }
    }

    /// Asks in the test's own words.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: openfga\r\ncontent-type: application/json\r\n");
        if let Some(token) = self.token {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        let (status, body) = self.exchange(head, body.as_bytes());
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) fn done(&mut self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send("POST", path, Some(body));
        assert!((200..300).contains(&status), "{path}: {status} {answer}\n{body}");
        answer
    }

    /// A new store's id.
    pub(crate) fn store(&mut self) -> String {
        self.done("/stores", &json!({"name": "portcullis"}))["id"].as_str().unwrap().to_owned()
    }

    /// Sends a call of the filter as the host would: its method, path and authority in the first lines, its headers below.
    fn call(&mut self, callout: Callout) -> Answer {
        let Callout::Http { headers, body, .. } = callout else { panic!("{callout:?}") };
        let own = |name: &str| &headers.iter().find(|(n, _)| n == name).unwrap().1;
        let (method, path, host) = (own(":method"), own(":path"), own(":authority"));
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with(':')) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let (status, body) = self.exchange(head, &body);
        Answer::Http { response: Vec::new(), status, body }
    }

    fn exchange(&mut self, head: String, body: &[u8]) -> (u16, Vec<u8>) {
        let mut request = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(body);
        self.reader.get_mut().write_all(&request).unwrap();
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let status =
            line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            chunked |= header == "transfer-encoding: chunked";
        }
        let mut body = Vec::new();
        while chunked {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let start = body.len();
            body.resize(start + size + 2, 0);
            self.reader.read_exact(&mut body[start..]).unwrap();
            body.truncate(start + size);
            chunked = size > 0;
        }
        if length > 0 {
            body.resize(length, 0);
            self.reader.read_exact(&mut body).unwrap();
        }
        (status, body)
    }
}

/// The filter's client for one model of one store.
pub(crate) struct Leg {
    engine: Openfga,
    bearer: Option<Bearer>,
}

impl Leg {
    pub(crate) fn new(store: &str, model: &str, token: Option<&str>) -> Leg {
        let place = Place { cluster: "openfga".into(), authority: "openfga".into() };
        let (store, model) = (store.into(), model.into());
        let engine = Openfga { place, store, model, credentials: Credentials::None, always_fresh: false };
        Leg { engine, bearer: token.and_then(|token| Bearer::new(token.as_bytes())) }
    }

    /// Check for one question, BatchCheck for several.
    pub(crate) fn ask(&self, connection: &mut Connection, asked: &[&Asked]) -> Vec<Outcome> {
        let questions: Vec<Question> = asked.iter().map(|asked| question(asked)).collect();
        let questions: Vec<&Question> = questions.iter().collect();
        let bearer = self.bearer.as_ref().map(Bearer::expose);
        let callout = openfga::call(&self.engine, &questions, false, bearer, &[], Duration::from_secs(60));
        openfga::read(&connection.call(callout), questions.len())
    }
}

fn question(asked: &Asked) -> Question {
    Question {
        subject: asked.subject.clone(),
        relation: asked.relation.as_str().into(),
        object: asked.object.clone(),
        tuples: asked.tuples.clone(),
        context: asked.context.clone(),
    }
}
