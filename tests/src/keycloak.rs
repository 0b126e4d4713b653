//! A real Keycloak, in a folder of its own, on a port of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, Response, ask};
use crate::engines::start::free_port;
use crate::envoy::die_with_us;
use crate::paths;

/// How many times it is asked whether it is ready, ten times a second.
const PATIENCE: u32 = 3_000;

/// A running Keycloak; it ends when this is dropped.
pub struct Keycloak {
    process: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl Keycloak {
    /// Starts one with these realms.
    ///
    /// # Panics
    /// If it does not become ready; shows its log.
    pub async fn start(realms: &[Value]) -> Keycloak {
        let folder = TempDir::new().expect("a folder");
        let home = folder.path().join("keycloak");
        let script = paths::peer("keycloak");
        let from = script.parent().and_then(|bin| bin.parent()).expect("its folder");
        // It writes into its own folder.
        let copied = Command::new("cp").arg("-r").arg(from).arg(&home).status();
        assert!(copied.is_ok_and(|status| status.success()), "the copy of Keycloak");
        fs::create_dir_all(home.join("data/import")).expect("a folder");
        for realm in realms {
            let name = realm["realm"].as_str().expect("a name");
            fs::write(home.join(format!("data/import/{name}-realm.json")), realm.to_string())
                .expect("a realm");
        }
        let port = free_port();
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(home.join("bin/kc.sh"));
        command
            .args(["start-dev", "--http-host=127.0.0.1", "--import-realm"])
            .arg(format!("--http-port={port}"))
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin")
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", "admin")
            .env("JAVA_OPTS_KC_HEAP", "-Xms128m -Xmx512m")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        die_with_us(&mut command);
        let process = command.spawn().expect("Keycloak starts");
        let mut keycloak = Keycloak { process, folder, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        for _ in 0..PATIENCE {
            let ended = keycloak.process.try_wait();
            assert!(matches!(ended, Ok(None)), "Keycloak ended:\n{}", keycloak.log());
            let ready = client::get(keycloak.address, "/realms/master").await;
            if ready.is_some_and(|answer| answer.text().contains("\"realm\":\"master\"")) {
                return keycloak;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("Keycloak is not ready:\n{}", keycloak.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A realm's issuer.
    #[must_use]
    pub fn issuer(&self, realm: &str) -> String {
        format!("http://{}/realms/{realm}", self.address)
    }

    /// Asks a realm's token endpoint.
    pub async fn grant(&self, realm: &str, form: &str) -> Response {
        self.form(&format!("/realms/{realm}/protocol/openid-connect/token"), form).await
    }

    /// Sends a form.
    pub async fn form(&self, path: &str, form: &str) -> Response {
        let request = ask(self.address, "POST", path).header("host", self.address.to_string());
        request.header("content-type", "application/x-www-form-urlencoded").body(form).send().await
    }

    /// The tokens that Ann gets in a realm.
    ///
    /// # Panics
    /// If she gets none.
    pub async fn tokens(&self, realm: &str) -> Value {
        let form = "grant_type=password&client_id=orders-web&username=ann&password=ann";
        let answer = self.grant(realm, form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Ann's access token.
    ///
    /// # Panics
    /// If she gets none.
    pub async fn token(&self, realm: &str) -> String {
        self.tokens(realm).await["access_token"].as_str().expect("a token").to_owned()
    }

    /// Asks the admin interface.
    ///
    /// # Panics
    /// If it refuses.
    pub async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let form = "grant_type=password&client_id=admin-cli&username=admin&password=admin";
        let token =
            self.grant("master", form).await.json()["access_token"].as_str().expect("a token").to_owned();
        let request = ask(self.address, method, &format!("/admin/realms{path}")).bearer(&token);
        let request = request.header("host", self.address.to_string());
        let request = match body {
            None => request,
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        };
        let answer = request.send().await;
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text());
        answer
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        // `kc.sh` becomes the Java process: there is one to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!(
                "--- the end of Keycloak's log\n{}",
                last.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }
}
