//! The hidden commands that run inside the containers. They need no runtime with threads, no settings
//! and no AWS, and are run before any of that is set up.

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::container::supervisor::Supervision;
use crate::container::{entrypoint, probe, supervisor};
use crate::mask::Mask;
use crate::{Error, Result};

/// Where the secret files are mounted.
const SECRETS: &str = "/run/secrets";

/// What runs inside the containers.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// Turn secret files into environment and become a command
    #[command(hide = true)]
    Entrypoint(EntrypointArgs),
    /// Run a command again and again, never two at a time, and publish how it went
    #[command(hide = true)]
    Supervise(SuperviseArgs),
    /// Ask whether a service is well: exit 0 when it is
    #[command(hide = true)]
    Probe(ProbeArgs),
}

/// Arguments of `entrypoint`.
#[derive(Debug, Args)]
pub struct EntrypointArgs {
    /// Directory of the secret files: one a variable, named as it
    #[arg(long, value_name = "DIR", default_value = SECRETS)]
    secrets: PathBuf,
    /// Project whose `.env` must not set what the agent gives
    #[arg(long, value_name = "DIR", default_value = "/project")]
    project: PathBuf,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Arguments of `supervise`.
#[derive(Debug, Args)]
pub struct SuperviseArgs {
    /// Seconds from the start of one run to the start of the next
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// Seconds that a run in progress is expected to need at most after a stop was asked for
    #[arg(long, value_name = "SECONDS")]
    drain: u64,
    /// File in which the state is published
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    #[command(subcommand)]
    what: Probe,
}

#[derive(Debug, Subcommand)]
enum Probe {
    /// Every URL must answer 200
    Http {
        /// The URLs
        #[arg(required = true, value_name = "URL")]
        urls: Vec<String>,
    },
    /// The state file must hold a recent heartbeat
    Heartbeat {
        /// The state file
        file: PathBuf,
        /// Oldest heartbeat allowed, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        max_age: u64,
    },
}

impl ContainerCommand {
    /// Runs the command to its end; `entrypoint` returns only when it failed.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Entrypoint(args) => {
                entrypoint::run(&args.secrets, &args.project, &args.command).map(|never| match never {})
            }
            Self::Supervise(args) => block_on(supervise(args))?,
            Self::Probe(ProbeArgs { what: Probe::Http { urls } }) => block_on(probe::http(&urls))?,
            Self::Probe(ProbeArgs { what: Probe::Heartbeat { file, max_age } }) => {
                probe::heartbeat(&file, Duration::from_secs(max_age), Timestamp::now())
            }
        }
    }
}

/// SIGTERM (`docker stop`) and SIGINT ask for a stop. As PID 1 they would be ignored without a handler.
async fn supervise(args: SuperviseArgs) -> Result<()> {
    let listen = |kind, name: &str| signal(kind).map_err(|error| Error::io("listen to", name, error));
    let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked.cancel();
        // The handlers stay: a second signal while a run is let finish changes nothing.
        while terminate.recv().await.is_some() {}
    });
    let what = Supervision {
        interval: Duration::from_secs(args.interval),
        drain: Duration::from_secs(args.drain),
        state: args.state,
        command: args.command,
        mask: Mask::read(Path::new(SECRETS)),
    };
    supervisor::run(what, &mut std::io::stdout(), stop).await
}

/// One thread is all that these need.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map(|runtime| runtime.block_on(future))
        .map_err(|source| Error::CommandStart { program: "the asynchronous runtime".into(), source })
}
