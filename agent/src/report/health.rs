//! Whether what the role runs is well: probed by root, read by anyone.

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::ago;
use super::{Probe, SCHEMA_VERSION, Service};
use crate::container::state::{Activity, RunOutcome, SchedulerState};

/// Older findings are not believed, in seconds: the timer that refreshes them runs each minute, and
/// two in a row may be late.
pub const STALE_SECONDS: i64 = 180;

/// What a probe of all services found, kept in `/run/ops-agent/health.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Version of the form, as of the report.
    pub schema_version: u32,
    /// When it was found.
    #[schemars(with = "String")]
    pub checked: Timestamp,
    /// The services, in the order of the report.
    pub services: Vec<ServiceHealth>,
}

/// What a probe of one service found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceHealth {
    /// The service's name.
    pub name: String,
    /// Whether it is well.
    pub state: State,
    /// Why not, or what it is doing; empty when there is no more to say.
    pub detail: String,
    /// What the supervisor published, where the service is the scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerState>,
}

/// Whether a service is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    Healthy,
    /// It started and has not answered yet.
    Starting,
    /// It is not.
    Unhealthy,
    /// Nobody could tell.
    Unknown,
}

impl State {
    /// The word shown to people; the same as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }
}

/// A state and what there is to say about it.
pub type Finding = (State, String);

/// Asks the world.
#[async_trait]
pub trait Ask: Send + Sync {
    /// GETs a URL: healthy when it answers 200.
    async fn http(&self, url: &str) -> Finding;
    /// The supervisor's state file; the error is one line.
    fn scheduler(&self, path: &str) -> Result<SchedulerState, String>;
    /// systemd's view of a unit.
    async fn unit(&self, unit: &str) -> Finding;
    /// Docker's view of a container.
    async fn container(&self, container: &str) -> Finding;
}

/// Probes all services at once.
pub async fn probe(services: &[Service], ask: &dyn Ask, now: Timestamp) -> Health {
    let services = futures_util::future::join_all(services.iter().map(|service| async move {
        let mut scheduler = None;
        let (state, detail) = match &service.probe {
            Probe::Http { url } => ask.http(url).await,
            Probe::Unit { unit } => ask.unit(unit).await,
            Probe::Container { container } => ask.container(container).await,
            Probe::Scheduler { path } => match ask.scheduler(path) {
                Ok(found) => {
                    let finding = judge(&found, now);
                    scheduler = Some(found);
                    finding
                }
                Err(why) => (State::Unknown, why),
            },
        };
        ServiceHealth { name: service.name.clone(), state, detail, scheduler }
    }))
    .await;
    Health { schema_version: SCHEMA_VERSION, checked: now, services }
}

/// Judges the scheduler: it is well while its supervisor lives and its last run did not fail.
fn judge(state: &SchedulerState, now: Timestamp) -> Finding {
    if state.state == Activity::Stopped {
        return (State::Unhealthy, "stopped".to_owned());
    }
    if state.is_stale(now) {
        return (State::Unhealthy, format!("gave its last sign of life {}", ago(state.heartbeat, now)));
    }
    match &state.last {
        None => (State::Healthy, "no run has ended yet".to_owned()),
        Some(last) => match last.outcome {
            RunOutcome::Success | RunOutcome::NothingToDo => (State::Healthy, String::new()),
            _ => {
                let message =
                    if last.message.is_empty() { String::new() } else { format!(": {}", last.message) };
                (State::Unhealthy, format!("last run {}{message}", last.outcome.as_str()))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::state::LastRun;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn scheduler(outcome: RunOutcome) -> SchedulerState {
        SchedulerState {
            state: Activity::Waiting,
            last: Some(LastRun {
                started: at("2026-11-24T11:58:00Z"),
                ended: at("2026-11-24T11:58:07Z"),
                duration_ms: 7000,
                outcome,
                exit_code: Some(1),
                message: "audit failed".to_owned(),
            }),
            next_start: Some(at("2026-11-24T12:03:00Z")),
            heartbeat: at("2026-11-24T11:59:55Z"),
            runs: 3,
        }
    }

    #[test]
    fn a_scheduler_is_well_while_it_lives_and_its_last_run_did_not_fail() {
        assert_eq!(judge(&scheduler(RunOutcome::NothingToDo), at(NOW)).0, State::Healthy);
        let failed = (State::Unhealthy, "last run failed: audit failed".to_owned());
        assert_eq!(judge(&scheduler(RunOutcome::Failed), at(NOW)), failed);
        let silent =
            SchedulerState { heartbeat: at("2026-11-24T11:50:00Z"), ..scheduler(RunOutcome::Success) };
        let gone = (State::Unhealthy, "gave its last sign of life 10 min ago".to_owned());
        assert_eq!(judge(&silent, at(NOW)), gone);
        let stopped = SchedulerState { state: Activity::Stopped, ..scheduler(RunOutcome::Success) };
        assert_eq!(judge(&stopped, at(NOW)).0, State::Unhealthy);
    }

    struct Script;

    #[async_trait]
    impl Ask for Script {
        async fn http(&self, url: &str) -> Finding {
            (State::Healthy, url.to_owned())
        }
        fn scheduler(&self, path: &str) -> Result<SchedulerState, String> {
            Err(format!("cannot read {path}"))
        }
        async fn unit(&self, _unit: &str) -> Finding {
            (State::Unhealthy, "failed".to_owned())
        }
        async fn container(&self, _container: &str) -> Finding {
            (State::Starting, String::new())
        }
    }

    #[tokio::test]
    async fn every_kind_of_probe_is_asked() {
        let service = |name: &str, probe| Service { name: name.to_owned(), about: None, probe };
        let services = [
            service("ui", Probe::Http { url: "http://127.0.0.1:8000/".to_owned() }),
            service("scheduler", Probe::Scheduler { path: "/state.json".to_owned() }),
            service("proxy", Probe::Unit { unit: "ops-ui-proxy.service".to_owned() }),
            service("container", Probe::Container { container: "ops-sqlmesh-ui".to_owned() }),
        ];
        let health = probe(&services, &Script, at(NOW)).await;
        let states: Vec<_> = health.services.iter().map(|found| (found.name.as_str(), found.state)).collect();
        let expected = [
            ("ui", State::Healthy),
            ("scheduler", State::Unknown),
            ("proxy", State::Unhealthy),
            ("container", State::Starting),
        ];
        assert_eq!(states, expected);
        assert_eq!(health.services[1].detail, "cannot read /state.json");
    }
}
