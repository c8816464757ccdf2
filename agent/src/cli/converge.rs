//! `ops-agent converge`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::live::Live;
use super::output::{columns, complain, is_watched, print};
use super::{Globals, watching};
use crate::converge::{Company, Converged, converge};
use crate::engine::lock::{self, Holder, Lock};
use crate::engine::run::{Event, Watch};
use crate::exit::Exit;
use crate::host::{Progress, Silent};
use crate::report::signal::{FAILURE_AFTER, Signal};
use crate::report::{Report, text};
use crate::telemetry::{self, Sink};
use crate::{Error, Result};

/// At boot, the pause between two rounds while CloudFormation still waits: long enough for what was down to
/// come up, short beside the ten minutes after which a failure is signalled.
const ROUND: Duration = Duration::from_secs(45);

/// The reason of a run at boot: only that one goes on until CloudFormation can be told how it went.
const BOOT: &str = "boot";

/// Arguments of `converge`.
#[derive(Debug, Args)]
pub struct ConvergeArgs {
    /// Give up at once where another run is going on
    #[arg(long)]
    no_wait: bool,
    /// Why it runs, for the report: boot, timer, …
    #[arg(long, value_name = "REASON", default_value = "manual")]
    reason: String,
}

/// Converges, and prints how it went.
pub fn run(globals: &Globals, args: ConvergeArgs) -> Exit {
    if let Err(error) = globals.need_root("converge") {
        complain(&error.to_string());
        return Exit::Failed;
    }
    let journal = telemetry::is_under_journal();
    let live = (!journal && is_watched()).then(|| Arc::new(Live::new("converging")));
    telemetry::init(globals.filter(), Sink::of_converge(journal, live.as_deref().map(Live::bars)));
    let reason = plain_reason(&args.reason);
    let ended = watching::block_on(async {
        let cancel = watching::cancel_on_signals();
        let company = company(live.as_ref(), cancel.clone());
        rounds(globals, &reason, args.no_wait, &company).await
    });
    if let Some(live) = &live {
        live.clear();
    }
    match ended.map_err(Stop::from).flatten() {
        Err(Stop::Busy(holder)) => {
            let who = holder.map_or_else(|| "another run".to_owned(), |holder| holder.to_string());
            complain(&format!("busy: {who} is going on"));
            Exit::Busy
        }
        Err(Stop::Signal) => Exit::Interrupted,
        Err(Stop::Error(error)) => {
            tracing::error!("{error}");
            if journal {
                complain(&error.to_string());
            }
            Exit::Failed
        }
        Ok(Converged { report, exit, .. }) => {
            if !journal {
                print(&text::summary(&report, columns()));
            } else if exit != Exit::Ok {
                // stderr of the unit is the journal and the console: this line is for the console.
                complain(&line(&report));
            }
            exit
        }
    }
}

/// systemd names the unit that triggered a run: `ops-agent.timer`.
fn plain_reason(reason: &str) -> String {
    reason.strip_prefix("ops-agent.").unwrap_or(reason).to_owned()
}

/// The end of a run in one line.
fn line(report: &Report) -> String {
    let cause = report.root_cause.as_deref().unwrap_or("interrupted by a signal");
    let mut lines = cause.lines();
    let first = text::short(lines.next().unwrap_or_default());
    match lines.count() {
        0 => format!("converge failed: {first}"),
        more => format!("converge failed: {first} (and {more} more: ops-agent status)"),
    }
}

fn company(live: Option<&Arc<Live>>, cancel: CancellationToken) -> Company {
    match live {
        Some(live) => Company {
            watch: Arc::clone(live) as Arc<dyn Watch>,
            progress: Arc::clone(live) as Arc<dyn Progress>,
            cancel,
        },
        None => Company { watch: Arc::new(Nobody), progress: Arc::new(Silent), cancel },
    }
}

/// Watches nothing: the journal hears all anyway.
struct Nobody;

impl Watch for Nobody {
    fn event(&self, _event: &Event<'_>) {}
}

/// Why there was no run to report.
enum Stop {
    Busy(Option<Holder>),
    Signal,
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Converges once; at boot, as often as it takes until there is something to tell CloudFormation. The lock
/// is free between rounds.
async fn rounds(
    globals: &Globals,
    reason: &str,
    no_wait: bool,
    company: &Company,
) -> Result<Converged, Stop> {
    let began = Instant::now();
    let mut order = globals.order();
    order.source.keep = true;
    loop {
        let lock = take_lock(globals, reason, no_wait, &company.cancel).await?;
        let ended = converge(&order, reason, company).await;
        drop(lock);
        let untold = match ended.signal {
            Signal::NotConfigured | Signal::Acknowledged { .. } => false,
            Signal::Undecided { .. } => true,
            // What cannot be delivered in all this time is left to the timer.
            Signal::Pending { .. } => began.elapsed() < FAILURE_AFTER,
        };
        if reason != BOOT || !untold || ended.exit == Exit::Interrupted {
            return Ok(ended);
        }
        tracing::warn!("CloudFormation waits for this host: trying again in {} s", ROUND.as_secs());
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = company.cancel.cancelled() => return Ok(ended),
        }
    }
}

async fn take_lock(
    globals: &Globals,
    reason: &str,
    no_wait: bool,
    cancel: &CancellationToken,
) -> Result<Lock, Stop> {
    let path = globals.store().lock_path();
    let this = Holder::this("converge", reason, Timestamp::now());
    if no_wait {
        return lock::try_acquire(&path, &this)?.ok_or_else(|| Stop::Busy(lock::holder(&path)));
    }
    let acquiring = lock::acquire(&path, &this, |holder| match holder {
        Some(holder) => complain(&format!("waiting for {holder}")),
        None => complain("waiting for another run"),
    });
    tokio::select! {
        lock = acquiring => Ok(lock?),
        () = cancel.cancelled() => Err(Stop::Signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn reasons_are_plain_words() {
        let words = ["ops-agent.timer", "boot", "manual", "publish v2"].map(plain_reason);
        assert_eq!(words, ["timer", "boot", "manual", "publish v2"]);
    }

    #[test]
    fn a_failure_is_one_line_for_the_console() {
        let mut report = examples::failed();
        report.root_cause = Some("unknown key a\nunknown key b\nunknown key c".to_owned());
        assert_eq!(line(&report), "converge failed: unknown key a (and 2 more: ops-agent status)");
    }
}
