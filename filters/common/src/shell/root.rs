//! One plugin: its configuration, its ticks, its own calls and streams.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::calls::{self, Buffer};
use super::host::Proxy;
use super::stream::Stream;
use super::waits::{self, Paused};
use crate::facts::PropertyKey;
use crate::filter::{Answer, Event, Filter, RootStep};

/// While streams are there whose wait is over, and for the first one that begins to wait.
const HURRYING_MS: u32 = 2;
/// While a stream waits.
const WAITING_MS: u32 = 50;
/// While a watch or a lease lives.
const WATCHING_MS: u32 = 250;
/// gRPC's UNAVAILABLE: a stream that could not be opened is closed like one that broke.
const UNAVAILABLE: u32 = 14;

/// What a plugin's streams share.
pub(super) struct Shared<F: Filter> {
    pub(super) id: u32,
    pub(super) filter: RefCell<Option<F>>,
    pub(super) paused: RefCell<BTreeMap<u32, Paused<F>>>,
    verdict: RefCell<Option<PropertyKey>>,
    /// The tags of the plugin's own calls and streams, by the host's token.
    calls: RefCell<BTreeMap<u32, u64>>,
    streams: RefCell<BTreeMap<u32, u64>>,
    pace: Cell<u32>,
    /// Whether the next tick should come at once.
    pub(super) hurrying: Cell<bool>,
}

impl<F: Filter> Shared<F> {
    pub(super) fn set_verdict(&self, packed: &[u8]) {
        if let Some(key) = &*self.verdict.borrow()
            && calls::set_property(key, packed).is_err()
        {
            log::error!("{}: the host did not take the verdict", F::NAME);
        }
    }

    /// Ticks as often as something needs them.
    pub(super) fn set_pace(&self) {
        let watching = || self.filter.try_borrow().is_ok_and(|f| f.as_ref().is_some_and(F::keeps_watch));
        let hurries = || self.filter.try_borrow().is_ok_and(|f| f.as_ref().is_some_and(F::hurries));
        let waiting = !self.paused.borrow().is_empty() || !self.calls.borrow().is_empty() || hurries();
        let pace = if self.hurrying.get() {
            HURRYING_MS
        } else if waiting {
            WAITING_MS
        } else if watching() {
            WATCHING_MS
        } else {
            0
        };
        if self.pace.replace(pace) != pace {
            calls::set_tick(pace);
        }
    }
}

pub(super) struct Root<F: Filter> {
    shared: Rc<Shared<F>>,
}

impl<F: Filter> Root<F> {
    pub(super) fn new(id: u32) -> Self {
        let shared = Shared {
            id,
            filter: RefCell::new(None),
            paused: RefCell::default(),
            verdict: RefCell::new(None),
            calls: RefCell::default(),
            streams: RefCell::default(),
            pace: Cell::new(0),
            hurrying: Cell::new(false),
        };
        Root { shared: Rc::new(shared) }
    }

    /// Something that the host reports.
    fn event(&self, event: Event) {
        self.pass_on(event);
        waits::release(&self.shared);
    }

    fn pass_on(&self, event: Event) {
        let steps = match self.shared.filter.try_borrow_mut() {
            Ok(mut filter) => filter.as_mut().map(|f| f.on_event(event, &calls::now(), &Proxy)),
            Err(_) => None,
        };
        self.apply(steps.unwrap_or_default());
    }

    fn apply(&self, steps: Vec<RootStep>) {
        let mut refused = Vec::new();
        for step in steps {
            match step {
                RootStep::Wake(key) => waits::wake(&self.shared, key),
                RootStep::Call { tag, callout } => match waits::dispatch::<F>(&callout) {
                    Ok(token) => {
                        self.shared.calls.borrow_mut().insert(token, tag);
                    }
                    Err(answer) => refused.push(Event::Answered { tag, answer }),
                },
                RootStep::OpenStream { .. } | RootStep::Send { .. } | RootStep::Close { .. } if !F::GRPC => {}
                RootStep::OpenStream { tag, target, service, method, metadata } => {
                    let metadata = metadata.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
                    match hostcalls::open_grpc_stream(target.as_str(), service, method, metadata) {
                        Ok(token) => {
                            self.shared.streams.borrow_mut().insert(token, tag);
                            refused.push(Event::Opened { tag });
                        }
                        Err(_) => refused.push(Event::Closed { tag, status: UNAVAILABLE }),
                    }
                }
                RootStep::Send { tag, message, end } => {
                    if let Some(token) = self.stream(tag)
                        && hostcalls::send_grpc_stream_message(token, Some(&message), end).is_err()
                    {
                        refused.push(Event::Closed { tag, status: UNAVAILABLE });
                    }
                }
                RootStep::Close { tag } => {
                    if let Some(token) = self.stream(tag) {
                        self.shared.streams.borrow_mut().remove(&token);
                        // A stream that the host no longer knows is closed already.
                        let _ = hostcalls::cancel_grpc_stream(token);
                    }
                }
            }
        }
        self.shared.set_pace();
        for event in refused {
            self.pass_on(event);
        }
    }

    fn stream(&self, tag: u64) -> Option<u32> {
        self.shared.streams.borrow().iter().find(|(_, t)| **t == tag).map(|(token, _)| *token)
    }

    fn answered(&self, token: u32, read: &dyn Fn() -> Answer) {
        let tag = self.shared.calls.borrow_mut().remove(&token);
        match tag {
            Some(tag) => self.event(Event::Answered { tag, answer: read() }),
            None => waits::answered_to_root(&self.shared, token, read),
        }
    }
}

impl<F: Filter> Context for Root<F> {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _: usize) {
        if F::PAUSES {
            self.answered(token, &|| waits::http_answer::<F>(headers, body));
        }
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, _: usize) {
        if F::GRPC {
            self.answered(token, &|| waits::grpc_answer::<F>(status));
        }
    }

    fn on_grpc_stream_message(&mut self, token: u32, size: usize) {
        if F::GRPC {
            let tag = self.shared.streams.borrow().get(&token).copied();
            if let (Some(tag), Ok(message)) = (tag, calls::buffer(Buffer::GrpcMessage, size)) {
                self.event(Event::Message { tag, message });
            }
        }
    }

    fn on_grpc_stream_close(&mut self, token: u32, status: u32) {
        if F::GRPC {
            let tag = self.shared.streams.borrow_mut().remove(&token);
            if let Some(tag) = tag {
                self.event(Event::Closed { tag, status });
            }
        }
    }
}

impl<F: Filter> RootContext for Root<F> {
    fn on_configure(&mut self, size: usize) -> bool {
        if let Some(level) = calls::log_level() {
            log::set_max_level(level);
        }
        let configured = match calls::buffer(Buffer::PluginConfiguration, size) {
            Ok(config) => F::configure(&config, &Proxy).map_err(|e| e.to_string()),
            Err(_) => Err(format!("{}: the host did not hand over the configuration", F::NAME)),
        };
        match configured {
            Ok(filter) => {
                *self.shared.verdict.borrow_mut() = Some(PropertyKey::clone(&filter.plugin().verdict));
                *self.shared.filter.borrow_mut() = Some(filter);
                if F::TICKS {
                    self.shared.set_pace();
                }
                true
            }
            Err(error) => {
                calls::critical(&error);
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if F::TICKS {
            let now = calls::now();
            if F::PAUSES {
                waits::expire(&self.shared, now.mono());
            }
            let steps = match self.shared.filter.try_borrow_mut() {
                Ok(mut filter) => filter.as_mut().map(|f| f.on_tick(&now, &Proxy)),
                Err(_) => None,
            };
            if F::PAUSES {
                self.apply(steps.unwrap_or_default());
                waits::release(&self.shared);
            } else {
                self.shared.set_pace();
            }
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(id, Rc::clone(&self.shared))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
