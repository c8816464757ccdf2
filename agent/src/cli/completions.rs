//! `ops-agent completions`.

use clap::Args;
use clap_complete::Shell;

use super::output::print;
use crate::exit::Exit;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::definition(), "ops-agent", &mut script);
    print(&String::from_utf8_lossy(&script));
    Exit::Ok
}
