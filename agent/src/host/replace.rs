//! The one function that replaces files: a temporary in the same directory, mode and owner, write,
//! sync, rename, sync of the directory. Killed anywhere, each file is old or new.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::place::Place;
use crate::{Error, Result};

/// How the names of temporaries begin. A temporary that no live process holds locked was left by a
/// killed run, and the next replacement in its directory removes it.
pub const TEMPORARY_PREFIX: &str = ".ops-agent-";

/// How many syncs wait at the same time.
const SYNC_THREADS: usize = 8;

/// How often a temporary is made anew when a cleaner took it between its creation and its lock.
const CREATE_ATTEMPTS: usize = 8;

/// A file as it should be. Its `Debug` form shows no content: that may be a secret.
#[derive(Clone)]
pub struct Replacement {
    /// Where; already below the root. A symbolic link in this place is itself replaced, never
    /// written through: what it points at stays as it was.
    pub path: PathBuf,
    /// The whole content.
    pub content: Vec<u8>,
    /// Permission bits, as in `0o644`.
    pub mode: u32,
    /// Owner and group; `None` leaves the agent's own.
    pub owner: Option<(u32, u32)>,
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes, mode {:04o})", self.path.display(), self.content.len(), self.mode)
    }
}

/// Replaces all the files, staged together: every temporary is written, then all are synced, then
/// renamed, then their directories synced. A failure before the renames leaves every file as it was.
///
/// # Errors
/// [`Error::Io`] with the path concerned; [`Error::Refused`] where something other than a file
/// or a link is in the place.
pub fn replace_all(files: &[Replacement]) -> Result<()> {
    let mut directories = BTreeSet::new();
    for file in files {
        directories.insert(directory_of(&file.path));
        refuse_other_than_file(&file.path)?;
    }
    for directory in &directories {
        remove_leftovers(directory)?;
    }
    let mut staged = Vec::with_capacity(files.len());
    for file in files {
        staged.push(Temporary::write(file)?);
    }
    sync_side_by_side(&staged)?;
    for (temporary, file) in staged.into_iter().zip(files) {
        temporary.rename_to(&file.path)?;
    }
    directories.iter().try_for_each(|directory| sync_directory(directory))
}

/// Syncs all temporaries. Side by side they share the commits of the filesystem's journal, which is
/// what a sync waits for.
fn sync_side_by_side(staged: &[Temporary]) -> Result<()> {
    let sync = |temporaries: &[Temporary]| {
        temporaries.iter().try_for_each(|temporary| {
            temporary.file.sync_all().map_err(|source| Error::io("sync", &temporary.path, source))
        })
    };
    if staged.len() <= 1 {
        return sync(staged);
    }
    std::thread::scope(|scope| {
        let chunks = staged.chunks(staged.len().div_ceil(SYNC_THREADS));
        let threads: Vec<_> = chunks.map(|chunk| scope.spawn(move || sync(chunk))).collect();
        // All are waited for, even when one has failed.
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        results.into_iter().try_for_each(|result| {
            result
                .unwrap_or_else(|_| Err(Error::io("sync", "the temporary files", io::Error::other("panic"))))
        })
    })
}

/// Replaces one file.
///
/// # Errors
/// As [`replace_all`].
pub fn replace(file: &Replacement) -> Result<()> {
    replace_all(std::slice::from_ref(file))
}

/// Makes what was created, renamed or removed in a directory last through a power loss.
///
/// # Errors
/// [`Error::Io`] with the directory.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|source| Error::io("sync the directory", directory, source))
}

/// A name for a temporary that nobody can guess and prepare.
///
/// # Errors
/// [`Error::Io`] where the kernel gives no random numbers.
pub fn temporary_name() -> Result<String> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Error::io("read", "the kernel's random numbers", io::Error::other(error)))?;
    Ok(format!("{TEMPORARY_PREFIX}{}", hex::encode(random)))
}

/// What a rename could replace but should not, or cannot.
fn refuse_other_than_file(path: &Path) -> Result<()> {
    match Place::look(path)? {
        Place::Absent | Place::File { .. } | Place::Link { .. } => Ok(()),
        other => Err(Error::Refused {
            what: format!("write {}", path.display()),
            why: format!("{other} is in its place"),
            fix: "move that away".into(),
        }),
    }
}

/// The directory of a path; `.` for a bare name.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// A written file that has not got its name yet. Removed when dropped.
struct Temporary {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temporary {
    /// Creates and fills the temporary of a file. Its content is never readable by more than the
    /// owner that it will have: mode 0600 until everything is written.
    fn write(wanted: &Replacement) -> Result<Self> {
        let mut temporary = Self::create(&directory_of(&wanted.path))?;
        if let Some((user, group)) = wanted.owner {
            fchown(&temporary.file, Some(user), Some(group))
                .map_err(|source| Error::io("set the owner of", &wanted.path, source))?;
        }
        temporary
            .file
            .write_all(&wanted.content)
            .map_err(|source| Error::io("write", &wanted.path, source))?;
        // After the owner: changing that clears setuid bits.
        temporary
            .file
            .set_permissions(Permissions::from_mode(wanted.mode))
            .map_err(|source| Error::io("set the mode of", &wanted.path, source))?;
        Ok(temporary)
    }

    /// Creates an empty temporary and locks it, which tells cleaners that it is in use.
    fn create(directory: &Path) -> Result<Self> {
        for _ in 0..CREATE_ATTEMPTS {
            let path = directory.join(temporary_name()?);
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(|source| Error::io("create a temporary file in", directory, source))?;
            let temporary = Self { path, file, renamed: false };
            let links = temporary.file.lock().and_then(|()| temporary.file.metadata()).map(|m| m.nlink());
            if links.map_err(|source| Error::io("lock", &temporary.path, source))? > 0 {
                return Ok(temporary);
            }
        }
        Err(Error::io(
            "create a temporary file in",
            directory,
            io::Error::other("another process keeps removing it"),
        ))
    }

    fn rename_to(mut self, path: &Path) -> Result<()> {
        fs::rename(&self.path, path).map_err(|source| Error::io("replace", path, source))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Nothing better can be done: a later replacement removes what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the temporaries that killed runs left in a directory. Those of running replacements, in
/// this process or another, are locked and stay.
///
/// # Errors
/// [`Error::Io`] where the directory cannot be read, or a leftover not be removed.
pub fn remove_leftovers(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(|source| Error::io("read", directory, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| Error::io("read", directory, source))?;
        if !is_temporary(&entry.file_name()) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        match File::open(&path) {
            Ok(file) if file.try_lock().is_ok() => remove_if_there(&path)?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io("open", path, source)),
        }
    }
    Ok(())
}

pub(super) fn is_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        name.strip_prefix(TEMPORARY_PREFIX)
            .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, source)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn file(path: PathBuf, content: &str, mode: u32) -> Replacement {
        Replacement { path, content: content.into(), mode, owner: None }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writes_content_and_mode_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("a"), "old and longer").unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("d/b"));
        replace_all(&[file(a.clone(), "new", 0o600), file(b.clone(), "", 0o4755)]).unwrap();
        assert_eq!(fs::read_to_string(&a).unwrap(), "new");
        assert_eq!(fs::metadata(&a).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(&b).unwrap().mode() & 0o7777, 0o4755);
        assert_eq!(names(dir.path()), ["a", "d"]);
        assert_eq!(names(&dir.path().join("d")), ["b"]);
    }

    #[test]
    fn a_failure_while_staging_changes_nothing_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let a = dir.path().join("a");
        fs::write(&a, "old").unwrap();
        let missing = dir.path().join("no-such-directory/b");
        let error = replace_all(&[file(a.clone(), "new", 0o644), file(missing, "b", 0o644)]).unwrap_err();
        assert!(error.to_string().contains("no-such-directory"), "{error}");
        fs::create_dir(dir.path().join("is-a-directory")).unwrap();
        let taken = dir.path().join("is-a-directory");
        let error = replace_all(&[file(a.clone(), "new", 0o644), file(taken, "b", 0o644)]).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert_eq!(fs::read_to_string(&a).unwrap(), "old");
        assert_eq!(names(dir.path()), ["a", "is-a-directory"]);
    }

    #[test]
    fn a_link_in_the_place_is_replaced_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        replace(&file(link.clone(), "new", 0o644)).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn leftovers_go_but_those_in_use_and_those_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".ops-agent-00112233445566ff");
        let used = dir.path().join(".ops-agent-aabbccddeeff0011");
        let other = dir.path().join(".ops-agent-notes");
        for path in [&left, &used, &other] {
            fs::write(path, "half").unwrap();
        }
        let holder = File::open(&used).unwrap();
        holder.lock().unwrap();
        replace(&file(dir.path().join("a"), "new", 0o644)).unwrap();
        assert_eq!(names(dir.path()), [".ops-agent-aabbccddeeff0011", ".ops-agent-notes", "a"]);
        drop(holder);
        remove_leftovers(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [".ops-agent-notes", "a"]);
    }

    #[test]
    fn replacements_side_by_side_in_one_directory_all_arrive() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let dir = dir.path();
                scope.spawn(move || {
                    for round in 0..50 {
                        replace(&file(dir.join(thread.to_string()), &round.to_string(), 0o644)).unwrap();
                    }
                });
            }
        });
        assert_eq!(names(dir.path()), ["0", "1", "2", "3"]);
    }
}
