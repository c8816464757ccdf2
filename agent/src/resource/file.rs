//! Files with content, owner and mode, staged together.

/// A set of files that change together. An unchanged file is not rewritten.
pub struct Files {
    /// Name of the set: the path where there is one file, else a word.
    pub name: String,
    /// The files.
    pub files: Vec<FileEntry>,
}

/// One file of a set.
pub struct FileEntry {
    /// Absolute path on the host.
    pub path: String,
    /// The whole content. Never a secret: plans show it as a unified diff.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// User and group ids.
    pub owner: (u32, u32),
}
