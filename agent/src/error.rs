//! The one error of the crate: a variant for each decision that a caller can take.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done. `Display` is one line: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A filesystem call failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Verb, as in "write" or "read the link".
        action: &'static str,
        /// The path that was touched.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}: {source}")]
    CommandStart {
        /// The program's name or path.
        program: String,
        /// The system's own error.
        source: io::Error,
    },
    /// A program ran and said no.
    #[error("{program} failed ({status}): {stderr}")]
    CommandFailed {
        /// The program and the arguments that identify what it did.
        program: String,
        /// Exit code or signal, in words.
        status: String,
        /// The last lines of its standard error.
        stderr: String,
    },
    /// A program did not end in time and was left or ended.
    #[error("{program} did not end within {} s", limit.as_secs())]
    CommandTimeout {
        /// The program and the arguments that identify what it did.
        program: String,
        /// How long it was given.
        limit: Duration,
    },
    /// An AWS call failed.
    #[error("{call} on {subject}: {message}")]
    Aws {
        /// Service and action, as in `s3:GetObject`.
        call: &'static str,
        /// What it was asked for: a parameter path, a bucket and key, a secret's name.
        subject: String,
        /// What kind of failure it was: decides whether to retry.
        failure: AwsFailure,
        /// The service's own words, and what to do.
        message: String,
    },
    /// Docker refused or could not be reached.
    #[error("docker cannot {action} {subject}: {message}")]
    Docker {
        /// Verb.
        action: &'static str,
        /// Image reference or container name.
        subject: String,
        /// HTTP status of the daemon's answer; `None` when it could not be reached.
        status: Option<u16>,
        /// The daemon's words.
        message: String,
    },
    /// systemd refused over D-Bus or could not be reached.
    #[error("systemd cannot {action} {unit}: {message}")]
    Systemd {
        /// Verb.
        action: &'static str,
        /// Unit name.
        unit: String,
        /// D-Bus error or job result.
        message: String,
    },
    /// PostgreSQL could not be reached or refused.
    #[error("database {database} at {host}: {message}")]
    Database {
        /// Host and port.
        host: String,
        /// Database name.
        database: String,
        /// Whether waiting may help: connection refused, starting up, asleep.
        transient: bool,
        /// The server's or the driver's words.
        message: String,
    },
    /// A service runs but does not answer as a healthy one does.
    #[error("{service} is not healthy: {detail}")]
    Unhealthy {
        /// Service name.
        service: String,
        /// What was asked and what came back.
        detail: String,
    },
    /// Applied, but a second look at the world still differs.
    #[error("{subject} still differs after it was applied: {differences}")]
    NotConverged {
        /// The resource.
        subject: String,
        /// What still differs, in one line.
        differences: String,
    },
    /// The agent will not do this, and says why and what to do instead.
    #[error("{what}: {why}; {fix}")]
    Refused {
        /// What was asked.
        what: String,
        /// Why it is refused.
        why: String,
        /// What the operator can do.
        fix: String,
    },
    /// A secret could not be had or cannot be used.
    #[error("{what}: {message}; what is there stays, and the next run tries again")]
    Secret {
        /// What it is for.
        what: String,
        /// Which secret, why, and what to do.
        message: String,
        /// See [`Error::needs_a_person`].
        needs_a_person: bool,
    },
    /// Settings that cannot be used; one line a problem.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// A time limit on the whole of a resource ran out.
    #[error("{subject} took longer than {} s", limit.as_secs())]
    Timeout {
        /// The resource.
        subject: String,
        /// How long it was given.
        limit: Duration,
    },
    /// A signal asked the run to stop.
    #[error("interrupted by a signal; the next run goes on from here")]
    Interrupted,
}

/// The kinds of AWS failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwsFailure {
    /// The role's policy does not allow the call. Retrying does not help.
    Denied,
    /// The thing does not exist. Retrying does not help.
    NotFound,
    /// Throttled or a server error after the SDK's own retries.
    Busy,
    /// No answer: DNS, connection, TLS, time-out, or no credentials to be had.
    Unreachable,
    /// Anything else: a malformed request or answer.
    Other,
}

impl Error {
    /// Whether trying the same again in a moment may succeed. [`Error::Unhealthy`] is not of these: it is
    /// told after all the time that the service has to become healthy, and each attempt takes the place of
    /// a service that is well.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Aws { failure, .. } => {
                matches!(failure, AwsFailure::Busy | AwsFailure::Unreachable)
            }
            Self::Docker { status, .. } => status.is_none_or(|code| code >= 500),
            Self::Database { transient, .. } => *transient,
            Self::CommandTimeout { .. } => true,
            _ => false,
        }
    }

    /// Whether only a person can help: trying the same again fails the same, until someone changes
    /// something. Less than the contrary of [`Error::is_transient`]: a mirror that was down or a policy
    /// that has not reached every region yet do come round by themselves.
    #[must_use]
    pub const fn needs_a_person(&self) -> bool {
        matches!(self, Self::Settings(_) | Self::Refused { .. } | Self::Secret { needs_a_person: true, .. })
    }

    /// An I/O error with its verb and path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}
