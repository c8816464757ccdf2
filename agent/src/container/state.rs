//! What the scheduler's supervisor publishes of itself, and how others judge it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often the supervisor writes its heartbeat, in seconds; also while a run is going on.
pub const HEARTBEAT_SECONDS: u64 = 10;
/// A heartbeat older than this, in seconds, means that the supervisor is gone or stuck: six missed in a row.
pub const HEARTBEAT_STALE_SECONDS: i64 = 60;

/// The state file, `/var/lib/ops-agent/sqlmesh/scheduler/state.json` on the host. Anyone may read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulerState {
    /// What the supervisor is doing.
    pub state: Activity,
    /// The last run that ended; `None` before the first.
    pub last: Option<LastRun>,
    /// When the next run starts; `None` while draining or stopped.
    #[schemars(with = "Option<String>")]
    pub next_start: Option<Timestamp>,
    /// When the supervisor last said that it lives.
    #[schemars(with = "String")]
    pub heartbeat: Timestamp,
    /// Runs started since the supervisor started.
    pub runs: u64,
}

/// What the supervisor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// For the next start.
    Waiting,
    /// `sqlmesh run` is running.
    Running,
    /// Asked to stop; the run in progress is let finish.
    Draining,
    /// Stopped in good order.
    Stopped,
}

impl Activity {
    /// The word shown to people; the same as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    /// Start.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// End.
    #[schemars(with = "String")]
    pub ended: Timestamp,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Exit code; `None` when a signal ended it.
    pub exit_code: Option<i32>,
    /// The last line worth reading; empty when all went well.
    pub message: String,
}

/// How a run of the scheduler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Models were evaluated.
    Success,
    /// No interval was due.
    NothingToDo,
    /// At least one model failed; the next run tries it again.
    ModelFailed,
    /// The state database could not be reached or used.
    DatabaseDown,
    /// State and image are of different versions of SQLMesh: nothing runs until somebody migrates.
    NeedsMigration,
    /// SQLMesh said no.
    Failed,
    /// Something outside ended it.
    Killed,
    /// A word of a newer supervisor.
    #[serde(other)]
    Unknown,
}

impl RunOutcome {
    /// The words shown to people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NothingToDo => "nothing to do",
            Self::ModelFailed => "failed in a model",
            Self::DatabaseDown => "found the database down",
            Self::NeedsMigration => "needs a migration",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Unknown => "unknown",
        }
    }
}

impl SchedulerState {
    /// Whether the supervisor gave up its heartbeat.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.as_second() - self.heartbeat.as_second() > HEARTBEAT_STALE_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_supervisor_writes() {
        let text = r#"{"state":"waiting","last":{"started":"2026-11-24T08:00:00Z","ended":"2026-11-24T08:00:07Z",
            "duration_ms":7000,"outcome":"nothing-to-do","exit_code":0,"message":""},
            "next_start":"2026-11-24T08:05:00Z","heartbeat":"2026-11-24T08:01:00Z","runs":3}"#;
        let state: SchedulerState = serde_json::from_str(text).unwrap();
        assert_eq!(state.last.as_ref().map(|last| last.outcome), Some(RunOutcome::NothingToDo));
        assert!(!state.is_stale("2026-11-24T08:02:00Z".parse().unwrap()));
        assert!(state.is_stale("2026-11-24T08:02:01Z".parse().unwrap()));
    }

    #[test]
    fn a_word_of_a_newer_supervisor_is_not_an_error() {
        assert_eq!(serde_json::from_str::<RunOutcome>("\"paused\"").unwrap(), RunOutcome::Unknown);
    }
}
