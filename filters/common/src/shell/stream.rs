//! One HTTP stream: from callback to hook, from step to host.

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::calls::{self, Buffer, Map};
use super::host::Proxy;
use super::root::Shared;
use super::waits;
use crate::answer::{Refusal, Reply};
use crate::clock::Now;
use crate::edits::{Edits, HeaderEdit};
use crate::filter::{Filter, Step};
use crate::headers::Headers;
use crate::reason::Reason;
use crate::request::{Request, Response};

pub(super) struct Stream<F: Filter> {
    id: u32,
    root: Rc<Shared<F>>,
    state: Rc<RefCell<F::Stream>>,
}

impl<F: Filter> Stream<F> {
    pub(super) fn new(id: u32, root: Rc<Shared<F>>) -> Self {
        let begun = root.filter.try_borrow_mut().ok().and_then(|mut filter| filter.as_mut().map(F::begin));
        Stream { id, root, state: Rc::new(RefCell::new(begun.unwrap_or_default())) }
    }

    /// Calls a hook, if there is a configured filter; the state is free, for the host never calls back into a hook.
    fn hook<T>(&self, call: impl FnOnce(&mut F, &mut F::Stream) -> T) -> Option<T> {
        let mut filter = self.root.filter.try_borrow_mut().ok()?;
        let mut state = self.state.try_borrow_mut().ok()?;
        filter.as_mut().map(|filter| call(filter, &mut state))
    }
}

impl<F: Filter> Context for Stream<F> {
    fn on_done(&mut self) -> bool {
        self.hook(|filter, state| filter.on_done(state, &calls::now(), &Proxy));
        true
    }

    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _: usize) {
        if F::PAUSES {
            waits::answered(&self.root, self.id, token, &|| waits::http_answer::<F>(headers, body));
        }
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, _: usize) {
        if F::GRPC {
            waits::answered(&self.root, self.id, token, &|| waits::grpc_answer::<F>(status));
        }
    }
}

impl<F: Filter> HttpContext for Stream<F> {
    fn on_http_request_headers(&mut self, _: usize, ends: bool) -> Action {
        let now = calls::now();
        let Ok(headers) = calls::headers(Map::Request) else {
            return refuse(Reason::HostError, &Request::default());
        };
        let mut request = Request { headers, ends };
        #[cfg(feature = "test-trap")]
        trap_if_asked(&request.headers);
        let step = self.hook(|filter, state| {
            // The first reading of the clock is where the filter's own time begins.
            now.start(F::CLOCK);
            for name in filter.plugin().owned.strip(&mut request.headers) {
                // A host that cannot remove a header leaves a client its own identity headers.
                calls::remove_header(Map::Request, &name).ok()?;
            }
            Some(filter.on_request(state, &request, &now, &Proxy))
        });
        if F::TICKS && !F::PAUSES {
            self.root.set_pace();
        }
        match step {
            None => refuse(Reason::ConfigInvalid, &request),
            Some(None) => refuse(Reason::HostError, &request),
            Some(Some(Step::Allow(edits))) => {
                allow(&self.root, edits, &now);
                Action::Continue
            }
            Some(Some(Step::Reply(reply))) => {
                answer(&self.root, &reply, &now);
                Action::Pause
            }
            Some(Some(waiting)) => {
                if F::PAUSES {
                    waits::pause(&self.root, self.id, &self.state, request, waiting, now)
                } else {
                    refuse(Reason::HostError, &request)
                }
            }
        }
    }

    fn on_http_response_headers(&mut self, _: usize, ends: bool) -> Action {
        let edits = self.hook(|filter, state| {
            let headers = filter.reads_response(state).then(|| calls::headers(Map::Response));
            let response = Response { headers: headers.and_then(Result::ok).unwrap_or_default(), ends };
            filter.on_response(state, &response, &calls::now(), &Proxy)
        });
        for edit in edits.into_iter().flat_map(|e| e.headers) {
            apply(Map::Response, &edit);
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.hook(|filter, state| {
            if filter.reads_response(state) {
                let trailers = calls::headers(Map::ResponseTrailers).unwrap_or_default();
                filter.on_response_trailers(state, &trailers, &calls::now(), &Proxy);
            }
        });
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.hook(|filter, state| {
            if filter.reads_response_body(state) {
                let chunk = calls::buffer(Buffer::ResponseBody, size).unwrap_or_default();
                filter.on_response_body(state, &chunk, end, &calls::now(), &Proxy);
            }
        });
        Action::Continue
    }

    fn on_log(&mut self) {
        // A filter that looks at no request can only be lost here.
        #[cfg(feature = "test-trap")]
        trap_if_asked(&calls::headers(Map::Request).unwrap_or_default());
        self.hook(|filter, state| {
            let headers = || calls::headers(Map::Request).unwrap_or_default();
            let request = || Request { headers: headers(), ..Request::default() };
            filter.on_log(state, &request, &calls::now(), &Proxy);
        });
    }
}

impl<F: Filter> Drop for Stream<F> {
    fn drop(&mut self) {
        if F::PAUSES {
            waits::forget(&self.root, self.id);
        }
    }
}

/// Lets the request of the effective context pass, with its changes.
pub(super) fn allow<F: Filter>(root: &Shared<F>, edits: Edits, now: &Now) {
    if let Some(verdict) = &edits.verdict {
        root.set_verdict(&verdict.pack(now.elapsed_micros(F::CLOCK)));
    }
    for (key, value) in &edits.facts {
        if calls::set_property(key, value).is_err() {
            log::error!("{}: the host did not take a fact", F::NAME);
        }
    }
    for edit in &edits.headers {
        apply(Map::Request, edit);
    }
}

/// Answers the request of the effective context.
pub(super) fn answer<F: Filter>(root: &Shared<F>, reply: &Reply, now: &Now) {
    if let Some(verdict) = &reply.verdict {
        root.set_verdict(&verdict.pack(now.elapsed_micros(F::CLOCK)));
    }
    send(reply);
}

fn send(reply: &Reply) {
    let headers = Headers::encode(reply.headers.iter().map(|(n, v)| (n.as_bytes(), v.as_slice())));
    if calls::reply(reply.status, reply.details, &headers, &reply.body, reply.grpc).is_err() {
        calls::critical("the host did not take an answer; the request stays where it is");
    }
}

/// A refusal that no filter could word.
fn refuse(reason: Reason, request: &Request) -> Action {
    send(&Refusal::new(reason).reply(request.protocol(), None));
    Action::Pause
}

#[cfg(feature = "test-trap")]
fn trap_if_asked(headers: &Headers) {
    if headers.get("x-test-trap").one().is_some() {
        std::process::abort();
    }
}

fn apply(map: Map, edit: &HeaderEdit) {
    let applied = match edit {
        HeaderEdit::Set(name, value) => calls::set_header(map, name, value),
        HeaderEdit::Add(name, value) => calls::add_header(map, name, value),
        HeaderEdit::Remove(name) => calls::remove_header(map, name.as_bytes()),
    };
    if applied.is_err() {
        log::error!("the host did not change a header");
    }
}
