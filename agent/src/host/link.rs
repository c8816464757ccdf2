//! Switches a symbolic link from one target to another in one step.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::place::Place;
use super::replace::{directory_of, is_temporary, remove_if_there, sync_directory, temporary_name};
use crate::{Error, Result};

/// How often a temporary link is made anew when another switch in the same directory took it for a
/// leftover: unlike a file, a link cannot be locked.
const ATTEMPTS: usize = 8;

/// Makes `path` a link to `target`: a temporary link beside it, renamed over it, the directory
/// synced. At every moment the link points at the old or the new target. A file in the place is
/// replaced too; a directory is refused.
///
/// # Errors
/// [`Error::Refused`] where a directory is in the place, else [`Error::Io`].
pub fn switch(path: &Path, target: &Path) -> Result<()> {
    if let Place::Directory { .. } = Place::look(path)? {
        return Err(Error::Refused {
            what: format!("link {}", path.display()),
            why: "a directory is in its place".into(),
            fix: "move the directory away".into(),
        });
    }
    let directory = directory_of(path);
    remove_leftover_links(&directory)?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let temporary = directory.join(temporary_name()?);
        symlink(target, &temporary)
            .map_err(|source| Error::io("create a temporary link in", &directory, source))?;
        match fs::rename(&temporary, path) {
            Ok(()) => return sync_directory(&directory),
            Err(source) if source.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
            Err(source) => {
                let _ = fs::remove_file(&temporary);
                return Err(Error::io("switch the link", path, source));
            }
        }
    }
}

/// Removes the temporary links that killed runs left.
fn remove_leftover_links(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(|source| Error::io("read", directory, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| Error::io("read", directory, source))?;
        if is_temporary(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        symlink("left", dir.path().join(".ops-agent-0011223344556677")).unwrap();
        for target in ["one", "two"] {
            switch(&link, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn refuses_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("current");
        fs::create_dir(&place).unwrap();
        let error = switch(&place, Path::new("one")).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(place.is_dir());
    }

    #[test]
    fn switches_side_by_side_all_succeed() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let link = dir.path().join(format!("l{thread}"));
                scope.spawn(move || {
                    for round in 0..30 {
                        switch(&link, Path::new(&round.to_string())).unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
