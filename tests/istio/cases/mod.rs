//! | module | what it attaches |
//! |---|---|
//! | [`envoy_gateway`] | the chain, as an EnvoyExtensionPolicy, to a gateway of Envoy Gateway |
//! | [`files`] | nothing: istioctl reads them |
//! | [`gateway`] | the chain, as WasmPlugins and as TrafficExtensions, to an ingress gateway |
//! | [`sidecar`] | jwt-auth to a sidecar that captures nothing |
//! | [`waypoint`] | jwt-auth to a waypoint, as far as istiod generates it |
//! | [`images`] | jwt-auth from a registry, by Istio's agent |
//! | [`update`] | other configurations to a gateway that serves |

pub(crate) mod envoy_gateway;
pub(crate) mod files;
pub(crate) mod gateway;
pub(crate) mod images;
pub(crate) mod sidecar;
pub(crate) mod update;
pub(crate) mod waypoint;

use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

/// The service that the examples send to, with this server behind it. The API refuses a loopback address for an endpoint of Kubernetes' own.
fn orders(upstream: &Upstream) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "orders", "namespace": "orders"},
        "spec": {
            "hosts": ["orders.orders.svc.cluster.local"],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "127.0.0.1", "ports": {"http": upstream.address().port()}}]
        }
    })
}
