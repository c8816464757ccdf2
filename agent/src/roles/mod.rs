//! Desired state: one file a role, each a pure function from what the host was told to a graph.

use crate::Result;
use crate::engine::graph::Graph;
use crate::host::Fingerprints;
use crate::inputs::os::OsFamily;
use crate::inputs::{HostIdentity, Inputs, Secrets};
use crate::report::Service;
use crate::settings::Settings;

pub mod sqlmesh_server;

/// What a role is made from, besides its settings.
pub struct Told<'a> {
    /// Who the host is.
    pub identity: &'a HostIdentity,
    /// Objects and parameters.
    pub inputs: &'a Inputs,
    /// Secrets, or why they could not be had.
    pub secrets: &'a Secrets,
    /// The distribution.
    pub os: OsFamily,
    /// Keys the fingerprints of secrets.
    pub fingerprints: &'a Fingerprints,
}

/// What the host should be.
pub struct Desired {
    /// Resources and their order.
    pub graph: Graph,
    /// What runs there, with how to ask whether it is well.
    pub services: Vec<Service>,
    /// States that are neither done nor failed, for people: "waiting for a project".
    pub notices: Vec<String>,
}

/// The desired state of the role that the settings are of.
///
/// # Errors
/// Something that the role cannot do without is missing; the message says where to put it.
pub fn desired(settings: &Settings, told: &Told<'_>) -> Result<Desired> {
    match settings {
        Settings::SqlmeshServer(settings) => sqlmesh_server::desired(settings, told),
    }
}
