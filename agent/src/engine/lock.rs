//! One run at a time, under a lock that tells who holds it, since when and why.
//!
//! Two files: `/run/ops-agent/lock` is text for everybody, and the flock is on `lock.guard` beside it,
//! which only root can open. An flock needs no more than a descriptor open for reading, so on a file
//! for everybody any user could keep the agent from ever running again.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::replace::{Replacement, replace};
use crate::{Error, Result};

/// How often a waiting run tries again: short beside the seconds a run takes, and cheap.
const POLL: Duration = Duration::from_millis(200);

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Since when, RFC 3339.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Why it runs: `boot`, `timer`, `manual`, …
    pub reason: String,
    /// The command: `converge`.
    pub command: String,
    /// When the process started, in clock ticks since boot: tells it from a later one of the same id.
    #[serde(default)]
    pub process_start: u64,
}

impl Holder {
    /// This process, from now on.
    #[must_use]
    pub fn this(command: &str, reason: &str, now: Timestamp) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            since: now,
            reason: reason.to_owned(),
            command: command.to_owned(),
            process_start: process_start(pid).unwrap_or_default(),
        }
    }

    /// Whether the process still lives. The text of one that was killed stays, and means nothing.
    #[must_use]
    pub fn lives(&self) -> bool {
        process_start(self.pid) == Some(self.process_start)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, reason, command, .. } = self;
        write!(f, "PID {pid} ({command}, reason {reason}, since {})", self.since.strftime("%H:%M:%S"))
    }
}

/// Field 22 of `/proc/PID/stat` (proc(5)), which every user may read.
fn process_start(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold spaces and parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The living holder that the lock's text names; for anyone, without touching the lock.
#[must_use]
pub fn holder(text: &Path) -> Option<Holder> {
    let holder: Holder = serde_json::from_slice(&std::fs::read(text).ok()?).ok()?;
    holder.lives().then_some(holder)
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    text: PathBuf,
    /// Closing it releases the flock: also when the process is killed.
    _guard: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the flock goes, so that it cannot take away the text of the next holder.
        let _ = std::fs::remove_file(&self.text);
    }
}

/// Takes the lock if it is free; else `None`.
///
/// # Errors
/// When the lock's files cannot be made: not root, a read-only or full `/run`.
pub fn try_acquire(text: &Path, this: &Holder) -> Result<Option<Lock>> {
    if let Some(dir) = text.parent() {
        std::fs::create_dir_all(dir).map_err(|source| Error::io("make the directory", dir, source))?;
    }
    let path = text.with_extension("guard");
    let guard = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let guard = guard.map_err(|source| Error::io("open the lock", &path, source))?;
    match guard.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", path, source)),
    }
    let mut content =
        serde_json::to_vec(this).map_err(|source| Error::io("write", text, std::io::Error::other(source)))?;
    content.push(b'\n');
    replace(&Replacement { path: text.to_owned(), content, mode: 0o644, owner: None })?;
    Ok(Some(Lock { text: text.to_owned(), _guard: guard }))
}

/// Waits for the lock. `waiting` hears once who holds it, and again when another one took it.
///
/// # Errors
/// As [`try_acquire`].
pub async fn acquire(
    text: &Path,
    this: &Holder,
    mut waiting: impl FnMut(Option<&Holder>) + Send,
) -> Result<Lock> {
    let mut told: Option<Option<Holder>> = None;
    loop {
        if let Some(lock) = try_acquire(text, this)? {
            return Ok(lock);
        }
        let now = holder(text);
        // Between one holder's end and the next one's text there is none to name: not worth telling.
        if told.is_none() || (now.is_some() && told.as_ref() != Some(&now)) {
            waiting(now.as_ref());
            told = Some(now);
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this() -> Holder {
        Holder::this("converge", "timer", "2026-11-24T12:03:04Z".parse().unwrap())
    }

    #[test]
    fn only_one_holds_it_and_its_text_tells_who() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("run/lock");
        let lock = try_acquire(&text, &this()).unwrap().unwrap();
        assert!(try_acquire(&text, &this()).unwrap().is_none());
        let who = holder(&text).unwrap();
        assert_eq!(
            who.to_string(),
            format!("PID {} (converge, reason timer, since 12:03:04)", std::process::id())
        );
        drop(lock);
        assert_eq!(holder(&text), None);
        assert!(try_acquire(&text, &this()).unwrap().is_some());
    }

    #[test]
    fn the_text_of_a_crashed_run_means_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("lock");
        let dead = Holder { process_start: 1, ..this() };
        std::fs::write(&text, serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(holder(&text), None);
        assert!(try_acquire(&text, &this()).unwrap().is_some());
    }

    #[test]
    fn only_the_owner_can_open_what_is_locked() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("lock");
        let _lock = try_acquire(&text, &this()).unwrap();
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.path().join("lock.guard")), 0o600);
        assert_eq!(mode(text), 0o644);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("run"), "").unwrap();
        let message = try_acquire(&dir.path().join("run/lock"), &this()).unwrap_err().to_string();
        assert!(message.starts_with("cannot make the directory"), "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_run_waits_and_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("lock");
        let first = try_acquire(&text, &this()).unwrap().unwrap();
        let release = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(first);
        };
        let mut told = Vec::new();
        let who = this();
        let second = acquire(&text, &who, |holder| told.push(holder.cloned()));
        let (_, second) = tokio::join!(release, second);
        second.unwrap();
        assert_eq!(told, [Some(this())]);
    }
}
