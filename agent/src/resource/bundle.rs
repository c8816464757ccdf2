//! A content-addressed archive from S3, unpacked to a directory named by its digest.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use self::unpack::unpack;
use super::{Diff, Id, Kind, Resource, docker};
use crate::host::place::{Place, make_one, make_parents};
use crate::host::replace::{TEMPORARY_PREFIX, sync_directory, temporary_name};
use crate::host::{Host, blocking};
use crate::{Error, Result};

mod unpack;

/// A bundle. Unpacked beside its place, synced, and renamed into it: the directory is whole or absent.
/// Entries that are absolute, climb out, or are links that do, devices or fifos are refused.
pub struct Bundle {
    /// Name in reports: `sqlmesh-project`.
    pub name: String,
    /// Bucket.
    pub bucket: String,
    /// Key of the .tar.gz.
    pub key: String,
    /// Hex SHA-256 of the archive.
    pub sha256: String,
    /// Absolute directory in which a directory named by the digest is made. Directories of other
    /// versions are kept up to `keep`, newest first.
    pub into: String,
    /// How many versions to keep, this one included. One that a link beside `into` points at or a container
    /// has mounted is kept in any case, and all where Docker cannot be asked about that.
    pub keep: usize,
}

impl Bundle {
    fn refused(&self, why: String, fix: &str) -> Error {
        Error::Refused { what: format!("bundle {}", self.name), why, fix: fix.into() }
    }

    fn check_digest(&self) -> Result<()> {
        if is_digest(&self.sha256) {
            return Ok(());
        }
        let why = format!("{:?} is not a SHA-256 in lower-case hex", self.sha256);
        Err(self.refused(why, "give the 64 digits that sha256sum prints"))
    }
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[async_trait]
impl Resource for Bundle {
    /// What is in the place of this version. A directory is whole: it came there by a rename, and
    /// leaves by one.
    type Current = Place;

    fn id(&self) -> Id {
        Id::new(Kind::Bundle, &self.name)
    }

    async fn observe(&self, host: &Host) -> Result<Place> {
        self.check_digest()?;
        Place::look(&host.path(&self.into).join(&self.sha256))
    }

    fn diff(&self, current: &Place) -> Diff {
        let mut diff = Diff::default();
        if !matches!(current, Place::Directory { .. }) {
            let from = Some(current).filter(|place| **place != Place::Absent).map(Place::to_string);
            diff.compare("version", from, self.sha256.clone());
        }
        diff
    }

    async fn apply(&self, host: &Host, current: Place) -> Result<()> {
        let id = Resource::id(self).to_string();
        let into = host.path(&self.into);
        let place = into.join(&self.sha256);
        if current != Place::Absent {
            let why = format!("{current} is in the place {}", place.display());
            return Err(self.refused(why, "move that away"));
        }
        let work = into.join(temporary_name()?);
        let archive = work.join("archive.tar.gz");
        {
            let (into, work) = (into.clone(), work.clone());
            blocking(move || {
                make_parents(&work)?;
                remove_unfinished(&into)?;
                make_one(&work, 0o700, None)
            })
            .await?;
        }
        host.progress.step(&id, &format!("downloading s3://{}/{}", self.bucket, self.key));
        let digest = host.objects.download(&self.bucket, &self.key, &archive).await?;
        if digest != self.sha256 {
            let _ = fs::remove_dir_all(&work);
            let why = format!(
                "s3://{}/{} has SHA-256 {digest}, not {}; nothing was unpacked",
                self.bucket, self.key, self.sha256
            );
            return Err(self.refused(why, "publish the bundle again, or correct the digest in the settings"));
        }
        host.progress.step(&id, "unpacking");
        let (name, sha256, keep) = (self.name.clone(), self.sha256.clone(), self.keep);
        blocking(move || {
            let tree = work.join("tree");
            let done = unpack(&name, &archive, &tree).and_then(|()| put(&tree, &place));
            fs::remove_dir_all(&work).map_err(|source| Error::io("remove", &work, source))?;
            done
        })
        .await?;
        match docker::mounted(host).await {
            Ok(Some(mounted)) => {
                let into = host.path(&self.into);
                blocking(move || prune(&into, &sha256, keep, &mounted)).await
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::warn!("{id}: no old version is removed: {error}");
                Ok(())
            }
        }
    }

    fn time_limit(&self) -> Duration {
        Duration::from_secs(600)
    }
}

/// Gives an unpacked tree its name, after everything in it has reached the disk.
fn put(tree: &Path, place: &Path) -> Result<()> {
    let opened = File::open(tree).map_err(|source| Error::io("open", tree, source))?;
    nix::unistd::syncfs(&opened).map_err(|errno| Error::io("sync the filesystem of", tree, errno.into()))?;
    fs::rename(tree, place).map_err(|source| Error::io("rename into place", place, source))?;
    place.parent().map_or(Ok(()), sync_directory)
}

/// Removes what killed runs left. Only one run is at work at a time.
fn remove_unfinished(into: &Path) -> Result<()> {
    for (name, path) in listed(into)? {
        if name.to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            fs::remove_dir_all(&path).map_err(|source| Error::io("remove", path, source))?;
        }
    }
    Ok(())
}

/// Removes the oldest versions beyond `keep`, but neither this one nor one that a link points at or that is mounted.
/// A version leaves its name by a rename first, so that one removed halfway is never taken for whole.
fn prune(into: &Path, this: &str, keep: usize, mounted: &BTreeSet<PathBuf>) -> Result<()> {
    let mut linked = Vec::new();
    for directory in [Some(into), into.parent()].into_iter().flatten() {
        for (_, path) in listed(directory)? {
            if let Place::Link { target } = Place::look(&path)? {
                linked.extend(target.iter().map(OsString::from));
            }
        }
    }
    let mut others = Vec::new();
    for (name, path) in listed(into)? {
        let is_version = name.to_str().is_some_and(|name| is_digest(name) && name != this);
        if is_version {
            let changed = fs::symlink_metadata(&path).and_then(|found| found.modified());
            others.push((changed.unwrap_or(SystemTime::UNIX_EPOCH), name, path));
        }
    }
    others.sort();
    let newest_first = others.into_iter().rev();
    for (_, name, path) in newest_first.skip(keep.saturating_sub(1)) {
        if linked.contains(&name) || mounted.iter().any(|source| source.starts_with(&path)) {
            continue;
        }
        let doomed = into.join(temporary_name()?);
        fs::rename(&path, &doomed).map_err(|source| Error::io("rename away", &path, source))?;
        sync_directory(into)?;
        fs::remove_dir_all(&doomed).map_err(|source| Error::io("remove", &doomed, source))?;
    }
    Ok(())
}

fn listed(directory: &Path) -> Result<Vec<(OsString, PathBuf)>> {
    let failed = |source: io::Error| Error::io("read the directory", directory, source);
    fs::read_dir(directory)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| (entry.file_name(), entry.path())).map_err(failed))
        .collect()
}

#[cfg(test)]
mod tests;
