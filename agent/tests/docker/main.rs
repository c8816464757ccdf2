//! Images, containers and promotions against a real Docker daemon. Needs root, a daemon at
//! /run/docker.sock, a static /bin/busybox and, for pulls, `docker-registry`. Touches only containers and
//! images whose names begin with `opsagent-test-`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod image;
mod inside;
mod promotion;
mod replacement;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use ops_agent::Result;
use ops_agent::engine::ledger::Ledger;
use ops_agent::host::{Fingerprints, Host, Objects, Progress, Registries, RegistryLogin};
use ops_agent::resource::Resource;
use ops_agent::resource::container::{Container, Mount};

/// An image of one static program.
fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let name = "opsagent-test-busybox:1".to_owned();
        let directory = tempfile::tempdir().unwrap();
        for made in ["bin", "tmp", "lib64", "lib", "project", "run/secrets", "state", "work"] {
            std::fs::create_dir_all(directory.path().join(made)).unwrap();
        }
        std::fs::copy("/bin/busybox", directory.path().join("bin/busybox")).unwrap();
        for link in ["sh", "sleep", "touch", "test", "cat", "ls", "env", "ps", "echo", "id"] {
            std::os::unix::fs::symlink("busybox", directory.path().join("bin").join(link)).unwrap();
        }
        // A tmpfs gets the mode of the directory that it hides (runc), whatever it is asked for.
        sh(&format!("chmod 1777 {}/tmp", show(directory.path())));
        let tar = directory.path().with_extension("tar");
        sh(&format!(
            "tar -C {} -cf {} . && docker import {} {name}",
            show(directory.path()),
            show(&tar),
            show(&tar)
        ));
        std::fs::remove_file(tar).unwrap();
        name
    })
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a shell command that must succeed, and returns what it printed.
fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Keeps what was said.
#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Progress for Said {
    fn step(&self, _subject: &str, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

struct Nothing;

#[async_trait]
impl Objects for Nothing {
    async fn download(&self, _: &str, _: &str, _: &Path) -> Result<String> {
        Ok(String::new())
    }
}

/// The same login for every registry.
struct Login(Option<(&'static str, &'static str)>);

#[async_trait]
impl Registries for Login {
    async fn login(&self, _: &str) -> Result<Option<RegistryLogin>> {
        Ok(self.0.map(|(user, password)| RegistryLogin { user: user.into(), password: password.into() }))
    }
}

/// A host of its own below a temporary root, with the real daemon; removes its containers at the end.
struct Lab {
    root: tempfile::TempDir,
    host: Host,
    said: Arc<Said>,
    prefix: String,
}

impl Lab {
    fn new(test: &str) -> Self {
        Self::with_login(test, None)
    }

    fn with_login(test: &str, login: Option<(&'static str, &'static str)>) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run")).unwrap();
        std::fs::create_dir_all(root.path().join("var/lib/ops-agent/sqlmesh")).unwrap();
        // Bind mounts are looked up by user 10001.
        sh(&format!("chmod 755 {}", show(root.path())));
        std::os::unix::fs::symlink("/run/docker.sock", root.path().join("run/docker.sock")).unwrap();
        let said = Arc::new(Said::default());
        let host = Host {
            root: root.path().to_owned(),
            ledger: Arc::new(Ledger::new(root.path().join("ledger.json"))),
            fingerprints: Arc::new(Fingerprints::new([7; 64])),
            objects: Arc::new(Nothing),
            registries: Arc::new(Login(login)),
            progress: said.clone(),
        };
        Self { root, host, said, prefix: format!("opsagent-test-{}-{test}", std::process::id()) }
    }

    /// A directory of the host that user 10001 may write, mounted at `target`.
    fn mount(&self, name: &str, target: &str) -> Mount {
        let source = self.root.path().join(name);
        std::fs::create_dir_all(&source).unwrap();
        sh(&format!("chmod 777 {}", show(&source)));
        Mount { source: show(&source), target: target.into(), read_only: false }
    }

    /// A container that runs a shell script.
    fn container(&self, name: &str, script: &str) -> Container {
        Container {
            name: format!("{}-{name}", self.prefix),
            image: image().into(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![("GREETING".into(), "hello".into())],
            user: (10001, 10001),
            mounts: Vec::new(),
            tmpfs: vec![("/tmp".into(), 8)],
            ports: Vec::new(),
            memory_mb: 64,
            health: Some(["test", "-e", "/tmp/ok"].map(str::to_owned).to_vec()),
            stop_seconds: 10,
            healthy_within_seconds: 12,
            depends: Vec::new(),
        }
    }

    /// One that gets healthy, and ends at once when asked to.
    fn good(&self, name: &str) -> Container {
        self.container(name, "trap 'exit 0' TERM; touch /tmp/ok; while :; do sleep 0.1; done")
    }

    /// A secret file of the host, as the agent puts it there for a consumer.
    fn secret(&self, variable: &str, value: &str) {
        let directory = self.host.run("secrets/sqlmesh");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(variable), value).unwrap();
    }

    fn said(&self) -> Vec<String> {
        self.said.0.lock().unwrap().clone()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let list = format!("docker ps -aq --filter name=^/{}-", self.prefix);
        sh(&format!("{list} | xargs -r docker rm -fv"));
    }
}

/// One look and, where something differs, one apply and another look: as the engine does it.
/// Returns whether anything differed.
async fn converge<R: Resource>(lab: &Lab, resource: &R) -> Result<bool> {
    let current = resource.observe(&lab.host).await?;
    if resource.diff(&current).is_empty() {
        return Ok(false);
    }
    resource.apply(&lab.host, current).await?;
    resource.verify(&lab.host).await?;
    Ok(true)
}

/// What `docker inspect` says by a template; empty when there is no such container.
fn inspect(name: &str, template: &str) -> String {
    let args = ["inspect", "--type", "container", "--format", template, name];
    let output = Command::new("docker").args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
