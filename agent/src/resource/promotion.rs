//! A project version applied to the prod environment by `sqlmesh plan`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, LogsOptions, StartContainerOptions,
};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::container::health::ending;
use super::container::{Container, creation, has_journal, is_of};
use super::docker::{self, failed, is_not_found};
use super::{Change, Diff, Id, Kind, Resource};
use crate::container::verdict::{Verdict, plain};
use crate::host::Host;
use crate::host::replace::{Replacement, replace};
use crate::mask::Mask;
use crate::{Error, Result};

/// How long one plan may take. A first plan fills every model from its start date.
const PLAN_LIMIT: Duration = Duration::from_secs(3600);
/// How long all that is around plan and drain may take.
const STEPS: Duration = Duration::from_secs(300);
/// Between two looks at a container whose output has ended.
const POLL: Duration = Duration::from_millis(250);
/// How much of SQLMesh's last line is shown while it works, in characters.
const SHOWN: usize = 80;
/// What was promoted last, below the state directory.
const STATE_FILE: &str = "sqlmesh/promoted.json";

type Bollard = bollard::errors::Error;

/// Only a plan promotes code. Runs `sqlmesh plan --auto-apply --no-prompts` in a throw-away container
/// when the project or the image is another than the one last promoted, with the scheduler drained
/// meanwhile. A failed plan leaves prod, UI and scheduler as they were, the scheduler running.
///
/// After a success the scheduler is left stopped: the container resource that follows starts it, or
/// replaces it by one of the new version.
pub struct Promotion {
    /// What is promoted: the digests of project and image.
    pub version: String,
    /// The throw-away container.
    pub plan: Container,
    /// Name of the scheduler's container, drained before and started again after a failure.
    pub scheduler: String,
    /// How long the scheduler may take to end its run, in seconds.
    pub drain_seconds: u64,
}

/// What was promoted last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The version, as in [`Promotion::version`].
    pub version: String,
    /// When its plan had ended.
    pub when: Timestamp,
}

fn state_file(host: &Host) -> PathBuf {
    host.state(STATE_FILE)
}

#[async_trait]
impl Resource for Promotion {
    type Current = Option<Promoted>;

    fn id(&self) -> Id {
        Id::new(Kind::Promotion, "prod")
    }

    async fn observe(&self, host: &Host) -> Result<Option<Promoted>> {
        let path = state_file(host);
        match std::fs::read(&path) {
            // What cannot be read is as good as none: planning again what prod has changes nothing.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path, error)),
        }
    }

    fn diff(&self, current: &Option<Promoted>) -> Diff {
        let before = current.as_ref().map(|promoted| promoted.version.clone());
        if before.as_ref() == Some(&self.version) {
            return Diff::default();
        }
        Diff(vec![Change::new("promoted version", before, Some(self.version.clone()))])
    }

    async fn apply(&self, host: &Host, _current: Option<Promoted>) -> Result<()> {
        let docker = docker::connect(host).await?;
        let mask = Mask::read(&host.run("secrets"));
        let planning =
            Planning { docker: &docker, host, promotion: self, subject: self.id().to_string(), mask };
        planning.run().await
    }

    fn time_limit(&self) -> Duration {
        PLAN_LIMIT + Duration::from_secs(self.drain_seconds) + STEPS
    }
}

struct Planning<'a> {
    docker: &'a Docker,
    host: &'a Host,
    promotion: &'a Promotion,
    subject: String,
    /// What SQLMesh says goes to the report and the journal, which others may read.
    mask: Mask,
}

impl Planning<'_> {
    /// A plan that an interrupted run left going, or that ended well behind its back, is taken over:
    /// to end a plan in the middle is worse than to wait for it.
    async fn run(&self) -> Result<()> {
        let name = &self.promotion.plan.name;
        let left = self.inspect().await?.filter(|left| self.can_take_over(left));
        if left.is_none() {
            self.discard(name).await?;
            // Before the scheduler is drained: what the daemon refuses costs no pause.
            self.create().await?;
        }
        if let Err(failure) = self.drain_and_plan(left.is_some()).await {
            let error = failure.into_error(name);
            let removed = self.discard(name).await;
            let Err(also) = self.start_scheduler().await.and(removed) else { return Err(error) };
            return Err(Error::Refused {
                what: "promotion".into(),
                why: format!("{error}; and after that: {also}"),
                fix: "run `ops-agent converge` once both are mended".into(),
            });
        }
        let promoted = Promoted { version: self.promotion.version.clone(), when: Timestamp::now() };
        let content = serde_json::to_vec(&promoted).unwrap_or_default();
        replace(&Replacement { path: state_file(self.host), content, mode: 0o644, owner: None })?;
        self.discard(name).await
    }

    fn can_take_over(&self, left: &ContainerInspectResponse) -> bool {
        let ended_well = left.state.as_ref().is_some_and(|state| {
            state.running == Some(true)
                || (state.status == Some(ContainerStateStatusEnum::EXITED) && state.exit_code == Some(0))
        });
        ended_well && is_of(left, &self.promotion.plan)
    }

    async fn drain_and_plan(&self, taken_over: bool) -> Result<(), Failure> {
        docker::stop(self.docker, self.host, &self.subject, &self.promotion.scheduler).await?;
        let verdict = tokio::time::timeout(PLAN_LIMIT, self.plan(taken_over)).await;
        let Ok(verdict) = verdict else {
            return Err(Failure::Other(Error::Timeout { subject: "sqlmesh plan".into(), limit: PLAN_LIMIT }));
        };
        let verdict = verdict?;
        let ended = self.inspect().await?;
        let code = ended.as_ref().and_then(|ended| ended.state.as_ref()?.exit_code);
        if code == Some(0) {
            return Ok(());
        }
        let how = ended.as_ref().map_or_else(|| "is gone".to_owned(), ending);
        Err(Failure::Said { how, message: verdict.end(code.and_then(|code| i32::try_from(code).ok())).1 })
    }

    /// Follows the plan to its end.
    async fn plan(&self, taken_over: bool) -> Result<Verdict> {
        let name = &self.promotion.plan.name;
        let verdict = if taken_over {
            let options = LogsOptions {
                follow: true,
                stdout: true,
                stderr: true,
                tail: "all".into(),
                ..LogsOptions::default()
            };
            self.follow(self.docker.logs(name, Some(options))).await
        } else {
            let options = AttachContainerOptions {
                stream: true,
                stdout: true,
                stderr: true,
                ..AttachContainerOptions::default()
            };
            // Attached before the start, so that no line is missed whatever the log driver can read back.
            let attached = self.docker.attach_container(name, Some(options)).await;
            let attached = attached.map_err(|error| failed("attach to", name, &error))?;
            let started = self.docker.start_container(name, None::<StartContainerOptions>).await;
            started.map_err(|error| failed("start", name, &error))?;
            self.host.progress.step(&self.subject, "planning");
            self.follow(attached.output).await
        };
        while self.inspect().await?.and_then(|plan| plan.state?.running) == Some(true) {
            tokio::time::sleep(POLL).await;
        }
        Ok(verdict)
    }

    /// Listens to the output, line by line, until it ends.
    async fn follow(&self, output: impl Stream<Item = Result<LogOutput, Bollard>>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut rest = String::new();
        tokio::pin!(output);
        while let Some(Ok(piece)) = output.next().await {
            rest.push_str(&String::from_utf8_lossy(&piece.into_bytes()));
            while let Some((line, after)) = rest.split_once('\n') {
                self.hear(line, &mut verdict);
                rest = after.to_owned();
            }
        }
        self.hear(&rest, &mut verdict);
        verdict
    }

    fn hear(&self, line: &str, verdict: &mut Verdict) {
        let line = &self.mask.apply(line);
        verdict.line(line);
        let text: String = plain(line).trim().chars().take(SHOWN).collect();
        if !text.is_empty() {
            self.host.progress.step(&self.subject, &text);
        }
    }

    async fn create(&self) -> Result<()> {
        let plan = &self.promotion.plan;
        let options =
            CreateContainerOptions { name: Some(plan.name.clone()), ..CreateContainerOptions::default() };
        let created =
            self.docker.create_container(Some(options), creation(plan, has_journal(self.host), false)).await;
        created.map(drop).map_err(|error| failed("create", &plan.name, &error))
    }

    async fn inspect(&self) -> Result<Option<ContainerInspectResponse>> {
        let name = &self.promotion.plan.name;
        match self.docker.inspect_container(name, None).await {
            Ok(inspected) => Ok(Some(inspected)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(failed("inspect", name, &error)),
        }
    }

    async fn discard(&self, name: &str) -> Result<()> {
        docker::discard(self.docker, self.host, &self.subject, name).await
    }

    /// There is none before the first promotion.
    async fn start_scheduler(&self) -> Result<()> {
        let scheduler = &self.promotion.scheduler;
        match self.docker.start_container(scheduler, None::<StartContainerOptions>).await {
            Ok(()) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(failed("start", scheduler, &error)),
        }
    }
}

/// Why a plan did not succeed.
enum Failure {
    /// SQLMesh said no.
    Said { how: String, message: String },
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    fn into_error(self, container: &str) -> Error {
        match self {
            Self::Other(error) => error,
            Self::Said { how, message } => Error::CommandFailed {
                program: format!("sqlmesh plan in {container}"),
                status: how,
                stderr: message,
            },
        }
    }
}
