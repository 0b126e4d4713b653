use std::fs;
use std::rc::Rc;

use portcullis_tests::registry::{Image, Registry, pack};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::{demo, paths};
use serde_json::Value;
use tempfile::TempDir;

use super::orders;
use crate::agent::Agent;
use crate::control_plane::ControlPlane;
use crate::manifests;
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
