//! Whether a container runs and is healthy, and the wait until it is.

use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, HealthStatusEnum};
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;

use crate::host::Host;
use crate::mask::Mask;
use crate::resource::docker::failed;
use crate::{Error, Result};

/// Between two looks at a container that is starting.
const POLL: Duration = Duration::from_millis(250);
/// A container without a health check is taken for well when it has run this long.
const SETTLED: Duration = Duration::from_secs(2);
/// A container that the daemon had to start this often again does not get well by waiting.
const RESTARTS: i64 = 3;
/// How many of the last lines of a failed container are told.
const LAST_LINES: usize = 5;
/// How much of a line is told, in characters.
const LINE_LENGTH: usize = 240;

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Runs, and its health check says yes or there is none.
    Healthy,
    /// Runs; no health check has said yes or no yet.
    Starting,
    /// Runs, but its health check says no.
    Unhealthy,
    /// Ended, and the daemon is about to start it again.
    Restarting,
    /// Does not run.
    Stopped,
}

impl Health {
    /// The word used in plans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
        }
    }

    /// From what the daemon knows of a container.
    pub(in crate::resource) fn of(inspected: &ContainerInspectResponse) -> Self {
        let Some(state) = &inspected.state else { return Self::Stopped };
        if state.restarting == Some(true) {
            return Self::Restarting;
        }
        if state.running != Some(true) {
            return Self::Stopped;
        }
        match state.health.as_ref().and_then(|health| health.status) {
            None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE | HealthStatusEnum::HEALTHY) => {
                Self::Healthy
            }
            Some(HealthStatusEnum::STARTING) => Self::Starting,
            Some(HealthStatusEnum::UNHEALTHY) => Self::Unhealthy,
        }
    }
}

/// Waits until a container that was started is healthy. One that ends, is started over and over, or
/// is not healthy within the limit is an error that holds its last words.
pub(in crate::resource) async fn wait(
    docker: &Docker,
    host: &Host,
    subject: &str,
    name: &str,
    limit: Duration,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let inspected =
            docker.inspect_container(name, None).await.map_err(|error| failed("inspect", name, &error))?;
        let has_check = inspected.state.as_ref().is_some_and(|state| state.health.is_some());
        let restarts = inspected.restart_count.unwrap_or(0);
        let health = Health::of(&inspected);
        let settled = has_check || began.elapsed() >= SETTLED;
        let detail = match health {
            Health::Healthy if settled => return Ok(()),
            Health::Stopped => Some(ending(&inspected)),
            _ if restarts >= RESTARTS => {
                Some(format!("{}, started {restarts} times again", ending(&inspected)))
            }
            _ if began.elapsed() >= limit => Some(format!(
                "{} after {} s{}",
                health.as_str(),
                limit.as_secs(),
                last_check(&inspected).map(|check| format!(", health check: {check}")).unwrap_or_default()
            )),
            _ => None,
        };
        if let Some(detail) = detail {
            let words = last_words(docker, name, &Mask::read(&host.run("secrets"))).await;
            let detail = if words.is_empty() { detail } else { format!("{detail}; last lines: {words}") };
            return Err(Error::Unhealthy { service: name.to_owned(), detail });
        }
        let waited = began.elapsed().as_secs();
        if waited > 0 {
            host.progress.step(subject, &format!("waiting for {name} to be healthy, {waited} s"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How a container ended, in words.
pub(in crate::resource) fn ending(inspected: &ContainerInspectResponse) -> String {
    let Some(state) = &inspected.state else { return "is gone".into() };
    if state.oom_killed == Some(true) {
        let bytes = inspected.host_config.as_ref().and_then(|config| config.memory).unwrap_or(0);
        return format!("needed more memory than its limit of {} MiB and was killed", bytes / 1024 / 1024);
    }
    match (state.exit_code, state.error.as_deref()) {
        (_, Some(error)) if !error.is_empty() => one_line(error),
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, _) => "does not run".into(),
    }
}

/// What the last health check said.
fn last_check(inspected: &ContainerInspectResponse) -> Option<String> {
    let log = inspected.state.as_ref()?.health.as_ref()?.log.as_ref()?;
    let said = one_line(log.last()?.output.as_deref()?);
    (!said.is_empty()).then_some(said)
}

/// The last lines of a container's log, joined to one; empty when they cannot be had.
async fn last_words(docker: &Docker, name: &str, mask: &Mask) -> String {
    let options =
        LogsOptions { stdout: true, stderr: true, tail: LAST_LINES.to_string(), ..LogsOptions::default() };
    let mut log = docker.logs(name, Some(options));
    let mut lines = Vec::new();
    while let Some(Ok(piece)) = log.next().await {
        lines.push(one_line(&mask.apply(&String::from_utf8_lossy(&piece.into_bytes()))));
    }
    lines.retain(|line| !line.is_empty());
    let skip = lines.len().saturating_sub(LAST_LINES);
    lines.into_iter().skip(skip).collect::<Vec<_>>().join(" | ")
}

/// Text as one line of bounded length.
pub(in crate::resource) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LINE_LENGTH) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
