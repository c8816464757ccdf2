//! PID 1 of the scheduler's container: starts `sqlmesh run` again and again, never two at a time (SQLMesh
//! itself has no lock), never ends one, and publishes what it does.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::schedule::Schedule;
use super::state::{Activity, HEARTBEAT_SECONDS, LastRun, SchedulerState};
use super::verdict::{Verdict, plain};
use crate::host::replace::{Replacement, replace};
use crate::mask::Mask;
use crate::{Error, Result};

/// How long after the end of a run its output is still waited for: a process that it left behind may
/// hold the pipe open for good.
const OUTPUT_LINGERS: Duration = Duration::from_secs(2);
/// Lines read but not yet written out.
const LINES_AHEAD: usize = 256;

/// What to supervise.
#[derive(Debug, Clone)]
pub struct Supervision {
    /// From the start of one run to the start of the next.
    pub interval: Duration,
    /// How long a run is expected to need at most once a stop was asked for. It is not ended then: who
    /// stops the container does that, a little later.
    pub drain: Duration,
    /// Where the state is published.
    pub state: PathBuf,
    /// The whole command, as in `sqlmesh run`.
    pub command: Vec<OsString>,
    /// Takes the secrets out of what the command says: others may read the state and the journal.
    pub mask: Mask,
}

/// Supervises until `stop` is cancelled and the run in progress has ended. What runs say goes to `out`.
/// Fails only when the command cannot be started at all.
pub async fn run(what: Supervision, out: &mut (dyn Write + Send), stop: CancellationToken) -> Result<()> {
    let children = signal(SignalKind::child()).map_err(|error| Error::io("listen to", "SIGCHLD", error))?;
    let mut beat = interval(Duration::from_secs(HEARTBEAT_SECONDS));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let published = SchedulerState {
        state: Activity::Waiting,
        last: last_of(&what.state),
        next_start: Some(now()),
        heartbeat: now(),
        runs: 0,
    };
    Supervisor { what, published, out, stop, children, beat, could_publish: true }.run().await
}

/// The last run that an earlier supervisor published, so that a new container does not forget it.
fn last_of(path: &std::path::Path) -> Option<LastRun> {
    let bytes = std::fs::read(path).ok()?;
    serde_json::from_slice::<SchedulerState>(&bytes).ok()?.last
}

struct Supervisor<'a> {
    what: Supervision,
    published: SchedulerState,
    out: &'a mut (dyn Write + Send),
    stop: CancellationToken,
    children: Signal,
    beat: Interval,
    could_publish: bool,
}

impl Supervisor<'_> {
    async fn run(mut self) -> Result<()> {
        let mut schedule = Schedule::new(self.what.interval);
        let mut next = Instant::now();
        self.publish(Activity::Waiting);
        while self.wait_until(next).await {
            let began = Instant::now();
            let last = self.supervise_one().await?;
            self.say(&match last.message.as_str() {
                "" => format!("run ended: {}", last.outcome.as_str()),
                message => format!("run ended: {}: {message}", last.outcome.as_str()),
            });
            next = began + schedule.after(last.outcome, dice());
            let pause = next.saturating_duration_since(Instant::now());
            self.published.next_start = Timestamp::now().checked_add(pause).ok().map(rounded);
            self.published.last = Some(last);
            if self.stop.is_cancelled() {
                break;
            }
            self.publish(Activity::Waiting);
        }
        self.published.next_start = None;
        self.publish(Activity::Stopped);
        self.say("stopped; no run is in progress");
        Ok(())
    }

    /// Waits for the next start; false when asked to stop instead.
    async fn wait_until(&mut self, next: Instant) -> bool {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                () = sleep_until(next) => return true,
                _ = self.beat.tick() => self.publish(Activity::Waiting),
                _ = self.children.recv() => { reap(None); }
            }
        }
    }

    /// Starts one run and stays with it to its end, whatever is asked meanwhile.
    async fn supervise_one(&mut self) -> Result<LastRun> {
        let started = now();
        let (child, mut lines) = self.start()?;
        let mut verdict = Verdict::default();
        let mut activity = Activity::Running;
        let mut give_up: Option<Instant> = None;
        self.published.runs += 1;
        self.published.next_start = started.checked_add(self.what.interval).ok();
        self.publish(activity);
        let status = loop {
            if let Some(status) = reap(Some(child)) {
                break status;
            }
            let is_draining = activity == Activity::Draining;
            tokio::select! {
                Some(line) = lines.recv() => self.hear(&line, &mut verdict),
                _ = self.children.recv() => {}
                _ = self.beat.tick() => self.publish(activity),
                () = self.stop.cancelled(), if !is_draining => {
                    activity = Activity::Draining;
                    give_up = Some(Instant::now() + self.what.drain);
                    self.published.next_start = None;
                    let limit = self.what.drain.as_secs();
                    self.say(&format!("asked to stop: waiting for the run in progress, for at most {limit} s"));
                    self.publish(activity);
                }
                () = sleep_until(give_up.unwrap_or_else(Instant::now)), if give_up.is_some() => {
                    give_up = None;
                    self.say("the run is still in progress; it is now for the one who stops this container to end it");
                }
            }
        };
        let last_output = Instant::now() + OUTPUT_LINGERS;
        while let Ok(Some(line)) = timeout_at(last_output, lines.recv()).await {
            self.hear(&line, &mut verdict);
        }
        let ended = now();
        let exit_code = if let WaitStatus::Exited(_, code) = status { Some(code) } else { None };
        let (outcome, message) = verdict.end(exit_code);
        let duration_ms = u64::try_from(ended.as_millisecond() - started.as_millisecond()).unwrap_or(0);
        Ok(LastRun { started, ended, duration_ms, outcome, exit_code, message })
    }

    /// Starts the command in a process group of its own, which no signal to ours reaches.
    fn start(&self) -> Result<(Pid, mpsc::Receiver<String>)> {
        let (program, arguments) = self.what.command.split_first().ok_or_else(|| Error::Refused {
            what: "supervise".into(),
            why: "no command was given".into(),
            fix: "write it after `--`".into(),
        })?;
        let cannot = |source| Error::CommandStart { program: program.to_string_lossy().into_owned(), source };
        // Not tokio's own child: as PID 1 we reap every process, and the two would fight over this one.
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        let pid =
            i32::try_from(child.id()).map(Pid::from_raw).map_err(|e| cannot(std::io::Error::other(e)))?;
        let (send, lines) = mpsc::channel(LINES_AHEAD);
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(read_lines(ChildStdout::from_std(stdout).map_err(cannot)?, send.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(read_lines(ChildStderr::from_std(stderr).map_err(cannot)?, send));
        }
        Ok((pid, lines))
    }

    fn hear(&mut self, line: &str, verdict: &mut Verdict) {
        let line = &self.what.mask.apply(line);
        verdict.line(line);
        let text = plain(line);
        // The journal is where this goes; when it cannot be had, runs go on all the same.
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }

    fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "supervisor: {text}").and_then(|()| self.out.flush());
    }

    /// Publishes, heartbeat included. A full disk must not stop runs; it is said once.
    fn publish(&mut self, activity: Activity) {
        self.published.state = activity;
        self.published.heartbeat = now();
        let content = serde_json::to_vec(&self.published).unwrap_or_default();
        let file = Replacement { path: self.what.state.clone(), content, mode: 0o644, owner: None };
        match replace(&file) {
            Ok(()) => self.could_publish = true,
            Err(error) if self.could_publish => {
                self.could_publish = false;
                self.say(&error.to_string());
            }
            Err(_) => {}
        }
    }
}

/// Sends each line until the end of the stream.
async fn read_lines(stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while matches!(reader.read_until(b'\n', &mut bytes).await, Ok(1..)) {
        if lines.send(String::from_utf8_lossy(&bytes).into_owned()).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

/// Takes in what has ended, and returns the status of `child` when that is among it. As PID 1 we inherit
/// every orphan of the container, and nobody else takes in those.
fn reap(child: Option<Pid>) -> Option<WaitStatus> {
    let is_init = getpid().as_raw() == 1;
    let whom = if is_init { None } else { Some(child?) };
    loop {
        match waitpid(whom, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(status) if status.pid() == child => return Some(status),
            Ok(_) => {}
        }
    }
}

fn now() -> Timestamp {
    rounded(Timestamp::now())
}

/// To the millisecond: what people read.
fn rounded(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Between 0 and 1; 0 when the system has no randomness to give.
fn dice() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
