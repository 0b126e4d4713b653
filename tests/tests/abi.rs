//! The shipped modules: what they export, what they import, how large they are.

use std::collections::BTreeSet;
use std::fs;

use portcullis_tests::paths;
use wasmtime::{Engine, Module};

const MODULES: [&str; 5] = ["jwt-auth", "metrics", "rate-limit", "rate-limit-body", "rebac"];

fn listed(module: &str, list: &str) -> BTreeSet<String> {
    let folder = module.strip_suffix("-body").map_or(format!("{module}/abi"), |f| format!("{f}/abi/body"));
    let path = paths::root().join(format!("filters/{folder}/{list}"));
    fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn modules_export_and_import_what_their_lists_say() {
    let engine = Engine::default();
    for filter in MODULES {
        let module = Module::from_file(&engine, paths::module(filter)).unwrap();
        let exports: BTreeSet<String> = module.exports().map(|e| e.name().to_owned()).collect();
        let imports: BTreeSet<String> =
            module.imports().map(|i| format!("{}.{}", i.module(), i.name())).collect();
        assert_eq!(exports, listed(filter, "exports"), "{filter}");
        assert_eq!(imports, listed(filter, "imports"), "{filter}");
    }
}

#[test]
fn modules_stay_small() {
    // rebac has an engine inside, with the language of conditions, and speaks to two outside.
    for (filter, kib) in
        [("jwt-auth", 800), ("metrics", 480), ("rate-limit", 550), ("rate-limit-body", 560), ("rebac", 1_024)]
    {
        let size = fs::metadata(paths::module(filter)).unwrap().len();
        assert!(size < kib << 10, "{filter}: {size} bytes");
    }
}

#[test]
fn no_path_of_the_machine_that_built_them_is_in_the_modules() {
    let home = std::env::home_dir().unwrap().display().to_string();
    for filter in MODULES {
        let bytes = fs::read(paths::module(filter)).unwrap();
        for needle in [paths::root().display().to_string(), format!("{home}/")] {
            let found = needle.len() > 3 && bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
            assert!(!found, "{filter} contains {needle}");
        }
    }
}
