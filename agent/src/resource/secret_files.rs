//! Secret files on tmpfs for one consumer.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use secrecy::{ExposeSecret, SecretString};

use super::{Change, Diff, Id, Kind, Resource};
use crate::host::place::{Place, make_one, make_parents, mode_text, owner_text};
use crate::host::replace::{Replacement, replace_all, sync_directory};
use crate::host::{Host, blocking};
use crate::inputs::SecretProblem;
use crate::{Error, Result};

const DIRECTORY_MODE: u32 = 0o500;
const FILE_MODE: u32 = 0o400;
/// A filesystem that lives in memory and is never swapped out (linux/magic.h).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// The secret files of one consumer, in `/run/ops-agent/secrets/CONSUMER/`: a directory 0500 and
/// files 0400, owned by the consumer. Files that are not named are removed. Refused where the
/// directory is not on tmpfs.
pub struct SecretFiles {
    /// Name of the consumer: `sqlmesh`.
    pub consumer: String,
    /// User and group ids of the consumer.
    pub owner: (u32, u32),
    /// Name of each file, which is the environment variable, with its value; or why there are none.
    /// A held problem keeps what is there, and fails only when nothing is.
    pub files: Result<Vec<(String, SecretString)>, SecretProblem>,
    /// Version ids of the secrets behind them, for plans.
    pub versions: Vec<String>,
}

/// What is there and what should be, with fingerprints in the place of values.
pub struct Found {
    directory: Place,
    files: BTreeMap<String, FoundFile>,
    /// Fingerprints by name; `None` when what is there is kept.
    wanted: Option<BTreeMap<String, String>>,
}

struct FoundFile {
    place: Place,
    fingerprint: String,
    /// Compared by the values themselves: a fingerprint is too short for that.
    right: bool,
}

impl SecretFiles {
    fn directory(&self, host: &Host) -> PathBuf {
        host.run("secrets").join(&self.consumer)
    }

    fn refused(&self, why: impl Into<String>, fix: &str) -> Error {
        Error::Refused {
            what: format!("secret files of {}", self.consumer),
            why: why.into(),
            fix: fix.into(),
        }
    }

    fn check(&self, files: &[(String, SecretString)]) -> Result<()> {
        let mut seen = BTreeMap::new();
        for (name, value) in files {
            if !is_variable(name) {
                return Err(self.refused(
                    format!("{name:?} cannot be the name of an environment variable"),
                    "use capital letters, digits and _ in the keys of the secret",
                ));
            }
            if value.expose_secret().contains('\0') {
                return Err(self.refused(
                    format!("the value of {name} holds a NUL byte, which no environment can"),
                    "correct the secret",
                ));
            }
            if seen.insert(name, ()).is_some() {
                return Err(self.refused(
                    format!("two secrets give {name}"),
                    "rename the key in one of them, or change its prefix",
                ));
            }
        }
        Ok(())
    }

    fn check_place(&self, directory: &Path) -> Result<()> {
        let mut consumer = Path::new(&self.consumer).components();
        let one_word = matches!(consumer.next(), Some(std::path::Component::Normal(_)));
        if !one_word || consumer.next().is_some() {
            return Err(self.refused("the name of the consumer is not one word", "name it with one word"));
        }
        if !in_memory(directory)? {
            return Err(self.refused(
                format!("{} is not on tmpfs, and secrets never touch a disk", directory.display()),
                "mount a tmpfs there",
            ));
        }
        Ok(())
    }

    fn replacement(&self, path: PathBuf, value: &SecretString) -> Replacement {
        Replacement {
            path,
            content: value.expose_secret().as_bytes().to_vec(),
            mode: FILE_MODE,
            owner: Some(self.owner),
        }
    }
}

/// `[A-Z_][A-Z0-9_]*`
fn is_variable(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// Whether a path is, or would be made, on a filesystem in memory.
fn in_memory(path: &Path) -> Result<bool> {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let kind = statfs(there)
        .map_err(|errno| Error::io("find the filesystem of", there, errno.into()))?
        .filesystem_type();
    Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
}

/// The files of a directory by name; none where there is no directory.
fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |source| Error::io("read the directory", directory, source);
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    listing
        .map(|entry| {
            let entry = entry.map_err(failed)?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
        })
        .collect()
}

#[async_trait]
impl Resource for SecretFiles {
    type Current = Found;

    fn id(&self) -> Id {
        Id::new(Kind::Secrets, &self.consumer)
    }

    async fn observe(&self, host: &Host) -> Result<Found> {
        let directory = self.directory(host);
        self.check_place(&directory)?;
        let place = Place::look(&directory)?;
        let listed = if let Place::Directory { .. } = place { entries(&directory)? } else { Vec::new() };
        let wanted = match &self.files {
            Ok(files) => {
                self.check(files)?;
                Some(files)
            }
            Err(problem) if problem.held && !listed.is_empty() => None,
            Err(problem) => return Err(problem.error_of(format!("secret files of {}", self.consumer))),
        };
        let mut files = BTreeMap::new();
        for (name, path) in listed {
            let place = Place::look(&path)?;
            let value = match place {
                Place::File { .. } => fs::read(&path).map_err(|source| Error::io("read", &path, source))?,
                _ => Vec::new(),
            };
            let should = wanted.and_then(|wanted| wanted.iter().find(|(wanted, _)| *wanted == name));
            let right = should.is_some_and(|(_, should)| should.expose_secret().as_bytes() == value);
            files.insert(name, FoundFile { place, fingerprint: host.fingerprints.of(&value), right });
        }
        let fingerprint = |value: &SecretString| host.fingerprints.of(value.expose_secret().as_bytes());
        let wanted = wanted
            .map(|wanted| wanted.iter().map(|(name, value)| (name.clone(), fingerprint(value))).collect());
        Ok(Found { directory: place, files, wanted })
    }

    fn diff(&self, current: &Found) -> Diff {
        let mut diff = Diff::default();
        let Some(wanted) = &current.wanted else { return diff };
        match &current.directory {
            Place::Directory { mode, owner } => {
                diff.compare("directory mode", Some(mode_text(*mode)), mode_text(DIRECTORY_MODE));
                diff.compare("directory owner", Some(owner_text(*owner)), owner_text(self.owner));
            }
            Place::Absent => {}
            other => {
                diff.0.push(Change::new("type", Some(other.to_string()), Some("a directory".into())));
            }
        }
        let mut new_values = false;
        for (name, fingerprint) in wanted {
            let shown = |fingerprint: &String| format!("fingerprint {fingerprint}");
            match current.files.get(name) {
                Some(FoundFile { place: Place::File { mode, owner, .. }, right: true, .. }) => {
                    diff.compare(&format!("{name} mode"), Some(mode_text(*mode)), mode_text(FILE_MODE));
                    diff.compare(&format!("{name} owner"), Some(owner_text(*owner)), owner_text(self.owner));
                }
                found => {
                    let from = found.map(|found| match found.place {
                        Place::File { .. } => shown(&found.fingerprint),
                        ref other => other.to_string(),
                    });
                    diff.0.push(Change::new(name, from, Some(shown(fingerprint))));
                    new_values = true;
                }
            }
        }
        for (name, found) in current.files.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
            diff.0.push(Change::new(name, Some(format!("fingerprint {}", found.fingerprint)), None));
        }
        if new_values && !self.versions.is_empty() {
            diff.0.push(Change::new("versions", None, Some(self.versions.join(", "))));
        }
        if wanted.is_empty() && current.directory == Place::Absent {
            diff.compare("directory", None, mode_text(DIRECTORY_MODE));
        }
        diff
    }

    async fn apply(&self, host: &Host, current: Found) -> Result<()> {
        let (Ok(files), Some(wanted)) = (&self.files, current.wanted) else { return Ok(()) };
        let directory = self.directory(host);
        let replacements: Vec<_> = files
            .iter()
            .filter(|(name, _)| {
                let found = current.files.get(name);
                !found.is_some_and(|found| found.right && has(&found.place, FILE_MODE, self.owner))
            })
            .map(|(name, value)| self.replacement(directory.join(name), value))
            .collect();
        let superfluous: Vec<_> =
            current.files.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        let owner = self.owner;
        blocking(move || {
            make_parents(&directory)?;
            make_one(&directory, DIRECTORY_MODE, Some(owner))?;
            replace_all(&replacements)?;
            for name in superfluous {
                let path = directory.join(name);
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::io("remove", path, source));
                    }
                    _ => {}
                }
            }
            sync_directory(&directory)
        })
        .await
    }
}

fn has(place: &Place, wanted_mode: u32, wanted_owner: (u32, u32)) -> bool {
    matches!(place, Place::File { mode, owner, .. } if *mode == wanted_mode && *owner == wanted_owner)
}

#[cfg(test)]
mod tests;
