//! A package of the distribution, by dnf or apt.

/// A package that must be installed.
pub struct Package {
    /// Name in the distribution.
    pub name: String,
    /// Exact version to hold; any installed version will do when `None`.
    pub version: Option<String>,
}
