//! The host's functions: proxy-wasm ABI 0.2.1 and the part of WASI that Envoy has. Statuses as the ABI numbers them.

use portcullis_common::headers::Headers;
use portcullis_common::host::{Cas, SetFailure};
use wasmtime::{Caller, Extern, Linker, Memory, TypedFunc};

use super::state::{Callout, HostState, LocalReply, Pairs};

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const PARSE_FAILURE: u32 = 4;
const CAS_MISMATCH: u32 = 8;
const INTERNAL_FAILURE: u32 = 10;

type Host<'a> = Caller<'a, HostState>;

fn memory(host: &mut Host<'_>) -> Memory {
    match host.get_export("memory") {
        Some(Extern::Memory(memory)) => memory,
        _ => panic!("the module exports no memory"),
    }
}

fn read(host: &mut Host<'_>, at: u32, size: u32) -> Vec<u8> {
    let memory = memory(host);
    let data = memory.data(&*host);
    data.get(at as usize..(at as usize) + (size as usize))
        .expect("a pointer into the module's memory")
        .to_vec()
}

fn text(host: &mut Host<'_>, at: u32, size: u32) -> String {
    String::from_utf8_lossy(&read(host, at, size)).into_owned()
}

fn write(host: &mut Host<'_>, at: u32, bytes: &[u8]) {
    memory(host).write(&mut *host, at as usize, bytes).expect("a pointer into the module's memory");
}

/// Puts bytes into memory that the module allocates, and their place into two of its variables.
fn give(host: &mut Host<'_>, bytes: &[u8], data: u32, size: u32) {
    let at = if bytes.is_empty() {
        0
    } else {
        let Some(Extern::Func(allocate)) = host.get_export("proxy_on_memory_allocate") else {
            panic!("no allocator")
        };
        let allocate: TypedFunc<u32, u32> = allocate.typed(&*host).expect("an allocator");
        allocate
            .call(&mut *host, u32::try_from(bytes.len()).expect("fits"))
            .expect("the allocator does not trap")
    };
    if !bytes.is_empty() {
        write(host, at, bytes);
    }
    write(host, data, &at.to_le_bytes());
    write(host, size, &u32::try_from(bytes.len()).expect("fits").to_le_bytes());
}

fn pairs(bytes: Vec<u8>) -> Pairs {
    let headers = Headers::parse(bytes).expect("well-formed pairs");
    headers.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect()
}

fn as_text(pairs: Pairs) -> Vec<(String, String)> {
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    pairs.into_iter().map(|(n, v)| (text(n), text(v))).collect()
}

fn encode(pairs: &Pairs) -> Vec<u8> {
    Headers::encode(pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())))
}

/// The map of the effective stream; `None` where Envoy would answer BadArgument.
fn map(state: &mut HostState, which: u32) -> Option<&mut Pairs> {
    match which {
        0 => state.stream().filter(|s| s.headers_open).map(|s| &mut s.request),
        2 => state.stream().map(|s| &mut s.response),
        6 => Some(&mut state.call_response.0),
        _ => None,
    }
}

/// Counts a call; gives the status that it was told to fail with.
fn enter(host: &mut Host<'_>, name: &'static str) -> Option<u32> {
    let state = host.data_mut();
    *state.calls.entry(name).or_default() += 1;
    state.faults.get(name).copied()
}

/// Defines a function: counts it, lets faults have their way, then does what it says.
macro_rules! import {
    ($linker:ident, $module:literal, $name:literal, |$host:ident $(, $arg:ident : $type:ty)*| $body:block) => {
        $linker
            .func_wrap($module, $name, |mut caller: Host<'_> $(, $arg: $type)*| -> u32 {
                if let Some(status) = enter(&mut caller, $name) {
                    return status;
                }
                let $host = &mut caller;
                $body
            })
            .expect("each function is defined once");
    };
}

pub(super) fn link(linker: &mut Linker<HostState>) {
    link_basics(linker);
    link_headers(linker);
    link_data(linker);
    link_calls(linker);
    link_wasi(linker);
}

fn link_basics(linker: &mut Linker<HostState>) {
    import!(linker, "env", "proxy_log", |host, level: u32, at: u32, size: u32| {
        let message = text(host, at, size);
        host.data_mut().log.push((level, message));
        OK
    });
    import!(linker, "env", "proxy_get_log_level", |host, level: u32| {
        let value = host.data().log_level;
        write(host, level, &value.to_le_bytes());
        OK
    });
    import!(linker, "env", "proxy_get_current_time_nanoseconds", |host, time: u32| {
        let now = host.data().world.wall();
        write(host, time, &now.to_le_bytes());
        OK
    });
    import!(linker, "env", "proxy_set_tick_period_milliseconds", |host, millis: u32| {
        host.data_mut().tick_millis = millis;
        OK
    });
    import!(linker, "env", "proxy_set_effective_context", |host, id: u32| {
        let state = host.data_mut();
        if id == super::vm::ROOT || state.streams.contains_key(&id) {
            state.effective = id;
            OK
        } else {
            BAD_ARGUMENT
        }
    });
    import!(linker, "env", "proxy_continue_stream", |host, _kind: u32| {
        match host.data_mut().stream() {
            Some(stream) => {
                stream.resumed = true;
                stream.headers_open = false;
                OK
            }
            None => BAD_ARGUMENT,
        }
    });
    import!(
        linker,
        "env",
        "proxy_get_buffer_bytes",
        |host, which: u32, start: u32, max: u32, data: u32, size: u32| {
            let state = host.data_mut();
            let bytes = match which {
                1 => state.stream().map(|s| s.response_body.clone()).unwrap_or_default(),
                4 => state.call_response.1.clone(),
                5 => state.grpc_message.clone(),
                7 => state.configuration.clone(),
                _ => return NOT_FOUND,
            };
            let bytes: Vec<u8> = bytes.into_iter().skip(start as usize).take(max as usize).collect();
            give(host, &bytes, data, size);
            OK
        }
    );
}

fn link_headers(linker: &mut Linker<HostState>) {
    import!(linker, "env", "proxy_get_header_map_pairs", |host, which: u32, data: u32, size: u32| {
        let bytes = map(host.data_mut(), which).map(|m| encode(m)).unwrap_or_default();
        give(host, &bytes, data, size);
        OK
    });
    import!(
        linker,
        "env",
        "proxy_replace_header_map_value",
        |host, which: u32, n: u32, ns: u32, v: u32, vs: u32| {
            let (name, value) = (read(host, n, ns), read(host, v, vs));
            let Some(map) = map(host.data_mut(), which) else { return BAD_ARGUMENT };
            let place = map.iter().position(|(n, _)| *n == name).unwrap_or(map.len());
            map.retain(|(n, _)| *n != name);
            map.insert(place.min(map.len()), (name, value));
            OK
        }
    );
    import!(
        linker,
        "env",
        "proxy_add_header_map_value",
        |host, which: u32, n: u32, ns: u32, v: u32, vs: u32| {
            let (name, value) = (read(host, n, ns), read(host, v, vs));
            let Some(map) = map(host.data_mut(), which) else { return BAD_ARGUMENT };
            map.push((name, value));
            OK
        }
    );
    import!(linker, "env", "proxy_remove_header_map_value", |host, which: u32, n: u32, ns: u32| {
        let name = read(host, n, ns);
        let Some(map) = map(host.data_mut(), which) else { return BAD_ARGUMENT };
        map.retain(|(n, _)| *n != name);
        OK
    });
    import!(
        linker,
        "env",
        "proxy_send_local_response",
        |host, status: u32, d: u32, ds: u32, b: u32, bs: u32, h: u32, hs: u32, grpc: i32| {
            let details = text(host, d, ds);
            let body = read(host, b, bs);
            let headers = as_text(pairs(read(host, h, hs)));
            let Some(stream) = host.data_mut().stream() else { return BAD_ARGUMENT };
            assert!(stream.reply.is_none(), "a stream is answered once");
            stream.reply = Some(LocalReply { status, details, headers, body, grpc });
            OK
        }
    );
}

fn link_data(linker: &mut Linker<HostState>) {
    import!(linker, "env", "proxy_get_property", |host, p: u32, ps: u32, data: u32, size: u32| {
        let path = read(host, p, ps);
        let state = host.data_mut();
        let root = state.root_properties.get(&path).cloned();
        let found = state.stream().and_then(|s| s.properties.get(&path).cloned()).or(root);
        let Some(value) = found else { return NOT_FOUND };
        give(host, &value, data, size);
        OK
    });
    import!(linker, "env", "proxy_set_property", |host, p: u32, ps: u32, v: u32, vs: u32| {
        let (path, value) = (read(host, p, ps), read(host, v, vs));
        let Some(stream) = host.data_mut().stream() else { return NOT_FOUND };
        stream.properties.insert(path, value);
        OK
    });
    import!(
        linker,
        "env",
        "proxy_get_shared_data",
        |host, k: u32, ks: u32, data: u32, size: u32, cas: u32| {
            let key = read(host, k, ks);
            let Some((value, version)) = host.data().world.shared.get(&key) else { return NOT_FOUND };
            give(host, &value, data, size);
            write(host, cas, &version.0.to_le_bytes());
            OK
        }
    );
    import!(linker, "env", "proxy_set_shared_data", |host, k: u32, ks: u32, v: u32, vs: u32, cas: u32| {
        let (key, value) = (read(host, k, ks), read(host, v, vs));
        match host.data().world.shared.set(&key, &value, Cas(cas)) {
            Ok(()) => OK,
            Err(SetFailure::Conflict) => CAS_MISMATCH,
            Err(SetFailure::Host(_)) => INTERNAL_FAILURE,
        }
    });
    import!(linker, "env", "proxy_define_metric", |host, kind: u32, n: u32, ns: u32, id: u32| {
        let name = text(host, n, ns);
        let state = host.data_mut();
        state.world.update_metric(&name, |_| {});
        state.metrics.push((kind, name));
        let number = u32::try_from(state.metrics.len()).expect("fits") - 1;
        write(host, id, &number.to_le_bytes());
        OK
    });
    import!(linker, "env", "proxy_increment_metric", |host, id: u32, by: i64| {
        let state = host.data_mut();
        let Some((kind, name)) = state.metrics.get(id as usize) else { return NOT_FOUND };
        if *kind == 2 || (*kind == 0 && by <= 0) {
            return BAD_ARGUMENT;
        }
        state.world.update_metric(name, |v| *v += by);
        OK
    });
    import!(linker, "env", "proxy_record_metric", |host, id: u32, value: u64| {
        let state = host.data_mut();
        let Some((kind, name)) = state.metrics.get(id as usize) else { return NOT_FOUND };
        let gauge = *kind == 1;
        state
            .world
            .update_metric(name, |v| *v = if gauge { i64::try_from(value).expect("fits") } else { *v + 1 });
        OK
    });
    import!(
        linker,
        "env",
        "proxy_call_foreign_function",
        |host, n: u32, ns: u32, a: u32, s: u32, data: u32, size: u32| {
            let (name, argument) = (text(host, n, ns), read(host, a, s));
            let answer = host.data().foreign.as_ref().map_or(Err(NOT_FOUND), |f| f(&name, &argument));
            match answer {
                Ok(bytes) => {
                    give(host, &bytes, data, size);
                    OK
                }
                Err(status) => status,
            }
        }
    );
}

fn link_calls(linker: &mut Linker<HostState>) {
    import!(linker, "env", "proxy_http_call", |host,
                                               u: u32,
                                               us: u32,
                                               h: u32,
                                               hs: u32,
                                               b: u32,
                                               bs: u32,
                                               _t: u32,
                                               _ts: u32,
                                               timeout: u32,
                                               token: u32| {
        let (target, headers, body) = (read(host, u, us), read(host, h, hs), read(host, b, bs));
        if host.data().unknown_clusters.contains(&target) {
            return BAD_ARGUMENT;
        }
        call(host, target, as_text(pairs(headers)), body, timeout, token)
    });
    import!(linker, "env", "proxy_grpc_call", |host,
                                               u: u32,
                                               us: u32,
                                               s: u32,
                                               ss: u32,
                                               m: u32,
                                               ms: u32,
                                               i: u32,
                                               is: u32,
                                               d: u32,
                                               ds: u32,
                                               timeout: u32,
                                               token: u32| {
        let (target, metadata, message) = (read(host, u, us), read(host, i, is), read(host, d, ds));
        if host.data().unknown_clusters.contains(&target) {
            return PARSE_FAILURE;
        }
        let mut headers = as_text(pairs(metadata));
        headers.insert(0, (":path".into(), format!("/{}/{}", text(host, s, ss), text(host, m, ms))));
        call(host, target, headers, message, timeout, token)
    });
    import!(linker, "env", "proxy_get_status", |host, code: u32, data: u32, size: u32| {
        let (status, said) = (host.data().grpc_status, host.data().grpc_message.clone());
        write(host, code, &status.to_le_bytes());
        give(host, &said, data, size);
        OK
    });
}

fn call(
    host: &mut Host<'_>,
    target: Vec<u8>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: u32,
    token_at: u32,
) -> u32 {
    let state = host.data_mut();
    let token = u32::try_from(state.callouts.len()).expect("fits") + 100;
    state.callouts.push(Callout { token, target, headers, body, timeout });
    write(host, token_at, &token.to_le_bytes());
    OK
}

fn link_wasi(linker: &mut Linker<HostState>) {
    import!(
        linker,
        "wasi_snapshot_preview1",
        "clock_time_get",
        |host, clock: u32, _precision: u64, time: u32| {
            let now = if clock == 1 { host.data().world.mono() } else { host.data().world.wall() };
            write(host, time, &now.to_le_bytes());
            OK
        }
    );
    import!(linker, "wasi_snapshot_preview1", "random_get", |host, at: u32, size: u32| {
        let state = host.data_mut();
        state.random = state.random.wrapping_add(1);
        let bytes = vec![state.random; size as usize];
        write(host, at, &bytes);
        OK
    });
    import!(linker, "wasi_snapshot_preview1", "environ_sizes_get", |host, count: u32, size: u32| {
        write(host, count, &[0; 4]);
        write(host, size, &[0; 4]);
        OK
    });
    import!(linker, "wasi_snapshot_preview1", "environ_get", |_host, _list: u32, _buffer: u32| { OK });
    import!(
        linker,
        "wasi_snapshot_preview1",
        "fd_write",
        |host, _fd: u32, _v: u32, _n: u32, written: u32| {
            write(host, written, &[0; 4]);
            OK
        }
    );
}
