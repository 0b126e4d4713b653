//! An in-process host: the real `.wasm` in wasmtime, with clock, faults, calls and fuel under control.
//!
//! It keeps state and asserts nothing: a test feeds it requests and looks at what became of them. Several [`Vm`]s of one
//! [`World`] share data and metrics, as the workers of an Envoy do.
//!
//! | module | one idea |
//! |---|---|
//! | `world` | what all VMs of a process share: data, metrics, clock |
//! | `state` | what the host knows of one VM: contexts, calls, faults |
//! | `imports` | the host's functions |
//! | `vm` | a VM, its plugins and their streams |

mod imports;
mod state;
mod vm;
mod world;

pub use state::{Callout, LocalReply};
pub use vm::{Plugin, Stream, Trap, Vm, Went};
pub use world::World;
