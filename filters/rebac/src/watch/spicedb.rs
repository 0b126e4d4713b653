//! SpiceDB's changes, as a stream: `authzed.api.v1.WatchService/Watch`.
//!
//! Where the datastore has them, checkpoints are asked for, and each tells that the stream lives. Those of memory and of MySQL send none while nothing changes.
//! Until a checkpoint of its own accord was seen, an open stream and a server that says it is healthy are taken for as much; from then
//! on only checkpoints count, for a stream can be stuck on a server that answers.

use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::filter::{Answer, Callout, GrpcTarget, RootStep};

use super::{Broken, Heard};
use crate::protobuf::{self, Field, fields};

const SERVICE: &str = "authzed.api.v1.WatchService";
/// `optional_update_kinds`: relationships, the schema, checkpoints.
const KINDS: &[u8] = &[1, 2, 3];
/// How often the server is asked whether it is healthy.
const PROBE: Duration = Duration::from_millis(500);
/// How long a probe may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// After so long without a sign of life the stream is opened anew.
const SILENCE: Duration = Duration::from_secs(4);
/// The longest token that is taken for one.
const MAX_TOKEN: usize = 2048;

/// The stream.
#[derive(Debug)]
pub(super) struct Stream {
    target: GrpcTarget,
    authorization: String,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    tag: u64,
    /// When it last showed that it lives, or was opened.
    last: Mono,
    /// The token of the last change.
    changed: Vec<u8>,
    /// Whether a checkpoint came that no change asked for.
    checkpoints: bool,
    /// When the next probe is due.
    next_probe: Mono,
    /// The probe that is out, and when it left.
    probe: Option<(u64, Mono)>,
}

impl Stream {
    pub(super) fn new(target: GrpcTarget, authorization: &str) -> Stream {
        Stream { target, authorization: authorization.to_owned(), open: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn metadata(&self) -> Vec<(String, Vec<u8>)> {
        vec![("authorization".to_owned(), self.authorization.clone().into_bytes())]
    }

    /// Opens it; [`Stream::opened`] sends what is watched for.
    pub(super) fn open(&mut self, tag: u64, now: Mono) -> RootStep {
        self.open = Some(Open {
            tag,
            last: now,
            changed: Vec::new(),
            checkpoints: false,
            next_probe: now.after(PROBE),
            probe: None,
        });
        RootStep::OpenStream {
            tag,
            target: self.target.clone(),
            service: SERVICE,
            method: "Watch",
            metadata: self.metadata(),
        }
    }

    /// The host opened it. The request goes with the half-close, which servers of streams wait for.
    pub(super) fn opened(&self, tag: u64, cursor: &[u8]) -> Option<RootStep> {
        self.open.as_ref().filter(|open| open.tag == tag)?;
        let mut message = Vec::new();
        if !cursor.is_empty() {
            let mut token = Vec::new();
            protobuf::bytes(&mut token, 1, cursor);
            protobuf::bytes(&mut message, 2, &token);
        }
        protobuf::bytes(&mut message, 4, KINDS);
        Some(RootStep::Send { tag, message, end: true })
    }

    /// A message came; `None` if it is not from this stream.
    pub(super) fn message(&mut self, tag: u64, message: &[u8], now: Mono) -> Option<Result<Heard, Broken>> {
        let open = self.open.as_mut().filter(|open| open.tag == tag)?;
        let Some(response) = Response::read(message) else {
            return Some(Err(Broken::Malformed));
        };
        open.last = now;
        let token = response.through.to_vec();
        let changed = response.changed.then(|| token.clone());
        if response.changed {
            open.changed.clone_from(&token);
        } else if response.checkpoint && token != open.changed {
            open.checkpoints = true;
        }
        Some(Ok(Heard { changed, cursor: Some(token), seen: Some(now), more: false }))
    }

    /// It is closed; `None` if that was another one.
    pub(super) fn closed(&mut self, tag: u64, status: u32, cursor: &[u8]) -> Option<Broken> {
        self.open.take_if(|open| open.tag == tag)?;
        Some(match status {
            // INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE: too old, or another datastore's.
            3 | 9 | 11 if !cursor.is_empty() => Broken::Cursor,
            3 | 7 | 12 | 16 => Broken::Refused,
            _ => Broken::Unreachable,
        })
    }

    /// The probe that is due, if one is.
    pub(super) fn probe(&mut self, tag: u64, now: Mono) -> Option<RootStep> {
        let metadata = self.metadata();
        let open = self.open.as_mut()?;
        let overdue = open.probe.is_some_and(|(_, left)| now.since(left) > TIMEOUT.saturating_mul(2));
        if open.checkpoints || now < open.next_probe || (open.probe.is_some() && !overdue) {
            return None;
        }
        open.next_probe = now.after(PROBE);
        open.probe = Some((tag, now));
        let mut message = Vec::new();
        protobuf::bytes(&mut message, 1, SERVICE.as_bytes());
        let callout = Callout::Grpc {
            target: self.target.clone(),
            service: "grpc.health.v1.Health",
            method: "Check",
            metadata,
            message,
            timeout: TIMEOUT,
        };
        Some(RootStep::Call { tag, callout })
    }

    /// The answer to a probe; `None` if it is not one's, or says nothing.
    pub(super) fn probed(&mut self, tag: u64, answer: &Answer) -> Option<Heard> {
        let open = self.open.as_mut()?;
        let (_, left) = open.probe.take_if(|(probe, _)| *probe == tag)?;
        let Answer::Grpc { status: 0, message } = answer else { return None };
        // HealthCheckResponse: SERVING.
        let serving = fields(message).any(|field| field == Ok((1, Field::Number(1))));
        if !serving || open.checkpoints {
            return None;
        }
        open.last = open.last.max(left);
        Some(Heard { changed: None, cursor: None, seen: Some(left), more: false })
    }

    /// Closes a stream that shows no sign of life.
    pub(super) fn expire(&mut self, now: Mono) -> Option<RootStep> {
        let silent = self.open.take_if(|open| now.since(open.last) > SILENCE)?;
        Some(RootStep::Close { tag: silent.tag })
    }

    /// Closes it.
    pub(super) fn stop(&mut self) -> Option<RootStep> {
        self.open.take().map(|open| RootStep::Close { tag: open.tag })
    }
}

/// What a `WatchResponse` says here: which relationships changed is not looked at, for what that can affect would have to be worked out
/// from the schema.
#[derive(Debug, Default, PartialEq, Eq)]
struct Response<'a> {
    changed: bool,
    checkpoint: bool,
    through: &'a [u8],
}

impl<'a> Response<'a> {
    fn read(message: &'a [u8]) -> Option<Response<'a>> {
        let mut response = Response::default();
        for field in fields(message) {
            match field.ok()? {
                (1, Field::Bytes(_)) => response.changed = true,
                (2, Field::Bytes(token)) => {
                    for field in fields(token) {
                        if let (1, Field::Bytes(text)) = field.ok()? {
                            response.through = text;
                        }
                    }
                }
                (4, Field::Number(updated)) => response.changed |= updated != 0,
                (5, Field::Number(is)) => response.checkpoint = is != 0,
                // Of another type than it has: a change could be missed.
                (1 | 2 | 4 | 5, _) => return None,
                _ => {}
            }
        }
        let plain = |b: &u8| matches!(b, b'!'..=b'~');
        let token = !response.through.is_empty()
            && response.through.len() <= MAX_TOKEN
            && response.through.iter().all(plain);
        token.then_some(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn stream() -> Stream {
        Stream::new(GrpcTarget::new("c", "").unwrap(), "Bearer k")
    }

    /// A `WatchResponse`: 1 `updates`, 4 `schema_updated`, 5 `is_checkpoint`.
    fn response(token: &str, field: u8) -> Vec<u8> {
        let (mut message, mut through) = (Vec::new(), Vec::new());
        protobuf::bytes(&mut through, 1, token.as_bytes());
        match field {
            1 => protobuf::bytes(&mut message, 1, b"\x08\x03"),
            other => message.extend([other << 3, 1]),
        }
        protobuf::bytes(&mut message, 2, &through);
        message
    }

    fn heard(changed: bool, token: &str, at: u64) -> Option<Result<Heard, Broken>> {
        let token = token.as_bytes().to_vec();
        Some(Ok(Heard {
            changed: changed.then(|| token.clone()),
            cursor: Some(token),
            seen: Some(Mono(at)),
            more: false,
        }))
    }

    #[test]
    fn it_asks_for_everything_from_its_cursor_and_half_closes() {
        let mut stream = stream();
        let RootStep::OpenStream { service, method, metadata, .. } = stream.open(1, Mono(0)) else {
            panic!()
        };
        assert_eq!((service, method), ("authzed.api.v1.WatchService", "Watch"));
        assert_eq!(metadata, [("authorization".to_owned(), b"Bearer k".to_vec())]);
        assert_eq!(stream.opened(2, b""), None);
        let want = RootStep::Send { tag: 1, message: b"\x22\x03\x01\x02\x03".to_vec(), end: true };
        assert_eq!(stream.opened(1, b""), Some(want));
        let want = RootStep::Send {
            tag: 1,
            message: b"\x12\x05\x0a\x03abc\x22\x03\x01\x02\x03".to_vec(),
            end: true,
        };
        assert_eq!(stream.opened(1, b"abc"), Some(want));
    }

    #[test]
    fn changes_schemas_and_checkpoints_are_told_apart() {
        let mut stream = stream();
        stream.open(1, Mono(0));
        assert_eq!(stream.message(2, &response("t", 1), Mono(1)), None);
        assert_eq!(stream.message(1, &response("t1", 1), Mono(1)), heard(true, "t1", 1));
        assert_eq!(stream.message(1, &response("t2", 4), Mono(2)), heard(true, "t2", 2));
        assert_eq!(stream.message(1, &response("t3", 5), Mono(3)), heard(false, "t3", 3));
        for bad in
            [&b""[..], b"\x08", b"\x12\x03\x0a\x01\n", b"\x0a\x00", b"\x12\x00", b"\x12\x03\x0a\x01t\x22\x00"]
        {
            assert_eq!(stream.message(1, bad, Mono(4)), Some(Err(Broken::Malformed)), "{bad:?}");
        }
    }

    #[test]
    fn a_healthy_server_counts_until_a_checkpoint_came_by_itself() {
        let mut stream = stream();
        stream.open(1, Mono(0));
        let healthy = Answer::Grpc { status: 0, message: b"\x08\x01".to_vec() };
        assert_eq!(stream.probe(2, Mono(0)), None, "not before the stream can be there");
        assert!(matches!(stream.probe(2, Mono(S)), Some(RootStep::Call { tag: 2, .. })));
        assert_eq!(stream.probe(3, Mono(2 * S)), None, "one at a time");
        assert_eq!(stream.probed(9, &healthy), None);
        assert_eq!(stream.probed(2, &healthy).unwrap().seen, Some(Mono(S)));
        for dead in [
            Answer::Timeout,
            Answer::Grpc { status: 14, message: Vec::new() },
            Answer::Grpc { status: 0, message: b"\x08\x02".to_vec() },
        ] {
            stream.probe(4, Mono(5 * S)).unwrap();
            assert_eq!(stream.probed(4, &dead), None, "{dead:?}");
            stream.open.as_mut().unwrap().next_probe = Mono(0);
        }
        // The checkpoint that comes with a change is no heartbeat.
        stream.message(1, &response("t1", 1), Mono(5 * S));
        stream.message(1, &response("t1", 5), Mono(5 * S));
        assert!(stream.probe(5, Mono(6 * S)).is_some());
        stream.message(1, &response("t2", 5), Mono(6 * S));
        assert_eq!(stream.probed(5, &healthy), None, "only checkpoints count now");
        assert_eq!(stream.probe(6, Mono(9 * S)), None);
    }

    #[test]
    fn a_silent_stream_is_closed_and_a_cursor_that_is_refused_is_given_up() {
        let mut stream = stream();
        stream.open(1, Mono(0));
        assert_eq!(stream.expire(Mono(4 * S)), None);
        assert_eq!(stream.expire(Mono(4 * S + 1)), Some(RootStep::Close { tag: 1 }));
        assert!(!stream.is_open());
        for (status, cursor, want) in [
            (14, "t", Broken::Unreachable),
            (0, "t", Broken::Unreachable),
            (3, "t", Broken::Cursor),
            (9, "t", Broken::Cursor),
            (11, "t", Broken::Cursor),
            (3, "", Broken::Refused),
            (16, "", Broken::Refused),
            (7, "t", Broken::Refused),
        ] {
            stream.open(2, Mono(0));
            assert_eq!(stream.closed(1, status, cursor.as_bytes()), None);
            assert_eq!(stream.closed(2, status, cursor.as_bytes()), Some(want), "{status} {cursor}");
        }
    }
}
