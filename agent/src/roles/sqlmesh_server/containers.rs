//! The three containers: UI, scheduler, and the throw-away one that plans.

use super::environment::Environment;
use super::ui_proxy;
use super::{CA_BUNDLE, CONTAINER_USER, SQLMESH_DIR};
use crate::resource::container::{Container, Mount};
use crate::settings::{SqlmeshServer, UI_UPSTREAM_PORT};

/// Name of the scheduler's container.
pub(super) const SCHEDULER: &str = "ops-sqlmesh-scheduler";
const SECRETS_DIR: &str = "/run/ops-agent/secrets/sqlmesh";
/// How long `docker stop` waits beyond the supervisor's own drain limit.
const STOP_MARGIN_SECONDS: u64 = 30;
/// The UI answers after 5 to 12 s on two busy cores.
const UI_HEALTHY_SECONDS: u64 = 120;
/// Makes the containers of one version of the project.
pub(super) struct Containers<'a> {
    pub(super) settings: &'a SqlmeshServer,
    pub(super) bundle: &'a str,
    pub(super) environment: &'a Environment,
}

impl Containers<'_> {
    /// What all of them share: user, mounts, environment, one tmpfs.
    fn base(&self, name: &str, command: &[&str], memory_mb: u64) -> Container {
        let entrypoint = ["/ops-agent", "entrypoint", "--"];
        let read_only = |source: &str, target: &str| Mount {
            source: source.into(),
            target: target.into(),
            read_only: true,
        };
        Container {
            name: name.into(),
            image: self.settings.image.reference.clone(),
            command: entrypoint.iter().chain(command).map(|word| (*word).to_owned()).collect(),
            env: self.environment.public.clone(),
            user: CONTAINER_USER,
            mounts: vec![
                read_only("/usr/bin/ops-agent", "/ops-agent"),
                read_only(SECRETS_DIR, "/run/secrets"),
                read_only(CA_BUNDLE, CA_BUNDLE),
                read_only(&format!("{SQLMESH_DIR}/projects/{}", self.bundle), "/project"),
            ],
            tmpfs: vec![("/tmp".into(), 256)],
            ports: Vec::new(),
            memory_mb,
            health: None,
            stop_seconds: 30,
            healthy_within_seconds: UI_HEALTHY_SECONDS,
            depends: vec![
                ("ca-bundle".into(), sha256(&self.environment.ca_bundle)),
                ("secrets".into(), self.environment.fingerprint.clone()),
            ],
        }
    }

    pub(super) fn ui(&self) -> Container {
        let command =
            [&SQLMESH[..], &["ui", "--mode", "catalog", "--host", "0.0.0.0", "--port", "8000"]].concat();
        let mut container = self.base("ops-sqlmesh-ui", &command, self.settings.ui.memory_mb);
        container.ports = vec![(ui_proxy::UPSTREAM_ADDRESS.into(), UI_UPSTREAM_PORT, 8000)];
        // /health answers 200 for a project that cannot be loaded; the list of models does not. Neither
        // asks the database, which may thus go to sleep.
        let urls = ["http://127.0.0.1:8000/health", "http://127.0.0.1:8000/api/models"];
        container.health = Some(words(&[&["/ops-agent", "probe", "http"][..], &urls].concat()));
        container
    }

    pub(super) fn scheduler(&self) -> Container {
        let scheduler = &self.settings.scheduler;
        let (interval, drain) = (scheduler.interval_seconds.to_string(), scheduler.drain_seconds.to_string());
        let supervise = ["/ops-agent", "supervise", "--interval", &interval, "--drain", &drain];
        let command =
            [&supervise[..], &["--state", "/state/state.json", "--"], &SQLMESH[..], &["run"]].concat();
        let mut container = self.base(SCHEDULER, &command, scheduler.memory_mb);
        container.mounts.push(Mount {
            source: format!("{SQLMESH_DIR}/scheduler"),
            target: "/state".into(),
            read_only: false,
        });
        container.health =
            Some(words(&["/ops-agent", "probe", "heartbeat", "/state/state.json", "--max-age", "60"]));
        container.stop_seconds = scheduler.drain_seconds + STOP_MARGIN_SECONDS;
        container
    }

    pub(super) fn plan(&self) -> Container {
        let command = [&SQLMESH[..], &["plan", "--auto-apply", "--no-prompts"]].concat();
        self.base("ops-sqlmesh-plan", &command, self.settings.scheduler.memory_mb)
    }
}

/// Global options go before the subcommand. Logs go to the tmpfs, since the rest is read-only.
const SQLMESH: [&str; 5] = ["sqlmesh", "--paths", "/project", "--log-file-dir", "/tmp/logs"];

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(text.as_bytes()))
}
