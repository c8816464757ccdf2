//! What ran before, running again: first thing after a boot, whatever the settings now say.

use async_trait::async_trait;

use super::replace::found;
use super::{Health, docker};
use crate::Result;
use crate::host::Host;
use crate::resource::{Diff, Id, Kind, Resource};

/// A container that, if it exists at all, runs: as it is, of whatever version. Comes before everything
/// that may fail for a new version (a pull, a bundle, a plan), so that a host that boots with settings
/// that are no good still serves what it served before.
///
/// It never fails for what is wrong with the container: mending that is the task of the [`Container`]
/// that comes after it.
///
/// [`Container`]: super::Container
pub struct Standing {
    /// Name of the container.
    pub name: String,
    /// Name of one that it must not run beside: a plan that an interrupted run left going had the
    /// scheduler stopped, and whoever takes the plan over starts it again.
    pub not_beside: Option<String>,
}

#[async_trait]
impl Resource for Standing {
    /// How it is; `None` where there is none of that name.
    type Current = Option<Health>;

    fn id(&self) -> Id {
        Id::new(Kind::Container, format!("{} as it was", self.name))
    }

    async fn observe(&self, host: &Host) -> Result<Option<Health>> {
        let Some(docker) = docker::find(host).await? else { return Ok(None) };
        if let Some(other) = &self.not_beside
            && found(&docker, other).await?.is_some_and(|other| other.health != Health::Stopped)
        {
            return Ok(None);
        }
        // One that was created but never started is an attempt that was interrupted, and not proven.
        let found = found(&docker, &self.name).await?;
        Ok(found.filter(|found| found.was_started).map(|found| found.health))
    }

    fn diff(&self, current: &Option<Health>) -> Diff {
        let mut diff = Diff::default();
        if *current == Some(Health::Stopped) {
            diff.compare("state", Some(Health::Stopped.as_str()), "running");
        }
        diff
    }

    async fn apply(&self, host: &Host, _current: Option<Health>) -> Result<()> {
        let docker = docker::connect(host).await?;
        if let Err(error) = docker.start_container(&self.name, None).await {
            let error = docker::failed("start", &self.name, &error);
            tracing::warn!("{error}");
        }
        Ok(())
    }

    async fn verify(&self, _host: &Host) -> Result<()> {
        Ok(())
    }
}
