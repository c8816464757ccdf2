//! Where reports lie: read by anyone, written by root through the one function that replaces files.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Report;
use super::health::Health;
use super::signal::KeptSignal;
use crate::host::replace::{Replacement, replace};
use crate::host::{RUN_DIR, STATE_DIR};
use crate::{Error, Result};

/// The files of reports below a root.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The files below a root; `/` outside tests.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn report_path(&self) -> PathBuf {
        self.root.join(STATE_DIR).join("report.json")
    }

    fn health_path(&self) -> PathBuf {
        self.root.join(RUN_DIR).join("health.json")
    }

    fn signal_path(&self) -> PathBuf {
        self.root.join(STATE_DIR).join("signal.json")
    }

    /// The text of the lock.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.root.join(RUN_DIR).join("lock")
    }

    /// The last report; `None` before the first converge.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn report(&self) -> Result<Option<Report>> {
        read(&self.report_path())
    }

    /// Replaces the report.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_report(&self, report: &Report) -> Result<()> {
        write(&self.report_path(), report)
    }

    /// What the last probe of the services found; `None` before the first since boot.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn health(&self) -> Result<Option<Health>> {
        read(&self.health_path())
    }

    /// Replaces what the last probe found.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_health(&self, health: &Health) -> Result<()> {
        write(&self.health_path(), health)
    }

    /// The signal to CloudFormation; `None` before the first converge.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn signal(&self) -> Result<Option<KeptSignal>> {
        read(&self.signal_path())
    }

    /// Replaces the signal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_signal(&self, signal: &KeptSignal) -> Result<()> {
        write(&self.signal_path(), signal)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|source| Error::Refused {
            what: format!("the file {}", path.display()),
            why: format!("this version of ops-agent does not understand it ({source})"),
            fix: "`ops-agent converge` writes a new one".to_owned(),
        }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|source| Error::io("make the directory", dir, source))?;
    }
    let mut content = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::io("write", path, io::Error::other(source)))?;
    content.push(b'\n');
    replace(&Replacement { path: path.to_owned(), content, mode: 0o644, owner: None })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::report::examples;

    #[test]
    fn anyone_may_read_a_report() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.report().unwrap(), None);
        store.write_report(&examples::failed()).unwrap();
        assert_eq!(store.report().unwrap(), Some(examples::failed()));
        let mode = std::fs::metadata(store.report_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn a_report_of_another_age_is_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        std::fs::create_dir_all(store.report_path().parent().unwrap()).unwrap();
        std::fs::write(store.report_path(), "{}").unwrap();
        let message = store.report().unwrap_err().to_string();
        assert!(message.contains("report.json") && message.lines().count() == 1, "{message}");
    }
}
