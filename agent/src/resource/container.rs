//! A running container, as it should be configured.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Change, Diff, Id, Kind, Resource, docker};
use crate::Result;
use crate::host::Host;

mod compare;
mod config;
pub(super) mod health;
mod replace;
mod standing;

pub(super) use compare::is_of;
pub(super) use config::{creation, has_journal};
pub use health::Health;
pub use standing::Standing;

/// What the steps between the limits of a spec (create, rename, start, remove) may take in all.
const STEPS: Duration = Duration::from_secs(180);

/// A container that must run with exactly this configuration. The hash of the whole specification is
/// a label; a container with another hash is replaced: the new one is tried in the place of the old,
/// and if it does not become healthy within `healthy_within` the old one regains its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Name.
    pub name: String,
    /// `REGISTRY/REPOSITORY@sha256:HEX`.
    pub image: String,
    /// Entrypoint and command, whole.
    pub command: Vec<String>,
    /// Environment that is not secret.
    pub env: Vec<(String, String)>,
    /// User id and group id inside.
    pub user: (u32, u32),
    /// Bind mounts.
    pub mounts: Vec<Mount>,
    /// tmpfs mounts: path and size in MiB.
    pub tmpfs: Vec<(String, u64)>,
    /// Published ports: address of the host, its port, port inside.
    pub ports: Vec<(String, u16, u16)>,
    /// Memory limit in MiB.
    pub memory_mb: u64,
    /// Command of the health check; `None` for none.
    pub health: Option<Vec<String>>,
    /// How long a stop waits before the container is killed, in seconds.
    pub stop_seconds: u64,
    /// How long a new container has to become healthy, in seconds.
    pub healthy_within_seconds: u64,
    /// Digests of what it consumes but does not name: secrets' fingerprints, files. A change of one
    /// replaces the container. An empty digest is one that is not known just now, since AWS cannot be
    /// reached: a container that was made with any is left as it is.
    pub depends: Vec<(String, String)>,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host; must exist.
    pub source: String,
    /// Absolute path inside.
    pub target: String,
    /// Whether the container may not write.
    pub read_only: bool,
}

/// A container that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Docker's id: 64 hex digits.
    pub id: String,
    /// The hash it was made with; `None` when not made by us.
    pub hash: Option<String>,
    /// The specification it was made with, for readable differences.
    pub spec: Option<Box<Container>>,
    /// How it is.
    pub health: Health,
    /// Whether it ever ran.
    pub was_started: bool,
}

/// What there is under a container's name, and under the name that its predecessor has while it is
/// being replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// The container of that name.
    pub container: Option<Found>,
    /// Its predecessor: only there when a replacement was interrupted.
    pub previous: Option<Found>,
}

impl Container {
    /// The name that the old container has while a new one is tried.
    fn previous_name(&self) -> String {
        format!("{}.previous", self.name)
    }
}

#[async_trait]
impl Resource for Container {
    type Current = Current;

    fn id(&self) -> Id {
        Id::new(Kind::Container, &self.name)
    }

    async fn observe(&self, host: &Host) -> Result<Current> {
        let Some(docker) = docker::find(host).await? else { return Ok(Current::default()) };
        replace::look(&docker, self).await
    }

    fn diff(&self, current: &Current) -> Diff {
        let mut diff = Diff::default();
        match &current.container {
            None => diff.0.push(Change::new("image", None, Some(self.image.clone()))),
            Some(found) if !self.made(found) => {
                let wanted = self.knowing(found.spec.as_deref());
                diff.0.extend(compare::changes(found.spec.as_deref(), &wanted));
            }
            Some(found) if found.health != Health::Healthy => {
                diff.compare("health", Some(found.health.as_str()), Health::Healthy.as_str());
            }
            Some(_) => {}
        }
        if current.previous.is_some() {
            let name = self.previous_name();
            diff.0.push(Change::new("interrupted replacement", Some(format!("{name} is kept")), None));
        }
        diff
    }

    async fn apply(&self, host: &Host, _observed: Current) -> Result<()> {
        let docker = docker::connect(host).await?;
        replace::Replacing { docker: &docker, host, spec: self }.run().await
    }

    fn time_limit(&self) -> Duration {
        // A replacement stops the old one (its own limit is not known here, ours stands in), waits for
        // the new one, and on failure stops that and waits for the old one again.
        STEPS + Duration::from_secs(self.stop_seconds * 2 + self.healthy_within_seconds * 2)
    }
}

#[cfg(test)]
mod tests;
