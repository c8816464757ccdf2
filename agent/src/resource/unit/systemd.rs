//! The part of systemd's D-Bus interface that units need. Source: org.freedesktop.systemd1(5).

use std::time::Duration;

use futures_util::StreamExt;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};

use super::state::UnitState;
use crate::host::command;
use crate::{Error, Result};

/// How long the journal may take to give a unit's last lines.
const JOURNAL_LIMIT: Duration = Duration::from_secs(10);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn get_unit_file_state(&self, name: &str) -> zbus::Result<String>;
    fn enable_unit_files(
        &self,
        names: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
    fn disable_unit_files(
        &self,
        names: &[&str],
        runtime: bool,
    ) -> zbus::Result<Vec<(String, String, String)>>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait LoadedUnit {
    #[zbus(property)]
    fn load_state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn active_state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn sub_state(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn need_daemon_reload(&self) -> zbus::Result<bool>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Service", default_service = "org.freedesktop.systemd1")]
trait LoadedService {
    #[zbus(property, name = "Type")]
    fn type_(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn remain_after_exit(&self) -> zbus::Result<bool>;
    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> zbus::Result<u32>;
}

/// A connection to the system's service manager.
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
}

#[derive(Clone, Copy)]
enum Job {
    Start,
    Restart,
}

impl Systemd {
    /// Connects over the system bus; `unit` is for the error.
    ///
    /// # Errors
    /// [`Error::Systemd`] where there is no bus, as in a container without systemd.
    pub async fn connect(unit: &str) -> Result<Self> {
        let connection = Connection::system().await.map_err(|error| Error::Systemd {
            action: "be asked about",
            unit: unit.into(),
            message: format!("no system bus ({}); is this host booted by systemd?", words(&error)),
        })?;
        Self::on(connection).await.map_err(|error| failed("be asked about", unit, &error))
    }

    /// Uses a given connection.
    ///
    /// # Errors
    /// Those of the bus.
    pub async fn on(connection: Connection) -> zbus::Result<Self> {
        let manager = ManagerProxy::new(&connection).await?;
        Ok(Self { connection, manager })
    }

    /// Reads a unit's state. A unit that does not exist has the load state `not-found`.
    ///
    /// # Errors
    /// [`Error::Systemd`]
    pub async fn state(&self, name: &str) -> Result<UnitState> {
        self.read_state(name).await.map_err(|error| failed("tell the state of", name, &error))
    }

    async fn read_state(&self, name: &str) -> zbus::Result<UnitState> {
        let path = self.manager.load_unit(name).await?;
        let unit = LoadedUnitProxy::builder(&self.connection)
            .path(&path)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let mut state = UnitState {
            load: unit.load_state().await?,
            active: unit.active_state().await?,
            sub: unit.sub_state().await?,
            need_reload: unit.need_daemon_reload().await?,
            // From disk; the property of the same name is as old as the last reload.
            file: self.manager.get_unit_file_state(name).await.or_else(none_if_not_found)?,
            ..UnitState::default()
        };
        if name.ends_with(".service") && state.is_loaded() {
            let service = LoadedServiceProxy::builder(&self.connection)
                .path(&path)
                .cache_properties(CacheProperties::No)
                .build()
                .await?;
            state.service_type = service.type_().await?;
            state.remain_after_exit = service.remain_after_exit().await?;
            state.restarts = service.n_restarts().await?;
        }
        Ok(state)
    }

    /// Reads all unit files again; `unit` is for the error.
    ///
    /// # Errors
    /// [`Error::Systemd`]
    pub async fn reload(&self, unit: &str) -> Result<()> {
        self.manager.reload().await.map_err(|error| failed("reload for", unit, &error))
    }

    /// Makes a boot start the unit, or not.
    ///
    /// # Errors
    /// [`Error::Systemd`]
    pub async fn set_enabled(&self, name: &str, enabled: bool) -> Result<()> {
        let action = if enabled { "enable" } else { "disable" };
        let done = if enabled {
            self.manager.enable_unit_files(&[name], false, false).await.map(drop)
        } else {
            self.manager.disable_unit_files(&[name], false).await.map(drop)
        };
        done.map_err(|error| failed(action, name, &error))?;
        // The links of other units to this one are read by a reload only.
        self.reload(name).await
    }

    /// Forgets that the unit failed.
    ///
    /// # Errors
    /// [`Error::Systemd`]
    pub async fn reset_failed(&self, name: &str) -> Result<()> {
        self.manager.reset_failed_unit(name).await.map_err(|error| failed("reset", name, &error))
    }

    /// Starts the unit and waits for systemd to be done with that.
    ///
    /// # Errors
    /// [`Error::Systemd`] with the unit's last lines in the journal.
    pub async fn start(&self, name: &str) -> Result<()> {
        self.run_job(name, Job::Start).await
    }

    /// Restarts the unit, or starts it where it does not run, and waits.
    ///
    /// # Errors
    /// As [`Systemd::start`].
    pub async fn restart(&self, name: &str) -> Result<()> {
        self.run_job(name, Job::Restart).await
    }

    async fn run_job(&self, name: &str, job: Job) -> Result<()> {
        let action = match job {
            Job::Start => "start",
            Job::Restart => "restart",
        };
        let result = self.job_result(name, job).await.map_err(|error| failed(action, name, &error))?;
        match result.as_str() {
            "done" => Ok(()),
            _ => Err(self.failure(action, name, &format!("its job ended with {result}")).await),
        }
    }

    async fn job_result(&self, name: &str, job: Job) -> zbus::Result<String> {
        // Listened for first: a quick job is over before its path has come back.
        self.manager.subscribe().await.or_else(fine_if_already_subscribed)?;
        let mut removed = self.manager.receive_job_removed().await?;
        let path = match job {
            Job::Start => self.manager.start_unit(name, "replace").await?,
            Job::Restart => self.manager.restart_unit(name, "replace").await?,
        };
        while let Some(signal) = removed.next().await {
            let ended = signal.args()?;
            if ended.job == path {
                return Ok(ended.result.clone());
            }
        }
        Err(zbus::Error::Failure("the bus closed the connection".into()))
    }

    /// An error about a unit, with the last lines that it wrote.
    pub async fn failure(&self, action: &'static str, name: &str, what: &str) -> Error {
        let args = ["-u", name, "-n", "5", "-o", "cat", "--no-pager", "-q"];
        let said = match command::run("journalctl", &args, &[], JOURNAL_LIMIT).await {
            Ok(output) => output.stdout.lines().map(str::trim).collect::<Vec<_>>().join("; "),
            Err(_) => String::new(),
        };
        let message = if said.is_empty() {
            format!("{what}; see journalctl -u {name}")
        } else {
            format!("{what}; it said last: {said}")
        };
        Error::Systemd { action, unit: name.into(), message }
    }
}

fn failed(action: &'static str, unit: &str, error: &zbus::Error) -> Error {
    Error::Systemd { action, unit: unit.into(), message: words(error) }
}

/// What the other side said, without the name of the D-Bus error where it said more.
fn words(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    }
}

fn none_if_not_found(error: zbus::Error) -> zbus::Result<String> {
    match &error {
        zbus::Error::FDO(inner) if matches!(**inner, zbus::fdo::Error::FileNotFound(_)) => Ok(String::new()),
        zbus::Error::MethodError(name, _, _) if name.as_str().ends_with(".NoSuchUnit") => Ok(String::new()),
        _ => Err(error),
    }
}

fn fine_if_already_subscribed(error: zbus::Error) -> zbus::Result<()> {
    match &error {
        zbus::Error::MethodError(name, _, _) if name.as_str().ends_with(".AlreadySubscribed") => Ok(()),
        _ => Err(error),
    }
}
