//! Secret files on tmpfs for one consumer.

use crate::inputs::SecretProblem;
use secrecy::SecretString;

/// The secret files of one consumer, in `/run/ops-agent/secrets/CONSUMER/`: a directory 0500 and
/// files 0400, owned by the consumer. Files that are not named are removed. Refused where the
/// directory is not on tmpfs.
pub struct SecretFiles {
    /// Name of the consumer: `sqlmesh`.
    pub consumer: String,
    /// User and group ids of the consumer.
    pub owner: (u32, u32),
    /// Name of each file, which is the environment variable, with its value; or why there are none.
    /// A held problem keeps what is there, and fails only when nothing is.
    pub files: Result<Vec<(String, SecretString)>, SecretProblem>,
    /// Version ids of the secrets behind them, for plans.
    pub versions: Vec<String>,
}
