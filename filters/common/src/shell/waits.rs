//! Streams that wait: for the answers to their calls, or for somebody to wake their key.
//!
//! Each wait has a deadline of ours, kept by the plugin's tick, besides the one that the host was given: a host that
//! never answers holds nobody. A stream that ends leaves every queue. An answer that comes after its deadline finds
//! nobody and is dropped.
//!
//! Streams whose wait is over are let go a few at a time. Envoy answers and resumes them after the callback that asked for it,
//! each within the end of the one before: three hundred at once overflow the stack of the VM, which is a trap.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::Action;

use super::calls::{self, Buffer, Map};
use super::host::Proxy;
use super::root::Shared;
use super::stream;
use crate::answer::Refusal;
use crate::clock::{Mono, Now};
use crate::filter::{Answer, Callout, Filter, Step, WaitKey};
use crate::reason::Reason;
use crate::request::Request;

/// How many streams one callback lets go: a tenth of what overflowed Envoy's stack.
const AT_ONCE: usize = 32;

/// A paused stream.
pub(super) struct Paused<F: Filter> {
    state: Rc<RefCell<F::Stream>>,
    request: Request,
    pending: F::Pending,
    awaits: Awaits,
    deadline: Mono,
    since: Now,
}

enum Awaits {
    /// A token for each call, and its answer once it came.
    Calls(Vec<(Option<u32>, Option<Answer>)>),
    Key(WaitKey),
}

/// Pauses the current stream as `step` says; what the step becomes at once, it does at once.
pub(super) fn pause<F: Filter>(
    root: &Rc<Shared<F>>,
    id: u32,
    state: &Rc<RefCell<F::Stream>>,
    request: Request,
    step: Step<F::Pending>,
    now: Now,
) -> Action {
    settle(root, id, state, request, step, now, false)
}

/// Applies a step to the stream of the effective context. `paused` says whether the host holds it already.
fn settle<F: Filter>(
    root: &Rc<Shared<F>>,
    id: u32,
    state: &Rc<RefCell<F::Stream>>,
    request: Request,
    step: Step<F::Pending>,
    now: Now,
    paused: bool,
) -> Action {
    let (pending, awaits, timeout) = match step {
        Step::Allow(edits) => {
            stream::allow(root, edits, &now);
            if paused && calls::resume_request().is_err() {
                log::error!("{}: the host did not resume a request", F::NAME);
            }
            return Action::Continue;
        }
        Step::Reply(reply) => {
            stream::answer(root, &reply, &now);
            return Action::Pause;
        }
        Step::Wait(key, timeout, pending) => {
            // The plugin itself asks, for an answer to a stream that has ended is lost; and it asks at once.
            if root.paused.borrow().is_empty() {
                root.hurrying.set(true);
            }
            (pending, Awaits::Key(key), timeout)
        }
        Step::Call(callouts, pending) => {
            let timeout = callouts.iter().map(Callout::timeout).max().unwrap_or_default();
            let calls = callouts.iter().map(|callout| match dispatch::<F>(callout) {
                Ok(token) => (Some(token), None),
                Err(refused) => (None, Some(refused)),
            });
            (pending, Awaits::Calls(calls.collect()), timeout)
        }
    };
    let deadline = now.mono().after(timeout);
    let waiting = Paused { state: Rc::clone(state), request, pending, awaits, deadline, since: now };
    if waiting.is_complete() {
        return wake_up(root, id, waiting, paused);
    }
    root.paused.borrow_mut().insert(id, waiting);
    root.set_pace();
    Action::Pause
}

impl<F: Filter> Paused<F> {
    fn is_complete(&self) -> bool {
        matches!(&self.awaits, Awaits::Calls(calls) if calls.iter().all(|(_, answer)| answer.is_some()))
    }
}

/// Hands a stream its answers. The effective context is the stream's.
fn wake_up<F: Filter>(root: &Rc<Shared<F>>, id: u32, waiting: Paused<F>, paused: bool) -> Action {
    let Paused { state, request, pending, awaits, since, .. } = waiting;
    let answers = match awaits {
        Awaits::Calls(calls) => {
            calls.into_iter().map(|(_, answer)| answer.unwrap_or(Answer::Timeout)).collect()
        }
        Awaits::Key(_) => Vec::new(),
    };
    let now = since.again();
    let (step, wakes) = {
        let filter = root.filter.try_borrow_mut().ok();
        let held = state.try_borrow_mut().ok();
        let taken = match (filter, held) {
            (Some(mut filter), Some(mut held)) => filter.as_mut().map(|f| {
                let step = f.on_answer(&mut held, &request, pending, answers, &now, &Proxy);
                (step, f.wakes())
            }),
            _ => None,
        };
        taken.map_or((None, Vec::new()), |(step, wakes)| (Some(step), wakes))
    };
    if !wakes.is_empty() {
        wakes.into_iter().for_each(|key| wake(root, key));
        // They are let go by the next tick, which then comes at once: each with its own context, and none inside another.
        root.hurrying.set(true);
        root.set_pace();
    }
    let step =
        step.unwrap_or_else(|| Step::Reply(Refusal::new(Reason::HostError).reply(request.protocol(), None)));
    settle(root, id, &state, request, step, now, paused)
}

/// An answer came for a call of stream `id`, whose context is the effective one.
pub(super) fn answered<F: Filter>(root: &Rc<Shared<F>>, id: u32, token: u32, read: &dyn Fn() -> Answer) {
    let mut paused = root.paused.borrow_mut();
    let Some(waiting) = paused.get_mut(&id) else { return };
    if let Awaits::Calls(calls) = &mut waiting.awaits
        && let Some((_, answer)) = calls.iter_mut().find(|(t, answer)| *t == Some(token) && answer.is_none())
    {
        *answer = Some(read());
    }
    if !waiting.is_complete() {
        return;
    }
    let Some(waiting) = paused.remove(&id) else { return };
    drop(paused);
    wake_up(root, id, waiting, true);
    root.set_pace();
}

/// An answer came to the plugin for a call that is none of its own: a stream asked that the plugin had let go on from a wait.
/// The SDK gives an answer to the context whose callback the call was made in, whatever the effective one was.
pub(super) fn answered_to_root<F: Filter>(root: &Rc<Shared<F>>, token: u32, read: &dyn Fn() -> Answer) {
    let asked = |w: &Paused<F>| matches!(&w.awaits, Awaits::Calls(calls) if calls.iter().any(|(t, _)| *t == Some(token)));
    let asker = root.paused.borrow().iter().find(|(_, w)| asked(w)).map(|(id, _)| *id);
    if let Some(id) = asker
        && calls::switch_to(id).is_ok()
    {
        answered(root, id, token, read);
        let _ = calls::switch_to(root.id);
    }
}

/// Ends the waits for `key`. [`release`] lets the streams go.
pub(super) fn wake<F: Filter>(root: &Shared<F>, key: WaitKey) {
    for waiting in root.paused.borrow_mut().values_mut() {
        if matches!(waiting.awaits, Awaits::Key(k) if k == key) {
            waiting.awaits = Awaits::Calls(vec![(None, Some(Answer::Woken))]);
        }
    }
}

/// Ends the waits whose deadline is over. [`release`] lets the streams go.
pub(super) fn expire<F: Filter>(root: &Shared<F>, now: Mono) {
    for waiting in root.paused.borrow_mut().values_mut().filter(|w| w.deadline <= now) {
        match &mut waiting.awaits {
            Awaits::Key(_) => waiting.awaits = Awaits::Calls(vec![(None, Some(Answer::Timeout))]),
            Awaits::Calls(calls) => {
                for (_, answer) in calls {
                    answer.get_or_insert(Answer::Timeout);
                }
            }
        }
    }
}

/// Lets some of the streams go whose wait is over, those first that came first; the next ticks, which then come fast, the others.
pub(super) fn release<F: Filter>(root: &Rc<Shared<F>>) {
    let over = |paused: &BTreeMap<u32, Paused<F>>, most: usize| -> Vec<u32> {
        paused.iter().filter(|(_, w)| w.is_complete()).map(|(id, _)| *id).take(most).collect()
    };
    let due = over(&root.paused.borrow(), AT_ONCE);
    for id in due {
        let Some(waiting) = root.paused.borrow_mut().remove(&id) else { continue };
        // A stream that the host no longer knows has nothing to resume.
        if calls::switch_to(id).is_ok() {
            wake_up(root, id, waiting, true);
        }
    }
    let _ = calls::switch_to(root.id);
    let more = !over(&root.paused.borrow(), 1).is_empty();
    root.hurrying.set(more);
    root.set_pace();
}

/// Forgets a stream that is over.
pub(super) fn forget<F: Filter>(root: &Rc<Shared<F>>, id: u32) {
    if root.paused.borrow_mut().remove(&id).is_some() {
        root.set_pace();
    }
}

/// Starts a call.
///
/// # Errors
/// [`Answer::Refused`] if the host does not know the cluster, or failed at once.
pub(super) fn dispatch<F: Filter>(callout: &Callout) -> Result<u32, Answer> {
    let dispatched = match callout {
        Callout::Http { cluster, headers, body, timeout } => {
            let headers = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let body = (!body.is_empty()).then_some(body.as_slice());
            hostcalls::dispatch_http_call(
                cluster,
                headers,
                body,
                Vec::new(),
                at_least_a_millisecond(*timeout),
            )
        }
        Callout::Grpc { .. } if !F::GRPC => return Err(Answer::Refused),
        Callout::Grpc { target, service, method, metadata, message, timeout } => {
            let metadata = metadata.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            let message = Some(message.as_slice());
            let timeout = at_least_a_millisecond(*timeout);
            hostcalls::dispatch_grpc_call(target.as_str(), service, method, metadata, message, timeout)
        }
    };
    dispatched.map_err(|_| Answer::Refused)
}

/// To the host, no time means for ever.
fn at_least_a_millisecond(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}

/// The HTTP answer that is being delivered. A call that broke off, or whose answer was too large, has no headers.
pub(super) fn http_answer<F: Filter>(headers: usize, body: usize) -> Answer {
    if headers == 0 || body > F::MAX_ANSWER {
        return Answer::Reset;
    }
    let Ok(headers) = calls::headers(Map::CallResponse) else { return Answer::Reset };
    let Ok(body) = calls::buffer(Buffer::CallResponse, body) else { return Answer::Reset };
    let digits = headers.get(":status").one().unwrap_or_default();
    let status = std::str::from_utf8(digits).ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer::Http { response: headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect(), status, body }
}

/// The gRPC answer that is being delivered.
pub(super) fn grpc_answer<F: Filter>(status: u32) -> Answer {
    if status != 0 {
        let (code, message) = calls::grpc_status();
        return Answer::Grpc { status: code.max(status), message };
    }
    match calls::buffer(Buffer::GrpcMessage, F::MAX_ANSWER) {
        Ok(message) => Answer::Grpc { status: 0, message },
        Err(_) => Answer::Reset,
    }
}
