//! Envoy configurations, as data: a listener with a chain of filters in front of an upstream.

use std::net::SocketAddr;

use portcullis_common::host::MetricKind;
use portcullis_common::metrics::{DURATION_BUCKETS_MS, DURATION_BUCKETS_US, Label};
use portcullis_metrics::counters::FAMILIES;
use serde_json::{Value, json};

use crate::paths;

/// One Wasm filter of a chain.
#[derive(Clone, Debug)]
pub struct Plugin {
    module: String,
    name: String,
    vm_id: String,
    config: Value,
    failure_policy: &'static str,
}

impl Plugin {
    /// The module `module` (see [`paths::module`]) with this configuration.
    #[must_use]
    pub fn new(module: &str, config: Value) -> Plugin {
        let name = config["name"].as_str().unwrap_or(module).to_owned();
        Plugin { module: module.into(), vm_id: name.clone(), name, config, failure_policy: "FAIL_RELOAD" }
    }

    /// Sets the `vm_id`; Istio leaves it empty.
    #[must_use]
    pub fn vm_id(mut self, id: &str) -> Plugin {
        self.vm_id = id.into();
        self
    }

    /// Sets the name that the host knows the plugin by.
    #[must_use]
    pub fn called(mut self, name: &str) -> Plugin {
        self.name = name.into();
        self
    }

    /// The HTTP filter. A configuration that is text goes as it is, anything else as a `Struct`.
    #[must_use]
    pub fn filter(&self) -> Value {
        let kind = if self.config.is_string() { "StringValue" } else { "Struct" };
        json!({
            "name": self.name,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": self.name,
                    "failure_policy": self.failure_policy,
                    "vm_config": {
                        "vm_id": self.vm_id,
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": paths::module(&self.module)}}
                    },
                    "configuration": {
                        "@type": format!("type.googleapis.com/google.protobuf.{kind}"),
                        "value": self.config
                    }
                }
            }
        })
    }
}

/// A listener on a free port with these HTTP filters (the router is added) and this upstream.
#[derive(Clone, Debug)]
pub struct Listener {
    name: String,
    filters: Vec<Value>,
    routes: Option<Value>,
    manager: Value,
    access_log: Option<String>,
}

impl Listener {
    /// A listener with no filters.
    #[must_use]
    pub fn new(name: &str) -> Listener {
        Listener {
            name: name.into(),
            filters: Vec::new(),
            routes: None,
            manager: json!({}),
            access_log: None,
        }
    }

    /// Adds one of our filters.
    #[must_use]
    pub fn plugin(self, plugin: &Plugin) -> Listener {
        self.filter(plugin.filter())
    }

    /// Adds any filter.
    #[must_use]
    pub fn filter(mut self, filter: Value) -> Listener {
        self.filters.push(filter);
        self
    }

    /// Routes other than everything to `upstream`.
    #[must_use]
    pub fn routes(mut self, routes: Value) -> Listener {
        self.routes = Some(routes);
        self
    }

    /// More fields of the connection manager.
    #[must_use]
    pub fn manager(mut self, fields: Value) -> Listener {
        merge(&mut self.manager, fields);
        self
    }

    /// Lets everything that Envoy can be talked into through to the filters: what it would answer itself proves nothing
    /// about them.
    #[must_use]
    pub fn hostile(self) -> Listener {
        self.manager(json!({
            "common_http_protocol_options": {"max_headers_count": 4_000, "headers_with_underscores_action": "ALLOW"},
            "max_request_headers_kb": 8_192,
            "http_protocol_options": {"accept_http_10": true, "default_host_for_http_10": "default.test", "allow_absolute_url": true},
            "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]
        }))
    }

    /// One line per request in Envoy's log, in this format.
    #[must_use]
    pub fn access_log(mut self, format: &str) -> Listener {
        self.access_log = Some(format!("{format}\n"));
        self
    }

    fn build(&self) -> Value {
        let mut filters = self.filters.clone();
        filters.push(json!({
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
        }));
        let everything = json!([
            {"match": {"connect_matcher": {}}, "route": {"cluster": "upstream"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "60s"}},
            // `OPTIONS *` has no slash.
            {"match": {"safe_regex": {"regex": ".*"}}, "route": {"cluster": "upstream"}}
        ]);
        let mut manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": self.name,
            "use_remote_address": true,
            "http2_protocol_options": {},
            "route_config": {"virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": self.routes.clone().unwrap_or(everything)
            }]},
            "http_filters": filters
        });
        merge(&mut manager, self.manager.clone());
        if let Some(format) = &self.access_log {
            manager["access_log"] = json!([{
                "name": "stdout",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                    "log_format": {"text_format_source": {"inline_string": format}}
                }
            }]);
        }
        json!({
            "name": self.name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]
        })
    }
}

/// A bootstrap with these listeners and this upstream.
#[must_use]
pub fn bootstrap(upstream: SocketAddr, listeners: &[Listener]) -> Value {
    json!({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "stats_config": stats_config(),
        "stats_flush_interval": "0.1s",
        "static_resources": {
            "listeners": listeners.iter().map(Listener::build).collect::<Vec<_>>(),
            "clusters": [cluster("upstream", upstream, false), cluster("upstream-h2", upstream, true)]
        }
    })
}

/// A cluster with one endpoint.
#[must_use]
pub fn cluster(name: &str, endpoint: SocketAddr, http2: bool) -> Value {
    let protocol =
        if http2 { json!({"http2_protocol_options": {}}) } else { json!({"http_protocol_options": {}}) };
    json!({
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": endpoint.ip().to_string(), "port_value": endpoint.port()
            }}}}]}]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": protocol
            }
        }
    })
}

/// The part of a bootstrap that turns the names of our metrics into labels and buckets, generated from the closed lists in
/// `common`.
#[must_use]
pub fn stats_config() -> Value {
    let tags: Vec<Value> =
        Label::ALL.iter().map(|l| json!({"tag_name": l.name(), "regex": l.stats_tag_regex()})).collect();
    let bounds = |name: &str| -> Vec<f64> {
        let bounds = if name.ends_with("_microseconds") { DURATION_BUCKETS_US } else { DURATION_BUCKETS_MS };
        bounds.map(f64::from).to_vec()
    };
    let histograms = FAMILIES.iter().filter(|f| f.kind == MetricKind::Histogram);
    // The dot ends the name: no setting is meant for a longer one.
    let setting =
        |name: &str| json!({"match": {"prefix": format!("wasmcustom.{name}.")}, "buckets": bounds(name)});
    json!({"stats_tags": tags, "histogram_bucket_settings": histograms.map(|f| setting(f.name)).collect::<Vec<_>>()})
}

/// The one listener of a bootstrap, in a file that Envoy watches, so that another can take its place while it runs.
pub struct WatchedListener {
    folder: tempfile::TempDir,
}

impl WatchedListener {
    /// Puts the listener of `bootstrap` into a file, and gives the bootstrap that watches it.
    ///
    /// # Panics
    /// If the file cannot be written.
    #[must_use]
    pub fn new(mut bootstrap: Value) -> (WatchedListener, Value) {
        let watched = WatchedListener { folder: tempfile::tempdir().expect("a folder") };
        watched.put(&bootstrap);
        let file = watched.folder.path().join("listeners.json");
        bootstrap["static_resources"]["listeners"] = json!([]);
        bootstrap["node"] = json!({"id": "test", "cluster": "test"});
        bootstrap["dynamic_resources"] =
            json!({"lds_config": {"resource_api_version": "V3", "path_config_source": {"path": file}}});
        (watched, bootstrap)
    }

    /// Replaces it with the listener of `bootstrap`.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn put(&self, bootstrap: &Value) {
        let mut listener = bootstrap["static_resources"]["listeners"][0].clone();
        listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, json!({"resources": [listener]}).to_string()).expect("a file");
        // Envoy looks when a file is moved into place.
        std::fs::rename(&fresh, self.folder.path().join("listeners.json")).expect("a file");
    }
}

/// Puts the fields of `more` over those of `base`, objects into objects.
fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (name, value) in more {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}
