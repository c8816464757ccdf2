//! PostgreSQL: reachable over verified TLS, and the state database exists and is ours.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::{Change, Diff, Id, Kind, Resource};
use crate::host::Host;
use crate::inputs::SecretProblem;
use crate::{Error, Result};

mod connect;
mod failure;

use connect::Connection;

/// What looking and creating take at most once the database is awake.
const STEPS: Duration = Duration::from_secs(60);

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

/// What there is of the state database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Current {
    /// It exists and belongs to this role.
    OwnedBy(String),
    /// The server has no database of that name.
    Missing,
    /// The credentials could not be fetched just now, and what runs holds what it has: not looked at.
    Held,
}

impl Database {
    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A connection to the maintenance database, with whose it is; waits for a database that is asleep.
    async fn connect(&self, host: &Host) -> Result<Connection> {
        let (user, password) = self.credentials.as_ref().map_err(|problem| {
            problem.error_of(format!("database {}: there are no credentials for it", self.name))
        })?;
        let subject = self.id().to_string();
        let wake = Duration::from_secs(self.wake_seconds);
        connect::connect(self, user, password, wake, |text| host.progress.step(&subject, text)).await
    }

    /// The refusal for a database of somebody else. Membership in the owning role would not do: SQLMesh
    /// makes its schema as the user itself, and a later owner could take all of it away.
    fn not_ours(&self, owner: &str, user: &str) -> Error {
        let (name, role) = (quoted(&self.name), quoted(user));
        Error::Refused {
            what: format!("database {} at {}", self.name, self.place()),
            why: format!("it belongs to {owner}, not to {user}"),
            fix: format!(
                "run ALTER DATABASE {name} OWNER TO {role} as {owner}, or set database.name to another"
            ),
        }
    }
}

#[async_trait]
impl Resource for Database {
    type Current = Current;

    fn id(&self) -> Id {
        Id::new(Kind::Database, &self.name)
    }

    async fn observe(&self, host: &Host) -> Result<Current> {
        if self.credentials.as_ref().is_err_and(|problem| problem.held) {
            return Ok(Current::Held);
        }
        let connection = self.connect(host).await?;
        let sql =
            "SELECT pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database WHERE datname = $1";
        let rows = connection.client.query_typed(sql, &[(&self.name, Type::TEXT)]).await;
        let rows = rows.map_err(|error| failure::of(self, &error))?;
        match rows.first() {
            None => Ok(Current::Missing),
            Some(row) => Ok(Current::OwnedBy(row.try_get(0).map_err(|error| failure::of(self, &error))?)),
        }
    }

    fn diff(&self, current: &Current) -> Diff {
        let user = self.credentials.as_ref().map(|(user, _)| user.clone()).ok();
        let mut diff = Diff::default();
        match current {
            Current::Held => {}
            Current::OwnedBy(owner) if Some(owner) == user.as_ref() => {}
            Current::OwnedBy(owner) => diff.0.push(Change::new("owner", Some(owner.clone()), user)),
            Current::Missing => diff.0.push(Change::new("database", None, Some(self.name.clone()))),
        }
        diff
    }

    async fn apply(&self, host: &Host, current: Current) -> Result<()> {
        let user = self.credentials.as_ref().map(|(user, _)| user.as_str()).unwrap_or_default();
        match current {
            Current::Held => return Ok(()),
            Current::OwnedBy(owner) => return Err(self.not_ours(&owner, user)),
            Current::Missing => {}
        }
        let connection = self.connect(host).await?;
        host.progress.step(&self.id().to_string(), "creating it");
        let sql = format!("CREATE DATABASE {}", quoted(&self.name));
        match connection.client.batch_execute(&sql).await {
            Ok(()) => Ok(()),
            // A run that was stopped in the middle may have left its request behind. Verify looks.
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_DATABASE) => Ok(()),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Err(Error::Refused {
                what: format!("database {} at {}", self.name, self.place()),
                why: format!("it does not exist, and {user} may not create databases"),
                fix: format!(
                    "run CREATE DATABASE {} OWNER {} as an administrator, or ALTER ROLE {} CREATEDB",
                    quoted(&self.name),
                    quoted(user),
                    quoted(user)
                ),
            }),
            Err(error) => Err(failure::of(self, &error)),
        }
    }

    fn time_limit(&self) -> Duration {
        // Observe, apply and verify connect one after the other; only the first finds it asleep.
        STEPS + Duration::from_secs(self.wake_seconds)
    }
}

/// An identifier as SQL takes it, whatever is in it.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(credentials: Result<(String, SecretString), SecretProblem>) -> Database {
        Database {
            host: "db".into(),
            port: 5432,
            name: "state".into(),
            ca_bundle: String::new(),
            credentials,
            wake_seconds: 1,
        }
    }

    fn ours() -> Database {
        database(Ok(("me".into(), "secret".into())))
    }

    #[test]
    fn identifiers_cannot_end_the_quotes() {
        assert_eq!(quoted("a\"; DROP TABLE x; --"), "\"a\"\"; DROP TABLE x; --\"");
    }

    #[test]
    fn only_ours_is_no_difference() {
        assert!(ours().diff(&Current::OwnedBy("me".into())).is_empty());
        assert_eq!(ours().diff(&Current::OwnedBy("other".into())).summary(), "owner other → me");
        assert_eq!(ours().diff(&Current::Missing).summary(), "database → state");
        assert!(ours().diff(&Current::Held).is_empty());
    }

    #[test]
    fn the_refusal_says_what_to_run() {
        let text = ours().not_ours("other", "me").to_string();
        assert!(text.contains("ALTER DATABASE \"state\" OWNER TO \"me\""), "{text}");
    }
}
