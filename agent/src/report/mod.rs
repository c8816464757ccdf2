//! What a converge did and found: one structure, several writers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::{Change, Id, Kind};

pub mod ask;
pub mod health;
pub mod journal;
pub mod plan;
pub mod signal;
pub mod status;
pub mod store;
pub mod text;
mod wrap;

#[cfg(test)]
pub mod examples;
#[cfg(test)]
mod schema_tests;

/// Version of the JSON form; raised when a field changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// The report of one converge, kept in `/var/lib/ops-agent/report.json`. Holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of the agent that wrote it.
    pub agent_version: String,
    /// The host's role.
    pub role: String,
    /// EC2 instance id, where IMDS gave one.
    pub instance_id: Option<String>,
    /// The run.
    pub run: Run,
    /// Where the inputs came from, and how fresh they are.
    pub inputs: Vec<Input>,
    /// Every resource, in the order of the graph.
    pub resources: Vec<ResourceReport>,
    /// The first failure that is not the consequence of another, in one line; wrong settings are one
    /// line a problem.
    pub root_cause: Option<String>,
    /// What the role runs, with how to ask whether it is well.
    pub services: Vec<Service>,
    /// Units that still owe a restart.
    pub owed_restarts: Vec<String>,
    /// States that are neither done nor failed, for people: "waiting for a project".
    #[serde(default)]
    pub notices: Vec<String>,
}

impl Report {
    /// How many resources ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.resources.iter().filter(|resource| resource.outcome == outcome).count()
    }
}

/// One run of `converge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Names the run in the journal (`OPS_RUN`).
    pub id: String,
    /// Why it ran: `boot`, `timer`, `manual`, or what `--reason` said.
    pub reason: String,
    /// RFC 3339, UTC.
    pub started: String,
    /// RFC 3339, UTC.
    pub ended: String,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a run or a resource ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing to do.
    Unchanged,
    /// Changed, and seen to be right.
    Changed,
    /// Would change (`plan`).
    Pending,
    /// Failed.
    Failed,
    /// Not tried, since something it needs failed.
    Skipped,
    /// Stopped by a signal.
    Interrupted,
}

impl Outcome {
    /// The word shown to people; the same as in JSON and in the journal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One source of inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// `imds`, `parameters`, `objects`, `secrets`, `local`.
    pub source: String,
    /// Whether this run fetched it.
    pub freshness: Freshness,
    /// What was fetched, or why it could not be.
    pub detail: String,
}

/// Whether an input is of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// Fetched by this run.
    Fresh,
    /// AWS could not be reached: what was last known is held.
    Held,
    /// Neither fetched nor known.
    Missing,
}

/// One resource of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceReport {
    /// Kind.
    pub kind: Kind,
    /// Name within the kind.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What differed.
    pub changes: Vec<Change>,
    /// Why it failed, in one line.
    pub error: Option<String>,
    /// The failed resource that made this one be skipped.
    pub blocked_by: Option<String>,
    /// Milliseconds from the start of the run to the start of this resource.
    pub start_ms: u64,
    /// Milliseconds spent on this resource.
    pub duration_ms: u64,
}

impl ResourceReport {
    /// A report of a resource with nothing but its outcome.
    #[must_use]
    pub fn of(id: &Id, outcome: Outcome) -> Self {
        Self {
            kind: id.kind,
            name: id.name.clone(),
            outcome,
            changes: Vec::new(),
            error: None,
            blocked_by: None,
            start_ms: 0,
            duration_ms: 0,
        }
    }

    /// The resource's id, as shown to people: `file:/etc/docker/daemon.json`.
    #[must_use]
    pub fn id(&self) -> Id {
        Id::new(self.kind, self.name.clone())
    }
}

/// Something that the role runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Name shown to people: `sqlmesh-ui`.
    pub name: String,
    /// What its users need to know: where it answers, and whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// How to ask whether it is well.
    pub probe: Probe,
}

/// How to ask whether a service is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Probe {
    /// GET must answer 200; anyone on the host may ask.
    Http {
        /// The URL.
        url: String,
    },
    /// The state file that the SQLMesh supervisor publishes; anyone may read it.
    Scheduler {
        /// Absolute path.
        path: String,
    },
    /// A systemd unit must be active.
    Unit {
        /// Unit name.
        unit: String,
    },
    /// A container must run and be healthy (asks the Docker socket: root only).
    Container {
        /// Container name.
        container: String,
    },
}
