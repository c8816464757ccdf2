//! A systemd unit over D-Bus: enabled, active, and owed restarts paid.

/// A unit that must be enabled and active, and restarted when the ledger says that it owes one.
pub struct Unit {
    /// Unit name with suffix: `docker.service`.
    pub name: String,
    /// Start at boot.
    pub enabled: bool,
}
