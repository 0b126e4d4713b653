//! `make run`: what it prints is right, Ctrl-C leaves nothing behind, and a port that is taken is named.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use portcullis_tests::bootstrap::{Listener, Plugin, bootstrap};
use portcullis_tests::client::ask;
use portcullis_tests::envoy::{Envoy, die_with_us};
use portcullis_tests::gate::config_with;
use portcullis_tests::paths;
use portcullis_tests::upstream::Upstream;
use serde_json::{Value, json};

fn demo(ports: [(&str, u16); 3]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.arg("run").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(ports.map(|(name, port)| (name, port.to_string())));
    // A group of its own, as a terminal gives to what it starts: Ctrl-C reaches everybody in it.
    command.process_group(0);
    die_with_us(&mut command);
    command
}

/// The processes that this one started.
fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let texts: Vec<String> = tasks.filter_map(Result::ok).filter_map(of_task).collect();
    texts.iter().flat_map(|t| t.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// Lines up to the one that ends what is printed at the start.
fn welcome(process: &mut Child) -> Vec<String> {
    let lines = BufReader::new(process.stdout.as_mut().expect("its output")).lines();
    let mut seen = Vec::new();
    for line in lines.map_while(Result::ok) {
        let last = line.starts_with("# Prometheus' rules");
        seen.push(line);
        if last {
            break;
        }
    }
    seen
}

/// What a printed command answers: its status code.
fn status(command: &str) -> String {
    let quiet = command.replacen("curl -i", "curl -s -o /dev/null -w '%{http_code}'", 1);
    let output = Command::new("sh").arg("-c").arg(quiet).output().expect("a shell");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The printed ways to see what was counted show what was sent.
fn counted(lines: &[String]) {
    let scrape = lines.iter().find(|l| l.contains("/stats/prometheus")).expect("how to scrape");
    let seen = Command::new("sh").arg("-c").arg(scrape).output().expect("a shell").stdout;
    assert!(String::from_utf8_lossy(&seen).contains("portcullis_requests_total{"), "{scrape}");
    let stats = lines.iter().find_map(|l| l.strip_prefix("make stats ADMIN_PORT=")).expect("the statistics");
    // Envoy shows the values of a histogram after its next flush.
    let until_times = "until \"$0\" stats | grep -E '^/orders/[{]id[}] +[0-9]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ '; do sleep 0.1; done";
    let mut command = Command::new("timeout");
    command.args(["60", "sh", "-c", until_times, env!("CARGO_BIN_EXE_demo")]).env("ADMIN_PORT", stats);
    let output = command.output().expect("timeout");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "no times: {line}{}", String::from_utf8_lossy(&output.stderr));
    for refused in ["ambiguous_path 1", "token_invalid 2", "token_missing 1"] {
        assert!(line.contains(refused), "{refused}: {line}");
    }
}

#[test]
fn the_demo_prints_what_holds_and_leaves_nothing_behind() {
    let mut process = demo([("PORT", 0), ("ADMIN_PORT", 0), ("UPSTREAM_PORT", 0)]).spawn().unwrap();
    let lines = welcome(&mut process);
    assert!(
        lines.first().is_some_and(|l| l.starts_with("Portcullis answers on http://127.0.0.1:")),
        "{lines:?}"
    );
    let started = children(process.id());
    assert_eq!(started.len(), 1, "Envoy, and nothing else");
    if Command::new("curl").arg("--version").output().is_ok() {
        let mut asked = 0;
        for pair in lines.windows(2) {
            let [promise, command] = pair else { continue };
            let Some((_, answer)) = promise.strip_prefix("# ").and_then(|p| p.rsplit_once(" -> ")) else {
                continue;
            };
            if command.starts_with("curl -i") {
                asked += 1;
                assert!(answer.starts_with(&status(command)), "{promise}\n{command}");
            }
        }
        assert!(asked >= 6, "{lines:?}");
        counted(&lines);
    } else {
        println!("SKIPPED curl: it is not on this machine, and the printed commands need it");
    }
    #[allow(unsafe_code, reason = "a signal, as Ctrl-C sends it")]
    // SAFETY: kill takes two numbers; the group is ours, and its leader was not waited for.
    let sent = unsafe { libc::kill(-process.id().cast_signed(), libc::SIGINT) };
    assert_eq!(sent, 0);
    let ended = process.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(String::from_utf8_lossy(&ended.stdout).ends_with("nothing is left behind\n"));
    for pid in started {
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "process {pid} is left");
    }
}

#[test]
fn a_taken_port_is_named_with_a_way_out() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    for name in ["PORT", "ADMIN_PORT", "UPSTREAM_PORT"] {
        let ports = ["PORT", "ADMIN_PORT", "UPSTREAM_PORT"].map(|n| (n, if n == name { port } else { 0 }));
        let output = demo(ports).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.contains(&format!("port {port} is taken; choose another: make run {name}=")), "{said}");
    }
}

#[test]
fn the_verbs_start_the_demo_and_hand_the_ports_over() {
    let dry = |arguments: &[&str]| {
        let output = Command::new("make")
            .arg("--dry-run")
            .args(arguments)
            .current_dir(paths::root())
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let run = dry(&["run", "PORT=1", "ADMIN_PORT=2", "UPSTREAM_PORT=3"]);
    for part in ["filters/build", "PORT=\"1\" ADMIN_PORT=\"2\" UPSTREAM_PORT=\"3\"", "--bin demo run"] {
        assert!(run.contains(part), "{part} is not in {run}");
    }
    assert!(dry(&["token", "SUBJECT=bob"]).contains("--bin demo token bob\n"));
    let own = dry(&["token", "KEY=own.pem", "ISSUER=https://a", "AUDIENCE=b"]);
    assert!(own.contains("demo token ann 'own.pem' 'https://a' 'b'"), "{own}");
    assert!(dry(&["jwk", "KEY=k.pem"]).contains("demo jwk 'k.pem'"));
    assert!(dry(&["upstream"]).contains("--bin demo upstream"));
    let stats = dry(&["stats", "ADMIN_PORT=2"]);
    assert!(stats.contains("ADMIN_PORT=\"2\"") && stats.contains("--bin demo stats"), "{stats}");
}

/// What the README of jwt-auth says about a key of one's own, with keys of the three kinds.
#[tokio::test]
async fn a_key_of_ones_own_becomes_a_jwk_and_signs_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_demo")).args(arguments).output().unwrap();
        let said =
            String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap();
        (output.status.success(), said.trim().to_owned())
    };
    let mut keys = Vec::new();
    let mut tokens = Vec::new();
    for name in ["rsa-2048", "p256", "p384"] {
        let der = fs::read(paths::root().join("tests/keys").join(format!("{name}.pk8"))).unwrap();
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let file = folder.path().join(format!("{name}.pem"));
        fs::write(&file, format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"))
            .unwrap();
        let file = file.to_str().unwrap();
        let (ok, jwk) = demo(&["jwk", file]);
        assert!(ok && !jwk.contains("\"d\""), "{jwk}");
        keys.push(serde_json::from_str::<Value>(&jwk).unwrap());
        let (ok, token) = demo(&["token", "ann", file, "https://id.test", "orders"]);
        assert!(ok, "{token}");
        tokens.push(token);
        let (ok, problem) = demo(&["token", "ann", file, "", ""]);
        assert!(!ok && problem.contains("ISSUER="), "{problem}");
    }
    let config = config_with(&[
        ("/providers/corp/keys", json!({"jwks": {"keys": keys}})),
        ("/providers/corp/algorithms", json!(["RS256", "ES256", "ES384"])),
    ]);
    let upstream = Upstream::start().await;
    let listener = Listener::new("l").plugin(&Plugin::new("jwt-auth", config));
    let envoy = Envoy::start(&bootstrap(upstream.address(), &[listener])).await;
    for token in tokens {
        let answer = ask(envoy.address(), "GET", "/orders/1").bearer(&token).send().await;
        assert_eq!((answer.status, &answer.json()["headers"]["x-user"]), (200, &json!(["ann"])));
    }
}
