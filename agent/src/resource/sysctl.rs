//! A kernel setting, persisted in /etc/sysctl.d, applied, and read back from /proc.

/// A kernel setting.
pub struct Sysctl {
    /// Key: `net.ipv4.ip_forward`.
    pub key: String,
    /// Value, as /proc/sys shows it.
    pub value: String,
}
