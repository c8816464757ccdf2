//! The command line: one file a command, which parses, calls the library and prints.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::Error;
use crate::converge::Order;
use crate::exit::Exit;
use crate::inputs::{Overrides, Source};
use crate::report::store::Store;
use crate::telemetry::{self, Sink};

mod completions;
pub mod config;
pub mod container;
mod converge;
mod live;
mod man;
mod output;
mod plan;
mod status;
mod version;
mod watching;

/// Makes this host what its settings say, keeps it so, and says what it did.
#[derive(Debug, Parser)]
#[command(name = "ops-agent", version = crate::version::VERSION, after_help = exit_codes())]
#[command(arg_required_else_help = true, propagate_version = false, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Arguments of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// Prefix of every path
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Endpoint of every AWS service, in place of AWS's own
    #[arg(long, global = true, value_name = "URL")]
    endpoint_url: Option<String>,
    /// AWS region, in place of the host's own
    #[arg(long, global = true, value_name = "REGION")]
    region: Option<String>,
    /// Role, in place of the one in /etc/ops-agent/host.toml
    #[arg(long, global = true, value_name = "ROLE")]
    role: Option<String>,
    /// Artifact bucket, in place of the one in /etc/ops-agent/host.toml
    #[arg(long, global = true, value_name = "BUCKET")]
    bucket: Option<String>,
    /// Which log lines to show: a level, or directives as in ops_agent=debug,aws_config=info
    #[arg(long, global = true, value_name = "FILTER", conflicts_with = "verbose")]
    log_level: Option<String>,
    /// Show more log lines; twice for most
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Globals {
    /// Where inputs come from. Nothing of them is kept.
    #[must_use]
    pub fn order(&self) -> Order {
        Order {
            source: Source {
                root: self.root.clone(),
                endpoint_url: self.endpoint_url.clone(),
                region: self.region.clone(),
                keep: false,
            },
            overrides: Overrides { role: self.role.clone(), bucket: self.bucket.clone() },
        }
    }

    fn store(&self) -> Store {
        Store::new(&self.root)
    }

    /// The filter of log lines that the arguments ask for, if they do.
    fn filter(&self) -> Option<String> {
        self.log_level.clone().or_else(|| match self.verbose {
            0 => None,
            1 => Some("warn,ops_agent=debug".to_owned()),
            _ => Some("debug,ops_agent=trace,h2=info,hyper_util=info".to_owned()),
        })
    }

    /// Refuses to touch the host itself as anyone but root: half of it would fail, one by one.
    fn need_root(&self, verb: &str) -> Result<(), Error> {
        if self.root != std::path::Path::new("/") || nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!("ops-agent {verb}"),
            why: "it must run as root".to_owned(),
            fix: format!("sudo ops-agent {verb}"),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this host what its settings say
    Converge(converge::ConvergeArgs),
    /// Show what a converge would change, as unified diffs, and touch nothing
    Plan(plan::PlanArgs),
    /// Show the last converge and whether the services are well; anyone may ask
    Status(status::StatusArgs),
    /// Show the value of every setting and where it was written; check a file
    Config(config::Args),
    /// Print the version
    Version(version::VersionArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command into a directory
    Man(man::ManArgs),
    #[command(flatten)]
    Container(container::ContainerCommand),
}

/// The table of exit codes, for the end of `--help`.
fn exit_codes() -> String {
    let mut text = String::from("Exit codes:");
    for (exit, meaning) in Exit::TABLE {
        text.push_str(&format!("\n  {}  {meaning}", exit as u8));
    }
    text
}

/// The command line as clap sees it: for completions and manual pages.
fn definition() -> clap::Command {
    Cli::command()
}

fn failed(error: &Error, exit: Exit) -> Exit {
    output::complain(&error.to_string());
    exit
}

fn settings(globals: &Globals, args: &config::Args) -> Exit {
    telemetry::init(globals.filter(), Sink::of_plan(None));
    let Order { source, overrides } = globals.order();
    match watching::block_on(config::run(args, &source, &overrides)).flatten() {
        Ok(exit) => exit,
        Err(error @ (Error::Settings(_) | Error::Refused { .. })) => failed(&error, Exit::Settings),
        Err(error) => failed(&error, Exit::Inputs),
    }
}

/// A core dump would put the secrets in our memory on a disk. Programs that we start may dump theirs.
fn dump_no_core() {
    // Without the right to refuse it there is none to be had either.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Parses the arguments of the process, runs the command, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    dump_no_core();
    let Cli { globals, command } = Cli::parse();
    let exit = match command {
        Command::Converge(args) => converge::run(&globals, args),
        Command::Plan(args) => plan::run(&globals, &args),
        Command::Status(args) => status::run(&globals, &args),
        Command::Version(args) => version::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Config(args) => settings(&globals, &args),
        Command::Container(command) => match command.run() {
            Ok(()) => Exit::Ok,
            Err(error) => failed(&error, Exit::Failed),
        },
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn secrets_in_memory_are_dumped_nowhere() {
        dump_no_core();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }

    #[test]
    fn help_ends_with_the_exit_codes() {
        insta::assert_snapshot!(exit_codes());
        assert!(Cli::command().render_long_help().to_string().contains(&exit_codes()));
    }

    #[test]
    fn the_exit_codes_are_frozen() {
        let codes: Vec<u8> = Exit::TABLE.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
