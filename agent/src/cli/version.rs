//! `ops-agent version`.

use clap::Args;
use serde::Serialize;

use super::output::{print, print_json};
use crate::exit::Exit;
use crate::report::SCHEMA_VERSION;
use crate::version::VERSION;

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    report_schema_version: u32,
}

/// Prints the version.
pub fn run(args: &VersionArgs) -> Exit {
    if args.json {
        return print_json(&Version { version: VERSION, report_schema_version: SCHEMA_VERSION });
    }
    print(&format!("ops-agent {VERSION}\n"));
    Exit::Ok
}
