//! What is found in files that are wrong in many ways, line by line: `cases/NAME.findings` beside each of them. Where the findings
//! change on purpose, `PORTCULLIS_BLESS=1` writes them anew.

use std::path::{Path, PathBuf};

use portcullis_check::find::File;
use portcullis_check::report;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn found(name: &str, text: &str) -> String {
    let report = report::check(&[File { name: name.into(), text: text.into() }], None);
    let lines = report.findings.iter().map(ToString::to_string).chain([report.summary()]);
    lines.map(|line| line + "\n").collect()
}

#[test]
fn every_error_has_its_line() {
    let mut compared = 0;
    for entry in std::fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|e| e == "yaml" || e == "json") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let found = found(name, &std::fs::read_to_string(&path).unwrap());
        let kept = path.with_extension("findings");
        #[allow(clippy::disallowed_methods, reason = "a switch for whoever runs the test")]
        if std::env::var("PORTCULLIS_BLESS").is_ok() {
            std::fs::write(&kept, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(&kept).unwrap_or_default(), "{name}");
        compared += 1;
    }
    assert!(compared >= 5, "the cases were not found");
}

#[test]
fn what_users_read_has_no_errors() {
    let envoy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy");
    let mut chains = 0;
    let folders = ["", "istio", "istio/production", "gateway"].map(|folder| envoy.join(folder));
    for path in folders.iter().flat_map(|f| std::fs::read_dir(f).unwrap()).map(|e| e.unwrap().path()) {
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let report = report::check(&report::read(path.to_str().unwrap(), || Ok(Vec::new())).unwrap(), None);
        let nothing = report.findings.iter().all(|f| f.problem.starts_with("no plugin of Portcullis"));
        assert!(nothing || !report.is_refused(), "{:?}", report.findings);
        chains += report.chains.len();
    }
    assert!(chains > 15, "{chains}");
}

#[test]
fn plugins_in_several_files_are_one_chain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy/istio");
    let files = ["jwt-auth.yaml", "rebac.yaml", "rate-limit.yaml", "metrics.yaml"];
    let files: Vec<File> = files
        .iter()
        .flat_map(|f| report::read(folder.join(f).to_str().unwrap(), || Ok(Vec::new())).unwrap())
        .collect();
    let report = report::check(&files, None);
    let [(chain, _)] = report.chains.as_slice() else { panic!("{} chains", report.chains.len()) };
    let names: Vec<&str> = chain.plugins.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["limit-address", "jwt-auth", "rebac", "limit-subject", "metrics"]);
    let only_the_demo_key = |f: &portcullis_check::finding::Finding| f.problem.contains("demo-do-not-use");
    assert!(report.findings.iter().all(only_the_demo_key), "{:?}", report.findings);
    let alone = report::check(&files[2..3], None);
    assert!(alone.findings.iter().any(|f| f.problem.starts_with("no jwt-auth plugin is called jwt-auth")));
}
