//! Last-known-good inputs in `/var/lib/ops-agent/inputs`: what a host holds on to while AWS cannot
//! be reached. Never secrets, and never the value of a `SecureString`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::STATE_DIR;
use crate::host::replace::{Replacement, replace};
use crate::{Error, Result};

/// What was kept, with how long ago it was known to be true.
#[derive(Debug, Clone)]
pub struct Kept<T> {
    /// The value.
    pub value: T,
    /// Since the run that last saw it.
    pub age: Duration,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    /// What it belongs to: a bucket, a prefix. What was kept for another is not used.
    scope: String,
    value: T,
}

/// The directory of kept inputs: one file a source.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    keeps: bool,
}

impl Cache {
    /// Below this root.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { directory: root.join(STATE_DIR).join("inputs"), keeps: true }
    }

    /// The same, from which is only read where `keeps` is false.
    #[must_use]
    pub fn that(self, keeps: bool) -> Self {
        Self { keeps, ..self }
    }

    fn path(&self, source: &str) -> PathBuf {
        self.directory.join(format!("{source}.json"))
    }

    /// What was kept of a source; `None` where there is nothing that can be read and fits.
    #[must_use]
    pub fn load<T: DeserializeOwned>(&self, source: &str, scope: &str) -> Option<Kept<T>> {
        let path = self.path(source);
        let text = fs::read(&path).ok()?;
        let kept: Envelope<T> = serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!("what is kept in {} is not used: {error}", path.display()))
            .ok()?;
        // The time of the file is the time of the last run that saw the value, not of its last change.
        let seen = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        let age = SystemTime::now().duration_since(seen).unwrap_or_default();
        (kept.scope == scope).then_some(Kept { value: kept.value, age })
    }

    /// Keeps what was just seen. That it cannot is worth a warning, not a failed run.
    pub fn keep<T: Serialize>(&self, source: &str, scope: &str, value: &T) {
        if !self.keeps {
            return;
        }
        match self.try_keep(source, scope, value) {
            Ok(()) => (),
            Err(error) => tracing::warn!("inputs are not kept for a run without AWS: {error}"),
        }
    }

    fn try_keep<T: Serialize>(&self, source: &str, scope: &str, value: &T) -> Result<()> {
        self.make_directory()?;
        let path = self.path(source);
        let content = serde_json::to_vec(&Envelope { scope: scope.to_owned(), value })
            .map_err(|error| Error::io("write", &path, error.into()))?;
        if fs::read(&path).is_ok_and(|old| old == content) {
            return fs::File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()))
                .map_err(|error| Error::io("set the time of", &path, error));
        }
        replace(&Replacement { path, content, mode: 0o600, owner: None })
    }

    fn make_directory(&self) -> Result<()> {
        let directory = &self.directory;
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).map_err(|error| Error::io("make", parent, error))?;
        }
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
                    .map_err(|error| Error::io("close to others", directory, error))
            }
            Err(error) => Err(Error::io("make", directory, error)),
        }
    }
}

/// An age as people say it.
#[must_use]
pub fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h {} min ago", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn keeps_for_one_scope_and_closed_to_others() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        assert!(cache.load::<Vec<String>>("parameters", "/a/").is_none());
        cache.keep("parameters", "/a/", &vec!["x".to_owned()]);
        assert_eq!(cache.load::<Vec<String>>("parameters", "/a/").unwrap().value, ["x"]);
        assert!(cache.load::<Vec<String>>("parameters", "/b/").is_none(), "of another role");
        let directory = root.path().join("var/lib/ops-agent/inputs");
        assert_eq!((mode(&directory), mode(&directory.join("parameters.json"))), (0o700, 0o600));
        assert_eq!(mode(directory.parent().unwrap()) & 0o055, 0o055, "the report beside it is for all");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        cache.keep("parameters", "/a/", &vec!["x".to_owned()]);
        assert_eq!(mode(&directory), 0o700);
    }

    #[test]
    fn who_only_looks_overwrites_nothing() {
        let root = tempfile::tempdir().unwrap();
        Cache::new(root.path()).keep("objects", "own", &1);
        let looking = Cache::new(root.path()).that(false);
        looking.keep("objects", "another", &2);
        assert_eq!(looking.load::<u8>("objects", "own").unwrap().value, 1);
    }

    #[test]
    fn the_age_is_that_of_the_last_sight() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        cache.keep("objects", "b", &1);
        let file = fs::File::options().append(true).open(cache.path("objects")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
        assert!(cache.load::<i32>("objects", "b").unwrap().age.as_secs() >= 7200);
        cache.keep("objects", "b", &1);
        assert!(
            cache.load::<i32>("objects", "b").unwrap().age.as_secs() < 60,
            "seen again, though unchanged"
        );
    }

    #[test]
    fn what_cannot_be_read_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        cache.keep("objects", "b", &1);
        fs::write(cache.path("objects"), "{\"scope\":\"b\",\"val").unwrap();
        assert!(cache.load::<i32>("objects", "b").is_none());
    }

    #[test]
    fn ages_read_well() {
        let said: Vec<_> = [5, 65, 3_700, 200_000].map(|age| ago(Duration::from_secs(age))).into();
        assert_eq!(said, ["5 s ago", "1 min ago", "1 h 1 min ago", "2 days ago"]);
    }
}
