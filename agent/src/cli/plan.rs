//! `ops-agent plan`.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::live::Live;
use super::output::{columns, complain, is_watched, print, print_json};
use super::{Globals, watching};
use crate::converge::{self, Unready};
use crate::engine::lock;
use crate::exit::Exit;
use crate::host::{Progress, Silent};
use crate::report::{Outcome, ResourceReport, plan as text};
use crate::telemetry::{self, Sink};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What `plan --json` prints.
#[derive(Serialize)]
struct Plan<'a> {
    changes: bool,
    resources: &'a [ResourceReport],
}

/// Shows what a converge would change.
pub fn run(globals: &Globals, args: &PlanArgs) -> Exit {
    if let Err(error) = globals.need_root("plan") {
        complain(&error.to_string());
        return Exit::Failed;
    }
    if let Some(holder) = lock::holder(&globals.store().lock_path()) {
        complain(&format!("a run is going on, and what it is about to change is shown too: {holder}"));
    }
    let live = is_watched().then(|| Arc::new(Live::new("planning")));
    telemetry::init(globals.filter(), Sink::of_plan(live.as_deref().map(Live::bars)));
    let progress: Arc<dyn Progress> = match &live {
        Some(live) => Arc::clone(live) as Arc<dyn Progress>,
        None => Arc::new(Silent),
    };
    let order = globals.order();
    let planned = watching::block_on(async {
        let cancel = watching::cancel_on_signals();
        tokio::select! {
            planned = converge::plan(&order, progress) => Some(planned),
            () = cancel.cancelled() => None,
        }
    });
    if let Some(live) = &live {
        live.clear();
    }
    match planned {
        Err(error) => {
            complain(&error.to_string());
            Exit::Failed
        }
        Ok(None) => Exit::Interrupted,
        Ok(Some(Err(Unready { exit, error }))) => {
            complain(&error.to_string());
            exit
        }
        Ok(Some(Ok(resources))) => show(&resources, args.json),
    }
}

fn show(resources: &[ResourceReport], json: bool) -> Exit {
    let any = |outcome| resources.iter().any(|resource| resource.outcome == outcome);
    let changes = any(Outcome::Pending);
    if json {
        if print_json(&Plan { changes, resources }) == Exit::Failed {
            return Exit::Failed;
        }
    } else {
        print(&text::plan(resources, columns()));
    }
    match (any(Outcome::Failed), changes) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Changes,
        (false, false) => Exit::Ok,
    }
}
