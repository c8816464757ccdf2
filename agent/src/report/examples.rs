//! Reports for tests.

use jiff::Timestamp;

use super::health::{Health, ServiceHealth, State};
use super::signal::{Signal, Status as Said};
use super::status::Status;
use super::{Freshness, Input, Outcome, Probe, Report, ResourceReport, Run, SCHEMA_VERSION, Service};
use crate::container::state::{Activity, LastRun, RunOutcome, SchedulerState};
use crate::engine::lock::Holder;
use crate::engine::plan::UNKNOWN_YET;
use crate::resource::{Change, Id, Kind};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The moment of all examples.
pub fn now() -> Timestamp {
    at("2026-11-24T12:07:30Z")
}

/// A running converge.
pub fn holder() -> Holder {
    Holder {
        pid: 4711,
        since: at("2026-11-24T12:07:04Z"),
        reason: "timer".to_owned(),
        command: "converge".to_owned(),
        process_start: 1,
    }
}

fn image() -> Id {
    Id::new(Kind::Image, format!("172.22.4.4:5000/sqlmesh@sha256:{}", "4e07408562bedb8b".repeat(4)))
}

fn resource(id: &Id, outcome: Outcome, duration_ms: u64) -> ResourceReport {
    ResourceReport { duration_ms, ..ResourceReport::of(id, outcome) }
}

fn change(what: &str, from: Option<&str>, to: Option<&str>) -> Change {
    Change::new(what, from.map(str::to_owned), to.map(str::to_owned))
}

/// A run that changed nothing.
pub fn well() -> Report {
    let service = |name: &str, probe| Service { name: name.to_owned(), about: None, probe };
    Report {
        schema_version: SCHEMA_VERSION,
        agent_version: "0.1.0-abc".to_owned(),
        role: "sqlmesh-server".to_owned(),
        instance_id: Some("i-0123456789abcdef0".to_owned()),
        run: Run {
            id: "20261124T120304-1f2e".to_owned(),
            reason: "timer".to_owned(),
            started: "2026-11-24T12:03:04Z".to_owned(),
            ended: "2026-11-24T12:03:05.2Z".to_owned(),
            duration_ms: 1234,
            outcome: Outcome::Unchanged,
        },
        inputs: vec![Input {
            source: "parameters".to_owned(),
            freshness: Freshness::Fresh,
            detail: "9 under /ops-vpc/sqlmesh-server".to_owned(),
        }],
        resources: vec![
            resource(&Id::new(Kind::File, "/etc/docker/daemon.json"), Outcome::Unchanged, 2),
            resource(&Id::new(Kind::Unit, "docker.service"), Outcome::Unchanged, 12),
        ],
        root_cause: None,
        services: vec![
            service("sqlmesh-ui", Probe::Http { url: "http://127.0.0.1:8000/".to_owned() }),
            service(
                "sqlmesh-scheduler",
                Probe::Scheduler { path: "/var/lib/ops-agent/sqlmesh/scheduler/state.json".to_owned() },
            ),
        ],
        owed_restarts: Vec::new(),
        notices: Vec::new(),
    }
}

/// A run in which the image could not be pulled.
pub fn failed() -> Report {
    let error = format!(
        "docker cannot pull {}: manifest unknown; publish the image or correct the setting image.reference",
        image().name
    );
    let blocked = |name| ResourceReport {
        blocked_by: Some(image().to_string()),
        ..resource(&Id::new(Kind::Container, name), Outcome::Skipped, 0)
    };
    let mut file = resource(&Id::new(Kind::File, "/etc/docker/daemon.json"), Outcome::Changed, 15);
    file.changes.push(change("mode", Some("0600"), Some("0644")));
    let well = well();
    Report {
        run: Run { outcome: Outcome::Failed, duration_ms: 92_345, reason: "boot".to_owned(), ..well.run },
        inputs: vec![
            Input {
                source: "objects".to_owned(),
                freshness: Freshness::Held,
                detail: "s3:GetObject on artifacts/config/sqlmesh-server.toml: no answer within 5 s; held since 11:03:04 UTC".to_owned(),
            },
        ],
        resources: vec![
            file,
            ResourceReport { error: Some(error.clone()), ..resource(&image(), Outcome::Failed, 3210) },
            blocked("ops-sqlmesh-ui"),
            blocked("ops-sqlmesh-scheduler"),
        ],
        root_cause: Some(format!("{}: {error}", image())),
        owed_restarts: vec!["docker.service".to_owned()],
        notices: vec!["waiting for a project: set project.bundle".to_owned()],
        ..well
    }
}

/// A status with the report, healthy services and an acknowledged signal.
pub fn status(report: Report) -> Status {
    let scheduler = SchedulerState {
        state: Activity::Waiting,
        last: Some(LastRun {
            started: at("2026-11-24T12:02:53Z"),
            ended: at("2026-11-24T12:03:00.2Z"),
            duration_ms: 7200,
            outcome: RunOutcome::Success,
            exit_code: Some(0),
            message: String::new(),
        }),
        next_start: Some(at("2026-11-24T12:07:53Z")),
        heartbeat: at("2026-11-24T12:07:25Z"),
        runs: 12,
    };
    let service = |name: &str, scheduler| ServiceHealth {
        name: name.to_owned(),
        state: State::Healthy,
        detail: String::new(),
        scheduler,
    };
    Status {
        host: "ops-sqlmesh-server".to_owned(),
        report,
        health: Some(Health {
            schema_version: SCHEMA_VERSION,
            checked: at("2026-11-24T12:06:48Z"),
            services: vec![service("sqlmesh-ui", None), service("sqlmesh-scheduler", Some(scheduler))],
        }),
        live: false,
        signal: Signal::Acknowledged { status: Said::Success, at: at("2026-11-24T09:00:12Z"), note: None },
        running: None,
    }
}

/// A plan with every outcome.
pub fn planned() -> Vec<ResourceReport> {
    let mut file = resource(&Id::new(Kind::File, "/etc/docker/daemon.json"), Outcome::Pending, 0);
    file.changes.push(change("mode", Some("0600"), Some("0644")));
    file.changes.push(Change {
        unified: Some(
            "@@ -1,3 +1,3 @@\n {\n-  \"log-driver\": \"json-file\"\n+  \"log-driver\": \"journald\"\n }\n"
                .to_owned(),
        ),
        ..change("content", None, None)
    });
    let mut package = resource(&Id::new(Kind::Package, "docker.io"), Outcome::Pending, 0);
    package.changes.push(change("version", None, Some("20.10.24")));
    let mut unit = resource(&Id::new(Kind::Unit, "docker.service"), Outcome::Pending, 0);
    unit.changes.push(change(UNKNOWN_YET, None, Some("after package:docker.io")));
    let mut database = resource(&Id::new(Kind::Database, "sqlmesh_state"), Outcome::Failed, 0);
    database.error = Some("database sqlmesh_state at aurora.lab:5432: password authentication failed for user \"ops\"; check the secret aurora-data-operations".to_owned());
    let mut container = resource(&Id::new(Kind::Container, "ops-sqlmesh-ui"), Outcome::Skipped, 0);
    container.blocked_by = Some("database:sqlmesh_state".to_owned());
    vec![file, package, unit, resource(&image(), Outcome::Unchanged, 0), database, container]
}
