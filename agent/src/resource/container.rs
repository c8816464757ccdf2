//! A running container, as it should be configured.

/// A container that must run with exactly this configuration. The hash of the whole specification is
/// a label; a container with another hash is replaced: the new one is tried in the place of the old,
/// and if it does not become healthy within `healthy_within` the old one regains its place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Container {
    /// Name.
    pub name: String,
    /// `REGISTRY/REPOSITORY@sha256:HEX`.
    pub image: String,
    /// Entrypoint and command, whole.
    pub command: Vec<String>,
    /// Environment that is not secret.
    pub env: Vec<(String, String)>,
    /// User id and group id inside.
    pub user: (u32, u32),
    /// Bind mounts.
    pub mounts: Vec<Mount>,
    /// tmpfs mounts: path and size in MiB.
    pub tmpfs: Vec<(String, u64)>,
    /// Published ports: address of the host, its port, port inside.
    pub ports: Vec<(String, u16, u16)>,
    /// Memory limit in MiB.
    pub memory_mb: u64,
    /// Command of the health check; `None` for none.
    pub health: Option<Vec<String>>,
    /// How long a stop waits before the container is killed, in seconds.
    pub stop_seconds: u64,
    /// How long a new container has to become healthy, in seconds.
    pub healthy_within_seconds: u64,
    /// Digests of what it consumes but does not name: secrets' fingerprints, files. A change of one
    /// replaces the container.
    pub depends: Vec<(String, String)>,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Mount {
    /// Absolute path on the host; must exist.
    pub source: String,
    /// Absolute path inside.
    pub target: String,
    /// Whether the container may not write.
    pub read_only: bool,
}
