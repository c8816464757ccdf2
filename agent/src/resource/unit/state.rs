//! What systemd says of a unit, and what follows from it.

use std::fmt;

/// The properties of a unit that decisions are made by; their words are those of
/// org.freedesktop.systemd1(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `LoadState`: `loaded`, `not-found`, `masked`, `bad-setting`, …
    pub load: String,
    /// `ActiveState`: `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// `SubState`: `running`, `exited`, `auto-restart`, …
    pub sub: String,
    /// `UnitFileState`: `enabled`, `disabled`, `static`, …; empty where there is no file.
    pub file: String,
    /// `NeedDaemonReload`: the unit file or a drop-in is newer than what systemd knows.
    pub need_reload: bool,
    /// `Type` of a service; empty for other units.
    pub service_type: String,
    /// `RemainAfterExit` of a service.
    pub remain_after_exit: bool,
    /// `NRestarts` of a service: how often systemd restarted it by itself.
    pub restarts: u32,
}

impl UnitState {
    /// Whether systemd knows the unit.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.load == "loaded"
    }

    /// Whether a boot starts it: neither for this boot only, nor just linked.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        matches!(self.file.as_str(), "enabled" | "generated")
    }

    /// Whether enabling it has an effect.
    #[must_use]
    pub fn can_be_enabled(&self) -> bool {
        !matches!(self.file.as_str(), "static" | "alias" | "transient" | "bad")
    }

    /// Whether it is as a unit should be: active, or, for a job that runs and ends, not failed.
    #[must_use]
    pub fn is_right(&self) -> bool {
        match self.active.as_str() {
            "active" | "reloading" | "refreshing" => true,
            "inactive" => self.is_loaded() && self.is_job(),
            "activating" => self.is_job() && self.sub != "auto-restart",
            _ => false,
        }
    }

    /// A service that does its work and ends.
    fn is_job(&self) -> bool {
        self.service_type == "oneshot" && !self.remain_after_exit
    }

    /// Whether it must be reset before it is started.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.active == "failed"
    }

    /// Whether systemd calls it active before its program has had a chance to say no.
    #[must_use]
    pub fn may_die_at_once(&self) -> bool {
        matches!(self.service_type.as_str(), "simple" | "exec" | "idle")
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.active, self.sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_is_active_or_a_job_that_has_not_failed() {
        let state = |active: &str, sub: &str, kind: &str, remain| UnitState {
            load: "loaded".into(),
            active: active.into(),
            sub: sub.into(),
            service_type: kind.into(),
            remain_after_exit: remain,
            ..UnitState::default()
        };
        for (active, sub, kind, remain, right) in [
            ("active", "running", "notify", false, true),
            ("active", "waiting", "", false, true),
            ("inactive", "dead", "simple", false, false),
            ("inactive", "dead", "oneshot", false, true),
            ("inactive", "dead", "oneshot", true, false),
            ("active", "exited", "oneshot", true, true),
            ("failed", "failed", "oneshot", false, false),
            ("activating", "start", "oneshot", false, true),
            ("activating", "auto-restart", "simple", false, false),
            ("deactivating", "stop", "simple", false, false),
        ] {
            assert_eq!(state(active, sub, kind, remain).is_right(), right, "{active} {sub} {kind} {remain}");
        }
    }
}
