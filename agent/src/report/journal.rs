//! The journal: one entry a resource and one a run, with stable field names.
//!
//! | field | in entries of | what |
//! |---|---|---|
//! | `OPS_EVENT` | all | `resource`, `retry`, `input` or `run` |
//! | `OPS_RUN` | all | id of the run: finds everything of one converge |
//! | `OPS_RESOURCE` | `resource`, `retry` | id of the resource: `file:/etc/docker/daemon.json` |
//! | `OPS_OUTCOME` | `resource`, `run` | `unchanged`, `changed`, `failed`, `skipped`, `interrupted` |
//! | `OPS_DURATION_MS` | `resource`, `run` | milliseconds of work |
//! | `OPS_CHANGES` | `resource` | what differed, in one line; empty when nothing did |
//! | `OPS_ERROR` | `resource`, `retry` | why it failed; empty when it did not |
//! | `OPS_BLOCKED_BY` | `resource` | the failed resource that it waits for; empty when it does not |
//! | `OPS_SOURCE` | `input` | what was not fetched but held from before: `parameters`, `objects`, … |
//! | `OPS_REASON` | `run` | why it ran: `boot`, `timer`, `manual`, … |
//! | `OPS_ROLE` | `run` | the host's role |
//! | `OPS_ROOT_CAUSE` | `run` | the first failure, in one line; empty when there is none |
//!
//! A field never changes its meaning. Priorities: 3 (err) failed; 4 (warning) skipped, interrupted,
//! retries and held inputs; 5 (notice) changed and runs; 6 (info) unchanged.

use super::text::{counts, short, stale, took};
use super::{Freshness, Outcome, Report, ResourceReport};
use crate::engine::run::{Event, Watch};
use crate::resource::Diff;

/// Every field, for the documentation and its test.
pub const FIELDS: [&str; 12] = [
    "OPS_EVENT",
    "OPS_RUN",
    "OPS_RESOURCE",
    "OPS_OUTCOME",
    "OPS_DURATION_MS",
    "OPS_CHANGES",
    "OPS_ERROR",
    "OPS_BLOCKED_BY",
    "OPS_SOURCE",
    "OPS_REASON",
    "OPS_ROLE",
    "OPS_ROOT_CAUSE",
];

/// Writes what a run does to the journal, as it does it.
pub struct Journal {
    /// Id of the run.
    pub run: String,
}

impl Watch for Journal {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Started(_) | Event::Differs(..) => {}
            Event::Retry(id, error, wait) => tracing::warn!(
                ops_event = "retry",
                ops_run = self.run,
                ops_resource = %id,
                ops_error = %error,
                "trying {} again in {}: {error}",
                short(&id.to_string()),
                took(crate::engine::plan::millis(*wait)),
            ),
            Event::Ended(report) => resource(&self.run, report),
        }
    }
}

/// The entry of one resource.
fn resource(run: &str, report: &ResourceReport) {
    let id = report.id();
    let outcome = report.outcome.as_str();
    let changes = Diff(report.changes.clone()).summary();
    let error = report.error.as_deref().unwrap_or_default();
    let blocked_by = report.blocked_by.as_deref().unwrap_or_default();
    let name = short(&id.to_string());
    let (why, duration) = (short(&changes), took(report.duration_ms));
    // The level of an entry is fixed at compile time, hence a macro and not a value.
    macro_rules! entry {
        ($level:ident, $($message:tt)+) => {
            tracing::$level!(
                ops_event = "resource",
                ops_run = run,
                ops_resource = %id,
                ops_outcome = outcome,
                ops_duration_ms = report.duration_ms,
                ops_changes = changes,
                ops_error = error,
                ops_blocked_by = blocked_by,
                $($message)+
            )
        };
    }
    match report.outcome {
        Outcome::Unchanged | Outcome::Pending => entry!(debug, "{name} is as it should be"),
        Outcome::Changed => entry!(info, "{name} changed in {duration}: {why}"),
        Outcome::Failed => entry!(error, "{name} failed: {}", short(error)),
        Outcome::Skipped => entry!(warn, "{name} skipped: {} failed", short(blocked_by)),
        Outcome::Interrupted => entry!(warn, "{name} interrupted"),
    }
}

/// The entry of a whole run.
pub fn run(report: &Report) {
    let outcome = report.run.outcome.as_str();
    let cause = report.root_cause.as_deref().unwrap_or_default();
    let duration = took(report.run.duration_ms);
    macro_rules! entry {
        ($level:ident, $($message:tt)+) => {
            tracing::$level!(
                ops_event = "run",
                ops_run = report.run.id,
                ops_outcome = outcome,
                ops_duration_ms = report.run.duration_ms,
                ops_reason = report.run.reason,
                ops_role = report.role,
                ops_root_cause = cause,
                $($message)+
            )
        };
    }
    for input in report.inputs.iter().filter(|input| input.freshness == Freshness::Held) {
        tracing::warn!(
            ops_event = "input",
            ops_run = report.run.id,
            ops_source = input.source,
            "{}",
            stale(input)
        );
    }
    match report.run.outcome {
        Outcome::Failed => entry!(error, "converge failed after {duration}: {}", short(cause)),
        Outcome::Interrupted => {
            entry!(warn, "converge interrupted after {duration}; the next run goes on from here")
        }
        _ => entry!(info, "converged in {duration}: {}", counts(report)),
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
