//! What is in a place of the filesystem, without following a link that is there.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::replace::sync_directory;
use crate::{Error, Result};

/// User and group ids.
pub type Owner = (u32, u32);

/// What is in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Who owns it.
        owner: Owner,
        /// Its length in bytes.
        length: u64,
    },
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Who owns it.
        owner: Owner,
    },
    /// A symbolic link.
    Link {
        /// What it points at, verbatim.
        target: PathBuf,
    },
    /// A device, pipe or socket.
    Other(&'static str),
}

impl Place {
    /// Looks, without following a link in the last part of the path.
    ///
    /// # Errors
    /// [`Error::Io`] for everything but that nothing is there.
    pub fn look(path: &Path) -> Result<Self> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(source) => return Err(Error::io("look at", path, source)),
        };
        let (kind, mode, owner) = (found.file_type(), found.mode() & 0o7777, (found.uid(), found.gid()));
        Ok(if kind.is_file() {
            Self::File { mode, owner, length: found.len() }
        } else if kind.is_dir() {
            Self::Directory { mode, owner }
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|source| Error::io("read the link", path, source))?;
            Self::Link { target }
        } else if kind.is_socket() {
            Self::Other("a socket")
        } else if kind.is_fifo() {
            Self::Other("a named pipe")
        } else {
            Self::Other("a device")
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::File { .. } => f.write_str("a file"),
            Self::Directory { .. } => f.write_str("a directory"),
            Self::Link { target } => write!(f, "a link to {}", target.display()),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// Permission bits as people write them: `0644`.
#[must_use]
pub fn mode_text(mode: u32) -> String {
    format!("{mode:04o}")
}

/// An owner as people write it: `0:0`.
#[must_use]
pub fn owner_text((user, group): Owner) -> String {
    format!("{user}:{group}")
}

/// Makes the directories above a path, 0755 and owned by the agent, where there are none. Each is
/// synced into the one above it.
///
/// # Errors
/// [`Error::Io`] with the directory that cannot be made.
pub fn make_parents(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent.as_os_str().is_empty() || parent.is_dir() {
        return Ok(());
    }
    make_parents(parent)?;
    make_one(parent, 0o755, None)
}

/// Makes one directory, or gives one that is there its mode and owner. Until both are right, a new
/// one is open to the agent alone. A link in the place is not followed.
///
/// # Errors
/// [`Error::Io`] with the directory.
pub fn make_one(path: &Path, mode: u32, owner: Option<Owner>) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create the directory", path, source));
        }
        _ => {}
    }
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags((nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_NOFOLLOW).bits())
        .open(path)
        .map_err(|source| Error::io("open the directory", path, source))?;
    if let Some((user, group)) = owner {
        fchown(&directory, Some(user), Some(group))
            .map_err(|source| Error::io("set the owner of", path, source))?;
    }
    directory
        .set_permissions(Permissions::from_mode(mode))
        .map_err(|source| Error::io("set the mode of", path, source))?;
    directory.sync_all().map_err(|source| Error::io("sync the directory", path, source))?;
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let look = |name: &str| Place::look(&dir.path().join(name));
        fs::write(dir.path().join("f"), "abc").unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("l")).unwrap();
        std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        assert_eq!(look("none").unwrap(), Place::Absent);
        assert!(matches!(look("f").unwrap(), Place::File { length: 3, .. }));
        assert_eq!(look("l").unwrap().to_string(), "a link to f");
        assert_eq!(look("s").unwrap(), Place::Other("a socket"));
        assert!(matches!(look("").unwrap(), Place::Directory { .. }));
        assert!(look("f/below-a-file").is_err());
    }

    #[test]
    fn makes_parents_and_repairs_modes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        make_parents(&path).unwrap();
        assert!(matches!(
            Place::look(&dir.path().join("a/b")).unwrap(),
            Place::Directory { mode: 0o755, .. }
        ));
        make_one(&path, 0o750, None).unwrap();
        make_one(&path, 0o1777, None).unwrap();
        assert!(matches!(Place::look(&path).unwrap(), Place::Directory { mode: 0o1777, .. }));
        std::os::unix::fs::symlink("c", dir.path().join("a/b/l")).unwrap();
        assert!(make_one(&dir.path().join("a/b/l"), 0o700, None).is_err(), "a link was followed");
    }
}
