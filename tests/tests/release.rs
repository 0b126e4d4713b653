//! What `make oci` and `make dist` make: the same bytes twice, checksums that are right, bills of materials that say what is linked.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::registry::{pack, printed};
use portcullis_tests::{paths, schema};
use serde_json::Value;
use tempfile::TempDir;

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|(n, bytes)| (format!("{name}/{n}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

fn release() -> BTreeMap<String, Vec<u8>> {
    let folder = TempDir::new().unwrap();
    let _ = printed(Command::new(paths::root().join("filters/dist")).arg("--to").arg(folder.path()));
    files(folder.path())
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn a_release_is_the_same_bytes_twice_and_its_checksums_are_right() {
    let (first, second) = (release(), release());
    assert!(first == second, "two runs made different files");
    let sums = String::from_utf8(first["SHA256SUMS"].clone()).unwrap();
    let listed: BTreeMap<&str, &str> =
        sums.lines().filter_map(|l| l.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    assert_eq!(listed.len() + 1, first.len(), "every file but the list itself: {sums}");
    for (name, sum) in &listed {
        assert_eq!(sha256(&first[*name]), **sum, "{name}");
    }
    for filter in ["jwt-auth", "metrics", "rate-limit", "rebac"] {
        let module = fs::read(paths::module(filter)).unwrap();
        assert!(first[&format!("portcullis-{filter}-{VERSION}.wasm")] == module, "{filter}");
        let kept =
            String::from_utf8(first[&format!("portcullis-{filter}-{VERSION}.schema.json")].clone()).unwrap();
        let current = schema::all().into_iter().find(|(name, _)| *name == filter).unwrap().1;
        assert_eq!(kept, current, "{filter}");
    }
    assert!(!first["NOTES.md"].is_empty());
}

#[test]
fn a_bill_of_materials_names_what_is_linked_with_its_checksum() {
    let release = release();
    let lock = fs::read_to_string(paths::root().join("Cargo.lock")).unwrap();
    for module in ["jwt-auth", "metrics", "rate-limit", "rate-limit-body", "rebac"] {
        let bill: Value =
            serde_json::from_slice(&release[&format!("portcullis-{module}-{VERSION}.cdx.json")]).unwrap();
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
        let own = &bill["metadata"]["component"];
        assert_eq!(
            own["hashes"][0]["content"],
            sha256(&fs::read(paths::module(module)).unwrap()),
            "{module}"
        );
        let components = bill["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|c| c["name"] == name);
        for name in ["proxy-wasm", "serde_json", "portcullis-common"] {
            assert!(named(name).is_some(), "{module}: {name}");
        }
        // Only jwt-auth has cryptography in it, and none has a crate of the tests or a macro.
        assert_eq!(named("jwt-simple").is_some(), module == "jwt-auth", "{module}");
        for name in ["wasmtime", "schemars", "proptest", "serde_derive"] {
            assert!(named(name).is_none(), "{module}: {name}");
        }
        for component in components {
            let (name, version) = (&component["name"], &component["version"]);
            assert!(component["licenses"][0]["expression"].as_str().is_some_and(|l| !l.is_empty()), "{name}");
            if !name.as_str().unwrap().starts_with("portcullis-") {
                let entry = format!("name = {name}\nversion = {version}\n");
                let (_, rest) = lock.split_once(&entry).unwrap_or_else(|| panic!("{module}: {entry}"));
                let checksum = component["hashes"][0]["content"].as_str().unwrap();
                assert!(rest.split("[[package]]").next().unwrap().contains(checksum), "{module}: {name}");
            }
        }
    }
}

#[test]
fn an_image_is_the_same_bytes_twice_and_its_blobs_are_their_digests() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let images = pack(first.path());
    assert_eq!(images, pack(second.path()));
    let (kept, again) = (files(first.path()), files(second.path()));
    assert!(kept == again, "two runs made different images");
    for (name, bytes) in &kept {
        if let Some((_, digest)) = name.split_once("/blobs/sha256/") {
            assert_eq!(sha256(bytes), digest, "{name}");
        }
    }
    for image in &images {
        let index: Value = serde_json::from_slice(&kept[&format!("{}/index.json", image.layout())]).unwrap();
        assert_eq!(index["manifests"][0]["digest"], image.digest.as_str(), "{image:?}");
    }
}
