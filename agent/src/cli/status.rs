//! `ops-agent status`.

use std::io::IsTerminal;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::Globals;
use super::output::{columns, complain, print, print_json};
use crate::engine::lock;
use crate::exit::Exit;
use crate::report::ask::World;
use crate::report::health::{self, Health};
use crate::report::status::Status;
use crate::report::text;
use crate::{Error, Result};

/// How often `--watch` draws anew.
const REDRAW: Duration = Duration::from_secs(2);

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Draw anew every 2 s, until q or Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Probe the services and leave what was found for everybody; prints nothing (for the timer)
    #[arg(long, hide = true, conflicts_with_all = ["json", "watch"])]
    refresh: bool,
}

/// Shows the state of the host.
pub fn run(globals: &Globals, args: &StatusArgs) -> Exit {
    if args.watch {
        return watch(globals);
    }
    let now = Timestamp::now();
    let status = match read(globals) {
        Ok(Some(status)) => status,
        Ok(None) => return no_report(globals),
        Err(error) => {
            complain(&error.to_string());
            return Exit::Failed;
        }
    };
    if args.refresh {
        return refresh(globals, &status, now);
    }
    if args.json {
        if print_json(&status) == Exit::Failed {
            return Exit::Failed;
        }
    } else {
        print(&text::status(&status, now, columns()));
    }
    status.exit(now)
}

fn no_report(globals: &Globals) -> Exit {
    complain(&nothing_yet(globals));
    Exit::NoReport
}

/// Before there is a report: whether the first converge is on its way.
fn nothing_yet(globals: &Globals) -> String {
    let none = "no converge has run on this host yet";
    match lock::holder(&globals.store().lock_path()) {
        Some(holder) => format!("{none}; the first one is running: {holder}"),
        None => format!("{none}; `sudo ops-agent converge` runs one"),
    }
}

/// What is known; root sees for itself whether the services are well.
fn read(globals: &Globals) -> Result<Option<Status>> {
    let Some(mut status) = Status::read(&globals.store())? else { return Ok(None) };
    if nix::unistd::geteuid().is_root() {
        status.health = Some(probe(globals, &status)?);
        status.live = true;
    }
    Ok(Some(status))
}

fn probe(globals: &Globals, status: &Status) -> Result<Health> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|source| Error::CommandStart { program: "the asynchronous runtime".to_owned(), source })?;
    let world = World::new(globals.root.clone());
    Ok(runtime.block_on(health::probe(&status.report.services, &world, Timestamp::now())))
}

/// Leaves what was found for those who may not look themselves.
fn refresh(globals: &Globals, status: &Status, now: Timestamp) -> Exit {
    let written = match &status.health {
        Some(health) if status.live => globals.store().write_health(health),
        _ => Err(Error::Refused {
            what: "ops-agent status --refresh".to_owned(),
            why: "only root may probe the services".to_owned(),
            fix: "ops-agent-status.timer does it each minute".to_owned(),
        }),
    };
    match written {
        Ok(()) => status.exit(now),
        Err(error) => {
            complain(&error.to_string());
            Exit::Failed
        }
    }
}

/// Draws anew until a key or a signal ends it; the exit code is that of the last picture.
fn watch(globals: &Globals) -> Exit {
    let term = console::Term::stdout();
    let keys = keys();
    loop {
        let now = Timestamp::now();
        let (picture, exit) = match read(globals) {
            Ok(Some(status)) => (text::status(&status, now, columns()), status.exit(now)),
            Ok(None) => (nothing_yet(globals) + "\n", Exit::NoReport),
            Err(error) => (format!("{error}\n"), Exit::Failed),
        };
        let _ = term.clear_screen();
        let hint = if keys.is_some() { "q ends" } else { "Ctrl-C ends" };
        print(&format!("{picture}\n{}every 2 s; {hint}{:#}\n", text::FAINT, text::FAINT));
        match &keys {
            None => std::thread::sleep(REDRAW),
            Some(keys) => match keys.recv_timeout(REDRAW) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // q, or no more keys to come.
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return exit,
            },
        }
    }
}

/// Hears when q was pressed; `None` where nobody can press a key. Ctrl-C stays a signal.
fn keys() -> Option<mpsc::Receiver<()>> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let term = console::Term::stdout();
        while let Ok(key) = term.read_key() {
            if matches!(key, console::Key::Char('q' | 'Q') | console::Key::Escape) {
                let _ = sender.send(());
                return;
            }
        }
    });
    Some(receiver)
}
