use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;

use portcullis_tests::engines::openfga::Openfga;
use portcullis_tests::engines::spicedb::{KEY, Spicedb};
use portcullis_tests::key_server::{Answer, KeyServer};
use portcullis_tests::tokens::Signer;
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, examples, paths, tokens};
use serde_json::{Value, json};

use super::orders;
use crate::control_plane::ControlPlane;
use crate::manifests;
use crate::proxy::{GATEWAY, Proxy};

const CHAIN: [&str; 4] = ["jwt-auth.yaml", "rebac.yaml", "rate-limit.yaml", "metrics.yaml"];

/// A gateway with these objects, which serves already.
async fn serve(plane: &ControlPlane, upstream: &Upstream, plugins: &[Value]) -> Proxy {
    serve_with(plane, upstream, plugins, &[]).await
}

/// As [`serve`], with these environment variables.
async fn serve_with(
    plane: &ControlPlane,
    upstream: &Upstream,
    plugins: &[Value],
    environment: &[(&str, &str)],
) -> Proxy {
    let mut objects = manifests::read("gateway.yaml");
    objects.push(orders(upstream));
    objects.extend_from_slice(plugins);
    plane.apply(&objects).await;
    let proxy = Proxy::start(plane, GATEWAY, Proxy::port(), environment).await;
    proxy.until_plugins(plugins.len()).await;
    proxy.until("/health", 200).await;
    proxy
}

pub(crate) async fn serves_the_chain_in_order_of_phases(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let proxy = serve(&plane, &upstream, &manifests::all(&CHAIN)).await;
    decides(&proxy).await;
}

pub(crate) async fn serves_traffic_extensions_alike(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let proxy = serve(&plane, &upstream, &manifests::read("traffic-extension.yaml")).await;
    decides(&proxy).await;
}

/// The whole chain does what its files say.
async fn decides(proxy: &Proxy) {
    let chain = proxy.chain().await;
    // Behind the name, Istio says whether a WasmPlugin was turned into this.
    let bare = |name: &str| Some(name.split_once("istio-ingress.")?.1.split('~').next()?.to_owned());
    let ours: Vec<String> = chain.iter().filter_map(|name| bare(name)).collect();
    assert_eq!(ours, ["limit-address", "jwt-auth", "rebac", "limit-subject", "metrics"], "{chain:?}");
    assert_eq!(chain.last().map(String::as_str), Some("envoy.filters.http.router"));
    let plugins = proxy.plugins().await;
    assert_eq!(plugins.len(), 5);
    for plugin in &plugins {
        assert_eq!(plugin["failure_policy"], "FAIL_RELOAD", "{plugin}");
        assert!(plugin["vm_config"]["vm_id"].is_null(), "{plugin}");
    }

    let no_token = proxy.get("/orders/1").send().await;
    assert_eq!((no_token.status, no_token.reason().as_str()), (401, "token_missing"));
    let ann = proxy.get("/orders/1").bearer(&demo::token("ann", 600)).header("x-user", "root").send().await;
    assert_eq!(ann.status, 200, "{}", ann.text());
    assert_eq!(ann.json()["headers"]["x-user"], json!(["ann"]));
    assert!(ann.header("ratelimit").starts_with("\"per-user\";r=9"), "{:?}", ann.headers);
    let seen =
        async |subject: &str| proxy.get("/documents/roadmap").bearer(&demo::token(subject, 600)).send().await;
    assert_eq!(seen("ann").await.status, 200);
    let hidden = seen("dan").await;
    assert_eq!((hidden.status, hidden.reason().as_str()), (403, "relation_denied"));
    let nowhere = proxy.get("/admin").bearer(&demo::token("ann", 600)).send().await;
    assert_eq!((nowhere.status, nowhere.reason().as_str()), (403, "unmatched"));
    for _ in 0..10 {
        assert_eq!(proxy.get("/orders/1").bearer(&demo::token("bob", 600)).send().await.status, 200);
    }
    let limited = proxy.get("/orders/1").bearer(&demo::token("bob", 600)).send().await;
    assert_eq!((limited.status, limited.reason().as_str()), (429, "rate_limited"));

    // Refused before metrics had a turn, and counted by it all the same.
    for (code, reason) in [("401", "token_missing"), ("403", "unmatched"), ("429", "rate_limited")] {
        let what = format!("a request with {code} {reason}");
        proxy
            .envoy
            .wait_until(&what, async || {
                let text = proxy.envoy.prometheus().await;
                let mut counted = text.lines().filter(|l| l.starts_with("portcullis_requests_total{"));
                counted.any(|l| {
                    l.contains(&format!("code=\"{code}\"")) && l.contains(&format!("reason=\"{reason}\""))
                })
            })
            .await;
    }
}

/// Two WasmPlugins with one module and one configuration, whose vm_id is the empty one: had they one count, half as many would pass.
pub(crate) async fn keeps_two_limiters_apart(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let mut plugins = manifests::read("rate-limit.yaml");
    for plugin in &mut plugins {
        plugin["spec"]["pluginConfig"] = json!({"limits": [{
            "name": "four", "match": {"path": "/orders/**"}, "key": ["{client.ip}"], "rate": "4/hour"
        }]});
    }
    let proxy = serve(&plane, &upstream, &plugins).await;
    for n in 1..=4 {
        assert_eq!(proxy.get("/orders/1").send().await.status, 200, "request {n}");
    }
    assert_eq!(proxy.get("/orders/1").send().await.status, 429);
}

/// What `external.yaml` says of the key server's host, for one that this machine has.
fn reached_at(server: &KeyServer) -> Vec<Value> {
    let mut objects = manifests::read("external.yaml");
    lead(&mut objects, "identity-provider", server.address());
    objects
}

/// Has a host outside the mesh be one that this machine has: another address, and no TLS.
fn lead(objects: &mut [Value], name: &str, to: SocketAddr) {
    let entry = &mut manifests::named(objects, "ServiceEntry", name)["spec"];
    entry["resolution"] = "STATIC".into();
    let port = entry["ports"][0]["name"].as_str().expect("a port").to_owned();
    entry["endpoints"] = json!([{"address": "127.0.0.1", "ports": {port: to.port()}}]);
    if let Some(port) = entry.pointer_mut("/ports/0").and_then(Value::as_object_mut) {
        port.remove("targetPort");
    }
    let rule = manifests::named(objects, "DestinationRule", name);
    if let Some(settings) =
        rule.pointer_mut("/spec/trafficPolicy/portLevelSettings/0").and_then(Value::as_object_mut)
    {
        settings.remove("tls");
    }
}

/// The keys of a gateway's tokens come from a host outside the mesh, by the cluster that Istio makes of a ServiceEntry.
pub(crate) async fn fetches_keys_through_a_service_entry(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let server = KeyServer::start().await;
    let signer = Signer::p256("fetched");
    server.keys(&[signer.jwk()], 60);
    let mut plugins = manifests::read("jwt-auth.yaml");
    let demo = &mut plugins[0]["spec"]["pluginConfig"]["providers"]["demo"];
    let issuer = demo["issuer"].clone();
    demo["keys"] = json!({
        "jwks_url": "http://id.example.com/keys",
        "clusters": {"id.example.com": "outbound|80||id.example.com"},
        "wait": "20s"
    });
    plane.apply(&reached_at(&server)).await;
    let proxy = serve(&plane, &upstream, &plugins).await;
    let claims = json!({"iss": issuer, "aud": "orders", "sub": "ann", "exp": tokens::now() + 600});
    let token = signer.token("ES256", &claims);
    // The cluster may come to the proxy after the plugin, which then asks again.
    proxy
        .envoy
        .wait_until("keys through the ServiceEntry", async || {
            proxy.get("/orders/1").bearer(&token).send().await.status == 200
        })
        .await;
    assert!(server.fetches("/keys") >= 1);
    // The key that the file has in its place is none of them.
    let refused = proxy.get("/orders/1").bearer(&demo::token("ann", 600)).send().await;
    assert_eq!((refused.status, refused.reason().as_str()), (401, "token_invalid"));
}

/// The issuer that the files for production name, with its keys.
struct Issuer {
    server: KeyServer,
    signer: Signer,
}

const ISSUER: &str = "https://id.example.com";

impl Issuer {
    async fn start() -> Issuer {
        let server = KeyServer::start().await;
        let signer = Signer::p256("fetched");
        server.keys(&[signer.jwk()], 60);
        let metadata = json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")});
        server.set("/.well-known/openid-configuration", Answer::Json(metadata, 60));
        Issuer { server, signer }
    }

    fn token(&self, subject: &str) -> String {
        let claims = json!({"iss": ISSUER, "aud": "orders", "sub": subject, "exp": tokens::now() + 600});
        self.signer.token("ES256", &claims)
    }
}

/// `production/`: five plugins in their order, the bounds in the listener and in the cluster, and the answers that they stand for.
pub(crate) async fn serves_the_chain_for_production(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start().await;
    plane.apply(&reached_at(&issuer.server)).await;
    // Nobody gives these proxies the certificates that network.yaml asks for; the API takes it all the same.
    plane.apply(&manifests::read("production/network.yaml")).await;
    plane.apply(&manifests::read("production/bounds.yaml")).await;
    let proxy = serve(&plane, &upstream, &manifests::read("production/plugins.yaml")).await;
    let bare = |name: &str| Some(name.split_once("istio-ingress.")?.1.split('~').next()?.to_owned());
    let chain = proxy.chain().await;
    let ours: Vec<String> = chain.iter().filter_map(|name| bare(name)).collect();
    assert_eq!(ours, ["limit-address", "jwt-auth", "rebac", "limit-subject", "metrics"], "{chain:?}");
    for plugin in proxy.plugins().await {
        assert_eq!(plugin["failure_policy"], "FAIL_RELOAD", "{plugin}");
    }
    let get = |subject: &str| proxy.get("/orders/1").bearer(&issuer.token(subject));
    proxy.envoy.wait_until("keys", async || get("ann").send().await.status == 200).await;
    assert_eq!(get("bob").send().await.reason(), "relation_denied");
    assert_eq!(proxy.get("/orders/1").send().await.reason(), "token_missing");
    assert_eq!(get("ann").header("x_user", "root").send().await.status, 400);
    let flood = (0..100).fold(get("ann"), |request, n| request.header(&format!("x-{n}"), "1"));
    assert_eq!(flood.send().await.status, 431);
    let overridden = get("ann").header("x-http-method-override", "DELETE").send().await;
    assert_eq!(
        (overridden.status, &overridden.json()["headers"]["x-http-method-override"]),
        (200, &Value::Null)
    );
    let listeners = proxy.dump("ListenersConfigDump").await.to_string();
    for part in [r#""max_concurrent_streams":100"#, r#""per_connection_buffer_limit_bytes":32768"#] {
        assert!(listeners.contains(part), "{part}");
    }
    let orders = cluster(&proxy, "outbound|8080||orders.orders.svc.cluster.local").await;
    let threshold = orders.pointer("/circuit_breakers/thresholds/0").expect("a circuit breaker");
    assert_eq!(
        (&threshold["max_connections"], &threshold["max_pending_requests"]),
        (&json!(1024), &json!(256))
    );
}

/// A cluster that the proxy has.
async fn cluster(proxy: &Proxy, name: &str) -> Value {
    let clusters = proxy.dump("ClustersConfigDump").await;
    let all = clusters["dynamic_active_clusters"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().map(|c| c["cluster"].clone()).find(|c| c["name"] == name);
    found.unwrap_or_else(|| panic!("no cluster {name}"))
}

const TUPLES: [&str; 4] = [
    "order:1#folder@folder:spring",
    "folder:spring#viewer@group:sales#member",
    "group:sales#member@user:ann",
    "order:2#owner@user:bob",
];

/// `production/` with OpenFGA in the place of the tuples, and its file of engines.
pub(crate) async fn asks_openfga_for_production(plane: Rc<ControlPlane>) {
    let embedded = examples::objects("production/plugins.yaml");
    let model = embedded.iter().find_map(|o| o.pointer("/spec/pluginConfig/engine/embedded/model"));
    let openfga = Openfga::start(model.and_then(Value::as_str).expect("a model"), &[]).await;
    openfga.write(&TUPLES.map(Value::from)).await;
    let mut plugins = manifests::with_engine("openfga");
    let engine = engine(&mut plugins, "openfga");
    engine["store"] = openfga.store.clone().into();
    engine["model"] = openfga.model.clone().into();
    asks_an_engine(&plane, "openfga", &plugins, openfga.server.http()).await;
}

/// The same with SpiceDB, which wants HTTP/2.
pub(crate) async fn asks_spicedb_for_production(plane: Rc<ControlPlane>) {
    let schema = fs::read_to_string(paths::root().join("envoy/guides/spicedb-schema.json")).expect("a file");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let spicedb = Spicedb::start(schema["schema"].as_str().expect("a schema"), &[]).await;
    spicedb.write(&TUPLES).await;
    let mut plugins = manifests::with_engine("spicedb");
    engine(&mut plugins, "spicedb");
    asks_an_engine(&plane, "spicedb", &plugins, spicedb.server.grpc()).await;
}

/// The engine of rebac, which may take its time on a machine that does other things too.
fn engine<'p>(plugins: &'p mut [Value], name: &str) -> &'p mut Value {
    let rebac = manifests::named(plugins, "WasmPlugin", "rebac");
    let engines = rebac.pointer_mut("/spec/pluginConfig/engine").expect("an engine");
    assert_eq!(engines.as_object().map(|e| e.len()), Some(1), "{engines}");
    engines[name]["calls"] = json!({"timeout": "10s"});
    &mut engines[name]
}

/// Ann sees what she may and bob what he may, for the engine says so; its cluster has the bounds that its file asks for.
async fn asks_an_engine(plane: &ControlPlane, name: &str, plugins: &[Value], engine: SocketAddr) {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start().await;
    plane.apply(&reached_at(&issuer.server)).await;
    let mut engines = manifests::read("production/engines.yaml");
    lead(&mut engines, name, engine);
    // The other one is nowhere, and nothing asks it.
    engines.retain(|o| o["metadata"]["name"] == name);
    plane.apply(&engines).await;
    let secrets = [("OPENFGA_TOKEN", "a-token"), ("SPICEDB_KEY", KEY)];
    let proxy = serve_with(plane, &upstream, plugins, &secrets).await;
    let get = |path: &str, subject: &str| proxy.get(path).bearer(&issuer.token(subject));
    let answers = format!("{name} answers");
    proxy.envoy.wait_until(&answers, async || get("/orders/1", "ann").send().await.status == 200).await;
    for (path, subject) in [("/orders/1", "bob"), ("/orders/2", "ann")] {
        let refused = get(path, subject).send().await;
        assert_eq!((refused.status, refused.reason().as_str()), (403, "relation_denied"), "{path}");
    }
    assert_eq!(get("/orders/2", "bob").send().await.status, 200);
    let watch = "portcullis_rebac_watch_up";
    let is_up = |line: &str| line.starts_with(watch) && line.ends_with(" 1");
    proxy.envoy.wait_until(watch, async || proxy.envoy.prometheus().await.lines().any(is_up)).await;

    let cluster = cluster(&proxy, &format!("outbound|80||{name}.example.com")).await;
    let threshold = cluster.pointer("/circuit_breakers/thresholds/0").expect("a circuit breaker");
    let connections = if name == "openfga" { 64 } else { 16 };
    for (field, want) in
        [("max_connections", connections), ("max_pending_requests", 128), ("max_requests", 256)]
    {
        assert_eq!(threshold[field], want, "{cluster}");
    }
    assert_eq!(cluster.pointer("/outlier_detection/consecutive_5xx"), Some(&json!(5)), "{cluster}");
    assert_eq!(cluster.pointer("/outlier_detection/base_ejection_time"), Some(&json!("10s")), "{cluster}");
    assert_eq!(cluster["connect_timeout"], "1s", "{cluster}");
    let kept = cluster.pointer("/upstream_connection_options/tcp_keepalive");
    assert_eq!(kept.is_some(), name == "spicedb", "{cluster}");
}

pub(crate) async fn has_a_cluster_for_an_external_host(plane: Rc<ControlPlane>) {
    let upstream = Upstream::start().await;
    let proxy = serve(&plane, &upstream, &manifests::read("jwt-auth.yaml")).await;
    plane.apply(&manifests::read("external.yaml")).await;
    let name = "outbound|80||id.example.com";
    let cluster = async || {
        let dump = proxy.dump("ClustersConfigDump").await;
        let both = ["dynamic_active_clusters", "dynamic_warming_clusters"];
        let clusters = both.iter().flat_map(|k| dump[*k].as_array().cloned().unwrap_or_default());
        clusters.map(|c| c["cluster"].clone()).find(|c| c["name"] == name)
    };
    proxy.envoy.wait_until(name, async || cluster().await.is_some()).await;
    let cluster = cluster().await.expect("the cluster");
    assert_eq!(cluster["connect_timeout"], "2s", "{cluster}");
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    assert_eq!(
        cluster.pointer(endpoint),
        Some(&json!({"address": "id.example.com", "port_value": 443})),
        "{cluster}"
    );
    assert_eq!(
        cluster.pointer("/transport_socket/typed_config/sni"),
        Some(&json!("id.example.com")),
        "{cluster}"
    );
    // The proxy that has it goes on serving.
    proxy.until("/health", 200).await;
}
