//! PostgreSQL: reachable over verified TLS, and the state database exists and is ours.

use crate::inputs::SecretProblem;
use secrecy::SecretString;

/// The state database.
pub struct Database {
    /// Host name; verified against the certificate.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database that must exist and be owned by the user of the credentials.
    pub name: String,
    /// PEM of the CAs that may have signed the server's certificate.
    pub ca_bundle: String,
    /// User and password; or why there are none.
    pub credentials: Result<(String, SecretString), SecretProblem>,
    /// How long to wait for a database that is asleep, in seconds.
    pub wake_seconds: u64,
}
