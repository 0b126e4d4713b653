//! What the host knows of one VM.

use std::collections::{BTreeMap, HashMap};

use super::world::World;

pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// Answers a foreign function.
pub(super) type Foreign = Box<dyn Fn(&str, &[u8]) -> Result<Vec<u8>, u32> + Send>;

/// An answer that a filter gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalReply {
    /// Status code.
    pub status: u32,
    /// Response-code details.
    pub details: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// gRPC status, -1 for none.
    pub grpc: i32,
}

impl LocalReply {
    /// The first value of a header; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// The reason in the body; empty if there is none.
    #[must_use]
    pub fn reason(&self) -> String {
        let body: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        body.and_then(|b| b["reason"].as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A call that a filter started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// The host's number for it.
    pub token: u32,
    /// Cluster, or serialized `GrpcService`.
    pub target: Vec<u8>,
    /// Headers or initial metadata.
    pub headers: Vec<(String, String)>,
    /// Body or message.
    pub body: Vec<u8>,
    /// Milliseconds.
    pub timeout: u32,
}

#[derive(Default)]
pub(super) struct StreamState {
    pub(super) request: Pairs,
    pub(super) response: Pairs,
    pub(super) response_body: Vec<u8>,
    pub(super) properties: HashMap<Vec<u8>, Vec<u8>>,
    pub(super) reply: Option<LocalReply>,
    pub(super) resumed: bool,
    /// Whether the request headers can be read and written.
    pub(super) headers_open: bool,
}

pub(super) struct HostState {
    pub(super) world: World,
    pub(super) configuration: Vec<u8>,
    pub(super) streams: BTreeMap<u32, StreamState>,
    pub(super) root_properties: HashMap<Vec<u8>, Vec<u8>>,
    /// The context that calls are about.
    pub(super) effective: u32,
    pub(super) log: Vec<(u32, String)>,
    pub(super) log_level: u32,
    pub(super) calls: BTreeMap<&'static str, u64>,
    /// Functions that answer with this status instead of doing anything.
    pub(super) faults: HashMap<&'static str, u32>,
    pub(super) foreign: Option<Foreign>,
    pub(super) callouts: Vec<Callout>,
    pub(super) unknown_clusters: Vec<Vec<u8>>,
    pub(super) call_response: (Pairs, Vec<u8>),
    pub(super) grpc_message: Vec<u8>,
    pub(super) grpc_status: u32,
    pub(super) metrics: Vec<(u32, String)>,
    pub(super) tick_millis: u32,
    pub(super) random: u8,
}

impl HostState {
    pub(super) fn new(world: &World) -> Self {
        HostState {
            world: world.clone(),
            configuration: Vec::new(),
            streams: BTreeMap::new(),
            root_properties: HashMap::new(),
            effective: 0,
            log: Vec::new(),
            log_level: 2,
            calls: BTreeMap::new(),
            faults: HashMap::new(),
            foreign: None,
            callouts: Vec::new(),
            unknown_clusters: Vec::new(),
            call_response: (Vec::new(), Vec::new()),
            grpc_message: Vec::new(),
            grpc_status: 0,
            metrics: Vec::new(),
            tick_millis: 0,
            random: world.seed(),
        }
    }

    pub(super) fn stream(&mut self) -> Option<&mut StreamState> {
        self.streams.get_mut(&self.effective)
    }
}
