//! The command line as its callers see it: exit codes, streams, files, signals.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ops_agent::engine::lock::{self, Holder};
use ops_agent::report::store::Store;
use ops_agent::report::{Outcome, Probe, Report, Service};
use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use tempfile::TempDir;

/// The agent on a host below `root`. It must never reach IMDS or anyone's credentials.
fn agent(root: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("ops-agent"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name == "JOURNAL_STREAM")
    {
        command.env_remove(name);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .arg("--root")
        .arg(root);
    command
}

/// A host with an identity.
fn host() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/ops-agent")).unwrap();
    let identity = "role = \"sqlmesh-server\"\nbucket = \"artifacts\"\nregion = \"us-west-2\"\n";
    std::fs::write(root.path().join("etc/ops-agent/host.toml"), identity).unwrap();
    std::fs::write(root.path().join("etc/os-release"), "ID=debian\n").unwrap();
    root
}

/// An endpoint at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn report(root: &TempDir) -> Report {
    Store::new(root.path()).report().unwrap().unwrap()
}

/// Ends the process by SIGTERM, and says how long that took and with which code.
fn terminate(child: &mut Child) -> (Duration, Option<i32>) {
    let asked = Instant::now();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    (asked.elapsed(), status.code())
}

#[test]
fn status_before_the_first_converge() {
    let root = tempfile::tempdir().unwrap();
    let message = contains("no converge has run on this host yet");
    agent(root.path()).arg("status").assert().code(7).stdout(is_empty()).stderr(message);
    agent(root.path()).args(["status", "--refresh"]).assert().code(7);
    let _first = hold(root.path());
    let message = contains("the first one is running: PID");
    agent(root.path()).arg("status").assert().code(7).stderr(message);
}

#[test]
fn a_wrong_command_line() {
    let root = tempfile::tempdir().unwrap();
    agent(root.path()).arg("convrege").assert().code(2).stderr(contains("converge"));
    agent(root.path()).args(["status", "--json", "--watch"]).assert().code(2);
}

#[test]
fn a_host_without_identity_reports_so() {
    let root = tempfile::tempdir().unwrap();
    agent(root.path()).arg("converge").assert().code(3).stdout(contains("/etc/ops-agent/host.toml"));
    assert_eq!(report(&root).run.outcome, Outcome::Failed);
    agent(root.path()).arg("status").assert().code(1).stdout(contains("/etc/ops-agent/host.toml"));
}

#[test]
fn wrong_settings_are_named_line_by_line() {
    let root = host();
    let dir = root.path().join("etc/ops-agent/config.d");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("10.toml"), "[ui]\nprot = 1\n").unwrap();
    agent(root.path())
        .args(["config", "check", "--role", "sqlmesh-server"])
        .arg(dir.join("10.toml"))
        .assert()
        .code(3)
        .stderr(contains("line 2: unknown key ui.prot; did you mean ui.port?"));
}

#[test]
fn unreachable_inputs_fail_the_run_and_keep_what_is_known_of_the_services() {
    let root = host();
    let store = Store::new(root.path());
    agent(root.path()).args(["converge", "--endpoint-url", &nobody()]).assert().code(4);
    let probe = Probe::Http { url: format!("{}/", nobody()) };
    let ui = Service { name: "sqlmesh-ui".to_owned(), about: None, probe };
    store.write_report(&Report { services: vec![ui.clone()], ..report(&root) }).unwrap();
    agent(root.path())
        .args(["converge", "--reason", "ops-agent.timer", "--endpoint-url", &nobody()])
        .assert()
        .code(4)
        .stdout(contains("ssm:GetParametersByPath"));
    let report = report(&root);
    assert_eq!((report.run.reason.as_str(), report.services), ("timer", vec![ui]));
    assert!(report.root_cause.unwrap().starts_with("ssm:GetParametersByPath"));
    assert_eq!(store.health().unwrap().unwrap().services.len(), 1, "what runs is looked at all the same");
    agent(root.path())
        .arg("status")
        .assert()
        .code(1)
        .stdout(contains("sqlmesh-ui").and(contains("unhealthy")));
}

#[test]
fn a_plan_touches_nothing() {
    let root = host();
    agent(root.path()).args(["plan", "--endpoint-url", &nobody()]).assert().code(4).stdout(is_empty());
    let there: Vec<_> =
        std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["etc"]);
}

#[test]
fn a_root_that_cannot_be_written_is_one_line() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("run"), "").unwrap();
    let one_line = predicate::function(|text: &str| text.lines().count() == 1);
    agent(root.path())
        .arg("converge")
        .assert()
        .code(1)
        .stderr(contains("cannot make the directory").and(one_line));
}

fn hold(root: &Path) -> lock::Lock {
    let this = Holder::this("converge", "boot", "2026-11-24T12:03:04Z".parse().unwrap());
    lock::try_acquire(&Store::new(root).lock_path(), &this).unwrap().unwrap()
}

#[test]
fn a_second_run_is_told_who_runs() {
    let root = host();
    let lock = hold(root.path());
    let who = format!("PID {} (converge, reason boot, since 12:03:04)", std::process::id());
    agent(root.path())
        .args(["converge", "--no-wait"])
        .assert()
        .code(5)
        .stderr(contains(format!("busy: {who}")));

    let mut waiting = agent(root.path()).arg("converge").stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(waiting.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(&format!("waiting for {who}")), "{line}");
    let (took, code) = terminate(&mut waiting);
    assert_eq!(code, Some(8));
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(lock);
    assert_eq!(Store::new(root.path()).report().unwrap(), None, "it never ran");
}

#[test]
fn sigterm_ends_a_run_within_a_second_and_leaves_a_report() {
    let root = host();
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut run = agent(root.path())
        .args(["converge", "--endpoint-url", &endpoint])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    silent.accept().unwrap();
    let running = lock::holder(&Store::new(root.path()).lock_path()).unwrap();
    assert_eq!(running.pid, run.id());
    let (took, code) = terminate(&mut run);
    assert_eq!(code, Some(8));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let mut text = String::new();
    run.stdout.unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("Interrupted"), "{text}");
    assert_eq!(report(&root).run.outcome, Outcome::Interrupted);
    assert!(report(&root).root_cause.is_none());
    assert_eq!(lock::holder(&Store::new(root.path()).lock_path()), None);
}

#[test]
fn status_is_data_on_stdout_without_colour_and_quick() {
    let root = host();
    agent(root.path()).arg("converge").args(["--endpoint-url", &nobody()]).assert().code(4);
    let begun = Instant::now();
    let output = agent(root.path()).arg("status").output().unwrap();
    let took = begun.elapsed();
    assert!(!output.stdout.contains(&0x1b) && output.stderr.is_empty());
    assert!(took < Duration::from_millis(500), "{took:?} even for a debug build on a busy machine");
    let json = agent(root.path()).args(["status", "--json"]).output().unwrap().stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["report"]["role"], "sqlmesh-server");
    assert!(json["health"]["services"].is_array());
}

#[test]
fn an_unprivileged_user_may_look_and_not_touch() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let root = host();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    agent(root.path()).args(["converge", "--endpoint-url", &nobody()]).assert().code(4);
    // The build directory may be closed to others.
    let binary = root.path().join("ops-agent");
    std::fs::copy(assert_cmd::cargo::cargo_bin!("ops-agent"), &binary).unwrap();
    let mut as_nobody = Command::new(&binary);
    as_nobody.uid(65534).gid(65534).current_dir("/");
    as_nobody
        .arg("--root")
        .arg(root.path())
        .arg("status")
        .assert()
        .code(1)
        .stdout(contains("sqlmesh-server"));
    let mut converge = Command::new(&binary);
    converge.uid(65534).gid(65534).current_dir("/").arg("converge");
    converge.assert().code(1).stderr(contains("it must run as root; sudo ops-agent converge"));
}

#[test]
fn help_names_every_exit_code() {
    let root = tempfile::tempdir().unwrap();
    let table = contains("7  status: no converge has run yet").and(contains("5  another run holds the lock"));
    agent(root.path()).arg("--help").assert().success().stdout(table);
    agent(root.path()).args(["help", "converge"]).assert().success().stdout(contains("--no-wait"));
}

#[test]
fn version_completions_and_pages() {
    let root = tempfile::tempdir().unwrap();
    let version = contains("\"version\": \"").and(contains("\"report_schema_version\": 1"));
    agent(root.path()).args(["version", "--json"]).assert().success().stdout(version);
    agent(root.path()).args(["completions", "bash"]).assert().success().stdout(contains("--no-wait"));
    let pages = root.path().join("man");
    agent(root.path()).arg("man").arg(&pages).assert().success();
    assert!(pages.join("ops-agent.1").exists() && pages.join("ops-agent-converge.1").exists());
    assert!(!pages.join("ops-agent-entrypoint.1").exists(), "hidden commands have no page");
    agent(root.path())
        .arg("man")
        .arg("/dev/null/x")
        .assert()
        .code(1)
        .stderr(contains("cannot write the manual"));
}
