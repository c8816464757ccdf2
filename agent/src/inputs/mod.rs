//! What the host is told: its identity, parameters, objects and secrets, fetched concurrently.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub mod aws;
pub mod cache;
pub mod failure;
mod fetch;
pub mod imds;
pub mod local;
pub mod objects;
pub mod os;
pub mod parameters;
pub mod registries;
pub mod secrets;
pub mod valid;

pub use fetch::{Connection, Fetched, connect, connect_in, fetch};
pub use local::identity;

/// Who this host is: `/etc/ops-agent/host.toml`, overridden by arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostIdentity {
    /// The role, as in `sqlmesh-server`.
    pub role: String,
    /// The artifact bucket: configuration and bundles.
    pub bucket: String,
    /// AWS region; IMDS is asked where it is missing.
    #[serde(default)]
    pub region: Option<String>,
    /// The CloudFormation resource that waits for a signal.
    #[serde(default)]
    pub signal: Option<SignalTarget>,
}

/// The CloudFormation resource that waits for this host's signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalTarget {
    /// Stack name.
    pub stack: String,
    /// Logical id of the resource with the `CreationPolicy`.
    pub resource: String,
}

/// One fetched text with where it came from. Kept as last known good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Where it came from, for messages: `s3://BUCKET/KEY`, a path.
    pub place: String,
    /// The text.
    pub text: String,
    /// S3 `ETag`; lets the next run skip the download.
    #[serde(default)]
    pub etag: Option<String>,
}

/// One parameter of SSM. Values of type `SecureString` are not kept on disk.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Full name: `/ops-vpc/ROLE/section/key`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Its version.
    pub version: i64,
    /// Whether it is a `SecureString`: then it is neither kept nor shown.
    #[serde(default)]
    pub secure: bool,
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.secure { "(SecureString)" } else { &self.value };
        write!(f, "{} = {value:?} (version {})", self.name, self.version)
    }
}

/// Everything fetched that settings are made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Inputs {
    /// `config/ROLE.toml` of the artifact bucket, when there is one.
    pub document: Option<Document>,
    /// Other objects under `config/`, by key: the CA bundle of the database.
    pub objects: BTreeMap<String, Document>,
    /// Parameters under `/ops-vpc/ROLE/`.
    pub parameters: Vec<Parameter>,
    /// Names of parameters that exist and whose value is not known: `SecureString`s, which are not
    /// kept, while SSM cannot be asked.
    #[serde(default)]
    pub unknown: Vec<String>,
    /// Files of `/etc/ops-agent/config.d`, in order.
    pub local: Vec<Document>,
}

/// One secret of Secrets Manager: a JSON object of strings, or one plain string under the key `value`.
pub struct SecretValue {
    /// Version id, shown in plans.
    pub version: String,
    /// Its fields.
    pub fields: BTreeMap<String, SecretString>,
}

/// Secrets by name. A secret that could not be had carries the one line that says why; the rest of
/// the host converges without it.
#[derive(Default)]
pub struct Secrets {
    /// What was asked for.
    pub by_name: BTreeMap<String, Result<SecretValue, SecretProblem>>,
}

impl Secrets {
    /// A secret by name, or why it could not be had.
    ///
    /// # Errors
    /// The problem that was met at fetching it; one of its own when nobody asked for it.
    pub fn get(&self, name: &str) -> Result<&SecretValue, SecretProblem> {
        match self.by_name.get(name) {
            Some(Ok(value)) => Ok(value),
            Some(Err(problem)) => Err(problem.clone()),
            None => Err(SecretProblem {
                message: format!("secret {name} was not fetched; report this as a bug of ops-agent"),
                held: false,
                needs_a_person: true,
            }),
        }
    }
}

/// Why a secret could not be had.
#[derive(Debug, Clone)]
pub struct SecretProblem {
    /// One line: what, where, what to do.
    pub message: String,
    /// Whether it may be had later (AWS unreachable): what is on tmpfs is then kept and used.
    pub held: bool,
    /// Whether it stays so until somebody changes something: not so where AWS is away, nor where a
    /// policy may only not have reached every region yet.
    pub needs_a_person: bool,
}

impl SecretProblem {
    /// The error of what the secret is for.
    #[must_use]
    pub fn error_of(&self, what: impl Into<String>) -> crate::Error {
        crate::Error::Secret {
            what: what.into(),
            message: self.message.clone(),
            needs_a_person: self.needs_a_person,
        }
    }
}

/// What arguments say in place of `/etc/ops-agent/host.toml`.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The role.
    pub role: Option<String>,
    /// The artifact bucket.
    pub bucket: Option<String>,
}

/// Where inputs come from: arguments of the command line.
#[derive(Debug, Clone)]
pub struct Source {
    /// Prefix of every path.
    pub root: PathBuf,
    /// Endpoint for every AWS service; `None` for AWS's own.
    pub endpoint_url: Option<String>,
    /// Region given on the command line.
    pub region: Option<String>,
    /// Whether what is fetched is kept as last known good. Not by a command that only looks: what it is
    /// told to look at may be another bucket than the host's own.
    pub keep: bool,
}
