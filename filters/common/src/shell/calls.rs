//! The host's imports that answer at once, each as a `Result`.
//!
//! The SDK's own wrappers panic on statuses that another host, a peer or a client can cause, decode headers as UTF-8
//! and drop response-code details; a panic takes the worker's VM down. Calls that answer later go through the SDK, for
//! its dispatcher traps on tokens that it did not register.

#![allow(unsafe_code, reason = "the ABI is pointers and lengths")]

use std::ptr::{null, null_mut};

use crate::clock::Now;
use crate::headers::Headers;
use crate::host::HostFailure;

type Status = u32;
const OK: Status = 0;
const NOT_FOUND: Status = 1;
const CAS_MISMATCH: Status = 8;

mod imports {
    use super::Status;

    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_log(level: u32, message: *const u8, size: usize) -> Status;
        pub(super) fn proxy_get_log_level(level: *mut u32) -> Status;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> Status;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> Status;
        pub(super) fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            max: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> Status;
        pub(super) fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> Status;
        pub(super) fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> Status;
        pub(super) fn proxy_add_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> Status;
        pub(super) fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> Status;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> Status;
        pub(super) fn proxy_set_property(
            path: *const u8,
            path_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> Status;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> Status;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            cas: u32,
        ) -> Status;
        pub(super) fn proxy_define_metric(kind: u32, name: *const u8, size: usize, id: *mut u32) -> Status;
        pub(super) fn proxy_increment_metric(id: u32, by: i64) -> Status;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> Status;
        pub(super) fn proxy_call_foreign_function(
            name: *const u8,
            name_size: usize,
            argument: *const u8,
            argument_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> Status;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> Status;
        pub(super) fn proxy_continue_stream(stream: u32) -> Status;
        pub(super) fn proxy_set_effective_context(context: u32) -> Status;
        pub(super) fn proxy_get_status(code: *mut u32, data: *mut *mut u8, size: *mut usize) -> Status;
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        pub(super) fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
        pub(super) fn random_get(bytes: *mut u8, size: usize) -> u32;
    }
}

/// Header maps, as the ABI numbers them.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Map {
    Request = 0,
    Response = 2,
    ResponseTrailers = 3,
    CallResponse = 6,
}

/// Buffers, as the ABI numbers them.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Buffer {
    ResponseBody = 1,
    CallResponse = 4,
    GrpcMessage = 5,
    PluginConfiguration = 7,
}

fn done(status: Status) -> Result<(), HostFailure> {
    if status == OK { Ok(()) } else { Err(HostFailure) }
}

/// Takes over what the host put into memory that it asked our allocator for.
fn taken(status: Status, data: *mut u8, size: usize) -> Result<Vec<u8>, HostFailure> {
    done(status)?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host allocated `size` bytes at `data` through `proxy_on_memory_allocate`, which hands out a boxed
    // slice of exactly that size, and gave it to us alone.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

pub(super) fn critical(message: &str) {
    const CRITICAL: u32 = 5;
    // SAFETY: pointer and length of a live `str`. A log line that cannot be written has nowhere to be reported.
    let _ = unsafe { imports::proxy_log(CRITICAL, message.as_ptr(), message.len()) };
}

/// The host's log level as `log` counts it; `None` on hosts before ABI 0.2.1.
pub(super) fn log_level() -> Option<log::LevelFilter> {
    let mut level = 0;
    // SAFETY: `level` lives through the call.
    done(unsafe { imports::proxy_get_log_level(&raw mut level) }).ok()?;
    Some(match level {
        0 => log::LevelFilter::Trace,
        1 => log::LevelFilter::Debug,
        2 => log::LevelFilter::Info,
        3 => log::LevelFilter::Warn,
        4 => log::LevelFilter::Error,
        _ => log::LevelFilter::Off,
    })
}

pub(super) fn now() -> Now {
    Now::reading(wall, mono)
}

fn wall() -> u64 {
    let mut time = 0;
    // SAFETY: `time` lives through the call. A host without a clock leaves 1970, in which every token is too young.
    let _ = unsafe { imports::proxy_get_current_time_nanoseconds(&raw mut time) };
    time
}

fn mono() -> u64 {
    const MONOTONIC: u32 = 1;
    let mut time = 0;
    // SAFETY: `time` lives through the call.
    let _ = unsafe { imports::clock_time_get(MONOTONIC, 1, &raw mut time) };
    time
}

pub(super) fn random(bytes: &mut [u8]) -> Result<(), HostFailure> {
    // SAFETY: pointer and length of a live, writable slice.
    done(unsafe { imports::random_get(bytes.as_mut_ptr(), bytes.len()) })
}

pub(super) fn set_tick(millis: u32) {
    // SAFETY: no pointers. A host without ticks lets waits end by the call's own timeout.
    let _ = unsafe { imports::proxy_set_tick_period_milliseconds(millis) };
}

pub(super) fn buffer(which: Buffer, max: usize) -> Result<Vec<u8>, HostFailure> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: both results live through the call.
    let status =
        unsafe { imports::proxy_get_buffer_bytes(which as u32, 0, max, &raw mut data, &raw mut size) };
    if status == NOT_FOUND { Ok(Vec::new()) } else { taken(status, data, size) }
}

pub(super) fn headers(map: Map) -> Result<Headers, HostFailure> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: both results live through the call.
    let status = unsafe { imports::proxy_get_header_map_pairs(map as u32, &raw mut data, &raw mut size) };
    Headers::parse(taken(status, data, size)?).map_err(|_| HostFailure)
}

pub(super) fn set_header(map: Map, name: &str, value: &[u8]) -> Result<(), HostFailure> {
    // SAFETY: pointers and lengths of live slices.
    done(unsafe {
        imports::proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

pub(super) fn add_header(map: Map, name: &str, value: &[u8]) -> Result<(), HostFailure> {
    // SAFETY: pointers and lengths of live slices.
    done(unsafe {
        imports::proxy_add_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

pub(super) fn remove_header(map: Map, name: &[u8]) -> Result<(), HostFailure> {
    // SAFETY: pointer and length of a live slice.
    done(unsafe { imports::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

pub(super) fn property(path: &[u8]) -> Option<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the path is a live slice, both results live through the call.
    let status =
        unsafe { imports::proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) };
    taken(status, data, size).ok()
}

pub(super) fn set_property(path: &[u8], value: &[u8]) -> Result<(), HostFailure> {
    // SAFETY: pointers and lengths of live slices.
    done(unsafe { imports::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

pub(super) fn shared(key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, HostFailure> {
    let (mut data, mut size, mut cas) = (null_mut(), 0, 0);
    // SAFETY: the key is a live slice, the results live through the call.
    let status = unsafe {
        imports::proxy_get_shared_data(key.as_ptr(), key.len(), &raw mut data, &raw mut size, &raw mut cas)
    };
    if status == NOT_FOUND { Ok(None) } else { Ok(Some((taken(status, data, size)?, cas))) }
}

/// `Ok(false)` if the version was another one.
pub(super) fn set_shared(key: &[u8], value: &[u8], cas: u32) -> Result<bool, HostFailure> {
    // SAFETY: pointers and lengths of live slices.
    let status =
        unsafe { imports::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) };
    if status == CAS_MISMATCH { Ok(false) } else { done(status).map(|()| true) }
}

pub(super) fn define_metric(kind: u32, name: &str) -> Result<u32, HostFailure> {
    let mut id = 0;
    // SAFETY: the name is a live `str`, `id` lives through the call.
    done(unsafe { imports::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) }).map(|()| id)
}

pub(super) fn increment(id: u32, by: i64) {
    // SAFETY: no pointers. An unknown id or an increment by nothing changes nothing.
    let _ = unsafe { imports::proxy_increment_metric(id, by) };
}

pub(super) fn record(id: u32, value: u64) {
    // SAFETY: no pointers.
    let _ = unsafe { imports::proxy_record_metric(id, value) };
}

pub(super) fn foreign(name: &str, argument: &[u8]) -> Result<Vec<u8>, HostFailure> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: name and argument are live slices, both results live through the call.
    let status = unsafe {
        imports::proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            argument.as_ptr(),
            argument.len(),
            &raw mut data,
            &raw mut size,
        )
    };
    taken(status, data, size)
}

/// Answers the current stream. `details` becomes `response.code_details`.
pub(super) fn reply(
    status: u16,
    details: &str,
    headers: &[u8],
    body: &[u8],
    grpc: Option<u8>,
) -> Result<(), HostFailure> {
    let body_data = if body.is_empty() { null() } else { body.as_ptr() };
    // SAFETY: pointers and lengths of live slices.
    done(unsafe {
        imports::proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body_data,
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc.map_or(-1, i32::from),
        )
    })
}

/// Lets the request of the effective context go on.
pub(super) fn resume_request() -> Result<(), HostFailure> {
    const REQUEST: u32 = 0;
    // SAFETY: no pointers.
    done(unsafe { imports::proxy_continue_stream(REQUEST) })
}

/// Makes `context` the one that header, property and stream calls are about, until the callback ends.
pub(super) fn switch_to(context: u32) -> Result<(), HostFailure> {
    // SAFETY: no pointers.
    done(unsafe { imports::proxy_set_effective_context(context) })
}

/// The gRPC status of the answer that is being delivered, and its message.
pub(super) fn grpc_status() -> (u32, Vec<u8>) {
    const UNKNOWN: u32 = 2;
    let (mut code, mut data, mut size) = (UNKNOWN, null_mut(), 0);
    // SAFETY: the results live through the call.
    let status = unsafe { imports::proxy_get_status(&raw mut code, &raw mut data, &raw mut size) };
    taken(status, data, size).map_or((UNKNOWN, Vec::new()), |message| (code, message))
}
