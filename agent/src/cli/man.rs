//! `ops-agent man`.

use std::path::PathBuf;

use clap::Args;

use super::output::{complain, print};
use crate::Error;
use crate::exit::Exit;

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for one page a command; without it, the page of ops-agent is printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints or writes the pages.
pub fn run(args: &ManArgs) -> Exit {
    let Some(directory) = &args.directory else {
        let mut page = Vec::new();
        if let Err(error) = clap_mangen::Man::new(super::definition()).render(&mut page) {
            complain(&error.to_string());
            return Exit::Failed;
        }
        print(&String::from_utf8_lossy(&page));
        return Exit::Ok;
    };
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(super::definition(), directory))
        .map_err(|source| Error::io("write the manual pages to", directory, source));
    match written {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&error.to_string());
            Exit::Failed
        }
    }
}
