use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::container::state::RunOutcome;

/// Output that a test can read while the supervisor writes.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Supervised {
    directory: tempfile::TempDir,
    stop: CancellationToken,
    written: Written,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Supervised {
    /// A supervisor over a shell script, whose working directory is `$D`.
    fn start(script: &str, interval: Duration, drain: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::start_in(directory, script, interval, drain)
    }

    fn start_in(directory: tempfile::TempDir, script: &str, interval: Duration, drain: Duration) -> Self {
        let script = format!("D='{}'\n{script}", directory.path().display());
        let what = Supervision {
            interval,
            drain,
            state: directory.path().join("state.json"),
            command: ["sh", "-c", &script].iter().map(OsString::from).collect(),
            mask: Mask::read(&directory.path().join("secrets")),
        };
        let (stop, written) = (CancellationToken::new(), Written::default());
        let (token, mut out) = (stop.clone(), written.clone());
        let task = tokio::spawn(async move { run(what, &mut out, token).await });
        Self { directory, stop, written, task }
    }

    fn state(&self) -> Option<SchedulerState> {
        serde_json::from_slice(&std::fs::read(self.directory.path().join("state.json")).ok()?).ok()
    }

    /// The state, as soon as it is as asked.
    async fn until(&self, what: &str, is: impl Fn(&SchedulerState) -> bool) -> SchedulerState {
        for _ in 0..400 {
            if let Some(state) = self.state().filter(&is) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never {what}; state {:?}; output {}", self.state(), self.output());
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&self.written.0.lock().unwrap()).into_owned()
    }

    fn lines(&self, file: &str) -> usize {
        std::fs::read_to_string(self.directory.path().join(file)).map_or(0, |text| text.lines().count())
    }
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn runs_at_once_and_publishes_how_it_ended() {
    let script = "echo Run finished for environment \\'prod\\'; echo to stderr >&2";
    let it = Supervised::start(script, LONG, LONG);
    let state = it.until("waiting after a run", |s| s.last.is_some()).await;
    let last = state.last.unwrap();
    assert_eq!((state.state, state.runs), (Activity::Waiting, 1));
    assert_eq!((last.outcome, last.exit_code), (RunOutcome::Success, Some(0)));
    let pause = state.next_start.unwrap().as_second() - last.started.as_second();
    assert!((599..=601).contains(&pause), "{pause}");
    assert!(it.output().contains("Run finished for environment 'prod'\n"), "{}", it.output());
    assert!(it.output().contains("to stderr\n"));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(it.directory.path().join("state.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "anyone may read it");
}

#[tokio::test]
async fn runs_never_overlap_and_a_late_one_starts_at_once() {
    // Each takes 0.3 s of an interval of 0.1 s. A run that meets another says so.
    let script = "mkdir $D/busy || echo x >> $D/overlap; echo x >> $D/runs; sleep 0.3; rmdir $D/busy";
    let it = Supervised::start(script, Duration::from_millis(100), LONG);
    // A run is published before its process has written its line.
    it.until("a fifth run", |s| s.runs >= 5).await;
    assert_eq!(it.lines("overlap"), 0);
    assert!(it.lines("runs") >= 4);
}

#[tokio::test]
async fn a_stop_lets_the_run_in_progress_end() {
    let it = Supervised::start("echo x > $D/began; sleep 0.7; echo x > $D/ended", LONG, LONG);
    it.until("running", |s| s.state == Activity::Running).await;
    it.stop.cancel();
    let state = it.until("draining", |s| s.state == Activity::Draining).await;
    assert_eq!(state.next_start, None);
    it.until("stopped", |s| s.state == Activity::Stopped && s.last.is_some()).await;
    assert_eq!(it.lines("ended"), 1, "the run was ended: {}", it.output());
    assert!(it.output().contains("asked to stop"), "{}", it.output());
    it.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_run_beyond_the_drain_limit_is_told_and_still_not_ended() {
    let it = Supervised::start("sleep 0.8; echo x > $D/ended", LONG, Duration::from_millis(100));
    it.until("running", |s| s.state == Activity::Running).await;
    it.stop.cancel();
    it.until("stopped", |s| s.state == Activity::Stopped).await;
    assert!(it.output().contains("still in progress"), "{}", it.output());
    assert_eq!(it.lines("ended"), 1);
}

#[tokio::test]
async fn a_stop_between_runs_is_immediate() {
    let it = Supervised::start("true", LONG, LONG);
    it.until("waiting after a run", |s| s.last.is_some()).await;
    it.stop.cancel();
    let asked = Instant::now();
    it.task.await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_database_that_is_down_is_told_and_asked_again() {
    let script = "echo 'psycopg2.OperationalError: connection to server at \"db\" failed' >&2; exit 1";
    let it = Supervised::start(script, Duration::from_millis(100), LONG);
    let state = it.until("two runs", |s| s.runs >= 2 && s.last.is_some()).await;
    let last = state.last.unwrap();
    assert_eq!((last.outcome, last.exit_code), (RunOutcome::DatabaseDown, Some(1)));
    assert!(last.message.starts_with("psycopg2.OperationalError"), "{}", last.message);
}

#[tokio::test]
async fn a_run_that_is_killed_from_outside_is_told() {
    let it = Supervised::start("kill -9 $$", LONG, LONG);
    let last = it.until("a run", |s| s.last.is_some()).await.last.unwrap();
    assert_eq!((last.outcome, last.exit_code), (RunOutcome::Killed, None));
}

#[tokio::test]
async fn a_process_left_behind_does_not_hold_up_the_next_run() {
    let it = Supervised::start("sleep 30 & echo started", Duration::from_millis(10), LONG);
    it.until("two runs", |s| s.runs == 2).await;
}

#[tokio::test]
async fn the_last_run_of_an_earlier_supervisor_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"{"state":"stopped","last":{"started":"2026-11-24T08:00:00Z","ended":"2026-11-24T08:00:07Z",
        "duration_ms":7000,"outcome":"success","exit_code":0,"message":""},
        "next_start":null,"heartbeat":"2026-11-24T08:01:00Z","runs":3}"#;
    std::fs::write(directory.path().join("state.json"), text).unwrap();
    let it = Supervised::start_in(directory, "sleep 1", LONG, LONG);
    let state = it.until("running", |s| s.state == Activity::Running).await;
    assert_eq!(state.last.unwrap().duration_ms, 7000);
}

#[tokio::test]
async fn a_command_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let what = Supervision {
        interval: LONG,
        drain: LONG,
        state: directory.path().join("state.json"),
        command: vec!["/nonexistent/sqlmesh".into()],
        mask: Mask::default(),
    };
    let error = run(what, &mut Vec::new(), CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("cannot start /nonexistent/sqlmesh"), "{error}");
}

#[tokio::test]
async fn a_state_that_cannot_be_written_does_not_stop_runs() {
    let directory = tempfile::tempdir().unwrap();
    let ran = directory.path().join("ran");
    let what = Supervision {
        interval: LONG,
        drain: LONG,
        state: Path::new("/nonexistent/state.json").into(),
        command: vec!["touch".into(), ran.clone().into()],
        mask: Mask::default(),
    };
    let (stop, mut out) = (CancellationToken::new(), Vec::new());
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stopper.cancel();
    });
    run(what, &mut out, stop).await.unwrap();
    assert!(ran.exists());
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches("/nonexistent").count(), 1, "said once: {text}");
}

#[tokio::test]
async fn a_secret_that_a_run_says_is_told_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("secrets")).unwrap();
    std::fs::write(directory.path().join("secrets/STATE_DB_PASSWORD"), "canary-pw").unwrap();
    let script = "echo connecting with canary-pw; echo 'x.OperationalError: no canary-pw here' >&2; exit 1";
    let supervised = Supervised::start_in(directory, script, LONG, LONG);
    let state = supervised.until("a run that failed", |state| state.last.is_some()).await;
    assert_eq!(state.last.unwrap().message, "x.OperationalError: no (secret) here");
    let said = supervised.output();
    assert!(said.contains("connecting with (secret)") && !said.contains("canary-pw"), "{said}");
}
