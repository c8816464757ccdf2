//! A directory with owner and mode.

/// A directory. Parents are made as needed, 0755, owned by root.
pub struct Directory {
    /// Absolute path on the host.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// User and group ids.
    pub owner: (u32, u32),
}
