//! A filter that does what a request tells it to, in the header `x-do`: it proves the seam on the real host and in the
//! in-process one.
//!
//! | `x-do` | what happens |
//! |---|---|
//! | `echo` | answers with what it saw: number of headers, path, authority, protocol |
//! | `call CLUSTER PATH` | an HTTP call; answers with how it ended |
//! | `twice CLUSTER PATH` | two of them at once |
//! | `grpc CLUSTER SERVICE METHOD` | a gRPC call; answers with how it ended |
//! | `wait KEY MILLIS` | waits until woken or over |
//! | `wake KEY` | wakes, at the next tick |
//! | `rootcall CLUSTER PATH KEY` | the plugin itself calls, and wakes the key with the answer |
//! | `stream CLUSTER` | the plugin itself opens a gRPC stream; `streamed` answers with what came |
//! | `panic` | what a filter must never do |

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::answer::Reply;
use portcullis_common::clock::{Clock, Now};
use portcullis_common::config::ConfigError;
use portcullis_common::edits::{Edits, HeaderEdit};
use portcullis_common::facts::Verdict;
use portcullis_common::filter::{Answer, Callout, Event, Filter, GrpcTarget, Plugin, RootStep, Step};
use portcullis_common::host::Host;
use portcullis_common::matching::owned::OwnedHeaders;
use portcullis_common::request::{Request, Response};

/// The filter.
pub struct Probe {
    plugin: Plugin,
    root_steps: Vec<RootStep>,
    events: Vec<String>,
    streams: u64,
}

/// What is remembered of a stream.
#[derive(Default)]
pub struct Stream {
    body: usize,
}

impl Filter for Probe {
    const NAME: &'static str = "probe";
    const CLOCK: Clock = Clock::Mono;
    const PAUSES: bool = true;
    type Pending = String;
    type Stream = Stream;

    fn configure(config: &[u8], _: &dyn Host) -> Result<Self, ConfigError> {
        if config == b"bad" {
            return Err(ConfigError::new(Self::NAME, "", "bad; write anything else"));
        }
        let plugin = Plugin::new("probe", OwnedHeaders::new(["x-owned"]));
        Ok(Probe { plugin, root_steps: Vec::new(), events: Vec::new(), streams: 0 })
    }

    fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    fn on_request(&mut self, _: &mut Stream, request: &Request, _: &Now, _: &dyn Host) -> Step<String> {
        let order =
            String::from_utf8_lossy(request.headers.get("x-do").one().unwrap_or_default()).into_owned();
        let words: Vec<&str> = order.split(' ').collect();
        match *words.as_slice() {
            ["echo"] => say(format!(
                "{} headers, path {:?}, authority {:?}, {:?}",
                request.headers.len(),
                request.target().map(String::from_utf8_lossy),
                String::from_utf8_lossy(request.authority()),
                request.protocol(),
            )),
            ["call", cluster, path] => Step::Call(vec![http(cluster, path)], "call".into()),
            ["twice", cluster, path] => {
                Step::Call(vec![http(cluster, path), http(cluster, path)], "twice".into())
            }
            ["grpc", cluster, _, _] => match GrpcTarget::new(cluster, "probe.test") {
                None => say("no target".into()),
                Some(target) => Step::Call(
                    vec![Callout::Grpc {
                        target,
                        service: "probe.Echo",
                        method: "Say",
                        metadata: vec![("x-probe".into(), b"1".to_vec())],
                        message: b"\x0a\x02hi".to_vec(),
                        timeout: Duration::from_millis(1500),
                    }],
                    "grpc".into(),
                ),
            },
            ["wait", key, millis] => {
                let wait = Duration::from_millis(millis.parse().unwrap_or(1_000));
                Step::Wait(key.parse().unwrap_or(0), wait, "wait".into())
            }
            ["wake", key] => {
                self.root_steps.push(RootStep::Wake(key.parse().unwrap_or(0)));
                say("waking".into())
            }
            ["rootcall", cluster, path, key] => {
                let tag = key.parse().unwrap_or(0);
                self.root_steps.push(RootStep::Call { tag, callout: http(cluster, path) });
                Step::Wait(tag, Duration::from_millis(3_000), "rootcall".into())
            }
            ["stream", cluster] => {
                self.streams = self.streams.wrapping_add(1);
                if let Some(target) = GrpcTarget::new(cluster, "") {
                    let (service, method) = ("probe.Echo", "Watch");
                    let open = RootStep::OpenStream {
                        tag: self.streams,
                        target,
                        service,
                        method,
                        metadata: Vec::new(),
                    };
                    self.root_steps.push(open);
                }
                say("opening".into())
            }
            ["events"] => say(self.events.join(",")),
            ["panic"] => {
                #[allow(clippy::panic, reason = "this is what the tests of a trap want")]
                std::panic::panic_any("as asked");
            }
            _ => Step::Allow(Edits::verdict(Verdict::allow("probe".into()))),
        }
    }

    fn on_answer(
        &mut self,
        _: &mut Stream,
        _: &Request,
        pending: String,
        answers: Vec<Answer>,
        _: &Now,
        _: &dyn Host,
    ) -> Step<String> {
        if pending == "wait" && answers == [Answer::Woken] {
            let header = HeaderEdit::Set("x-woken".into(), Rc::from(&b"yes"[..]));
            return Step::Allow(Edits { headers: vec![header], ..Edits::default() });
        }
        say(answers.iter().map(show).collect::<Vec<_>>().join(" and "))
    }

    fn on_response(&mut self, _: &mut Stream, _: &Response, _: &Now, _: &dyn Host) -> Edits {
        let header = HeaderEdit::Set("x-probe".into(), Rc::from(&b"seen"[..]));
        Edits { headers: vec![header], ..Edits::default() }
    }

    fn on_response_body(&mut self, stream: &mut Stream, chunk: &[u8], _: bool, _: &Now, _: &dyn Host) {
        stream.body = stream.body.wrapping_add(chunk.len());
    }

    fn on_log(&mut self, stream: &mut Stream, request: &dyn Fn() -> Request, _: &Now, _: &dyn Host) {
        log::debug!(
            "logged {} after {} bytes",
            String::from_utf8_lossy(request().target().unwrap_or_default()),
            stream.body
        );
    }

    fn on_tick(&mut self, _: &Now, _: &dyn Host) -> Vec<RootStep> {
        std::mem::take(&mut self.root_steps)
    }

    fn on_event(&mut self, event: Event, _: &Now, _: &dyn Host) -> Vec<RootStep> {
        match event {
            Event::Answered { tag, answer } => {
                self.events.push(format!("answered {}", show(&answer)));
                vec![RootStep::Wake(tag)]
            }
            Event::Opened { tag } => {
                self.events.push("opened".into());
                // The half-close that the server of a server-streaming call waits for.
                vec![RootStep::Send { tag, message: b"\x0a\x02hi".to_vec(), end: true }]
            }
            Event::Message { message, .. } => {
                self.events.push(format!("message {}", String::from_utf8_lossy(&message)));
                Vec::new()
            }
            Event::Closed { status, .. } => {
                self.events.push(format!("closed {status}"));
                Vec::new()
            }
        }
    }

    fn keeps_watch(&self) -> bool {
        true
    }
}

fn http(cluster: &str, path: &str) -> Callout {
    let header = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    Callout::Http {
        cluster: cluster.into(),
        headers: vec![header(":method", "GET"), header(":path", path), header(":authority", "probe.test")],
        body: Vec::new(),
        timeout: Duration::from_millis(1_500),
    }
}

fn show(answer: &Answer) -> String {
    match answer {
        Answer::Http { status, body, .. } => format!("http {status} {}", String::from_utf8_lossy(body)),
        Answer::Grpc { status, message } => format!("grpc {status} {}", String::from_utf8_lossy(message)),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn say(text: String) -> Step<String> {
    let headers = vec![("content-type".into(), b"text/plain".to_vec())];
    Step::Reply(Reply {
        status: 200,
        body: text.into_bytes(),
        details: "probe",
        headers,
        grpc: None,
        verdict: None,
    })
}

/// The module's entry point.
#[cfg(all(target_arch = "wasm32", feature = "entry"))]
mod entry {
    use portcullis_common::shell::{self, proxy_wasm};

    proxy_wasm::main! {{ shell::start::<crate::Probe>(); }}
}
