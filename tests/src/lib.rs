//! The harness: everything that the tests, the benches and `make run` start and ask.
//!
//! | module | one idea |
//! |---|---|
//! | [`paths`] | where modules, examples and peers lie |
//! | [`envoy`] | a real Envoy on free ports, its log shown when a test fails |
//! | [`bootstrap`] | Envoy configurations, as data |
//! | [`examples`] | the YAML files of `envoy/`, with other ports |
//! | [`upstream`] | a server that answers with what it received |
//! | [`client`] | HTTP/1.1, HTTP/2 and gRPC clients, and raw bytes |
//! | [`compose`] | what docker-compose mounts: copies of `envoy/` with the addresses of containers |
//! | [`demo`] | `make run`, `make token`, `make upstream` |
//! | [`engines`] | real OpenFGA and SpiceDB servers |
//! | [`flood`] | very many requests in little time |
//! | [`gate`] | jwt-auth in a real Envoy, for the tests that knock at it |
//! | [`keycloak`] | a real Keycloak |
//! | [`key_server`] | a key server that is rotated, slowed, broken and stopped |
//! | [`hostile`] | input that nobody sends by mistake |
//! | [`markdown`] | the Markdown of the repository: tables, blocks, links |
//! | [`tokens`] | keys, and tokens signed with them |
//! | [`wasm`] | an in-process host: the real `.wasm`, with clock, faults, calls and fuel under control |
//! | [`observability`] | Prometheus' rules and Grafana's dashboard, made from the code |
//! | [`prometheus`] | Prometheus' text format, read |
//! | [`registry`] | a real registry of images, and the images of this build |
//! | [`schema`] | what a JSON Schema says about each field |

pub mod bootstrap;
pub mod client;
pub mod compose;
pub mod demo;
pub mod engines;
pub mod envoy;
pub mod examples;
pub mod flood;
pub mod gate;
pub mod hostile;
pub mod key_server;
pub mod keycloak;
pub mod markdown;
pub mod observability;
pub mod paths;
pub mod prometheus;
pub mod registry;
pub mod schema;
pub mod tokens;
pub mod upstream;
pub mod wasm;
