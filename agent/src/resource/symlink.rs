//! A symbolic link, switched atomically.

/// A symbolic link.
pub struct Symlink {
    /// Absolute path of the link.
    pub path: String,
    /// What it points at, verbatim.
    pub target: String,
}
