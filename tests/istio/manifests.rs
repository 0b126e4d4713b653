//! The files of `envoy/istio/`, with the modules of this build and the ports of this run.

use std::path::PathBuf;

use portcullis_tests::paths;
use serde::Deserialize;
use serde_json::Value;

/// The path of a file.
pub(crate) fn path(name: &str) -> PathBuf {
    paths::root().join("envoy/istio").join(name)
}

/// The objects of a file, whose plugins load the modules in `dist`; nothing else is changed.
pub(crate) fn read(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let mut objects: Vec<Value> =
        documents.map(|d| Value::deserialize(d).unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
    objects.iter_mut().for_each(with_built_modules);
    objects
}

/// The objects of several files.
pub(crate) fn all(names: &[&str]) -> Vec<Value> {
    names.iter().flat_map(|name| read(name)).collect()
}

fn with_built_modules(object: &mut Value) {
    for at in ["/spec/url", "/spec/wasm/url"] {
        let Some(url) = object.pointer_mut(at) else { continue };
        let image = url.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let module = image.split(':').next().unwrap_or_default();
        *url = format!("file://{}", paths::module(module).display()).into();
    }
}

/// The one object of this kind and name.
pub(crate) fn named<'o>(objects: &'o mut [Value], kind: &str, name: &str) -> &'o mut Value {
    let wanted = |o: &&mut Value| o["kind"] == kind && o["metadata"]["name"] == name;
    objects.iter_mut().find(wanted).unwrap_or_else(|| panic!("no {kind} {name}"))
}
