//! What others' configurations become: `imports/NAME.imported` beside each of them, and `imports/NAME.left` for what could not be
//! carried over. Where either changes on purpose, `PORTCULLIS_BLESS=1` writes them anew. The check finds no error in any result.

use std::path::Path;

use portcullis_check::find::File;
use portcullis_check::import::wrap::{self, Form};
use portcullis_check::import::{import, write};
use portcullis_check::report;

#[test]
fn every_result_is_as_kept_and_has_no_errors() {
    let mut compared = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let file = File { name: name.into(), text: std::fs::read_to_string(&path).unwrap() };
        let (found, lefts) = import(&file).unwrap();
        let said: String = lefts
            .iter()
            .map(|l| format!("{}: {}: {}: {}\n", l.line, l.kind.word(), l.field, l.why))
            .collect();
        let mut written = String::new();
        for imported in &found {
            let text = write::yaml(&imported.config);
            let result = File { name: name.into(), text: text.clone() };
            let report = report::check(&[result], Some(imported.which));
            assert!(!report.is_refused(), "{name}: {:?}\n{text}", report.findings);
            assert!(!lefts.iter().any(|l| l.why.starts_with("has to be corrected")), "{name}: {said}");
            written.push_str("---\n");
            written.push_str(&text);
        }
        for form in [Form::HttpFilters, Form::WasmPlugin] {
            let text = wrap::text(&found, name, form);
            let report = report::check(&[File { name: name.into(), text: text.clone() }], None);
            assert!(!report.is_refused(), "{name}: {:?}\n{text}", report.findings);
            let plugins = report.chains.iter().map(|(chain, _)| chain.plugins.len()).sum::<usize>();
            assert_eq!(plugins, found.len(), "{name}: {form:?}\n{text}");
        }
        for (kind, text) in [("imported", &written), ("left", &said)] {
            let kept = path.with_extension(kind);
            #[allow(clippy::disallowed_methods, reason = "a switch for whoever runs the test")]
            if std::env::var("PORTCULLIS_BLESS").is_ok() {
                std::fs::write(&kept, text).unwrap();
            }
            assert_eq!(*text, std::fs::read_to_string(&kept).unwrap_or_default(), "{name}");
        }
        compared += 1;
    }
    assert!(compared >= 5, "the cases were not found");
}

#[test]
fn a_wasmplugin_stands_where_the_original_stood() {
    let file =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports/istio.yaml"));
    let (found, _) = import(&File { name: "istio.yaml".into(), text: file.unwrap() }).unwrap();
    let text = wrap::text(&found, "istio.yaml", Form::WasmPlugin);
    for line in [
        "# jwt-auth, from istio.yaml:5",
        "metadata: {name: jwt-auth, namespace: istio-ingress}",
        "  selector: {matchLabels: {istio: ingress}}",
        "  failStrategy: FAIL_RELOAD",
        "  phase: AUTHN",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn what_holds_nothing_of_the_kind_is_said() {
    let file = |text: &str| File { name: "f.yaml".into(), text: text.into() };
    assert!(import(&file("a: 1")).unwrap_err().starts_with("f.yaml: nothing to import"));
    assert!(import(&file("a: [")).unwrap_err().starts_with("f.yaml:"));
}
