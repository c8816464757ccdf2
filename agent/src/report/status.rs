//! Everything that `status` knows: read from files that anyone may read.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::health::{Health, STALE_SECONDS, State};
use super::signal::Signal;
use super::store::Store;
use super::{Outcome, Report};
use crate::Result;
use crate::engine::lock::{self, Holder};
use crate::exit::Exit;

/// The state of a host. Its JSON is what `status --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// Host name.
    pub host: String,
    /// The last converge.
    pub report: Report,
    /// What the last probe of the services found; `None` when none has run since boot.
    pub health: Option<Health>,
    /// Whether the services were probed just now.
    pub live: bool,
    /// Where the signal to CloudFormation stands.
    pub signal: Signal,
    /// The converge that is running now.
    pub running: Option<Holder>,
}

impl Status {
    /// Reads the files; `None` when no converge has run yet. Needs no root, no AWS and no socket.
    ///
    /// # Errors
    /// When a file cannot be read or understood.
    pub fn read(store: &Store) -> Result<Option<Self>> {
        let Some(report) = store.report()? else { return Ok(None) };
        Ok(Some(Self {
            host: host_name(),
            report,
            // Without its health a report still tells a lot.
            health: store.health().unwrap_or_default(),
            live: false,
            signal: store.signal().ok().flatten().map_or(Signal::NotConfigured, |kept| kept.signal),
            running: lock::holder(&store.lock_path()),
        }))
    }

    /// What was found of a service, when it is fresh enough to be believed.
    #[must_use]
    pub fn service(&self, name: &str, now: Timestamp) -> Option<&super::health::ServiceHealth> {
        let health = self.health.as_ref()?;
        let fresh = now.as_second() - health.checked.as_second() <= STALE_SECONDS;
        health.services.iter().find(|service| fresh && service.name == name)
    }

    /// The exit code: [`Exit::Ok`] only when the last converge did not fail and each service was seen to be well.
    #[must_use]
    pub fn exit(&self, now: Timestamp) -> Exit {
        let well = |name: &str| self.service(name, now).is_some_and(|found| found.state == State::Healthy);
        if self.report.run.outcome != Outcome::Failed
            && self.report.services.iter().all(|service| well(&service.name))
        {
            Exit::Ok
        } else {
            Exit::Failed
        }
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn well_only_when_everything_was_seen_to_be() {
        let now = examples::now();
        assert_eq!(examples::status(examples::well()).exit(now), Exit::Ok);
        assert_eq!(examples::status(examples::failed()).exit(now), Exit::Failed);
        let blind = Status { health: None, ..examples::status(examples::well()) };
        assert_eq!(blind.exit(now), Exit::Failed);
        let mut ill = examples::status(examples::well());
        ill.health.as_mut().unwrap().services[0].state = State::Unhealthy;
        assert_eq!(ill.exit(now), Exit::Failed);
    }

    #[test]
    fn old_findings_are_not_believed() {
        let status = examples::status(examples::well());
        let later = Timestamp::from_second(examples::now().as_second() + STALE_SECONDS).unwrap();
        assert_eq!(status.exit(later), Exit::Failed);
    }

    #[test]
    fn no_report_is_no_status() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Status::read(&Store::new(dir.path())).unwrap(), None);
    }
}
