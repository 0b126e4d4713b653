//! The images that `make oci` packs, in a real registry: pushed, read back by a tool that others wrote, and the module in them compared
//! with the one in `dist/`.

use std::fs;
use std::process::Command;

use portcullis_tests::paths;
use portcullis_tests::registry::{Image, Registry, pack, printed};
use serde_json::{Value, json};
use tempfile::TempDir;

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn module(image: &Image) -> Vec<u8> {
    fs::read(paths::module(&image.name)).unwrap()
}

#[tokio::test]
async fn images_are_read_back_as_they_were_packed() {
    let folder = TempDir::new().unwrap();
    let images = pack(folder.path());
    assert_eq!(images.len(), 10, "two of each module: {images:?}");
    let registry = Registry::start().await;
    for image in &images {
        registry.push(folder.path(), image);
        let reference = registry.reference(image);
        assert_eq!(registry.crane(&["digest", &reference]).trim(), image.digest);
        let manifest: Value = serde_json::from_str(&registry.crane(&["manifest", &reference])).unwrap();
        let wanted = module(image);
        let labels = if image.tag.ends_with("-artifact") {
            let layers = manifest["layers"].as_array().unwrap();
            let layer =
                layers.iter().find(|l| l["mediaType"] == "application/vnd.module.wasm.content.layer.v1+wasm");
            let digest = layer.unwrap()["digest"].as_str().unwrap();
            assert!(registry.blob(image, digest).await == wanted, "{reference}: another module");
            manifest["annotations"].clone()
        } else {
            assert_eq!(
                manifest["layers"][0]["mediaType"],
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
            );
            let archive = folder.path().join("read.tar");
            let _ = registry.crane(&["export", &reference, &archive.to_string_lossy()]);
            let listed = printed(Command::new("tar").arg("--list").arg("--file").arg(&archive));
            assert_eq!(listed, "plugin.wasm\n", "{reference}");
            let read =
                Command::new("tar").args(["--extract", "--to-stdout", "--file"]).arg(&archive).output();
            assert!(read.unwrap().stdout == wanted, "{reference}: another module");
            let config: Value = serde_json::from_str(&registry.crane(&["config", &reference])).unwrap();
            config["config"]["Labels"].clone()
        };
        assert_eq!(labels["portcullis.module.sha256"], json!(sha256(&wanted)), "{reference}");
        assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"), "{reference}");
        assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0", "{reference}");
    }
}
