//! Settings of the SQLMesh server as domain types.

use ipnet::IpNet;
use serde::Serialize;

use super::merged::Merged;
use crate::{Error, Result};

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

/// Port of 127.0.0.1 on which the UI's container listens, behind the proxy.
pub const UI_UPSTREAM_PORT: u16 = 8001;

impl SqlmeshServer {
    /// From values that their shapes took; refuses what they are not together.
    pub(super) fn from_merged(merged: &Merged) -> Result<Self> {
        let server = Self {
            docker: Docker { version: merged.optional_text("docker.version")? },
            image: Image { reference: merged.text("image.reference")? },
            project: Project { bundle: merged.optional_text("project.bundle")? },
            database: Database {
                host: merged.optional_text("database.host")?,
                port: merged.number("database.port")?,
                name: merged.text("database.name")?,
                secret: merged.text("database.secret")?,
                ca_bundle: merged.text("database.ca_bundle")?,
            },
            warehouse: Warehouse {
                secret: merged.text("warehouse.secret")?,
                env_prefix: merged.text("warehouse.env_prefix")?,
            },
            ui: Ui {
                port: merged.number("ui.port")?,
                allow: merged.list::<IpNet>("ui.allow")?,
                memory_mb: merged.number("ui.memory_mb")?,
                proxy_version: merged.optional_text("ui.proxy_version")?,
            },
            scheduler: Scheduler {
                interval_seconds: merged.number("scheduler.interval_seconds")?,
                drain_seconds: merged.number("scheduler.drain_seconds")?,
                memory_mb: merged.number("scheduler.memory_mb")?,
            },
        };
        server.check()?;
        Ok(server)
    }

    /// What each value alone cannot tell.
    fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        if self.ui.port == UI_UPSTREAM_PORT {
            problems.push(format!(
                "ui.port is {UI_UPSTREAM_PORT}, on which the UI itself listens behind the proxy; choose another port"
            ));
        }
        if self.database.secret == self.warehouse.secret {
            problems.push(format!(
                "database.secret and warehouse.secret are both {:?}, so the database's password would reach \
                 every model as a variable; give each a secret of its own",
                self.database.secret
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::Settings(problems)) }
    }
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
