//! The program itself: its status, and readers that stop.

use std::process::{Command, Output, Stdio};

#[allow(clippy::unwrap_used, reason = "a program that cannot be started fails the test")]
fn run(arguments: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-check"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    command.stdout(stdout).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn the_status_says_what_was_checked() {
    for (file, status) in [
        ("tests/cases/beside.yaml", 0),
        ("tests/cases/broken.yaml", 1),
        ("tests/imports/istio.yaml", 2),
        ("none", 2),
    ] {
        assert_eq!(run(&[file], Stdio::piped()).status.code(), Some(status), "{file}");
    }
}

#[test]
fn without_a_file_it_says_how_to_give_one() {
    for (arguments, said) in
        [(&["--import"] as &[&str], "make import FROM=FILE"), (&[], "make check CONFIG=FILE")]
    {
        let output = run(arguments, Stdio::piped());
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{output:?}");
    }
}

#[test]
fn an_import_is_written_as_it_is_asked_for() {
    for (form, said) in
        [("config", "providers:"), ("http_filters", "http_filters:"), ("wasmplugin", "kind: WasmPlugin")]
    {
        let output = run(&["--import", "--as", form, "tests/imports/istio.yaml"], Stdio::piped());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().any(|line| line == said), "{form}: {text}");
    }
    let output = run(&["--import", "--as", "toml", "tests/imports/istio.yaml"], Stdio::piped());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("write config, http_filters or wasmplugin"),
        "{output:?}"
    );
}

#[test]
fn an_import_that_does_not_load_is_a_failure_and_says_so_first() {
    let name = std::env::temp_dir().join(format!("portcullis-import-{}.yaml", std::process::id()));
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/imports/jwt_authn_below.yaml"));
    let text = text.unwrap().replace("inline_string", "environment_variable");
    std::fs::write(&name, text).unwrap();
    let output = run(&["--import", name.to_str().unwrap()], Stdio::piped());
    std::fs::remove_file(&name).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().next().unwrap_or_default().contains(": broken: providers.demo"), "{said}");
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    for arguments in
        [&["tests/cases/beside.yaml"] as &[&str], &["--import", "tests/imports/istio.yaml"], &["--help"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(arguments, writer);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    }
}

/// What clumsy hands and hostile ones give it: never a panic, and always file, line and what is wrong, or nothing wrong at all.
#[test]
fn whatever_is_given_is_answered_with_file_and_line() {
    let good = "limits:\n- name: a\n  key: [everyone]\n  rate: 1/minute\n";
    let lines = |ending: &str| good.replace('\n', ending).into_bytes();
    let plugin = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: jwt-auth}\nspec:\n  url: oci://r/jwt-auth:1\n  failStrategy: FAIL_RELOAD\n";
    let folder = std::env::temp_dir().join(format!("portcullis-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, content, status, said) in [
        ("crlf.yaml", lines("\r\n"), 0, "1 plugin in 1 chain: 0 errors"),
        ("bom.yaml", format!("\u{feff}{good}").into_bytes(), 0, "1 plugin in 1 chain: 0 errors"),
        ("tab.yaml", good.replace("  key", "\tkey").into_bytes(), 1, "tab.yaml:2: error: "),
        ("indent.yaml", good.replace("  rate", " rate").into_bytes(), 1, "indent.yaml:4: error: "),
        (
            "unknown.yaml",
            good.replace("rate", "rat").into_bytes(),
            1,
            "unknown.yaml:4: error: rate-limit: limits[0]",
        ),
        ("utf16.yaml", b"a: 1\n\xff\xfe".to_vec(), 2, "utf16.yaml:2: error: not UTF-8"),
        ("helm.yaml", b"limits:\n- name: {{ .Values.a }}\n".to_vec(), 1, "helm.yaml:2: error: "),
        ("helm.yaml", b"{{- if .Values.a }}\nlimits: []\n{{- end }}\n".to_vec(), 1, "if this is a template"),
        ("anchor.yaml", b"limits:\n- *gone\n".to_vec(), 1, "anchor.yaml:2: error: "),
        (
            "anchored.yaml",
            b"x: &l\n- {name: a, key: [everyone], rate: 1/minute}\nlimits: *l\n".to_vec(),
            1,
            "error: rate-limit: x",
        ),
        ("two.yaml", format!("{good}---\n{good}").into_bytes(), 0, "2 plugins in 2 chains: 0 errors"),
        (
            "comma.json",
            br#"{"limits": [{"name": "a", "key": ["b"], "rate": "1/minute",}]}"#.to_vec(),
            1,
            "comma.json:1: error: not JSON",
        ),
        ("broken.json", b"{\"limits\": [\n{\"name\": \"a\"".to_vec(), 1, "broken.json:"),
        ("deep.json", "[".repeat(100_000).into_bytes(), 1, "deep.json:1: error: "),
        ("none.yaml", plugin.as_bytes().to_vec(), 1, "none.yaml:5: error: jwt-auth: no configuration"),
        ("list.yaml", format!("{plugin}  pluginConfig: [1]\n").into_bytes(), 1, "list.yaml:"),
        ("odd.yaml", b"kind: WasmPlugin\n---\n- 1\n---\ntext\n".to_vec(), 2, "odd.yaml:1: error: no plugin"),
        (
            "other.yaml",
            b"apiVersion: v1\nkind: ConfigMap\nspec: text\n".to_vec(),
            2,
            "other.yaml:1: error: no plugin",
        ),
        ("empty.yaml", Vec::new(), 2, "empty.yaml:1: error: no plugin"),
        (
            "large.yaml",
            format!("limits:\n{}", "- [1, 2, 3, 4]\n".repeat(400_000)).into_bytes(),
            1,
            "error: larger or deeper",
        ),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        let output = run(&[path.to_str().unwrap()], Stdio::piped());
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(status), "{name}: {text}");
        assert!(text.contains(said) && !text.contains("panicked"), "{name}: {text}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let output = run(&[folder.to_str().unwrap()], Stdio::piped());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no .yaml, .yml or .json file"), "{output:?}");
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn standard_input_is_a_file_too() {
    let file = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/broken.yaml")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-check"));
    let output = command.arg("-").stdin(file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("stdin:"), "{output:?}");
}
