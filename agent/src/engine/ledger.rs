//! Restarts that are owed: written before the change that calls for them, paid after the restart
//! was seen to work, so that neither a crash nor a failed sibling loses one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use tokio::sync::Mutex;

use crate::host::replace::{Replacement, replace};
use crate::{Error, Result};

/// Owed restarts: unit and reasons.
pub type Owed = BTreeMap<String, Vec<String>>;

/// The owed restarts of this host, kept in `/var/lib/ops-agent/ledger.json`.
pub struct Ledger {
    path: PathBuf,
    owed: Mutex<Option<Owed>>,
}

impl Ledger {
    /// A ledger kept in the given file; read at first use.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, owed: Mutex::new(None) }
    }

    /// Writes down that `unit` owes a restart because of `reason`, and syncs it to disk. The same
    /// reason twice is one.
    ///
    /// # Errors
    /// When the file cannot be read, understood or written: the change must then not be made.
    pub async fn owe(&self, unit: &str, reason: &str) -> Result<()> {
        self.change(|owed| {
            let reasons = owed.entry(unit.to_owned()).or_default();
            let new = !reasons.iter().any(|known| known == reason);
            if new {
                reasons.push(reason.to_owned());
            }
            new
        })
        .await
    }

    /// Why `unit` owes a restart; empty when it does not.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub async fn reasons(&self, unit: &str) -> Result<Vec<String>> {
        Ok(self.all().await?.remove(unit).unwrap_or_default())
    }

    /// Strikes out what `unit` owed.
    ///
    /// # Errors
    /// When the file cannot be read, understood or written: the restart then stays owed.
    pub async fn paid(&self, unit: &str) -> Result<()> {
        self.change(|owed| owed.remove(unit).is_some()).await
    }

    /// Everything owed.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub async fn all(&self) -> Result<Owed> {
        let mut owed = self.owed.lock().await;
        match &*owed {
            Some(known) => Ok(known.clone()),
            None => {
                let read = self.read()?;
                Ok(owed.insert(read).clone())
            }
        }
    }

    /// Changes the ledger, on disk before in memory. `change` says whether it changed anything.
    async fn change(&self, change: impl FnOnce(&mut Owed) -> bool + Send) -> Result<()> {
        let mut owed = self.owed.lock().await;
        let mut next = match owed.take() {
            Some(known) => known,
            None => self.read()?,
        };
        if change(&mut next) {
            self.write(&next)?;
        }
        *owed = Some(next);
        Ok(())
    }

    fn read(&self) -> Result<Owed> {
        match std::fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|source| Error::Refused {
                what: format!("the ledger of owed restarts {}", self.path.display()),
                why: format!("it is damaged ({source})"),
                fix: "restart by hand what may owe one, delete the file, and converge again".to_owned(),
            }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Owed::new()),
            Err(source) => Err(Error::io("read", &self.path, source)),
        }
    }

    fn write(&self, owed: &Owed) -> Result<()> {
        let mut content = serde_json::to_vec_pretty(owed)
            .map_err(|source| Error::io("write", &self.path, io::Error::other(source)))?;
        content.push(b'\n');
        replace(&Replacement { path: self.path.clone(), content, mode: 0o644, owner: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_owed_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        Ledger::new(path.clone())
            .owe("docker.service", "file:/etc/docker/daemon.json changed")
            .await
            .unwrap();
        let next = Ledger::new(path.clone());
        next.owe("docker.service", "file:/etc/docker/daemon.json changed").await.unwrap();
        assert_eq!(next.reasons("docker.service").await.unwrap(), ["file:/etc/docker/daemon.json changed"]);
        next.paid("docker.service").await.unwrap();
        assert!(Ledger::new(path).all().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn no_file_owes_nothing() {
        let ledger = Ledger::new("/nowhere/ledger.json".into());
        assert!(ledger.reasons("a.service").await.unwrap().is_empty());
        ledger.paid("a.service").await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.json");
        std::fs::write(&path, "{\"a.ser").unwrap();
        let message = Ledger::new(path.clone()).owe("b.service", "x").await.unwrap_err().to_string();
        assert!(message.contains("ledger.json: it is damaged"), "{message}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a.ser");
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_owed() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(dir.path().join("file/ledger.json"));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(ledger.owe("a.service", "x").await.is_err());
    }
}
