//! What the READMEs show is run: configurations are loaded, natively and in the real module; commands are run, and what they print
//! is compared.
//!
//! | block | what becomes of it |
//! |---|---|
//! | `yaml plugin=NAME` | the configuration of a plugin: loaded |
//! | `yaml filter` | an entry of `http_filters`: an Envoy starts with it |
//! | `yaml envoy` | a whole Envoy configuration: started |
//! | `yaml theirs=NAME` | a configuration of somebody else: `migrate.rs` |
//! | `sh`, and `text` right behind it | commands, and what they print; `...` stands for any text, alone in its line for any lines |
//! | `sh keycloak`, and `text` | the same, with a real Keycloak: `tests/tests/keycloak.rs` |
//! | `sh openfga`, `sh spicedb`, and `text` | the same, with a real engine: `tests/tests/rebac_engines.rs` |
//! | `sh own` | a key of one's own, made and used: the filter accepts what it signed |
//! | `sh` alone | verbs of the Makefile, which must be there |
//!
//! Commands of `README.md` are asked of `envoy/envoy.yaml`, those of a filter's README of that filter's example.

use std::path::Path;
use std::process::Command;

use portcullis_common::config::ConfigError;
use portcullis_common::filter::Filter;
use portcullis_common::memory::MemoryHost;
use portcullis_tests::envoy::Envoy;
use portcullis_tests::examples::{self, Ports};
use portcullis_tests::gate::Gate;
use portcullis_tests::markdown::{self, Block, Page};
use portcullis_tests::upstream::Upstream;
use portcullis_tests::wasm::{Vm, World};
use portcullis_tests::{demo, paths};
use serde_json::{Value, json};
use tempfile::TempDir;

fn load_natively(filter: &str, config: &[u8]) -> Result<(), ConfigError> {
    let host = MemoryHost::default();
    match filter {
        "jwt-auth" => portcullis_jwt_auth::filter::JwtAuth::configure(config, &host).map(drop),
        "rate-limit" | "rate-limit-body" => {
            portcullis_rate_limit::filter::RateLimit::configure(config, &host).map(drop)
        }
        "metrics" => portcullis_metrics::filter::Metrics::configure(config, &host).map(drop),
        "rebac" => portcullis_rebac::filter::Rebac::configure(config, &host).map(drop),
        other => panic!("no filter {other}"),
    }
}

#[tokio::test]
async fn every_configuration_is_loaded() {
    let upstream = Upstream::start().await;
    let mut plugins = 0;
    for page in markdown::pages() {
        let place = page.path.display();
        for block in page.blocks() {
            let Some(kind) = block.info.strip_prefix("yaml") else { continue };
            if kind.starts_with(" theirs=") {
                continue;
            }
            let config =
                examples::parse(&block.text).unwrap_or_else(|e| panic!("{place}: {e}\n{}", block.text));
            if let Some(filter) = kind.strip_prefix(" plugin=") {
                plugins += 1;
                let text = config.to_string();
                load_natively(filter, text.as_bytes()).unwrap_or_else(|e| panic!("{place}: {e}"));
                let loaded = Vm::new(&World::default(), filter).configure(&text).map(drop);
                loaded.unwrap_or_else(|e| panic!("{place}: {e}"));
                continue;
            }
            let whole = match kind {
                " filter" => within_an_example(config),
                " envoy" => config,
                _ => panic!("{place}: a block `{}` that nobody loads", block.info),
            };
            Envoy::start(&examples::with_ports(whole, Ports::free(upstream.address()))).await;
        }
    }
    assert!(plugins >= 3, "the configurations were not found");
}

/// An example's Envoy with this filter in place of its own.
fn within_an_example(filter: Value) -> Value {
    let mut example = examples::read(&paths::root().join("envoy/rate-limit.yaml"));
    let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0";
    *example.pointer_mut(place).unwrap() = filter;
    example
}

/// A shell in which `demo` and the offline check are those that were built with this test, so that no command has to build them.
struct Shell {
    folder: TempDir,
}

impl Shell {
    fn new() -> Shell {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::new().unwrap();
        let cargo = folder.path().join("cargo");
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *\" --bin demo \"*) while [ \"$1\" != demo ]; do shift; done; shift; exec '{demo}' \"$@\";; *\" --bin portcullis-check \"*) while [ \"$1\" != -- ]; do shift; done; shift; exec '{check}' \"$@\";; esac\nPATH=\"${{PATH#*:}}\" exec cargo \"$@\"\n",
            demo = env!("CARGO_BIN_EXE_demo"),
            check = env!("CARGO_BIN_EXE_check")
        );
        std::fs::write(&cargo, script).unwrap();
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
        Shell { folder }
    }

    /// What a script prints, without carriage returns. Not what goes to stderr: where that is no terminal, curl shows its progress there.
    fn run(&self, script: &str) -> String {
        let (printed, _) = self.run_in(&paths::root(), script);
        printed
    }

    /// The same in another folder, and what goes to stderr.
    fn run_in(&self, folder: &Path, script: &str) -> (String, String) {
        let path = std::env::var_os("PATH").unwrap_or_default().into_string().unwrap();
        let output = Command::new("sh")
            .arg("-c")
            .arg(script)
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", self.folder.path().display()))
            // A make inside a make says which folder it enters.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .env_remove("MFLAGS")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace('\r', "");
        (text(output.stdout), text(output.stderr))
    }
}

/// Whether `real` is what `shown` shows.
fn agrees(shown: &[&str], real: &[&str]) -> bool {
    match (shown.split_first(), real.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => (0..=real.len()).any(|n| agrees(rest, &real[n..])),
        (Some((line, rest)), Some((first, others))) => line_agrees(line, first) && agrees(rest, others),
        _ => false,
    }
}

fn line_agrees(shown: &str, real: &str) -> bool {
    let mut parts = shown.split("...");
    let Some(mut rest) = real.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
        last = Some(part);
    }
    if last == Some("") { true } else { rest.is_empty() }
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    for (shown, real, want) in [
        ("a\n...\nd", "a\nb\nc\nd", true),
        ("a\n...\nd", "a\nd", true),
        ("a\nd", "a\nb\nd", false),
        ("date: ...", "date: today", true),
        ("date: ... GMT", "date: today GMT", true),
        ("date: ... GMT", "date: today", false),
        ("date:", "date: today", false),
        ("a", "a\nb", false),
    ] {
        let lines = |text: &'static str| text.lines().collect::<Vec<_>>();
        assert_eq!(agrees(&lines(shown), &lines(real)), want, "{shown:?} and {real:?}");
    }
}

/// The commands of a page, each with what it prints.
fn commands(page: &Page) -> Vec<(Block, Option<Block>)> {
    let blocks = page.blocks();
    let shown = |n: usize| blocks.get(n + 1).filter(|b| b.follows && b.info == "text").cloned();
    let shells = blocks.iter().enumerate().filter(|(_, b)| b.info == "sh");
    shells.map(|(n, block)| (block.clone(), shown(n))).collect()
}

/// Runs the commands of one page; what went wrong, if something did.
async fn run_page(page: &Page, example: &Path) -> Result<(), String> {
    let upstream = Upstream::start().await;
    let config = examples::with_ports(examples::read(example), Ports::free(upstream.address()));
    let envoy = Envoy::start(&config).await;
    let (listener, admin) = (envoy.address().to_string(), envoy.admin().to_string());
    let here = |text: &str| text.replace("127.0.0.1:10000", &listener).replace("127.0.0.1:9901", &admin);
    let there = |text: &str| text.replace(&listener, "127.0.0.1:10000").replace(&admin, "127.0.0.1:9901");
    let shell = Shell::new();
    for (command, shown) in commands(page) {
        let script = here(&command.text);
        let Some(shown) = shown.map(|s| s.text) else {
            if !command.text.lines().all(is_verb) {
                tokio::task::block_in_place(|| shell.run(&script));
            }
            continue;
        };
        let once = || {
            let real = there(&tokio::task::block_in_place(|| shell.run(&script)));
            let good = agrees(&shown.lines().collect::<Vec<_>>(), &real.lines().collect::<Vec<_>>());
            if good {
                Ok(())
            } else {
                Err(format!("{}: this\n{script}shows\n{shown}and prints\n{real}", page.path.display()))
            }
        };
        // Statistics are counted when a stream is over, which is after its client has the answer.
        if command.text.contains("/stats/") {
            envoy.wait_until(&format!("{shown} as {script}"), async || once().is_ok()).await;
        } else {
            once()?;
        }
    }
    Ok(())
}

/// `make VERB`, and there is such a verb.
fn is_verb(line: &str) -> bool {
    let Some(verb) = line.strip_prefix("make ") else { return false };
    let verb = verb.split(' ').next().unwrap_or_default();
    let makefile = std::fs::read_to_string(paths::root().join("Makefile")).unwrap();
    assert!(makefile.contains(&format!("\n{verb}: ")), "make {verb}: there is no such verb");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_what_is_shown() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED curl: it is not on this machine, and the READMEs' commands need it");
        return;
    }
    let mut shown = 0;
    for page in markdown::pages() {
        let all = commands(&page);
        let folder = page.path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
        let example = paths::root().join(format!("envoy/{}.yaml", folder.as_deref().unwrap_or("envoy")));
        if all.is_empty() {
            continue;
        }
        shown += all.iter().filter(|(_, shown)| shown.is_some()).count();
        // A bucket refills while a slow machine makes up its mind: a second try with a full one is fair.
        let mut outcome = run_page(&page, &example).await;
        for _ in 0..2 {
            if outcome.is_err() {
                outcome = run_page(&page, &example).await;
            }
        }
        outcome.unwrap_or_else(|e| panic!("{e}"));
    }
    assert!(shown >= 5, "the commands were not found");
}

/// `sh own`: the page's three commands make a key, print its public half and sign with it. A filter that was given the public half accepts the
/// token, and none of the key that the examples have.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ones_own_signs_what_the_filter_accepts() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("SKIPPED openssl: it is not on this machine, and a README makes a key with it");
        return;
    }
    let page = Page::read(paths::root().join("filters/jwt-auth/README.md"));
    let blocks = page.blocks();
    let block = blocks.iter().find(|b| b.info == "sh own").unwrap();
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("own.pem");
    let script = block.text.replace("own.pem", key.to_str().unwrap());
    let [make, jwk, token] = script.lines().collect::<Vec<_>>()[..] else { panic!("three lines: {script}") };
    let shell = Shell::new();
    let run = |line: &str| {
        let (printed, said) = tokio::task::block_in_place(|| shell.run_in(&paths::root(), line));
        assert!(printed.is_empty() == line.starts_with("openssl"), "{line}: {printed}{said}");
        printed.trim().to_owned()
    };
    run(make);
    assert!(key.is_file(), "{make}");
    let jwk: Value = serde_json::from_str(&run(jwk)).unwrap();
    let token = run(token);

    // The page's own provider, with this key in the place of its key.
    let config = blocks.iter().find(|b| b.info == "yaml plugin=jwt-auth").unwrap();
    let mut config = examples::parse(&config.text).unwrap();
    let gate = Gate::start(config.clone()).await;
    gate.refuses(&token, "token_invalid").await;
    config["providers"]["corp"]["keys"]["jwks"]["keys"] = json!([jwk]);
    let gate = Gate::start(config).await;
    let answer = gate.get("/orders/1").bearer(&token).send().await;
    assert_eq!((answer.status, &answer.json()["headers"]["x-user"]), (200, &json!(["ann"])), "{jwk}");
    gate.refuses(&demo::token("ann", 600), "token_invalid").await;
}
