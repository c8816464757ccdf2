//! The programs inside the containers, as PID 1 of a real one.

use std::time::{Duration, Instant};

use ops_agent::container::state::{Activity, RunOutcome, SchedulerState};
use ops_agent::resource::container::{Container, Mount};

use crate::{Lab, converge, inspect, sh, show};

const CANARY: &str = "canary-5f1c\"\\'${HOME} #x";

fn read_only(source: &str, target: &str) -> Mount {
    Mount { source: source.into(), target: target.into(), read_only: true }
}

/// A scheduler as the role makes it, over a shell script in the place of SQLMesh. The program under test
/// is linked to the libraries of this machine, which the image does not have.
fn scheduler(lab: &Lab, script: &str) -> Container {
    let secrets = lab.root.path().join("secrets");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("STATE_DB_PASSWORD"), CANARY).unwrap();
    sh(&format!("chown -R 10001:10001 {0} && chmod 500 {0} && chmod 400 {0}/*", show(&secrets)));
    let command = [
        &["/ops-agent", "entrypoint", "--", "/ops-agent", "supervise", "--interval", "2", "--drain", "20"][..],
        &["--state", "/state/state.json", "--", "sh", "-c", script],
    ];
    let mut it = lab.container("scheduler", "");
    it.command = command.concat().into_iter().map(str::to_owned).collect();
    let probe = ["/ops-agent", "probe", "heartbeat", "/state/state.json", "--max-age", "60"];
    it.health = Some(probe.map(str::to_owned).to_vec());
    it.stop_seconds = 30;
    it.mounts = vec![
        read_only(env!("CARGO_BIN_EXE_ops-agent"), "/ops-agent"),
        read_only("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"),
        read_only("/usr/lib64", "/lib64"),
        read_only(&show(&secrets), "/run/secrets"),
        lab.mount("state", "/state"),
    ];
    it
}

fn state(lab: &Lab) -> SchedulerState {
    serde_json::from_slice(&std::fs::read(lab.root.path().join("state/state.json")).unwrap()).unwrap()
}

async fn until(lab: &Lab, what: &str, is: impl Fn(&SchedulerState) -> bool) -> SchedulerState {
    for _ in 0..200 {
        let state = state(lab);
        if is(&state) {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never {what}: {:?}", state(lab));
}

#[tokio::test]
async fn secrets_reach_the_run_and_nothing_else() {
    let lab = Lab::new("secrets");
    // Leaves an orphan behind, which PID 1 must take in.
    let script =
        "(sleep 0.2 &) ; printf '%s' \"$STATE_DB_PASSWORD\" > /state/seen; echo No models are ready to run";
    let it = scheduler(&lab, script);
    converge(&lab, &it).await.unwrap();
    let last = until(&lab, "a second run", |s| s.runs >= 2).await.last.unwrap();
    assert_eq!((last.outcome, last.exit_code), (RunOutcome::NothingToDo, Some(0)));
    assert_eq!(std::fs::read_to_string(lab.root.path().join("state/seen")).unwrap(), CANARY);
    for place in [format!("docker inspect {}", it.name), format!("docker logs {} 2>&1", it.name)] {
        assert!(!sh(&place).contains("canary-5f1c"), "{place} tells it");
    }
    let processes = sh(&format!("docker top {} -o pid,stat,args", it.name));
    assert!(processes.contains("/ops-agent supervise") && !processes.contains("entrypoint"), "{processes}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!sh(&format!("docker top {} -o pid,stat", it.name)).contains('Z'), "zombies: {processes}");
}

#[tokio::test]
async fn a_stop_lets_the_run_end_and_is_told() {
    let lab = Lab::new("stop");
    let it = scheduler(&lab, "echo began; sleep 6; echo whole > /state/run");
    converge(&lab, &it).await.unwrap();
    // A run longer than the interval is followed by the next at once: one is always in progress.
    until(&lab, "running", |s| s.state == Activity::Running).await;
    std::fs::remove_file(lab.root.path().join("state/run")).ok();
    let began = Instant::now();
    sh(&format!("docker stop {}", it.name));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(inspect(&it.name, "{{.State.ExitCode}}"), "0");
    assert_eq!(std::fs::read_to_string(lab.root.path().join("state/run")).unwrap(), "whole\n");
    let state = state(&lab);
    assert_eq!((state.state, state.next_start), (Activity::Stopped, None));
    let log = sh(&format!("docker logs {} 2>&1", it.name));
    assert!(log.contains("supervisor: asked to stop") && log.contains("supervisor: stopped"), "{log}");
}

#[tokio::test]
async fn a_project_that_overrides_the_database_is_refused() {
    let lab = Lab::new("dotenv");
    let project = lab.root.path().join("project");
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join(".env"), "STATE_DB_HOST=elsewhere\n").unwrap();
    let mut it = scheduler(&lab, "true");
    it.mounts.push(read_only(&show(&project), "/project"));
    let text = converge(&lab, &it).await.unwrap_err().to_string();
    assert!(text.contains("/project/.env: it sets STATE_DB_HOST"), "{text}");
}
