//! A real registry of images on this machine, and the images of this build in it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use crate::engines::start::free_port;
use crate::envoy::die_with_us;
use crate::{client, paths};

/// Who may push to and pull from a closed registry.
pub const USER: &str = "puller";
/// Their password.
pub const PASSWORD: &str = "a password of the tests";
/// It, as the registry reads it: by bcrypt, with the least cost that makes no test slow.
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuComanBKiU1JTRzmmvE2xk8ApqQhbSI.";
/// Istio's agent takes a challenge only if its realm is the URL of a host outside, though nobody asks that host.
const REALM: &str = "https://registry.example.com";

/// A running registry; it ends when this is dropped.
pub struct Registry {
    process: Child,
    folder: TempDir,
    address: SocketAddr,
    crane: PathBuf,
}

/// An image that was packed: its name, its tag, the digest of its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The module.
    pub name: String,
    /// The version, with `-artifact` behind it for the second kind.
    pub tag: String,
    /// `sha256:` and hexadecimal digits.
    pub digest: String,
}

impl Image {
    /// The folder of its layout.
    #[must_use]
    pub fn layout(&self) -> String {
        format!("{}-{}", self.name, self.tag)
    }
}

/// `filters/oci` into this folder.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn pack(folder: &Path) -> Vec<Image> {
    let printed = printed(Command::new(paths::root().join("filters/oci")).arg("--to").arg(folder));
    let images = printed.lines().filter_map(|line| {
        let (image, rest) = line.split_once("  ")?;
        let (name, tag) = image.split_once(':')?;
        let digest = rest.split_once(' ')?.0;
        Some(Image { name: name.into(), tag: tag.into(), digest: digest.into() })
    });
    images.filter(|image| image.digest.starts_with("sha256:")).collect()
}

/// What a command prints.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Registry {
    /// Starts an empty one.
    ///
    /// # Panics
    /// If it does not serve.
    pub async fn start() -> Registry {
        Registry::start_with(|_| String::new()).await
    }

    /// Starts an empty one that asks for [`USER`] and [`PASSWORD`].
    ///
    /// # Panics
    /// If it does not serve.
    pub async fn start_closed() -> Registry {
        let registry = Registry::start_with(|folder| {
            let file = folder.join("users");
            fs::write(&file, format!("{USER}:{HASH}\n")).expect("a file");
            format!("auth: {{htpasswd: {{realm: \"{REALM}\", path: {}}}}}\n", file.display())
        });
        let registry = registry.await;
        let home = registry.folder.path().join(".docker");
        fs::create_dir(&home).expect("a folder");
        fs::write(home.join("config.json"), registry.credentials(PASSWORD)).expect("a file");
        registry
    }

    /// What a pull secret holds, with this password.
    #[must_use]
    pub fn credentials(&self, password: &str) -> String {
        let auth = STANDARD.encode(format!("{USER}:{password}"));
        json!({"auths": {self.address.to_string(): {"auth": auth}}}).to_string()
    }

    async fn start_with(more: impl FnOnce(&Path) -> String) -> Registry {
        let folder = TempDir::new().expect("a folder");
        // It cannot choose a port itself.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n{}",
            folder.path().join("images").display(),
            more(folder.path())
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, config).expect("a file");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(paths::peer("registry"));
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        die_with_us(&mut command);
        let process = command.spawn().expect("the registry starts");
        let registry = Registry { process, folder, address, crane: paths::peer("crane") };
        for _ in 0..600 {
            if client::get(address, "/v2/").await.is_some_and(|r| [200, 401].contains(&r.status)) {
                return registry;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(registry.folder.path().join("log")).unwrap_or_default();
        panic!("the registry does not serve:\n{log}");
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How others name an image that is here.
    #[must_use]
    pub fn reference(&self, image: &Image) -> String {
        format!("{}/portcullis/{}:{}", self.address, image.name, image.tag)
    }

    /// Pushes an image out of the folder that it was packed into.
    ///
    /// # Panics
    /// If that fails.
    pub fn push(&self, folder: &Path, image: &Image) {
        let layout = folder.join(image.layout());
        let pushed = self.crane(&["push", &layout.to_string_lossy(), &self.reference(image)]);
        assert!(pushed.trim().ends_with(&image.digest), "{image:?}: {pushed}");
    }

    /// What crane prints, a tool that reads registries.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn crane(&self, arguments: &[&str]) -> String {
        printed(Command::new(&self.crane).args(arguments).env("HOME", self.folder.path()))
    }

    /// The bytes of a blob, as anybody may fetch it.
    ///
    /// # Panics
    /// If there is none.
    pub async fn blob(&self, image: &Image, digest: &str) -> Vec<u8> {
        let path = format!("/v2/portcullis/{}/blobs/{digest}", image.name);
        let answer = client::get(self.address, &path).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
        answer.body.to_vec()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
