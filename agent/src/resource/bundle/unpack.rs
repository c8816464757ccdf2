//! Unpacks a .tar.gz that is known by its digest, trusting nothing that it says about paths, links,
//! owners and modes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use crate::host::place::make_one;
use crate::{Error, Result};

/// Most entries of an archive; a large SQLMesh project has some thousands.
const MAX_ENTRIES: usize = 20_000;
/// Most bytes of all files together, unpacked.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// Unpacks an archive into a directory that does not exist yet. Files become 0644, or 0755 where
/// the archive lets anyone execute them; directories 0755; all owned by the agent's user.
///
/// # Errors
/// [`Error::Refused`] for an archive with anything that is neither a file, a directory nor a link
/// that stays inside; that names a path twice, or one outside; or that is too large. [`Error::Io`].
pub fn unpack(bundle: &str, archive: &Path, tree: &Path) -> Result<()> {
    Unpacking { bundle, tree, made: BTreeMap::new(), bytes: 0 }.all(archive, MAX_ENTRIES, MAX_BYTES)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Directory,
    /// A file or a link: nothing can be below it.
    Leaf,
}

struct Unpacking<'a> {
    bundle: &'a str,
    tree: &'a Path,
    /// What was made, so that no decision depends on what the archive put on disk.
    made: BTreeMap<PathBuf, Made>,
    bytes: u64,
}

impl Unpacking<'_> {
    fn all(&mut self, path: &Path, max_entries: usize, max_bytes: u64) -> Result<()> {
        let unreadable = |source: io::Error| Error::io("unpack", path, source);
        make_one(self.tree, 0o755, None)?;
        let file = File::open(path).map_err(unreadable)?;
        let mut archive = Archive::new(MultiGzDecoder::new(BufReader::new(file)));
        for (number, entry) in archive.entries().map_err(unreadable)?.enumerate() {
            if number >= max_entries {
                return Err(self.refused(format!("it has more than {max_entries} entries")));
            }
            self.one(entry.map_err(unreadable)?, max_bytes)?;
        }
        // Up to the end, where gzip's own check sum is: the format of tar ends before.
        let rest = &mut archive.into_inner().take(max_bytes);
        io::copy(rest, &mut io::sink()).map_err(unreadable)?;
        if self.made.is_empty() {
            return Err(self.refused("it is empty".into()));
        }
        Ok(())
    }

    fn one<R: Read>(&mut self, mut entry: Entry<'_, R>, max_bytes: u64) -> Result<()> {
        let named =
            entry.path().map_err(|error| self.refused(format!("a name in it is unusable: {error}")))?;
        let shown = named.display().to_string();
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let Some(path) = inside(&named) else {
            return Err(self.refused(format!("{shown:?} leads out of it")));
        };
        if path.as_os_str().is_empty() {
            return if kind.is_dir() {
                Ok(())
            } else {
                Err(self.refused(format!("{shown:?} names no file")))
            };
        }
        self.make_parents(&path)?;
        match kind {
            EntryType::Directory => self.make_directory(&path),
            EntryType::Regular | EntryType::Continuous => {
                self.claim(&path)?;
                let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                self.write(&path, &mut entry, executable, max_bytes)
            }
            EntryType::Symlink => {
                let target = entry.link_name().ok().flatten().map(|target| target.into_owned());
                let stays = target.as_ref().is_some_and(|target| stays_inside(&path, target));
                match target {
                    Some(target) if stays => {
                        self.claim(&path)?;
                        let place = self.tree.join(&path);
                        symlink(target, &place).map_err(|source| Error::io("create the link", place, source))
                    }
                    _ => Err(self.refused(format!("the link {shown:?} leads out of it"))),
                }
            }
            EntryType::Link => Err(self.refused(format!("{shown:?} is a hard link"))),
            _ => Err(self.refused(format!("{shown:?} is neither a file, a directory nor a link"))),
        }
    }

    fn write(
        &mut self,
        path: &Path,
        content: &mut impl Read,
        executable: bool,
        max_bytes: u64,
    ) -> Result<()> {
        let place = self.tree.join(path);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&place)
            .map_err(|source| Error::io("create", &place, source))?;
        let left = max_bytes.saturating_sub(self.bytes);
        let written = io::copy(&mut content.take(left.saturating_add(1)), &mut file)
            .map_err(|source| Error::io("unpack", &place, source))?;
        if written > left {
            return Err(self.refused(format!("it unpacks to more than {max_bytes} bytes")));
        }
        self.bytes = self.bytes.saturating_add(written);
        let mode = if executable { 0o755 } else { 0o644 };
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|source| Error::io("set the mode of", place, source))
    }

    /// Directories above a path, which an archive need not name. None is ever a link.
    fn make_parents(&mut self, path: &Path) -> Result<()> {
        let above: Vec<_> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
        above.into_iter().rev().try_for_each(|directory| self.make_directory(directory))
    }

    fn make_directory(&mut self, path: &Path) -> Result<()> {
        match self.made.get(path) {
            Some(Made::Directory) => return Ok(()),
            Some(Made::Leaf) => {
                return Err(
                    self.refused(format!("{:?} is both a directory and not", path.display().to_string()))
                );
            }
            None => {}
        }
        let place = self.tree.join(path);
        fs::create_dir(&place)
            .and_then(|()| fs::set_permissions(&place, Permissions::from_mode(0o755)))
            .map_err(|source| Error::io("create the directory", place, source))?;
        self.made.insert(path.into(), Made::Directory);
        Ok(())
    }

    fn claim(&mut self, path: &Path) -> Result<()> {
        match self.made.insert(path.into(), Made::Leaf) {
            None => Ok(()),
            Some(_) => Err(self.refused(format!("{:?} is in it twice", path.display().to_string()))),
        }
    }

    fn refused(&self, why: String) -> Error {
        Error::Refused {
            what: format!("bundle {}", self.bundle),
            why,
            fix: "build and publish the bundle again".into(),
        }
    }
}

/// A path without `.`; `None` when it is absolute or climbs.
fn inside(path: &Path) -> Option<PathBuf> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// Whether a link stays inside whatever other links its target passes. `..` counts only at the
/// beginning, where it starts from the real directory of the link: after the name of another link
/// it would start from wherever that one leads.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let depth = link.components().count().saturating_sub(1);
    let parts: Vec<_> = target.components().filter(|part| *part != Component::CurDir).collect();
    let climbs = parts.iter().take_while(|part| **part == Component::ParentDir).count();
    let rest_is_normal = parts.iter().skip(climbs).all(|part| matches!(part, Component::Normal(_)));
    target.as_os_str() != OsStr::new("") && climbs <= depth && rest_is_normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside_or_are_refused() {
        for (link, target, stays) in [
            ("a/l", "b", true),
            ("a/l", "../b/c", true),
            ("l", "a/b", true),
            ("a/l", "..", true),
            ("l", "..", false),
            ("a/l", "../../b", false),
            ("a/l", "/etc/passwd", false),
            ("a/l", "", false),
            ("a/b/m", "l/../..", false),
        ] {
            assert_eq!(stays_inside(Path::new(link), Path::new(target)), stays, "{link} -> {target}");
        }
    }

    #[test]
    fn limits_hold_whatever_the_headers_say() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar.gz");
        let gz = flate2::write::GzEncoder::new(File::create(&archive).unwrap(), flate2::Compression::fast());
        let mut builder = tar::Builder::new(gz);
        for name in ["a", "b", "c"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(1000);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, [0_u8; 1000].as_slice()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        let attempt = |name: &str, entries, bytes| {
            let tree = dir.path().join(name);
            Unpacking { bundle: "b", tree: &tree, made: BTreeMap::new(), bytes: 0 }
                .all(&archive, entries, bytes)
        };
        attempt("whole", 3, 3000).unwrap();
        assert!(attempt("entries", 2, 3000).unwrap_err().to_string().contains("more than 2 entries"));
        assert!(attempt("bytes", 3, 2999).unwrap_err().to_string().contains("more than 2999 bytes"));
    }
}
