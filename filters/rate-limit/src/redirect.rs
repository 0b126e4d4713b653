//! A request that Envoy redirects internally comes twice, and is charged once.
//!
//! The verdict of this plugin is declared to live as long as the downstream request, so it outlives the redirect, and no client can
//! write it. The header that Envoy adds to a redirected request only says when it is worth looking.

use portcullis_common::facts::{self, PropertyKey};
use portcullis_common::headers::Lookup;
use portcullis_common::host::Host;
use portcullis_common::request::Request;

/// Declares the verdict; Envoy's foreign function `declare_property` takes a message with the name (field 1) and the life span
/// (field 5; 1 is the downstream request).
pub(crate) fn declare(host: &dyn Host, plugin: &str) {
    let name = facts::key(plugin, "verdict");
    let Ok(length) = u8::try_from(name.len()) else { return };
    let message = [&[0x0A, length], &name[..], &[0x28, 1]].concat();
    // A second plugin of one VM has declared it already; another host has no internal redirects.
    if host.foreign("declare_property", &message).is_err() {
        log::debug!("{plugin}: the verdict keeps its usual life span");
    }
}

/// Whether this plugin has charged the request already.
pub(crate) fn was_charged(request: &Request, verdict: &PropertyKey, host: &dyn Host) -> bool {
    request.headers.get("x-envoy-original-url") != Lookup::Absent && host.property(verdict).is_some()
}
