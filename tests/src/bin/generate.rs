//! `make generate`: writes what is made from the code: the JSON Schemas, the block `stats_config` of the examples, the
//! labels in Istio's mesh settings, and what lies in `envoy/observability/`.

use std::fs;

use portcullis_tests::{examples, observability, paths, schema};

fn main() {
    for (name, text) in schema::all() {
        let path = paths::root().join(format!("filters/{name}/schema.json"));
        fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let gateway = paths::root().join(examples::GATEWAY);
    for path in examples::all().into_iter().chain([gateway]) {
        let text = fs::read_to_string(&path).expect("an example");
        fs::write(&path, examples::with_generated(&text)).expect("an example");
    }
    let mesh = paths::root().join(examples::MESH);
    let text = fs::read_to_string(&mesh).expect("the mesh settings");
    fs::write(&mesh, examples::with_labels(&text)).expect("the mesh settings");
    for (name, text) in observability::files() {
        fs::write(paths::root().join(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
