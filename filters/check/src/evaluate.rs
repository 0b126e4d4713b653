//! What a request would get: the whole chain, plugin after plugin, through the filters' own logic.

use std::rc::Rc;

use portcullis_common::answer::Reply;
use portcullis_common::clock::{Mono, Now, Wall};
use portcullis_common::edits::{Edits, HeaderEdit};
use portcullis_common::explain;
use portcullis_common::facts::{self, Verdict};
use portcullis_common::filter::Callout;
use portcullis_common::headers::Headers;
use portcullis_common::memory::MemoryHost;
use portcullis_common::request::{Request, Response};
use serde_json::json;

use crate::ask::Asked;
use crate::attached::{Attached, Chain, Which};
use crate::fetched::{Fetched, url};
use crate::load::{self, Loaded};
use crate::normal::{self, Normal};
use crate::notes;
use crate::questions;
use crate::run::{Running, Went};

/// What a request is judged in.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Seconds since 1970.
    pub time: u64,
    /// The client's address, as Envoy would trust it.
    pub client_ip: String,
    /// What stands in for documents that would be fetched.
    pub fetched: Fetched,
}

/// What one plugin did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The plugin's name.
    pub plugin: String,
    /// Its verdict, if it gives one.
    pub verdict: Option<Verdict>,
    /// What else there is to say, line by line.
    pub notes: Vec<String>,
}

/// Where a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At the upstream.
    Upstream {
        /// With these headers, pseudo-headers among them.
        request: Pairs,
        /// And these are added to its answer.
        response: Pairs,
    },
    /// With an answer.
    Answer {
        /// Status code.
        status: u16,
        /// Headers.
        headers: Pairs,
        /// Body.
        body: String,
        /// The reason's word, as in Envoy's response-code details.
        reason: String,
    },
    /// Who asks has to be asked.
    Open,
}

/// Names and values.
pub type Pairs = Vec<(String, String)>;

/// What a request would get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Plugin after plugin.
    pub passages: Vec<Passage>,
    /// Where it ends.
    pub end: End,
}

/// Asks a chain about a request.
///
/// # Errors
/// The plugin that does not load.
pub fn evaluate(
    chain: &Chain,
    loaded: &[Option<Loaded>],
    asked: &Asked,
    scene: &Scene,
) -> Result<Evaluation, String> {
    let mut asked = asked.clone();
    match chain.manager.as_ref().map(|manager| normal::target(manager, &asked.target)) {
        Some(Normal::Passes(target)) => asked.target = target,
        Some(Normal::Refused(status, why)) => {
            let headers =
                why.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter().collect();
            let reason = if why.contains(": ") { String::new() } else { why };
            return Ok(Evaluation {
                passages: Vec::new(),
                end: End::Answer { status, headers, body: String::new(), reason },
            });
        }
        None => {}
    }
    let mut course = Course::new(chain, &asked, scene);
    for (attached, loaded) in chain.plugins.iter().zip(loaded) {
        let Some(loaded) = loaded else {
            return Err(format!(
                "{} does not load, so nobody can say what a request would get",
                attached.name
            ));
        };
        if let Some(end) = course.through(attached, loaded)? {
            return Ok(Evaluation { passages: course.passages, end });
        }
    }
    let response = course.response(vec![(":status".into(), "200".into())]);
    let response = response.into_iter().filter(|(name, _)| name != ":status").collect();
    let end = End::Upstream { request: pairs(&course.request.headers), response };
    Ok(Evaluation { passages: course.passages, end })
}

/// A request on its way.
struct Course<'a> {
    scene: &'a Scene,
    /// One host for all plugins, as in Envoy: they share facts and data.
    host: MemoryHost,
    request: Request,
    /// The plugins that saw the request.
    seen: Vec<Box<dyn Running>>,
    passages: Vec<Passage>,
}

impl<'a> Course<'a> {
    fn new(chain: &Chain, asked: &Asked, scene: &'a Scene) -> Course<'a> {
        let host = MemoryHost::default();
        // The lowest number: where a share of refusals is carried out, this one is.
        host.roll(0);
        let port = if scene.client_ip.contains(':') {
            format!("[{}]:1", scene.client_ip)
        } else {
            format!("{}:1", scene.client_ip)
        };
        host.set_property("source\0address", port);
        let mut headers: Pairs =
            [(":authority", &asked.authority), (":path", &asked.target), (":method", &asked.method)]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect();
        headers.push((":scheme".into(), "http".into()));
        headers.extend(asked.headers.iter().cloned());
        if chain.manager.as_ref().is_none_or(|manager| manager.knows_clients) {
            let forwarded = headers.iter_mut().find(|(name, _)| name == "x-forwarded-for");
            match forwarded {
                Some((_, value)) => value.push_str(&format!(",{}", scene.client_ip)),
                None => headers.push(("x-forwarded-for".into(), scene.client_ip.clone())),
            }
        }
        let request = Request { headers: parsed(&headers), ends: !asked.has_body };
        Course { scene, host, request, seen: Vec::new(), passages: Vec::new() }
    }

    fn now(&self) -> Now {
        // Any moment will do, as long as it is no start of the world.
        let mono = Mono(1_000_000_000_000);
        Now::at(Wall(self.scene.time.saturating_mul(1_000_000_000)), mono)
    }

    /// Takes the request through a plugin.
    fn through(&mut self, attached: &Attached, loaded: &Loaded) -> Result<Option<End>, String> {
        self.host.set_property("plugin_name", attached.name.as_bytes());
        let json = loaded.json.to_string();
        let mut running =
            load::configure(attached.which, json.as_bytes(), &self.host).map_err(|e| e.to_string())?;
        let mut passage = Passage { plugin: running.name().to_string(), verdict: None, notes: Vec::new() };
        if attached.which == Which::Metrics {
            passage.notes.extend(notes::route(json.as_bytes(), &self.request));
            self.passages.push(passage);
            return Ok(None);
        }
        let now = self.now();
        let missed =
            running.fetch(&now, &self.host, &|callout| self.scene.fetched.answer(callout, &loaded.json));
        if matches!(attached.which, Which::RateLimit { .. }) {
            passage.notes.extend(notes::charges(json.as_bytes(), &self.request, &self.host));
        }
        let before = self.request.clone();
        let (went, lines) = crate::heard::during(|| running.request(&mut self.request, &now, &self.host));
        let key = running.verdict_key();
        let end = match went {
            Went::On { stripped, edits } => {
                passage.notes.extend(stripped.iter().map(|name| format!("removes the client's own {name}")));
                passage.verdict.clone_from(&edits.verdict);
                self.apply(&key, edits, &mut passage);
                None
            }
            Went::Answered(reply) => {
                passage.verdict.clone_from(&reply.verdict);
                self.note_verdict(&key, &reply.verdict);
                Some(reply)
            }
            Went::Waits { calls } => {
                passage.notes.extend(open_questions(&calls, &missed));
                self.passages.push(passage);
                return Ok(Some(End::Open));
            }
        };
        if let Some(cause) = passage.verdict.as_ref().and_then(|verdict| cause(&lines, verdict)) {
            passage.notes.insert(0, format!("the check that failed: {cause}"));
        }
        if attached.which == Which::Rebac {
            passage.notes.extend(self.why(attached, loaded, &before));
        }
        self.passages.push(passage);
        self.seen.push(running);
        Ok(end.map(|reply| self.answer(reply)))
    }

    fn note_verdict(&self, key: &[u8], verdict: &Option<Verdict>) {
        if let Some(verdict) = verdict {
            self.host.properties.borrow_mut().insert(key.to_vec(), verdict.pack(0));
        }
    }

    fn apply(&mut self, key: &[u8], edits: Edits, passage: &mut Passage) {
        self.note_verdict(key, &edits.verdict);
        for (key, value) in edits.facts {
            passage.notes.push(format!(
                "fact {}: {}",
                String::from_utf8_lossy(&key),
                String::from_utf8_lossy(&value)
            ));
            self.host.properties.borrow_mut().insert(key.to_vec(), value.to_vec());
        }
        let mut headers = pairs(&self.request.headers);
        for edit in &edits.headers {
            passage.notes.push(match edit {
                HeaderEdit::Set(name, value) => format!("sets {name}: {}", String::from_utf8_lossy(value)),
                HeaderEdit::Add(name, value) => format!("adds {name}: {}", String::from_utf8_lossy(value)),
                HeaderEdit::Remove(name) => format!("removes {name}"),
            });
            edited(&mut headers, edit);
        }
        self.request.headers = parsed(&headers);
    }

    /// The question of rebac that decided, and the tuples: told to this caller alone, as its `explain` would.
    fn why(&self, attached: &Attached, loaded: &Loaded, request: &Request) -> Option<String> {
        let identity = loaded.json.get("identity").and_then(|i| i.as_str()).unwrap_or("jwt-auth");
        let subject = self.host.properties.borrow().get(&*facts::key(identity, "subject")).cloned()?;
        let mut json = loaded.json.clone();
        json.as_object_mut()?
            .insert("explain".into(), json!({"when": {"subject": String::from_utf8(subject).ok()?}}));
        let mut told = load::configure(attached.which, json.to_string().as_bytes(), &self.host).ok()?;
        let text = match told.request(&mut request.clone(), &self.now(), &self.host) {
            Went::On { edits, .. } => {
                let fact = edits.facts.iter().find(|(key, _)| key.ends_with(b".explain"));
                fact.map(|(_, value)| value.to_vec())
            }
            Went::Answered(reply) => {
                reply.headers.into_iter().find(|(name, _)| &**name == explain::HEADER).map(|(_, value)| value)
            }
            Went::Waits { .. } => None,
        };
        let text = String::from_utf8(text?).ok()?;
        let parameter = |name: &str| {
            let (_, rest) = text.split_once(&format!(";{name}=\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let asked = parameter("asked")?;
        let by = parameter("by").map(|by| format!(", by {by}")).unwrap_or_default();
        Some(format!("asked: {asked}{by}"))
    }

    /// What the plugins that saw the request make of a response.
    fn response(&mut self, mut headers: Pairs) -> Pairs {
        let now = self.now();
        for running in self.seen.iter_mut().rev() {
            let response = Response { headers: parsed(&headers), ends: false };
            for edit in running.response(&response, &now, &self.host).headers {
                edited(&mut headers, &edit);
            }
        }
        headers
    }

    fn answer(&mut self, reply: Reply) -> End {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut headers: Pairs = reply.headers.iter().map(|(n, v)| (n.to_string(), text(v))).collect();
        let mut status = reply.status;
        let mut body = text(&reply.body);
        if body.is_empty() {
            // Envoy takes the type from a local reply without a body.
            headers.retain(|(name, _)| name != "content-type");
        }
        if let Some(grpc) = reply.grpc {
            // Envoy makes trailers of a local reply to gRPC, with the body as the message.
            status = 200;
            headers.push(("content-type".into(), "application/grpc".into()));
            headers.push(("grpc-status".into(), grpc.to_string()));
            headers.push(("grpc-message".into(), std::mem::take(&mut body)));
        }
        if self.request.method() == b"HEAD" {
            body.clear();
        }
        headers.insert(0, (":status".into(), status.to_string()));
        let headers = self.response(headers).into_iter().filter(|(name, _)| name != ":status").collect();
        End::Answer { status, headers, body, reason: reply.details.to_owned() }
    }
}

/// What a stream waits for.
fn open_questions(calls: &[Callout], missed: &[Callout]) -> Vec<String> {
    let document = |callout: &Callout| match url(callout) {
        Some(url) => format!(
            "would fetch {url}; give it with --fetched {url}=FILE (an issuer's keys also with --keys ISSUER=FILE)"
        ),
        None => "waits for a call".to_owned(),
    };
    let question = |callout: &Callout| {
        let to = match callout {
            Callout::Http { cluster, .. } => {
                format!("{cluster} at run time: {}", url(callout).unwrap_or_default())
            }
            Callout::Grpc { service, method, .. } => format!("{service}/{method} at run time:"),
        };
        format!("asked of {to} {}", questions::of(callout).join(", ")).trim_end().to_owned()
    };
    if calls.is_empty() {
        missed.iter().map(document).collect()
    } else {
        calls.iter().map(question).collect()
    }
}

/// The last word of a filter's line about this verdict, if it says which check failed.
fn cause(lines: &[(log::Level, String)], verdict: &Verdict) -> Option<String> {
    let said = format!(": {}: {} {} ", verdict.rule, verdict.outcome.word(), verdict.reason?.word());
    let after = |line: &String| Some(line.split_once(&said)?.1.trim().to_owned());
    lines.iter().find_map(|(_, line)| after(line)).filter(|cause| !cause.is_empty())
}

fn parsed(pairs: &Pairs) -> Headers {
    Headers::parse(Headers::encode(pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()))))
        .unwrap_or_default()
}

fn pairs(headers: &Headers) -> Pairs {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn edited(headers: &mut Pairs, edit: &HeaderEdit) {
    let text = |bytes: &Rc<[u8]>| String::from_utf8_lossy(bytes).into_owned();
    match edit {
        HeaderEdit::Set(name, value) => {
            let first = headers.iter().position(|(n, _)| *n == **name);
            match first.and_then(|at| headers.get_mut(at)) {
                Some((_, old)) => *old = text(value),
                None => headers.push((name.to_string(), text(value))),
            }
            let mut seen = false;
            headers.retain(|(n, _)| *n != **name || !std::mem::replace(&mut seen, true));
        }
        HeaderEdit::Add(name, value) => headers.push((name.to_string(), text(value))),
        HeaderEdit::Remove(name) => headers.retain(|(n, _)| *n != **name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_to_a_server_is_said_and_left_open() {
        let body = json!({"tuple_key": {"user": "user:ann", "relation": "viewer", "object": "document:1"}});
        let headers = [(":authority", "fga"), (":path", "/stores/1/check")];
        let callout = Callout::Http {
            cluster: "openfga".into(),
            headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
            body: body.to_string().into_bytes(),
            timeout: std::time::Duration::from_secs(1),
        };
        assert_eq!(
            open_questions(&[callout], &[]),
            ["asked of openfga at run time: fga/stores/1/check viewer@document:1 by user:ann"]
        );
    }
}
