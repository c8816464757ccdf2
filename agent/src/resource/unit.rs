//! A systemd unit over D-Bus: enabled, active, and owed restarts paid.

use std::time::Duration;

use async_trait::async_trait;

pub use self::state::UnitState;
use self::systemd::Systemd;
use super::{Change, Diff, Id, Kind, Resource};
use crate::engine::ledger::Ledger;
use crate::host::Host;
use crate::{Error, Result};

mod state;
pub mod systemd;

/// How long a service that systemd calls started as soon as it is forked is watched for dying at
/// once, as one with a bad configuration does.
const SETTLE: Duration = Duration::from_millis(500);

/// A unit that must be enabled and active, and restarted when the ledger says that it owes one.
pub struct Unit {
    /// Unit name with suffix: `docker.service`.
    pub name: String,
    /// Start at boot.
    pub enabled: bool,
}

/// What systemd says of the unit, and what the unit owes.
pub struct Found {
    state: UnitState,
    owed: Vec<String>,
}

impl Unit {
    /// Asks systemd and the ledger.
    ///
    /// # Errors
    /// [`Error::Systemd`]; those of the ledger.
    pub async fn observe_on(&self, systemd: &Systemd, ledger: &Ledger) -> Result<Found> {
        Ok(Found { state: systemd.state(&self.name).await?, owed: ledger.reasons(&self.name).await? })
    }

    /// Loads, enables, and starts or restarts the unit, and strikes out what it owed once it runs.
    ///
    /// # Errors
    /// [`Error::Systemd`] with the unit's last lines in the journal when it does not run;
    /// [`Error::Refused`] for a unit that is masked or cannot be enabled; those of the ledger.
    pub async fn apply_on(&self, systemd: &Systemd, ledger: &Ledger, found: Found) -> Result<()> {
        let mut state = found.state;
        if state.need_reload || !state.is_loaded() {
            systemd.reload(&self.name).await?;
            state = systemd.state(&self.name).await?;
        }
        self.check_usable(&state)?;
        if self.enabled != state.is_enabled() {
            self.check_enablement(&state)?;
            systemd.set_enabled(&self.name, self.enabled).await?;
        }
        if found.owed.is_empty() && state.is_right() {
            return Ok(());
        }
        if state.has_failed() {
            // Else a unit that failed too often stays refused for its start-limit interval.
            systemd.reset_failed(&self.name).await?;
        }
        if found.owed.is_empty() {
            systemd.start(&self.name).await?;
        } else {
            systemd.restart(&self.name).await?;
        }
        self.watch(systemd).await?;
        ledger.paid(&self.name).await
    }

    /// Success only for a unit that runs, and still runs a moment later.
    async fn watch(&self, systemd: &Systemd) -> Result<()> {
        let first = systemd.state(&self.name).await?;
        if first.is_right() && first.may_die_at_once() {
            tokio::time::sleep(SETTLE).await;
        }
        let now = systemd.state(&self.name).await?;
        if now.is_right() && now.restarts == first.restarts {
            return Ok(());
        }
        let what = if now.is_right() { "it keeps restarting".into() } else { format!("it is {now}") };
        Err(systemd.failure("keep running", &self.name, &what).await)
    }

    fn check_usable(&self, state: &UnitState) -> Result<()> {
        let refused = |why: &str, fix: String| {
            Err(Error::Refused { what: format!("start of {}", self.name), why: why.into(), fix })
        };
        match state.load.as_str() {
            "loaded" => Ok(()),
            "masked" => refused("it is masked", format!("run systemctl unmask {}", self.name)),
            "not-found" => refused("there is no unit file of that name", "install what brings it".into()),
            _ => refused(
                &format!("systemd cannot load it ({})", state.load),
                format!("see systemd-analyze verify {}", self.name),
            ),
        }
    }

    fn check_enablement(&self, state: &UnitState) -> Result<()> {
        if !self.enabled || state.can_be_enabled() {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!("enabling {} at boot", self.name),
            why: format!("its unit file is {}", state.file),
            fix: "give it an [Install] section".into(),
        })
    }
}

#[async_trait]
impl Resource for Unit {
    type Current = Found;

    fn id(&self) -> Id {
        Id::new(Kind::Unit, &self.name)
    }

    async fn observe(&self, host: &Host) -> Result<Found> {
        self.observe_on(&Systemd::connect(&self.name).await?, &host.ledger).await
    }

    fn diff(&self, current: &Found) -> Diff {
        let mut diff = Diff::default();
        let state = &current.state;
        if !state.is_loaded() {
            diff.compare("unit", Some(state.load.as_str()), "loaded");
        } else if state.need_reload {
            diff.0.push(Change::new("unit file", Some("changed on disk".into()), Some("loaded".into())));
        }
        if self.enabled != state.is_enabled() {
            let wanted = if self.enabled { "enabled" } else { "disabled" };
            diff.compare("boot", Some(state.file.as_str()).filter(|file| !file.is_empty()), wanted);
        }
        if !state.is_right() {
            diff.0.push(Change::new("state", Some(state.to_string()), Some("active".into())));
        }
        if !current.owed.is_empty() {
            let owed = format!("owed for {}", current.owed.join(", "));
            diff.0.push(Change::new("restart", Some(owed), Some("done".into())));
        }
        diff
    }

    async fn apply(&self, host: &Host, current: Found) -> Result<()> {
        self.apply_on(&Systemd::connect(&self.name).await?, &host.ledger, current).await
    }

    fn time_limit(&self) -> Duration {
        Duration::from_secs(300)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> UnitState {
        UnitState {
            load: "loaded".into(),
            active: "active".into(),
            sub: "running".into(),
            file: "enabled".into(),
            ..UnitState::default()
        }
    }

    fn summary(enabled: bool, state: UnitState, owed: &[&str]) -> String {
        let unit = Unit { name: "x.service".into(), enabled };
        let owed = owed.iter().map(|reason| (*reason).into()).collect();
        unit.diff(&Found { state, owed }).summary()
    }

    #[test]
    fn differences_by_state() {
        assert_eq!(summary(true, running(), &[]), "");
        let reloading = UnitState { active: "reloading".into(), ..running() };
        assert_eq!(summary(true, reloading, &[]), "");
        let fresh = UnitState {
            load: "not-found".into(),
            active: "inactive".into(),
            sub: "dead".into(),
            file: String::new(),
            ..running()
        };
        assert_eq!(
            summary(true, fresh, &[]),
            "unit not-found → loaded, boot → enabled, state inactive (dead) → active"
        );
        let changed = UnitState { need_reload: true, file: "enabled-runtime".into(), ..running() };
        assert_eq!(
            summary(true, changed, &["file:/a", "file:/b"]),
            "unit file changed on disk → loaded, boot enabled-runtime → enabled, \
             restart owed for file:/a, file:/b → done"
        );
        assert_eq!(summary(false, running(), &[]), "boot enabled → disabled");
        let still = UnitState { file: "static".into(), ..running() };
        assert_eq!(summary(false, still, &[]), "");
        let looping = UnitState { active: "activating".into(), sub: "auto-restart".into(), ..running() };
        assert_eq!(summary(true, looping, &[]), "state activating (auto-restart) → active");
    }

    #[test]
    fn what_cannot_be_started_or_enabled_is_refused_with_a_way_out() {
        let unit = Unit { name: "x.service".into(), enabled: true };
        for (load, says) in
            [("masked", "systemctl unmask"), ("not-found", "no unit file"), ("bad-setting", "verify x")]
        {
            let state = UnitState { load: load.into(), ..running() };
            let error = unit.check_usable(&state).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        unit.check_usable(&running()).unwrap();
        let fixed = UnitState { file: "static".into(), ..running() };
        assert!(unit.check_enablement(&fixed).unwrap_err().to_string().contains("[Install]"));
        unit.check_enablement(&UnitState { file: "disabled".into(), ..running() }).unwrap();
    }
}
