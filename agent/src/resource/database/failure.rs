//! What went wrong with a connection, in one line, and whether waiting may help.

use std::error::Error as StdError;
use std::io;

use rustls::{CertificateError, Error as TlsError};
use tokio_postgres::error::SqlState;

use super::Database;
use crate::Error;

/// Our error for the driver's.
pub(super) fn of(database: &Database, error: &tokio_postgres::Error) -> Error {
    let (transient, message) = explain(database, error);
    with(database, transient, message)
}

/// Our error in our words.
pub(super) fn with(database: &Database, transient: bool, message: String) -> Error {
    Error::Database { host: database.place(), database: database.name.clone(), transient, message }
}

fn explain(database: &Database, error: &tokio_postgres::Error) -> (bool, String) {
    let user = database.credentials.as_ref().map(|(user, _)| user.as_str()).unwrap_or_default();
    if let Some(said) = error.as_db_error() {
        return match said.code() {
            &SqlState::INVALID_PASSWORD => (
                false,
                format!("it refuses the password of {user}; check the secret, or whether it was rotated"),
            ),
            &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                (false, format!("it does not let {user} in: {}", said.message()))
            }
            // Starting up or shutting down, as Aurora does when it wakes, pauses or fails over.
            &(SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN) => {
                (true, said.message().to_owned())
            }
            &SqlState::TOO_MANY_CONNECTIONS => (true, said.message().to_owned()),
            code => (false, format!("{} ({})", said.message(), code.code())),
        };
    }
    if let Some(tls) = causes(error).find_map(tls_error) {
        return (false, certificate(database, tls));
    }
    if let Some(io) = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()) {
        return (is_transient(io), io.to_string());
    }
    if error.is_closed() {
        return (true, "it closed the connection".into());
    }
    let text = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    (false, text)
}

fn causes(error: &tokio_postgres::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

/// A TLS error is wrapped in one of I/O, whose own `source` skips it.
fn tls_error<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    let inner = || cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<TlsError>();
    cause.downcast_ref::<TlsError>().or_else(inner)
}

/// What a certificate lacks, and what to do.
fn certificate(database: &Database, error: &TlsError) -> String {
    let TlsError::InvalidCertificate(problem) = error else {
        return format!("TLS: {error}");
    };
    match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is signed by no CA of the bundle; check config/rds-ca.pem in the artifact bucket"
                .into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "its certificate is for another name than {}; set database.host to the name it is for",
            database.host
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or the clock of this host is wrong".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or the clock of this host is wrong".into()
        }
        other => format!("its certificate is refused: {other}"),
    }
}

/// Whether no name server answered, as in the first seconds of a boot; not that there is no such name.
/// The words are those of `EAI_AGAIN` (gai_strerror(3)): the standard library keeps no number of it.
pub(super) fn is_lookup_transient(error: &io::Error) -> bool {
    error.to_string().contains("Temporary failure in name resolution")
}

/// Whether the same may succeed later: nothing listens, nothing answers, or the other side hung up.
pub(super) fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkUnreachable, TimedOut, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe
            | ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | TimedOut
            | UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_server_is_not_the_same_as_no_such_name() {
        let lookup = |words: &str| {
            is_lookup_transient(&io::Error::other(format!("failed to lookup address information: {words}")))
        };
        assert!(lookup("Temporary failure in name resolution"));
        assert!(!lookup("Name or service not known"));
    }
}
