//! Units against a service manager of ours on a real message bus: what is asked, in which order, and
//! what is made of the answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use ops_agent::Error;
use ops_agent::engine::ledger::Ledger;
use ops_agent::resource::Resource;
use ops_agent::resource::unit::Unit;
use ops_agent::resource::unit::systemd::Systemd;
use tempfile::TempDir;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, fdo, interface};

const UNIT: &str = "web.service";
const UNIT_PATH: &str = "/org/freedesktop/systemd1/unit/web_2eservice";

/// What the service manager holds, and what it was asked.
#[derive(Default)]
struct World {
    /// The unit file exists on disk.
    on_disk: bool,
    /// It was read from there.
    loaded: bool,
    /// It was changed since.
    stale: bool,
    enabled: bool,
    active: &'static str,
    /// What a job ends with, and the state that it leaves.
    job: (&'static str, &'static str),
    asked: Vec<&'static str>,
}

type Shared = Arc<Mutex<World>>;

struct Manager(Shared);

impl Manager {
    fn ask(&self, what: &'static str) {
        self.0.lock().unwrap().asked.push(what);
    }

    async fn job(&self, what: &'static str, emitter: SignalEmitter<'_>) -> OwnedObjectPath {
        let (result, state) = {
            let mut world = self.0.lock().unwrap();
            world.asked.push(what);
            world.active = world.job.1;
            world.job
        };
        let job = OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap();
        let other = OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/6").unwrap();
        // Before the answer, as a quick job does; and one of somebody else's.
        emitter.job_removed(6, other, "x.service".into(), "failed".into()).await.unwrap();
        emitter.job_removed(7, job.clone(), UNIT.into(), result.into()).await.unwrap();
        assert!(!state.is_empty());
        job
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}

    fn reload(&self) {
        self.ask("reload");
        let mut world = self.0.lock().unwrap();
        world.loaded = world.on_disk;
        world.stale = false;
    }

    fn load_unit(&self, _name: String) -> OwnedObjectPath {
        OwnedObjectPath::try_from(UNIT_PATH).unwrap()
    }

    fn get_unit_file_state(&self, name: String) -> fdo::Result<String> {
        let world = self.0.lock().unwrap();
        match (world.on_disk, world.enabled) {
            (false, _) => Err(fdo::Error::FileNotFound(name)),
            (true, true) => Ok("enabled".into()),
            (true, false) => Ok("disabled".into()),
        }
    }

    fn enable_unit_files(
        &self,
        names: Vec<String>,
        runtime: bool,
        force: bool,
    ) -> (bool, Vec<(String, String, String)>) {
        assert_eq!((names.as_slice(), runtime, force), (&[UNIT.to_string()][..], false, false));
        self.ask("enable");
        self.0.lock().unwrap().enabled = true;
        (true, Vec::new())
    }

    fn disable_unit_files(&self, _names: Vec<String>, _runtime: bool) -> Vec<(String, String, String)> {
        self.ask("disable");
        self.0.lock().unwrap().enabled = false;
        Vec::new()
    }

    async fn start_unit(
        &self,
        _name: String,
        mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> OwnedObjectPath {
        assert_eq!(mode, "replace");
        self.job("start", emitter).await
    }

    async fn restart_unit(
        &self,
        _name: String,
        _mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> OwnedObjectPath {
        self.job("restart", emitter).await
    }

    fn reset_failed_unit(&self, _name: String) {
        self.ask("reset");
        self.0.lock().unwrap().active = "inactive";
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

struct LoadedUnit(Shared);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl LoadedUnit {
    #[zbus(property)]
    fn load_state(&self) -> String {
        if self.0.lock().unwrap().loaded { "loaded".into() } else { "not-found".into() }
    }

    #[zbus(property)]
    fn active_state(&self) -> String {
        self.0.lock().unwrap().active.into()
    }

    #[zbus(property)]
    fn sub_state(&self) -> String {
        "sub".into()
    }

    #[zbus(property)]
    fn need_daemon_reload(&self) -> bool {
        self.0.lock().unwrap().stale
    }
}

struct LoadedService;

#[interface(name = "org.freedesktop.systemd1.Service")]
impl LoadedService {
    #[zbus(property, name = "Type")]
    fn kind(&self) -> String {
        "simple".into()
    }

    #[zbus(property)]
    fn remain_after_exit(&self) -> bool {
        false
    }

    #[zbus(property, name = "NRestarts")]
    fn restarts(&self) -> u32 {
        0
    }
}

/// A message bus with the service manager on it; ended when dropped.
struct Bus {
    daemon: Child,
    world: Shared,
    systemd: Systemd,
    ledger: Ledger,
    _service: Connection,
    _directory: TempDir,
}

impl Bus {
    async fn with(world: World) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address=unix:path={}", directory.path().join("bus").display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is needed: Debian's package dbus-daemon");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim();
        let world = Arc::new(Mutex::new(world));
        let path = "/org/freedesktop/systemd1";
        let service = zbus::connection::Builder::address(address)
            .name("org.freedesktop.systemd1")
            .serve_at(path, Manager(world.clone()))
            .serve_at(UNIT_PATH, LoadedUnit(world.clone()))
            .serve_at(UNIT_PATH, LoadedService)
            .build()
            .await
            .unwrap();
        let client = zbus::connection::Builder::address(address).build().await.unwrap();
        let ledger = Ledger::new(directory.path().join("ledger.json"));
        let systemd = Systemd::on(client).await.unwrap();
        Self { daemon, world, systemd, ledger, _service: service, _directory: directory }
    }

    /// Converges the unit and says what differed, what was asked, and what came out.
    async fn converge(&self, enabled: bool) -> (String, Vec<&'static str>, Result<(), Error>) {
        let unit = Unit { name: UNIT.into(), enabled };
        let found = unit.observe_on(&self.systemd, &self.ledger).await.unwrap();
        let summary = unit.diff(&found).summary();
        let result = unit.apply_on(&self.systemd, &self.ledger, found).await;
        let asked = std::mem::take(&mut self.world.lock().unwrap().asked);
        if result.is_ok() {
            let found = unit.observe_on(&self.systemd, &self.ledger).await.unwrap();
            assert!(unit.diff(&found).is_empty(), "{}", unit.diff(&found).summary());
        }
        (summary, asked, result)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn stopped() -> World {
    World { on_disk: true, loaded: true, active: "inactive", job: ("done", "active"), ..World::default() }
}

#[tokio::test]
async fn a_new_unit_is_loaded_enabled_and_started() {
    let bus = Bus::with(World { loaded: false, ..stopped() }).await;
    let (summary, asked, result) = bus.converge(true).await;
    result.unwrap();
    assert_eq!(summary, "unit not-found → loaded, boot disabled → enabled, state inactive (sub) → active");
    assert_eq!(asked, ["reload", "enable", "reload", "start"]);
    let (summary, asked, result) = bus.converge(true).await;
    result.unwrap();
    assert_eq!((summary.as_str(), asked.as_slice()), ("", [].as_slice()), "a second run asked for something");
}

#[tokio::test]
async fn an_owed_restart_is_paid_once() {
    let bus = Bus::with(World { active: "active", enabled: true, stale: true, ..stopped() }).await;
    bus.ledger.owe(UNIT, "file:/etc/web.conf").await.unwrap();
    let (summary, asked, result) = bus.converge(true).await;
    result.unwrap();
    assert_eq!(summary, "unit file changed on disk → loaded, restart owed for file:/etc/web.conf → done");
    assert_eq!(asked, ["reload", "restart"]);
    assert!(bus.ledger.reasons(UNIT).await.unwrap().is_empty());
    assert_eq!(bus.converge(true).await.1, [] as [&str; 0]);
}

#[tokio::test]
async fn a_restart_that_fails_stays_owed() {
    for (job, says) in [
        (("failed", "failed"), "systemd cannot restart web.service: its job ended with failed"),
        // The job is done, but the service dies: systemd calls a simple one started at once.
        (("done", "failed"), "systemd cannot keep running web.service: it is failed (sub)"),
    ] {
        let bus = Bus::with(World { active: "active", enabled: true, job, ..stopped() }).await;
        bus.ledger.owe(UNIT, "file:/etc/web.conf").await.unwrap();
        let (_, _, result) = bus.converge(true).await;
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
        assert_eq!(bus.ledger.reasons(UNIT).await.unwrap(), ["file:/etc/web.conf"]);

        bus.world.lock().unwrap().job = ("done", "active");
        let (_, asked, result) = bus.converge(true).await;
        result.unwrap();
        assert_eq!(asked, ["reset", "restart"]);
    }
}

#[tokio::test]
async fn a_unit_that_does_not_exist_is_refused_and_one_not_wanted_at_boot_disabled() {
    let bus = Bus::with(World { on_disk: false, loaded: false, ..stopped() }).await;
    let (_, asked, result) = bus.converge(true).await;
    assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    assert_eq!(asked, ["reload"]);
    let bus = Bus::with(World { active: "active", enabled: true, ..stopped() }).await;
    let (summary, asked, result) = bus.converge(false).await;
    result.unwrap();
    assert_eq!(
        (summary.as_str(), asked.as_slice()),
        ("boot enabled → disabled", ["disable", "reload"].as_slice())
    );
}

/// The same against systemd itself: a good service, then a bad configuration, then a good one again.
#[tokio::test]
#[ignore = "needs a host booted by systemd, where it makes and removes a unit in /etc: run it in a lab host"]
async fn on_a_host_that_systemd_booted() {
    const NAME: &str = "ops-agent-test.service";
    let file = format!("/etc/systemd/system/{NAME}");
    let write = |command: &str, kind: &str| {
        let text =
            format!("[Service]\nType={kind}\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n");
        std::fs::write(&file, text).unwrap();
    };
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(directory.path().join("ledger.json"));
    let systemd = Systemd::connect(NAME).await.unwrap();
    let unit = Unit { name: NAME.into(), enabled: true };
    let converge = async || {
        let found = unit.observe_on(&systemd, &ledger).await.unwrap();
        let summary = unit.diff(&found).summary();
        if summary.is_empty() {
            return (summary, Ok(()));
        }
        (summary, unit.apply_on(&systemd, &ledger, found).await)
    };

    let (summary, result) = converge().await;
    assert_eq!(summary, "unit not-found → loaded, boot → enabled, state inactive (dead) → active");
    assert!(result.unwrap_err().to_string().contains("no unit file of that name"));

    write("/bin/sleep infinity", "simple");
    let (summary, result) = converge().await;
    assert!(summary.ends_with("boot disabled → enabled, state inactive (dead) → active"), "{summary}");
    result.unwrap();
    assert_eq!(converge().await.0, "");

    write("/bin/sh -c 'echo the port is taken >&2; exit 3'", "simple");
    ledger.owe(NAME, "file:/etc/x").await.unwrap();
    let (summary, result) = converge().await;
    assert_eq!(summary, "unit file changed on disk → loaded, restart owed for file:/etc/x → done");
    let error = result.unwrap_err().to_string();
    assert!(error.contains("failed") && error.contains("the port is taken"), "{error}");
    assert_eq!(ledger.reasons(NAME).await.unwrap(), ["file:/etc/x"]);

    write("/bin/sleep infinity", "exec");
    let (_, result) = converge().await;
    result.unwrap();
    assert_eq!(converge().await.0, "");

    write("/no/such/program", "exec");
    ledger.owe(NAME, "file:/etc/x").await.unwrap();
    let error = converge().await.1.unwrap_err().to_string();
    assert!(
        error.starts_with("systemd cannot restart ops-agent-test.service: its job ended with failed"),
        "{error}"
    );

    write("/bin/true", "oneshot");
    converge().await.1.unwrap();
    assert_eq!(converge().await.0, "", "a job that ended well is right");

    let unit = Unit { name: NAME.into(), enabled: false };
    let found = unit.observe_on(&systemd, &ledger).await.unwrap();
    assert_eq!(unit.diff(&found).summary(), "boot enabled → disabled");
    unit.apply_on(&systemd, &ledger, found).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    systemd.reload(NAME).await.unwrap();
}
