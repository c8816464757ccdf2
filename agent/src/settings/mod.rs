//! Settings: fragments (what each layer wrote) are merged over the defaults, then validated into
//! domain types. Nothing after this stage validates again.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::inputs::Inputs;
use crate::{Error, Result};

pub mod example;
pub mod fragment;
pub mod keys;
pub mod merged;
pub mod nearest;
pub mod shape;
pub mod sqlmesh_server;

use fragment::{Fragment, Layer};
pub use merged::EffectiveValue;
use merged::Merged;
pub use sqlmesh_server::{
    Database, Docker, Image, Project, Scheduler, SqlmeshServer, UI_UPSTREAM_PORT, Ui, Warehouse,
};

/// What a host can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// SQLMesh's UI and scheduler in containers.
    SqlmeshServer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 1] = [Self::SqlmeshServer];

    /// Its name, as in `host.toml`, keys and parameters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SqlmeshServer => "sqlmesh-server",
        }
    }

    /// Where its parameters lie; ends with `/`.
    #[must_use]
    pub fn parameter_prefix(self) -> String {
        format!("/ops-vpc/{self}/")
    }

    /// Key of its document in the artifact bucket.
    #[must_use]
    pub fn document_key(self) -> String {
        format!("config/{self}.toml")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| Error::Refused {
            what: format!("role {text:?}"),
            why: format!("ops-agent {} does not know it", env!("CARGO_PKG_VERSION")),
            fix: format!("use one of: {}", Self::ALL.map(Self::as_str).join(", ")),
        })
    }
}

/// The settings of a host, by its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "role")]
pub enum Settings {
    /// Of the SQLMesh server.
    SqlmeshServer(SqlmeshServer),
}

impl Settings {
    /// The role.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::SqlmeshServer(_) => Role::SqlmeshServer,
        }
    }

    /// The secrets that the role reads, with the keys that each must have.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretNeed> {
        match self {
            Self::SqlmeshServer(server) => vec![
                SecretNeed { name: server.database.secret.clone(), keys: &["username", "password"] },
                SecretNeed { name: server.warehouse.secret.clone(), keys: &[] },
            ],
        }
    }

    /// Keys of further objects under `config/` that the role reads.
    #[must_use]
    pub fn objects(&self) -> Vec<&str> {
        match self {
            Self::SqlmeshServer(server) => vec![server.database.ca_bundle.as_str()],
        }
    }
}

/// A secret that a role reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretNeed {
    /// Name or ARN in Secrets Manager.
    pub name: String,
    /// Keys that it must have.
    pub keys: &'static [&'static str],
}

/// Reads and merges all layers and validates what holds. Every problem of every layer is found, not
/// the first: `Error::Settings` has one line for each.
pub fn resolve(role: Role, inputs: &Inputs) -> Result<(Settings, Vec<EffectiveValue>)> {
    let mut problems = Vec::new();
    let merged = Merged::new(role, fragments(role, inputs, &mut problems));
    // Without its value the next lower layer would hold, which nobody asked for.
    problems.extend(inputs.unknown.iter().map(|name| {
        format!(
            "parameter {name}: it is a SecureString, which is never kept on disk, and SSM could not be asked; \
             the next run tries again"
        )
    }));
    problems.extend(merged.problems());
    problems.extend(merged.missing().map(|key| {
        format!(
            "{} is not set in any layer, expected {}; put it into {}",
            key.name,
            key.expected(),
            where_to(role, inputs)
        )
    }));
    if !problems.is_empty() {
        return Err(Error::Settings(problems));
    }
    Ok((domain(role, &merged)?, merged.effective()))
}

fn domain(role: Role, merged: &Merged) -> Result<Settings> {
    match role {
        Role::SqlmeshServer => SqlmeshServer::from_merged(merged).map(Settings::SqlmeshServer),
    }
}

/// Checks one TOML file alone, as one layer over the defaults. Returns what it would make of the keys,
/// and the required keys that another layer would have to set.
pub fn check(
    role: Role,
    document: &crate::inputs::Document,
) -> Result<(Vec<EffectiveValue>, Vec<&'static str>)> {
    let mut problems = Vec::new();
    let fragment = Fragment::from_document(role, Layer::Local, document, &mut problems);
    let merged = Merged::new(role, [fragment]);
    problems.extend(merged.problems());
    let missing: Vec<_> = merged.missing().map(|key| key.name).collect();
    if problems.is_empty() && missing.is_empty() {
        // Also what the domain types refuse together.
        domain(role, &merged)?;
    }
    if problems.is_empty() { Ok((merged.effective(), missing)) } else { Err(Error::Settings(problems)) }
}

fn fragments(role: Role, inputs: &Inputs, problems: &mut Vec<String>) -> Vec<Fragment> {
    let mut fragments = Vec::new();
    if let Some(document) = &inputs.document {
        fragments.push(Fragment::from_document(role, Layer::Document, document, problems));
    }
    let prefix = role.parameter_prefix();
    fragments.push(Fragment::from_parameters(role, &prefix, &inputs.parameters, problems));
    for document in &inputs.local {
        fragments.push(Fragment::from_document(role, Layer::Local, document, problems));
    }
    fragments
}

fn where_to(role: Role, inputs: &Inputs) -> String {
    match &inputs.document {
        Some(document) => document.place.clone(),
        None => format!(
            "{} of the artifact bucket, or a parameter below {}",
            role.document_key(),
            role.parameter_prefix()
        ),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
