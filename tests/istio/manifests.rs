//! The files of `envoy/istio/`, with the modules of this build.

use std::path::PathBuf;

use portcullis_tests::{examples, paths};
use serde_json::Value;

/// The path of a file.
pub(crate) fn path(name: &str) -> PathBuf {
    paths::root().join("envoy/istio").join(name)
}

/// The objects of a file, whose plugins load the modules in `dist`; nothing else is changed.
pub(crate) fn read(name: &str) -> Vec<Value> {
    let mut objects = examples::objects(name);
    objects.iter_mut().for_each(with_built_modules);
    objects
}

/// The plugins for production with an engine outside the filter, as their file says.
pub(crate) fn with_engine(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path("production/plugins.yaml")).expect("the plugins");
    let mut objects = examples::parse_all(&examples::with_engine(&text, name)).expect("YAML");
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
        let module = examples::module_of(url);
        *url = format!("file://{}", paths::module(&module).display()).into();
    }
}

/// The one object of this kind and name.
pub(crate) fn named<'o>(objects: &'o mut [Value], kind: &str, name: &str) -> &'o mut Value {
    let wanted = |o: &&mut Value| o["kind"] == kind && o["metadata"]["name"] == name;
    objects.iter_mut().find(wanted).unwrap_or_else(|| panic!("no {kind} {name}"))
}
