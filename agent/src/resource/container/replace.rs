//! From any state to the one wanted, in steps each of which can be the last one of a run that is
//! killed: the next run looks again and goes on.
//!
//! While a replacement is under way the old container is called `NAME.previous`. So a container
//! called NAME beside one called `NAME.previous` is an attempt that nobody has seen to be healthy:
//!
//! | NAME | NAME.previous | what it means, what is done |
//! |---|---|---|
//! | none | none | create, start, wait |
//! | wanted | none | start or restart where needed, wait |
//! | other | none | rename it to NAME.previous, go on |
//! | none | there | create NAME, stop the old, start, wait; remove the old, or put it back |
//! | wanted | there | stop the old, start where needed, wait; remove the old, or put it back |
//! | other | there | an attempt at something no longer wanted: remove it, go on |
//! | any | wanted | the settings were put back: remove the attempt, put it back |

use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{CreateContainerOptions, RenameContainerOptions, StartContainerOptions};

use super::compare::{HASH_LABEL, SPEC_LABEL};
use super::{Container, Current, Found, Health, creation, has_journal, health};
use crate::host::Host;
use crate::resource::docker::{discard, failed, is_not_found, stop};
use crate::{Error, Result};

/// What there is under both names.
pub(super) async fn look(docker: &Docker, spec: &Container) -> Result<Current> {
    Ok(Current {
        container: found(docker, &spec.name).await?,
        previous: found(docker, &spec.previous_name()).await?,
    })
}

pub(super) async fn found(docker: &Docker, name: &str) -> Result<Option<Found>> {
    match docker.inspect_container(name, None).await {
        // The daemon also answers to the beginning of an id, and a name can look like one.
        Ok(inspected)
            if inspected.name.as_deref().map(|found| found.trim_start_matches('/')) == Some(name) =>
        {
            Ok(Some(Found::from(inspected)))
        }
        Ok(_) => Ok(None),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(failed("inspect", name, &error)),
    }
}

impl From<ContainerInspectResponse> for Found {
    fn from(inspected: ContainerInspectResponse) -> Self {
        let health = Health::of(&inspected);
        let status = inspected.state.as_ref().and_then(|state| state.status);
        let was_started = status != Some(ContainerStateStatusEnum::CREATED);
        let mut labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
        let spec = labels.remove(SPEC_LABEL).and_then(|json| serde_json::from_str(&json).ok());
        Self {
            id: inspected.id.unwrap_or_default(),
            hash: labels.remove(HASH_LABEL),
            spec,
            health,
            was_started,
        }
    }
}

/// One replacement, or whatever less is needed.
pub(super) struct Replacing<'a> {
    pub(super) docker: &'a Docker,
    pub(super) host: &'a Host,
    pub(super) spec: &'a Container,
}

impl Replacing<'_> {
    /// Looks, and does what the table above says.
    pub(super) async fn run(&self) -> Result<()> {
        let is_wanted = |found: &Found| self.spec.made(found);
        let name = &self.spec.name;
        let Current { mut container, mut previous } = look(self.docker, self.spec).await?;

        if previous.as_ref().is_some_and(is_wanted) {
            if container.take().is_some() {
                self.discard(name).await?;
            }
            self.rename(&self.spec.previous_name(), name).await?;
            container = previous.take();
        }
        match (container, previous) {
            (Some(found), previous) if is_wanted(&found) => {
                if previous.is_some() {
                    self.stop(&self.spec.previous_name()).await?;
                }
                let result = self.revive(found.health).await;
                self.settle(result, previous.is_some()).await
            }
            (Some(_), Some(_)) => {
                self.discard(name).await?;
                self.try_new(true).await
            }
            (Some(_), None) => {
                self.rename(name, &self.spec.previous_name()).await?;
                self.try_new(true).await
            }
            (None, previous) => self.try_new(previous.is_some()).await,
        }
    }

    /// Creates the new container, so that what the daemon refuses costs no pause, then stops the old
    /// one and starts the new: both at once would share ports and, for the scheduler, work.
    async fn try_new(&self, has_previous: bool) -> Result<()> {
        let result = async {
            self.create().await?;
            if has_previous {
                self.stop(&self.spec.previous_name()).await?;
            }
            self.start(&self.spec.name).await?;
            self.wait(&self.spec.name).await
        }
        .await;
        self.settle(result, has_previous).await
    }

    /// Removes the old container after a success. After a failure the new one makes way and the old
    /// one gets its name back; without an old one, the new one stays to be looked at.
    async fn settle(&self, result: Result<()>, has_previous: bool) -> Result<()> {
        if !has_previous {
            return result;
        }
        let previous = self.spec.previous_name();
        let Err(failure) = result else { return self.discard(&previous).await };
        let back = async {
            self.discard(&self.spec.name).await?;
            self.rename(&previous, &self.spec.name).await?;
            self.start(&self.spec.name).await
        };
        // Whatever it was, it is not tried again at once: each attempt is a pause of the good one.
        let service = self.spec.name.clone();
        let detail = if let Error::Unhealthy { detail, .. } = failure { detail } else { failure.to_string() };
        Err(match back.await {
            Ok(()) => Error::Unhealthy {
                service,
                detail: format!("{detail}; the one before it is back in its place"),
            },
            Err(Error::Docker { action, subject, status, message }) => {
                Error::Docker { action, subject, status, message: format!("{message}; after: {detail}") }
            }
            Err(error) => error,
        })
    }

    /// Makes a container of the right specification run: starts a stopped one, gives one that is just
    /// starting its time, and restarts one that is unhealthy.
    async fn revive(&self, health: Health) -> Result<()> {
        let name = &self.spec.name;
        match health {
            Health::Healthy | Health::Starting => {}
            Health::Stopped => self.start(name).await?,
            Health::Unhealthy | Health::Restarting => {
                self.stop(name).await?;
                self.start(name).await?;
            }
        }
        self.wait(name).await
    }

    async fn create(&self) -> Result<()> {
        let name = &self.spec.name;
        self.step("creating");
        let options =
            CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        let body = creation(self.spec, has_journal(self.host), true);
        let created = self.docker.create_container(Some(options), body).await;
        created.map(drop).map_err(|error| failed("create", name, &error))
    }

    async fn start(&self, name: &str) -> Result<()> {
        self.step("starting");
        let started = self.docker.start_container(name, None::<StartContainerOptions>).await;
        started.map_err(|error| failed("start", name, &error))
    }

    async fn wait(&self, name: &str) -> Result<()> {
        let limit = Duration::from_secs(self.spec.healthy_within_seconds);
        health::wait(self.docker, self.host, &self.subject(), name, limit).await
    }

    async fn stop(&self, name: &str) -> Result<()> {
        stop(self.docker, self.host, &self.subject(), name).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let options = RenameContainerOptions { name: to.to_owned() };
        let renamed = self.docker.rename_container(from, options).await;
        renamed.map_err(|error| failed("rename", from, &error))
    }

    async fn discard(&self, name: &str) -> Result<()> {
        discard(self.docker, self.host, &self.subject(), name).await
    }

    fn subject(&self) -> String {
        super::Resource::id(self.spec).to_string()
    }

    fn step(&self, what: &str) {
        self.host.progress.step(&self.subject(), what);
    }
}
