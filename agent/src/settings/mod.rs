//! Settings as domain types. Nothing after this stage validates again.

use ipnet::IpNet;
use serde::Serialize;

/// Everything the SQLMesh server role needs to know, validated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SqlmeshServer {
    /// Docker engine.
    pub docker: Docker,
    /// The SQLMesh image.
    pub image: Image,
    /// The SQLMesh project.
    pub project: Project,
    /// The state database.
    pub database: Database,
    /// The warehouse.
    pub warehouse: Warehouse,
    /// The web UI and the proxy before it.
    pub ui: Ui,
    /// The scheduler.
    pub scheduler: Scheduler,
}

/// Docker engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Docker {
    /// `docker.version`: package version to pin; the distribution's candidate when empty.
    pub version: Option<String>,
}

/// An image by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// `image.reference`: `REGISTRY/REPOSITORY@sha256:HEX`; a tag alone is refused.
    pub reference: String,
}

/// The SQLMesh project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Project {
    /// `project.bundle`: hex SHA-256 of the bundle; `None` while nothing is published.
    pub bundle: Option<String>,
}

/// The state database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    /// `database.host`; the secret's own `host` when not set.
    pub host: Option<String>,
    /// `database.port`, default 5432.
    pub port: u16,
    /// `database.name`, default `sqlmesh_state`.
    pub name: String,
    /// `database.secret`, default `aurora-data-operations`.
    pub secret: String,
    /// `database.ca_bundle`: key in the artifact bucket, default `config/rds-ca.pem`.
    pub ca_bundle: String,
}

/// The warehouse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warehouse {
    /// `warehouse.secret`, default `snowflake-warehouse`.
    pub secret: String,
    /// `warehouse.env_prefix`, default `SNOWFLAKE_`.
    pub env_prefix: String,
}

/// The web UI and the proxy before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ui {
    /// `ui.port` on the network, default 8000.
    pub port: u16,
    /// `ui.allow`: networks that may reach the port; default 172.22.0.0/16 and 172.20.0.0/16.
    pub allow: Vec<IpNet>,
    /// `ui.memory_mb`: memory limit in MiB, default 768.
    pub memory_mb: u64,
    /// `ui.proxy_version`: version of the nginx package to pin.
    pub proxy_version: Option<String>,
}

/// The scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// `scheduler.interval_seconds` between the starts of two runs, default 300.
    pub interval_seconds: u64,
    /// `scheduler.drain_seconds`: how long a stop waits for a run in progress, default 3600.
    pub drain_seconds: u64,
    /// `scheduler.memory_mb`: memory limit in MiB, default 1024.
    pub memory_mb: u64,
}
