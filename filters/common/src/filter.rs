//! The trait that a filter implements, and the values that pass between it and the shell.

use std::rc::Rc;
use std::time::Duration;

use crate::answer::Reply;
use crate::clock::{Clock, Mono, Now};
use crate::config::ConfigError;
use crate::edits::Edits;
use crate::facts::PropertyKey;
use crate::headers::Headers;
use crate::host::Host;
use crate::matching::owned::OwnedHeaders;
use crate::request::{Request, Response};

/// A filter's logic. One value per VM and configuration; `Stream` is what it remembers of one request.
///
/// A hook that is not in the filter's list of exports is never called: the host does not even enter the VM for it.
pub trait Filter: Sized + 'static {
    /// The filter's name, and the default name of its plugin.
    const NAME: &'static str;
    /// The clock that this filter reads for every request.
    const CLOCK: Clock;
    /// Whether streams ever pause: without it the shell links no callouts, waits and ticks.
    const PAUSES: bool;
    /// Whether the filter does anything by the clock; one that pauses does.
    const TICKS: bool = Self::PAUSES;
    /// Whether it calls by gRPC: without it the shell links none of that.
    const GRPC: bool = Self::PAUSES;
    /// The most that is read of an answer's body; a longer one counts as broken off.
    const MAX_ANSWER: usize = 16 << 20;
    /// Why a stream waits, so that its answer comes back typed.
    type Pending: 'static;
    /// What is remembered of a stream from hook to hook.
    type Stream: Default + 'static;

    /// Reads the configuration.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    fn configure(config: &[u8], host: &dyn Host) -> Result<Self, ConfigError>;

    /// The plugin's name, keys and headers.
    fn plugin(&self) -> &Plugin;

    /// A stream began: what is remembered of it. No callback of the host is needed for this, nor for its end: the value
    /// is dropped with the stream.
    fn begin(&mut self) -> Self::Stream {
        Self::Stream::default()
    }

    /// The request's headers arrived.
    fn on_request(
        &mut self,
        stream: &mut Self::Stream,
        request: &Request,
        now: &Now,
        host: &dyn Host,
    ) -> Step<Self::Pending>;

    /// What the stream waited for came, or its deadline did. One answer for each callout, in order; one
    /// [`Answer::Woken`] or [`Answer::Timeout`] after a [`Step::Wait`].
    fn on_answer(
        &mut self,
        _stream: &mut Self::Stream,
        _request: &Request,
        _pending: Self::Pending,
        _answers: Vec<Answer>,
        _now: &Now,
        _host: &dyn Host,
    ) -> Step<Self::Pending> {
        Step::Allow(Edits::default())
    }

    /// Whether [`Filter::on_response`] looks at this response's headers; reading them is a host call.
    fn reads_response(&self, _stream: &Self::Stream) -> bool {
        true
    }

    /// The response's headers arrived, from the upstream or from a filter in front of it.
    fn on_response(
        &mut self,
        _stream: &mut Self::Stream,
        _response: &Response,
        _now: &Now,
        _host: &dyn Host,
    ) -> Edits {
        Edits::default()
    }

    /// The response's trailers arrived. They can be read in no later callback but the log's.
    fn on_response_trailers(
        &mut self,
        _stream: &mut Self::Stream,
        _trailers: &Headers,
        _now: &Now,
        _host: &dyn Host,
    ) {
    }

    /// Whether [`Filter::on_response_body`] looks at this response's body; reading each piece is a host call.
    fn reads_response_body(&self, _stream: &Self::Stream) -> bool {
        true
    }

    /// A piece of the response's body passed by. Observing only: what a filter could change here it could also hold up.
    fn on_response_body(
        &mut self,
        _stream: &mut Self::Stream,
        _chunk: &[u8],
        _end: bool,
        _now: &Now,
        _host: &dyn Host,
    ) {
    }

    /// The stream is over and is being logged: facts and attributes can be read. Also called for a stream that another
    /// filter answered before this one saw it, with an untouched `stream`. `request` reads the request's headers.
    fn on_log(
        &mut self,
        _stream: &mut Self::Stream,
        _request: &dyn Fn() -> Request,
        _now: &Now,
        _host: &dyn Host,
    ) {
    }

    /// The stream is gone, whether or not it was ever answered: give back what it held.
    fn on_done(&mut self, _stream: &mut Self::Stream, _now: &Now, _host: &dyn Host) {}

    /// Whom the step that was just taken after an answer wakes: the streams that wait for these keys.
    fn wakes(&mut self) -> Vec<WaitKey> {
        Vec::new()
    }

    /// Time passed: every 50 ms while a stream waits (after 2 ms when the first one begins to), every 250 ms while
    /// [`Filter::keeps_watch`], else never.
    fn on_tick(&mut self, _now: &Now, _host: &dyn Host) -> Vec<RootStep> {
        Vec::new()
    }

    /// Something that the plugin itself asked for happened.
    fn on_event(&mut self, _event: Event, _now: &Now, _host: &dyn Host) -> Vec<RootStep> {
        Vec::new()
    }

    /// Whether a watch, a lease or a refresh lives and needs ticks.
    fn keeps_watch(&self) -> bool {
        false
    }

    /// Whether work lies there that is done in pieces: ticks then come every 50 ms.
    fn hurries(&self) -> bool {
        false
    }
}

/// What the shell needs to know of a configured plugin.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its configured name.
    pub name: Rc<str>,
    /// `portcullis.<name>.verdict`
    pub verdict: PropertyKey,
    /// The headers that only this plugin may set.
    pub owned: OwnedHeaders,
}

impl Plugin {
    /// A plugin called `name` that sets the headers `owned`.
    #[must_use]
    pub fn new(name: &str, owned: OwnedHeaders) -> Plugin {
        Plugin { name: name.into(), verdict: crate::facts::key(name, "verdict"), owned }
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Step<P> {
    /// It goes on, with these changes.
    Allow(Edits),
    /// It ends here.
    Reply(Reply),
    /// It waits for the answers to these calls, all of them.
    Call(Vec<Callout>, P),
    /// It waits until somebody wakes the key, or for this long.
    Wait(WaitKey, Duration, P),
}

/// What several streams wait for together; the filter chooses the numbers.
pub type WaitKey = u64;

/// A call to another service. Each carries a deadline of ours, besides the one that the host is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callout {
    /// An HTTP request to a cluster.
    Http {
        /// Envoy's cluster.
        cluster: Rc<str>,
        /// Headers, with `:method`, `:path` and `:authority` among them.
        headers: Vec<(String, String)>,
        /// Body.
        body: Vec<u8>,
        /// Deadline.
        timeout: Duration,
    },
    /// A unary gRPC call.
    Grpc {
        /// Where to.
        target: GrpcTarget,
        /// `package.Service`
        service: &'static str,
        /// `Method`
        method: &'static str,
        /// Initial metadata.
        metadata: Vec<(String, Vec<u8>)>,
        /// The serialized request.
        message: Vec<u8>,
        /// Deadline.
        timeout: Duration,
    },
}

impl Callout {
    /// How long this call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match self {
            Callout::Http { timeout, .. } | Callout::Grpc { timeout, .. } => *timeout,
        }
    }
}

/// A gRPC cluster, as a serialized `envoy.config.core.v3.GrpcService`. A bare cluster name aborts the whole Envoy
/// process when it happens to parse as protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcTarget(Rc<str>);

impl GrpcTarget {
    /// The longest cluster and authority together, in bytes: the SDK takes the target as text, and a protobuf length
    /// of 128 or more is no text.
    pub const MAX: usize = 117;

    /// `max_receive_message_length`, 2,080,834 bytes: Envoy would gather a message of any length before the filter sees it. The
    /// number is the largest whose bytes are text.
    const BOUND: &str = "\u{22}\u{04}\u{08}\u{80}\u{7f}";

    /// `GrpcService{envoy_grpc{cluster_name, authority, max_receive_message_length}}`; `None` if the first two are too long or not
    /// ASCII.
    #[must_use]
    pub fn new(cluster: &str, authority: &str) -> Option<GrpcTarget> {
        let length = cluster.len().checked_add(authority.len())?;
        if length > Self::MAX || !cluster.is_ascii() || !authority.is_ascii() {
            return None;
        }
        let mut inner = String::new();
        push_field(&mut inner, 1, cluster)?;
        if !authority.is_empty() {
            push_field(&mut inner, 2, authority)?;
        }
        inner.push_str(Self::BOUND);
        let mut service = String::new();
        push_field(&mut service, 1, &inner)?;
        Some(GrpcTarget(service.into()))
    }

    /// The serialized message.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A length-delimited protobuf field whose tag and length are one byte each.
fn push_field(out: &mut String, field: u8, value: &str) -> Option<()> {
    let length = u8::try_from(value.len()).ok().filter(|n| *n < 128)?;
    out.push(char::from(field.checked_mul(8)?.checked_add(2)?));
    out.push(char::from(length));
    out.push_str(value);
    Some(())
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP response; its status is 0 if there was none.
    Http {
        /// The response's headers.
        response: Vec<(Vec<u8>, Vec<u8>)>,
        /// Its status code. A 503 or 504 may be the local Envoy's own.
        status: u16,
        /// Its body.
        body: Vec<u8>,
    },
    /// A gRPC answer.
    Grpc {
        /// The status code, 0 for OK.
        status: u32,
        /// The serialized response; unless OK, the text that came with the status.
        message: Vec<u8>,
    },
    /// Our deadline came first.
    Timeout,
    /// The response broke off or was too large.
    Reset,
    /// The host did not even start: an unknown cluster, or no connection.
    Refused,
    /// Somebody woke the key.
    Woken,
}

/// What the plugin itself does, outside any stream. `tag` is the filter's own number for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootStep {
    /// Calls; answered by [`Event::Answered`].
    Call {
        /// Comes back in the event.
        tag: u64,
        /// The call.
        callout: Callout,
    },
    /// Opens a gRPC stream.
    OpenStream {
        /// Comes back in the events.
        tag: u64,
        /// Where to.
        target: GrpcTarget,
        /// `package.Service`
        service: &'static str,
        /// `Method`
        method: &'static str,
        /// Initial metadata.
        metadata: Vec<(String, Vec<u8>)>,
    },
    /// Sends a message on a stream. `end` is the half-close that the server of a server-streaming call waits for.
    Send {
        /// The stream.
        tag: u64,
        /// The serialized message.
        message: Vec<u8>,
        /// Whether it is the last one.
        end: bool,
    },
    /// Closes a stream.
    Close {
        /// The stream.
        tag: u64,
    },
    /// Wakes all streams that wait for the key.
    Wake(WaitKey),
}

/// What happened to something that the plugin itself asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A [`RootStep::Call`] ended.
    Answered {
        /// Its tag.
        tag: u64,
        /// How.
        answer: Answer,
    },
    /// A stream was opened.
    Opened {
        /// Its tag.
        tag: u64,
    },
    /// A message came.
    Message {
        /// The stream's tag.
        tag: u64,
        /// The serialized message.
        message: Vec<u8>,
    },
    /// A stream is closed; a stream that could not be opened closes with 14, UNAVAILABLE.
    Closed {
        /// Its tag.
        tag: u64,
        /// gRPC status.
        status: u32,
    },
}

/// When a wait that begins at `now` and may take `timeout` is over.
#[must_use]
pub fn deadline(now: &Now, timeout: Duration) -> Mono {
    now.mono().after(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_target_is_a_serialized_message_and_never_a_bare_name() {
        let target = GrpcTarget::new("users", "").unwrap();
        assert_eq!(target.as_str().as_bytes(), b"\x0a\x0d\x0a\x05users\x22\x04\x08\xc2\x80\x7f");
        let target = GrpcTarget::new("users", "a.b").unwrap();
        assert_eq!(target.as_str().as_bytes(), b"\x0a\x12\x0a\x05users\x12\x03a.b\x22\x04\x08\xc2\x80\x7f");
        assert_eq!(GrpcTarget::new(&"c".repeat(118), ""), None);
        let longest = GrpcTarget::new(&"c".repeat(60), &"a".repeat(57)).unwrap();
        assert_eq!(longest.as_str().as_bytes().get(..2), Some(&[0x0a, 127][..]));
    }
}
