//! A connection over TLS that is verified against the given CAs alone, as libpq's `verify-full`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Database, failure};
use crate::{Error, Result};

/// The database that every server has, to ask about the others from.
const MAINTENANCE_DATABASE: &str = "postgres";
/// How long one attempt may take. Aurora Serverless takes the connection of a client while it wakes, and
/// lets it wait for some 15 s, or 30 s and more after a long pause: an attempt cut off sooner starts that
/// wait anew.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(45);
/// How long one attempt may take at least, however little of the wait is left.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(5);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a wait goes on before it is worth a word.
const SPEAKS_AFTER: Duration = Duration::from_secs(2);

/// A client, with the task that moves its bytes; both end together.
pub(super) struct Connection {
    pub(super) client: Client,
    mover: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.mover.abort();
    }
}

/// Connects, and where that fails in a way that passes, tries again until `wake` has run out.
pub(super) async fn connect(
    database: &Database,
    user: &str,
    password: &SecretString,
    wake: Duration,
    say: impl Fn(&str),
) -> Result<Connection> {
    let tls = tls(database)?;
    let mut config = Config::new();
    config
        .user(user)
        .password(password.expose_secret())
        .dbname(MAINTENANCE_DATABASE)
        .application_name("ops-agent")
        .ssl_mode(SslMode::Require);
    let connecting = patiently(database, &config, &tls, wake);
    tokio::pin!(connecting);
    let began = Instant::now();
    loop {
        match tokio::time::timeout(Duration::from_secs(1), &mut connecting).await {
            Ok(result) => return result,
            Err(_) if began.elapsed() < SPEAKS_AFTER => {}
            Err(_) => say(&format!("database is waking up, {} s", began.elapsed().as_secs())),
        }
    }
}

async fn patiently(
    database: &Database,
    config: &Config,
    tls: &MakeRustlsConnect,
    wake: Duration,
) -> Result<Connection> {
    let began = Instant::now();
    loop {
        let left = wake.saturating_sub(began.elapsed());
        let limit = left.clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT);
        let result = match tokio::time::timeout(limit, attempt(database, config, tls.clone())).await {
            Ok(result) => result,
            Err(_) => Err(failure::with(database, true, format!("no answer within {} s", limit.as_secs()))),
        };
        match result {
            Err(error) if error.is_transient() && began.elapsed() + PAUSE < wake => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(Error::Database { host, database, transient: true, message }) => {
                let waited = began.elapsed().as_secs();
                let message = format!("{message}; waited {waited} s for it to wake up");
                return Err(Error::Database { host, database, transient: true, message });
            }
            other => return other,
        }
    }
}

async fn attempt(database: &Database, config: &Config, mut tls: MakeRustlsConnect) -> Result<Connection> {
    let addresses: Vec<_> = lookup_host((database.host.as_str(), database.port))
        .await
        .map_err(|error| {
            let message =
                format!("the name {} cannot be resolved ({error}); check database.host", database.host);
            failure::with(database, failure::is_lookup_transient(&error), message)
        })?
        .collect();
    let stream = TcpStream::connect(addresses.as_slice())
        .await
        .map_err(|error| failure::with(database, failure::is_transient(&error), error.to_string()))?;
    let connector =
        <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::make_tls_connect(&mut tls, &database.host)
            .map_err(|error| failure::with(database, false, error.to_string()))?;
    let (client, connection) =
        config.connect_raw(stream, connector).await.map_err(|error| failure::of(database, &error))?;
    let mover = tokio::spawn(async move {
        // Its error is also the error of whatever the client was asked.
        let _ = connection.await;
    });
    Ok(Connection { client, mover })
}

/// TLS that trusts the bundle's CAs and no other.
fn tls(database: &Database) -> Result<MakeRustlsConnect> {
    let refuse = |why: String| Error::Refused {
        what: "the CA bundle of the database".into(),
        why,
        fix: "check the object that database.ca_bundle names in the artifact bucket".into(),
    };
    let mut roots = RootCertStore::empty();
    let (mut certificates, mut broken) = (Vec::new(), Vec::new());
    for certificate in CertificateDer::pem_slice_iter(database.ca_bundle.as_bytes()) {
        match certificate {
            Ok(certificate) => certificates.push(certificate),
            Err(error) => broken.push(error),
        }
    }
    // A bundle holds the CAs of every region and decade: one that cannot be read says nothing of the others.
    let (_, unreadable) = roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(refuse(match broken.first() {
            Some(error) => format!("it is not PEM ({error})"),
            None if unreadable > 0 => "it holds no certificate of a CA that can be read".into(),
            None => "it holds no certificate".into(),
        }));
    }
    if unreadable + broken.len() > 0 {
        tracing::warn!(
            "{} certificates of the database's CA bundle cannot be read",
            unreadable + broken.len()
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBLjCB4aADAgECAhR6U9lRWmza7GmEkC0szNWb49DvNTAFBgMrZXAwDTELMAkG\n\
        A1UEAwwCY2EwHhcNMjYxMTI0MDk1OTA1WhcNNDYxMTE5MDk1OTA1WjANMQswCQYD\n\
        VQQDDAJjYTAqMAUGAytlcAMhAHrQnKH68ZS8qYMHcj5e+JXni/KalUE17P7gKH25\n\
        L+Nio1MwUTAdBgNVHQ4EFgQUlQlAu1nadpXWLA9CwC66sH8cx8MwHwYDVR0jBBgw\n\
        FoAUlQlAu1nadpXWLA9CwC66sH8cx8MwDwYDVR0TAQH/BAUwAwEB/zAFBgMrZXAD\n\
        QQBTbT0S+lOd9ZGDThlYP/iphkwhHZkPv96d3m/nsIeVjx+oUR7EQ46bNzOqFcfn\n\
        m56SeasUvSoZhprOxYgw0VQN\n\
        -----END CERTIFICATE-----\n";
    const UNREADABLE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const NOT_PEM: &str = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";

    fn refusal(ca_bundle: String) -> Option<String> {
        let database = Database {
            host: "db".into(),
            port: 5432,
            name: "state".into(),
            ca_bundle,
            credentials: Ok(("u".into(), SecretString::default())),
            wake_seconds: 0,
        };
        tls(&database).err().map(|error| error.to_string())
    }

    #[test]
    fn one_certificate_that_cannot_be_read_does_not_refuse_the_others() {
        for bundle in [CA.to_owned(), [UNREADABLE, CA].concat(), [NOT_PEM, UNREADABLE, CA].concat()] {
            assert_eq!(refusal(bundle.clone()), None, "{bundle}");
        }
        for (bundle, why) in [
            ("", "it holds no certificate;"),
            (UNREADABLE, "it holds no certificate of a CA that can be read;"),
            (NOT_PEM, "it is not PEM ("),
        ] {
            let refusal = refusal(bundle.into()).unwrap();
            assert!(refusal.contains(why), "{refusal}");
        }
    }
}
