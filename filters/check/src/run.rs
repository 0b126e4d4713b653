//! A filter's logic, called as the shell calls it, with the host in memory.

use std::rc::Rc;

use portcullis_common::answer::Reply;
use portcullis_common::clock::Now;
use portcullis_common::edits::Edits;
use portcullis_common::facts::PropertyKey;
use portcullis_common::filter::{Answer, Callout, Event, Filter, RootStep, Step};
use portcullis_common::memory::MemoryHost;
use portcullis_common::request::{Request, Response};

/// What became of a request in one plugin.
#[derive(Debug)]
pub enum Went {
    /// It goes on.
    On {
        /// The client's copies of headers that only the plugin may set.
        stripped: Vec<String>,
        /// What the plugin changes.
        edits: Edits,
    },
    /// It is answered.
    Answered(Reply),
    /// It waits for what nobody answers here.
    Waits {
        /// The calls that it waits for; none if it waits for a fetch.
        calls: Vec<Callout>,
    },
}

/// A configured filter with the stream of one request.
pub trait Running {
    /// The plugin's name.
    fn name(&self) -> Rc<str>;

    /// The key of its verdict.
    fn verdict_key(&self) -> PropertyKey;

    /// The request's headers arrive. What the plugin owns is taken out of `request`.
    fn request(&mut self, request: &mut Request, now: &Now, host: &MemoryHost) -> Went;

    /// What the plugin changes in the headers of the response.
    fn response(&mut self, response: &Response, now: &Now, host: &MemoryHost) -> Edits;

    /// Lets the plugin fetch; `fetch` answers a call, or not. Gives the calls that nobody answered.
    fn fetch(
        &mut self,
        now: &Now,
        host: &MemoryHost,
        fetch: &dyn Fn(&Callout) -> Option<Answer>,
    ) -> Vec<Callout>;
}

/// A filter and its stream.
pub struct Run<F: Filter> {
    filter: F,
    stream: F::Stream,
}

impl<F: Filter> Run<F> {
    /// A filter that saw no request yet.
    #[must_use]
    pub fn new(mut filter: F) -> Run<F> {
        let stream = filter.begin();
        Run { filter, stream }
    }
}

impl<F: Filter> Running for Run<F> {
    fn name(&self) -> Rc<str> {
        Rc::clone(&self.filter.plugin().name)
    }

    fn verdict_key(&self) -> PropertyKey {
        PropertyKey::clone(&self.filter.plugin().verdict)
    }

    fn request(&mut self, request: &mut Request, now: &Now, host: &MemoryHost) -> Went {
        self.stream = self.filter.begin();
        let stripped = self.filter.plugin().owned.strip(&mut request.headers);
        let stripped = stripped.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        match self.filter.on_request(&mut self.stream, request, now, host) {
            Step::Allow(edits) => Went::On { stripped, edits },
            Step::Reply(reply) => Went::Answered(reply),
            Step::Call(calls, _) => Went::Waits { calls },
            Step::Wait(..) => Went::Waits { calls: Vec::new() },
        }
    }

    fn response(&mut self, response: &Response, now: &Now, host: &MemoryHost) -> Edits {
        self.filter.on_response(&mut self.stream, response, now, host)
    }

    fn fetch(
        &mut self,
        now: &Now,
        host: &MemoryHost,
        fetch: &dyn Fn(&Callout) -> Option<Answer>,
    ) -> Vec<Callout> {
        let mut steps = self.filter.on_tick(now, host);
        let mut missed = Vec::new();
        // A document leads to another one; nothing leads on for ever.
        for _ in 0..8 {
            let mut next = Vec::new();
            for step in steps {
                let RootStep::Call { tag, callout } = step else { continue };
                match fetch(&callout) {
                    Some(answer) => {
                        next.extend(self.filter.on_event(Event::Answered { tag, answer }, now, host))
                    }
                    None => missed.push(callout),
                }
            }
            if next.is_empty() {
                break;
            }
            steps = next;
        }
        missed
    }
}
