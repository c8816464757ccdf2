//! Exit codes: frozen, tabled in the README and in `--help`.

use std::process::ExitCode;

/// What the process says to its caller. A code never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, healthy, or no changes.
    Ok = 0,
    /// At least one resource failed (`converge`, `plan`), or a service is unhealthy (`status`).
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The settings are invalid.
    Settings = 3,
    /// Inputs could not be fetched and none are kept from before.
    Inputs = 4,
    /// Another run holds the lock and `--no-wait` was given.
    Busy = 5,
    /// `plan`: there are changes to make.
    Changes = 6,
    /// `status`: no converge has run yet.
    NoReport = 7,
    /// A signal asked the run to stop.
    Interrupted = 8,
}

impl Exit {
    /// Every code with its meaning, for `--help` and the README.
    pub const TABLE: [(Self, &'static str); 9] = [
        (Self::Ok, "done, healthy, or no changes"),
        (Self::Failed, "a resource failed (converge, plan) or a service is unhealthy (status)"),
        (Self::Usage, "the command line is wrong"),
        (Self::Settings, "the settings are invalid"),
        (Self::Inputs, "inputs could not be fetched and none are kept from before"),
        (Self::Busy, "another run holds the lock and --no-wait was given"),
        (Self::Changes, "plan: there are changes to make"),
        (Self::NoReport, "status: no converge has run yet"),
        (Self::Interrupted, "a signal asked the run to stop"),
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
