//! A content-addressed archive from S3, unpacked to a directory named by its digest.

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
    /// How many versions to keep, this one included.
    pub keep: usize,
}
