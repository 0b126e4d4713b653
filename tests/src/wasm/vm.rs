//! A VM, its plugins and their streams.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Mutex, OnceLock, PoisonError};

use wasmtime::{Config, Engine, Instance, Linker, Module, Store};

use super::imports;
use super::state::{Callout, HostState, LocalReply};
use super::world::World;
use crate::paths;

/// The root context of a VM's plugin.
pub(super) const ROOT: u32 = 1;
/// More than any callback takes.
const FUEL: u64 = 1 << 50;

/// A VM that runs one module.
#[derive(Clone)]
pub struct Vm {
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    store: Store<HostState>,
    instance: Instance,
    next_context: u32,
    fuel: u64,
}

/// The module trapped: on a real host the worker's VM is gone.
#[derive(Debug)]
pub struct Trap(pub String);

/// A configured plugin.
#[derive(Clone)]
pub struct Plugin {
    vm: Vm,
}

/// What became of a request at a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Went {
    /// It goes on to the next filter.
    On,
    /// It was answered.
    Answered(LocalReply),
    /// It waits.
    Waits,
}

impl Went {
    /// The answer.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn reply(self) -> LocalReply {
        match self {
            Went::Answered(reply) => reply,
            other => panic!("not answered: {other:?}"),
        }
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut config = Config::new();
        config.consume_fuel(true);
        Engine::new(&config).expect("an engine")
    })
}

/// Modules are compiled once a process.
fn module(name: &str) -> Module {
    static MODULES: OnceLock<Mutex<HashMap<String, Module>>> = OnceLock::new();
    let mut modules = MODULES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    modules
        .entry(name.to_owned())
        .or_insert_with(|| Module::from_file(engine(), paths::module(name)).expect("a valid module"))
        .clone()
}

impl Vm {
    /// A VM of `world` that runs the module `name` (see [`paths::module`]).
    ///
    /// # Panics
    /// If the module imports what no host has, or traps at its start.
    #[must_use]
    pub fn new(world: &World, name: &str) -> Vm {
        let module = module(name);
        let mut linker = Linker::new(engine());
        imports::link(&mut linker);
        linker.define_unknown_imports_as_traps(&module).expect("functions");
        let mut store = Store::new(engine(), HostState::new(world));
        store.set_fuel(FUEL).expect("fuel");
        let instance = linker.instantiate(&mut store, &module).expect("the module links");
        let vm =
            Vm { inner: Rc::new(RefCell::new(Inner { store, instance, next_context: ROOT + 1, fuel: 0 })) };
        vm.call("_initialize", &[]).expect("the module starts");
        vm
    }

    /// Configures a plugin with this text.
    ///
    /// # Errors
    /// What it logged, if it refused.
    ///
    /// # Panics
    /// If it traps.
    pub fn configure(&self, config: impl AsRef<[u8]>) -> Result<Plugin, String> {
        let config = config.as_ref();
        self.state(|s| s.configuration = config.to_vec());
        self.call("proxy_on_context_create", &[ROOT, 0]).expect("no trap");
        let size = u32::try_from(config.len()).expect("fits");
        let accepted = self.enter(ROOT, "proxy_on_configure", &[ROOT, size]).expect("no trap");
        let plugin = Plugin { vm: self.clone() };
        if accepted == 1 { Ok(plugin) } else { Err(self.log()) }
    }

    /// The plugin of this VM, whether or not its configuration was accepted: some hosts go on.
    #[must_use]
    pub fn plugin(&self) -> Plugin {
        Plugin { vm: self.clone() }
    }

    /// Everything that was logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.state(|s| s.log.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n"))
    }

    /// The lines that were logged as critical.
    #[must_use]
    pub fn critical(&self) -> Vec<String> {
        self.state(|s| s.log.iter().filter(|(level, _)| *level == 5).map(|(_, line)| line.clone()).collect())
    }

    /// Makes a host function answer with a status instead of doing anything; 0 mends it.
    pub fn fail(&self, function: &'static str, status: u32) {
        self.state(|s| {
            if status == 0 {
                s.faults.remove(function);
            } else {
                s.faults.insert(function, status);
            }
        });
    }

    /// Answers foreign functions.
    pub fn on_foreign(&self, answer: impl Fn(&str, &[u8]) -> Result<Vec<u8>, u32> + Send + 'static) {
        self.state(|s| s.foreign = Some(Box::new(answer)));
    }

    /// Lets log lines through from this level on; 0 is trace.
    pub fn set_log_level(&self, level: u32) {
        self.state(|s| s.log_level = level);
    }

    /// Makes a cluster one that the host does not know.
    pub fn forget_cluster(&self, name: &str) {
        self.state(|s| s.unknown_clusters.push(name.as_bytes().to_vec()));
    }

    /// A property that every context sees.
    pub fn set_property(&self, path: &str, value: impl Into<Vec<u8>>) {
        self.state(|s| s.root_properties.insert(path.as_bytes().to_vec(), value.into()));
    }

    /// The calls that filters started, answered or not.
    #[must_use]
    pub fn callouts(&self) -> Vec<Callout> {
        self.state(|s| s.callouts.clone())
    }

    /// Milliseconds between ticks; 0 if there are none.
    #[must_use]
    pub fn tick_millis(&self) -> u32 {
        self.state(|s| s.tick_millis)
    }

    /// How often each host function was called since [`Vm::reset_counts`].
    #[must_use]
    pub fn host_calls(&self) -> BTreeMap<&'static str, u64> {
        self.state(|s| s.calls.clone())
    }

    /// WebAssembly instructions since [`Vm::reset_counts`], in wasmtime's fuel.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.inner.borrow().fuel
    }

    /// Starts counting anew.
    pub fn reset_counts(&self) {
        self.inner.borrow_mut().fuel = 0;
        self.state(|s| s.calls.clear());
    }

    /// Bytes of linear memory.
    ///
    /// # Panics
    /// If the module has none.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let mut inner = self.inner.borrow_mut();
        let Inner { store, instance, .. } = &mut *inner;
        instance.get_memory(&mut *store, "memory").expect("memory").data_size(&*store)
    }

    fn state<T>(&self, with: impl FnOnce(&mut HostState) -> T) -> T {
        with(self.inner.borrow_mut().store.data_mut())
    }

    /// Calls an export with the effective context set to `context`.
    fn enter(&self, context: u32, export: &str, arguments: &[u32]) -> Result<u32, Trap> {
        self.state(|s| s.effective = context);
        self.call(export, arguments)
    }

    /// Calls an export; one that the module does not have is not entered, as on a real host.
    fn call(&self, export: &str, arguments: &[u32]) -> Result<u32, Trap> {
        let mut inner = self.inner.borrow_mut();
        let Inner { store, instance, fuel, .. } = &mut *inner;
        let Some(function) = instance.get_func(&mut *store, export) else { return Ok(0) };
        store.set_fuel(FUEL).expect("fuel");
        let parameters: Vec<wasmtime::Val> =
            arguments.iter().map(|a| wasmtime::Val::I32(a.cast_signed())).collect();
        let mut results = vec![wasmtime::Val::I32(0); function.ty(&*store).results().len()];
        let outcome = function.call(&mut *store, &parameters, &mut results);
        *fuel += FUEL - store.get_fuel().expect("fuel");
        let logged = || store.data().log.iter().map(|(_, l)| l.as_str()).collect::<Vec<_>>().join("\n");
        outcome.map_err(|error| Trap(format!("{error:?}\n{}", logged())))?;
        Ok(results.first().and_then(wasmtime::Val::i32).unwrap_or(0).cast_unsigned())
    }

    /// Whether the module exports a function.
    #[must_use]
    pub fn exports(&self, name: &str) -> bool {
        let mut inner = self.inner.borrow_mut();
        let Inner { store, instance, .. } = &mut *inner;
        instance.get_func(store, name).is_some()
    }
}

impl Plugin {
    /// The VM that it lives in.
    #[must_use]
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// A new stream whose request has these headers; nothing has been called yet but the constructor.
    ///
    /// # Panics
    /// If the module traps.
    pub fn stream<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Stream {
        let id = {
            let mut inner = self.vm.inner.borrow_mut();
            let id = inner.next_context;
            inner.next_context += 1;
            id
        };
        let request = headers.into_iter().map(|(n, v)| (n.as_ref().to_vec(), v.as_ref().to_vec())).collect();
        self.vm.state(|s| {
            let stream = s.streams.entry(id).or_default();
            stream.request = request;
            stream.headers_open = true;
        });
        self.vm.enter(id, "proxy_on_context_create", &[id, ROOT]).expect("no trap");
        Stream { vm: self.vm.clone(), id, over: false }
    }

    /// A request with `:method`, `:path`, `:authority` and these headers, sent through the filter.
    ///
    /// # Panics
    /// If the module traps.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (Stream, Went) {
        let pseudo = [(":method", method), (":path", path), (":authority", "api.test"), (":scheme", "http")];
        let stream = self.stream(pseudo.iter().chain(headers).copied());
        let went = stream.request();
        (stream, went)
    }

    /// A tick.
    ///
    /// # Panics
    /// If the module traps.
    pub fn tick(&self) {
        self.vm.enter(ROOT, "proxy_on_tick", &[ROOT]).expect("no trap");
    }

    /// Answers an HTTP call.
    ///
    /// # Panics
    /// If the module traps.
    pub fn answer_http(&self, token: u32, headers: &[(&str, &str)], body: &[u8]) {
        let pairs = headers.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        self.vm.state(|s| s.call_response = (pairs, body.to_vec()));
        let count = u32::try_from(headers.len()).expect("fits");
        let size = u32::try_from(body.len()).expect("fits");
        self.vm.enter(ROOT, "proxy_on_http_call_response", &[ROOT, token, count, size, 0]).expect("no trap");
    }

    /// Answers a gRPC call: a message, or a status that is not 0.
    ///
    /// # Panics
    /// If the module traps.
    pub fn answer_grpc(&self, token: u32, status: u32, message: &[u8]) {
        self.vm.state(|s| {
            s.grpc_message = message.to_vec();
            s.grpc_status = status;
        });
        if status == 0 {
            let size = u32::try_from(message.len()).expect("fits");
            self.vm.enter(ROOT, "proxy_on_grpc_receive", &[ROOT, token, size]).expect("no trap");
        } else {
            self.vm.enter(ROOT, "proxy_on_grpc_close", &[ROOT, token, status]).expect("no trap");
        }
    }
}

/// A stream; when it is dropped, the host deletes it.
pub struct Stream {
    vm: Vm,
    id: u32,
    over: bool,
}

impl Stream {
    /// The request's headers arrive.
    ///
    /// # Panics
    /// If the module traps; see [`Stream::try_request`].
    pub fn request(&self) -> Went {
        self.try_request().expect("no trap")
    }

    /// As [`Stream::request`].
    ///
    /// # Errors
    /// If the module traps.
    pub fn try_request(&self) -> Result<Went, Trap> {
        const CONTINUE: u32 = 0;
        let count = self.vm.state(|s| s.streams.get(&self.id).map_or(0, |s| s.request.len()));
        let count = u32::try_from(count).expect("fits");
        let action = self.vm.enter(self.id, "proxy_on_request_headers", &[self.id, count, 1])?;
        Ok(self.vm.state(|s| {
            let stream = s.streams.get_mut(&self.id).expect("the stream");
            match (&stream.reply, action) {
                (Some(reply), _) => Went::Answered(reply.clone()),
                (None, CONTINUE) => {
                    stream.headers_open = false;
                    Went::On
                }
                (None, _) => Went::Waits,
            }
        }))
    }

    /// Where a stream that waited is now.
    #[must_use]
    pub fn went(&self) -> Went {
        self.vm.state(|s| {
            let stream = s.streams.get(&self.id).expect("the stream");
            match (&stream.reply, stream.resumed) {
                (Some(reply), _) => Went::Answered(reply.clone()),
                (None, true) => Went::On,
                (None, false) => Went::Waits,
            }
        })
    }

    /// The response's headers arrive; gives them back as the filter left them.
    ///
    /// # Panics
    /// If the module traps.
    pub fn respond(&self, headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = headers.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        self.vm.state(|s| s.streams.get_mut(&self.id).expect("the stream").response = pairs);
        let count = u32::try_from(headers.len()).expect("fits");
        self.vm.enter(self.id, "proxy_on_response_headers", &[self.id, count, 0]).expect("no trap");
        self.vm.state(|s| texts(&s.streams[&self.id].response))
    }

    /// A piece of the response's body arrives.
    ///
    /// # Panics
    /// If the module traps.
    pub fn respond_body(&self, chunk: &[u8], end: bool) {
        self.vm.state(|s| s.streams.get_mut(&self.id).expect("the stream").response_body = chunk.to_vec());
        let size = u32::try_from(chunk.len()).expect("fits");
        self.vm.enter(self.id, "proxy_on_response_body", &[self.id, size, u32::from(end)]).expect("no trap");
    }

    /// The request's headers as they are now.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        self.vm.state(|s| texts(&s.streams[&self.id].request))
    }

    /// The first value of a request header as it is now.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// A property or fact; parts are joined by NUL.
    #[must_use]
    pub fn property(&self, path: &str) -> Option<String> {
        let value = self.vm.state(|s| s.streams[&self.id].properties.get(path.as_bytes()).cloned());
        value.map(|v| String::from_utf8_lossy(&v).into_owned())
    }

    /// Sets a property or fact.
    pub fn set_property(&self, path: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        self.vm.state(|s| {
            s.streams
                .get_mut(&self.id)
                .expect("the stream")
                .properties
                .insert(path.as_bytes().to_vec(), value)
        });
    }

    /// The stream is logged.
    ///
    /// # Panics
    /// If the module traps.
    pub fn log(&self) {
        self.vm.state(|s| s.streams.get_mut(&self.id).expect("the stream").headers_open = true);
        self.vm.enter(self.id, "proxy_on_log", &[self.id]).expect("no trap");
    }

    /// The stream ends, as it does for a client that leaves.
    ///
    /// # Panics
    /// If the module traps.
    pub fn end(mut self) {
        self.finish().expect("no trap");
    }

    fn finish(&mut self) -> Result<(), Trap> {
        if !std::mem::replace(&mut self.over, true) {
            self.vm.enter(self.id, "proxy_on_done", &[self.id])?;
            self.vm.enter(self.id, "proxy_on_delete", &[self.id])?;
            self.vm.state(|s| s.streams.remove(&self.id));
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // After a trap there is nothing to end.
        let _ = self.finish();
    }
}

fn texts(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<(String, String)> {
    let text = |b: &Vec<u8>| String::from_utf8_lossy(b).into_owned();
    pairs.iter().map(|(n, v)| (text(n), text(v))).collect()
}
