use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_tests::engines::start::free_port;
use portcullis_tests::registry::{Image, PASSWORD, Registry, pack, printed};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, examples, paths};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::orders;
use crate::agent::{Agent, Told};
use crate::control_plane::ControlPlane;
use crate::manifests;
use crate::process::Process;
use crate::proxy::GATEWAY;

/// The registry that the files name, on this machine, with the images of this build.
async fn registry(folder: &TempDir) -> (Registry, Vec<Image>) {
    let registry = Registry::start().await;
    let images = pack(folder.path());
    for image in &images {
        registry.push(folder.path(), image);
    }
    (registry, images)
}

/// `jwt-auth.yaml` as it is written, but for the registry's name and the tag.
fn plugin(registry: &Registry, image: &Image) -> Value {
    let mut objects = portcullis_tests::examples::objects("jwt-auth.yaml");
    let url = &mut objects[0]["spec"]["url"];
    let written = url.as_str().expect("a url").to_owned();
    assert!(written.starts_with("oci://") && written.contains("/portcullis/jwt-auth:"), "{written}");
    *url = format!("oci://{}", registry.reference(image)).into();
    objects.remove(0)
}

/// Each of the two forms, and a digest that is pinned: Istio's agent fetches the image, the stock Envoy beside it runs the module.
pub(crate) async fn are_fetched_by_the_agent(plane: Rc<ControlPlane>) {
    let folder = TempDir::new().expect("a folder");
    let (registry, images) = registry(&folder).await;
    let built = fs::read(paths::module("jwt-auth")).expect("the module");
    let upstream = Upstream::start().await;
    let mut objects = manifests::read("gateway.yaml");
    objects.push(orders(&upstream));
    let of_jwt_auth: Vec<&Image> = images.iter().filter(|i| i.name == "jwt-auth").collect();
    assert_eq!(of_jwt_auth.len(), 2);
    for image in of_jwt_auth {
        let mut plugin = plugin(&registry, image);
        // For an image, the sum that Istio checks is that of its manifest.
        plugin["spec"]["sha256"] = image.digest.trim_start_matches("sha256:").into();
        plane.apply(&[&objects[..], &[plugin]].concat()).await;
        let agent = Agent::start(&plane, GATEWAY).await;
        agent.until("/health", 200).await;
        let extensions = agent.extensions().await;
        let [extension] = extensions.as_slice() else { panic!("one plugin: {extensions:?}") };
        let file = extension.pointer("/config/vm_config/code/local/filename").and_then(Value::as_str);
        let file = file.unwrap_or_else(|| panic!("a file: {extension}\n{}", agent.tail()));
        assert!(agent.module(file) == built, "{image:?}: another module");
        let nobody = agent.get("/orders/1").send().await;
        assert_eq!((nobody.status, nobody.reason().as_str()), (401, "token_missing"), "{image:?}");
        let ann = agent.get("/orders/1").bearer(&demo::token("ann", 600)).send().await;
        assert_eq!(ann.status, 200, "{image:?}: {}", ann.text());
    }
}

/// A registry that asks for a password, which the agent has from a secret beside the plugin. With another password, with none, and from an
/// agent of whom istiod does not know who it is, nobody is let in.
pub(crate) async fn of_a_closed_registry_want_a_pull_secret(plane: Rc<ControlPlane>) {
    let folder = TempDir::new().expect("a folder");
    let registry = Registry::start_closed().await;
    let images = pack(folder.path());
    let image = images.iter().find(|i| i.name == "jwt-auth").expect("the image");
    registry.push(folder.path(), image);
    let upstream = Upstream::start().await;
    let mut objects = manifests::read("gateway.yaml");
    objects.push(orders(&upstream));
    objects.push(json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "ingress", "namespace": GATEWAY.namespace}
    }));
    for (name, password) in [("right", PASSWORD), ("wrong", "another password")] {
        let credentials = STANDARD.encode(registry.credentials(password));
        objects.push(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": name, "namespace": GATEWAY.namespace},
            "data": {".dockerconfigjson": credentials}
        }));
    }
    plane.apply(&objects).await;
    let token = ["create", "token", "ingress", "--namespace", GATEWAY.namespace, "--audience", "istio-ca"];
    let token = plane.must(&token, None).await;
    let (_istiod, xds) = plane.istiod_that_asks_who().await;
    let known = Told { xds: Some(xds), token: Some(token.trim()), ..Told::default() };
    let with = |secret: Option<&str>| {
        let mut plugin = plugin(&registry, image);
        if let Some(secret) = secret {
            plugin["spec"]["imagePullSecret"] = secret.into();
        }
        plugin
    };

    for secret in [None, Some("wrong"), Some("absent")] {
        plane.apply(&[with(secret)]).await;
        let agent = Agent::start_told(&plane, GATEWAY, known).await;
        agent.until("/health", 403).await;
        let ann = demo::token("ann", 600);
        assert_eq!(agent.get("/orders/1").bearer(&ann).send().await.status, 403, "{secret:?}");
    }
    plane.apply(&[with(Some("right"))]).await;
    let stranger = Agent::start(&plane, GATEWAY).await;
    stranger.until("/health", 403).await;
    assert_eq!(upstream.seen(), 0, "nothing got through");
    drop(stranger);

    let agent = Agent::start_told(&plane, GATEWAY, known).await;
    agent.until("/health", 200).await;
    let nobody = agent.get("/orders/1").send().await;
    assert_eq!((nobody.status, nobody.reason().as_str()), (401, "token_missing"));
    assert_eq!(agent.get("/orders/1").bearer(&demo::token("ann", 600)).send().await.status, 200);
    let extensions = agent.extensions().await;
    let [extension] = extensions.as_slice() else { panic!("one plugin: {extensions:?}") };
    let built = fs::read(paths::module("jwt-auth")).expect("the module");
    let file = extension.pointer("/config/vm_config/code/local/filename").and_then(Value::as_str);
    assert!(agent.module(file.expect("a file")) == built, "another module");
    // What the agent pulls with is nothing that the module or Envoy's admin interface should have.
    assert!(!extension.to_string().contains("ISTIO_META_WASM_IMAGE_PULL_SECRET"), "{extension}");
}

/// A module from a web server by TLS, with its own sum; with another sum, and by an authority that the agent does not know, nobody is let in.
pub(crate) async fn that_are_bare_modules_come_by_https(plane: Rc<ControlPlane>) {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::copy(paths::module("jwt-auth"), at("jwt-auth.wasm")).expect("a copy");
    let subject = [
        "-subj",
        "/CN=modules",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ];
    let key =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let _ = printed(Command::new("openssl").args(key).args(subject).current_dir(folder.path()));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let serve =
        ["s_server", "-WWW", "-quiet", "-cert", "cert.pem", "-key", "key.pem", "-accept"].map(str::to_owned);
    let arguments = [&serve[..], &[address.to_string()]].concat();
    let _server = Process::start("openssl", "openssl", folder.path(), &arguments, &[]);
    plane.until("the web server serves", async || TcpStream::connect(address).is_ok()).await;

    let sum = printed(Command::new("sha256sum").arg(at("jwt-auth.wasm")));
    let sum = sum.split(' ').next().expect("a sum");
    let upstream = Upstream::start().await;
    let mut objects = manifests::read("gateway.yaml");
    objects.push(orders(&upstream));
    plane.apply(&objects).await;
    let certificate = at("cert.pem");
    let known = Told { authorities: Some(&certificate), ..Told::default() };
    let with = |sum: &str| {
        let mut plugin = examples::objects("jwt-auth.yaml").remove(0);
        plugin["spec"]["url"] = format!("https://{address}/jwt-auth.wasm").into();
        plugin["spec"]["sha256"] = sum.into();
        plugin
    };
    for (sum, told) in [("0".repeat(64).as_str(), known), (sum, Told::default())] {
        plane.apply(&[with(sum)]).await;
        let agent = Agent::start_told(&plane, GATEWAY, told).await;
        agent.until("/health", 403).await;
        let ann = demo::token("ann", 600);
        assert_eq!(agent.get("/orders/1").bearer(&ann).send().await.status, 403, "{sum}");
    }
    assert_eq!(upstream.seen(), 0, "nothing got through");
    plane.apply(&[with(sum)]).await;
    let agent = Agent::start_told(&plane, GATEWAY, known).await;
    agent.until("/health", 200).await;
    assert_eq!(agent.get("/orders/1").send().await.reason(), "token_missing");
    assert_eq!(agent.get("/orders/1").bearer(&demo::token("ann", 600)).send().await.status, 200);
}

/// An image whose manifest has another sum than the one that is written, and one that is not there, let nobody in, unless it is written that
/// they let everybody in.
pub(crate) async fn that_cannot_be_had_let_nobody_in(plane: Rc<ControlPlane>) {
    let folder = TempDir::new().expect("a folder");
    let (registry, images) = registry(&folder).await;
    let image = images.iter().find(|i| i.name == "jwt-auth").expect("the image");
    let upstream = Upstream::start().await;
    let mut objects = manifests::read("gateway.yaml");
    objects.push(orders(&upstream));
    let mut changed = plugin(&registry, image);
    changed["spec"]["sha256"] = "0".repeat(64).into();
    let absent = plugin(&registry, &Image { tag: "0.0.0".into(), ..image.clone() });
    for plugin in [changed, absent] {
        plane.apply(&[&objects[..], &[plugin]].concat()).await;
        let agent = Agent::start(&plane, GATEWAY).await;
        agent.until("/health", 403).await;
        let token = demo::token("ann", 600);
        assert_eq!(agent.get("/orders/1").bearer(&token).send().await.status, 403);
    }
    assert_eq!(upstream.seen(), 0, "nothing got through");
    let mut open = plugin(&registry, &Image { tag: "0.0.0".into(), ..image.clone() });
    open["spec"]["failStrategy"] = "FAIL_OPEN".into();
    plane.apply(&[&objects[..], &[open]].concat()).await;
    let agent = Agent::start(&plane, GATEWAY).await;
    agent.until("/orders/1", 200).await;
}
