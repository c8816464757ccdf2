//! The host as an argument: filesystem root, programs, clock, and the services that resources use.
//! A test gives another root, other services, another clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::engine::ledger::Ledger;
use crate::{Error, Result};

pub mod command;
pub mod link;
pub mod place;
pub mod replace;
#[cfg(test)]
pub(crate) mod testing;

/// Where the agent keeps its state, below the root.
pub const STATE_DIR: &str = "var/lib/ops-agent";
/// Where the agent keeps what must not outlive the boot, below the root.
pub const RUN_DIR: &str = "run/ops-agent";

/// Everything through which a resource touches the world.
#[derive(Clone)]
pub struct Host {
    /// Prefix of every path; `/` outside tests.
    pub root: PathBuf,
    /// Restarts owed.
    pub ledger: Arc<Ledger>,
    /// Keys the fingerprints of secrets.
    pub fingerprints: Arc<Fingerprints>,
    /// Objects in S3.
    pub objects: Arc<dyn Objects>,
    /// Logins of container registries.
    pub registries: Arc<dyn Registries>,
    /// Where a long step says what it is doing; shown live on a terminal.
    pub progress: Arc<dyn Progress>,
}

impl Host {
    /// An absolute path of the host, below the root.
    #[must_use]
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let path = absolute.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path below the state directory.
    #[must_use]
    pub fn state(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(STATE_DIR).join(relative)
    }

    /// A path below the runtime directory.
    #[must_use]
    pub fn run(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(RUN_DIR).join(relative)
    }
}

/// Runs blocking work off the asynchronous threads. Once begun it runs to its end, even when the
/// future is dropped meanwhile.
///
/// # Errors
/// Those of the work.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::io("finish work in", "a thread", std::io::Error::other(error))),
    }
}

/// Reads whole objects from S3.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Downloads `key` of `bucket` to `to` (created or truncated), streaming, and returns the
    /// hex SHA-256 of what was written.
    async fn download(&self, bucket: &str, key: &str, to: &Path) -> Result<String>;
}

/// User and password of a container registry.
pub struct RegistryLogin {
    /// User name; `AWS` for ECR.
    pub user: String,
    /// Password or token.
    pub password: SecretString,
}

/// Knows how to log in to registries.
#[async_trait]
pub trait Registries: Send + Sync {
    /// The login for a registry host; `None` where none is needed. ECR hosts
    /// (`ACCOUNT.dkr.ecr.REGION.amazonaws.com`) are asked for a token.
    async fn login(&self, registry: &str) -> Result<Option<RegistryLogin>>;
}

/// Where a long step says what it is doing.
pub trait Progress: Send + Sync {
    /// `subject` (a resource id) is now doing `what`, as in "pulling, 212 of 772 MB".
    fn step(&self, subject: &str, what: &str);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _subject: &str, _what: &str) {}
}

/// Fingerprints of secrets under a key that never leaves the host, so that a plan can say "changed"
/// without saying anything that a dictionary could be tried against.
pub struct Fingerprints {
    key: [u8; 64],
}

impl Fingerprints {
    /// Fingerprints under the given key.
    #[must_use]
    pub const fn new(key: [u8; 64]) -> Self {
        Self { key }
    }

    /// The first 12 hex digits of HMAC-SHA-256 over the value.
    #[must_use]
    pub fn of(&self, value: &[u8]) -> String {
        use hmac::{Hmac, KeyInit, Mac};
        let mut mac = Hmac::<sha2::Sha256>::new(&self.key.into());
        mac.update(value);
        let mut text = hex::encode(mac.finalize().into_bytes());
        text.truncate(12);
        text
    }
}
