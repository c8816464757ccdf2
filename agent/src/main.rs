//! The `ops-agent` command.

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: ops_agent::cli::container::ContainerCommand,
}

fn main() -> std::process::ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
