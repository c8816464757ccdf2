//! A host for tests: an empty root, no network, nothing but files.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;

use super::place::Owner;
use super::{Fingerprints, Host, Objects, Registries, RegistryLogin, Silent};
use crate::engine::ledger::Ledger;
use crate::{Error, Result};

/// A host in a new directory, which goes when the first value is dropped.
pub fn test_host() -> (TempDir, Host) {
    let directory = tempfile::tempdir().unwrap();
    let host = test_host_in(directory.path());
    (directory, host)
}

/// A host in a directory that is there.
pub fn test_host_in(root: &Path) -> Host {
    Host {
        root: root.into(),
        ledger: Arc::new(Ledger::new(root.join("ledger.json"))),
        fingerprints: Arc::new(Fingerprints::new([7; 64])),
        objects: Arc::new(NoServices),
        registries: Arc::new(NoServices),
        progress: Arc::new(Silent),
    }
}

/// The user and group that the test runs as, so that a test needs no root to set an owner.
pub fn me() -> Owner {
    (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw())
}

struct NoServices;

#[async_trait]
impl Objects for NoServices {
    async fn download(&self, _bucket: &str, key: &str, _to: &Path) -> Result<String> {
        Err(Error::io("download", key, std::io::Error::other("this test has no S3")))
    }
}

#[async_trait]
impl Registries for NoServices {
    async fn login(&self, _registry: &str) -> Result<Option<RegistryLogin>> {
        Ok(None)
    }
}
