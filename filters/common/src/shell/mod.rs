//! The shell: reads from the host, calls the core, applies the step. It decides nothing.
//!
//! | file | one idea |
//! |---|---|
//! | `calls` | the host's imports, each as a `Result` |
//! | `host` | [`crate::host::Host`] on top of them |
//! | `root` | one plugin: configuration, ticks, its own calls and streams |
//! | `stream` | one HTTP stream: from callback to hook, from step to host |
//! | `waits` | streams that wait: answers, deadlines, keys |

mod calls;
mod host;
mod root;
mod stream;
mod waits;

pub use proxy_wasm;

use crate::filter::Filter;

/// Registers the filter `F`: the whole of a module's entry point, called from `proxy_wasm::main!`.
pub fn start<F: Filter>() {
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(root::Root::<F>::new(id)));
}
