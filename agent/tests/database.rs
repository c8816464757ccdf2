//! The state database against a real PostgreSQL with TLS. Needs root, PostgreSQL's programs and openssl.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ops_agent::engine::ledger::Ledger;
use ops_agent::host::{Fingerprints, Host, Objects, Progress, Registries, RegistryLogin};
use ops_agent::inputs::SecretProblem;
use ops_agent::resource::Resource;
use ops_agent::resource::database::{Current, Database};
use ops_agent::{Error, Result};

/// As a person would never choose it.
const PASSWORD: &str = "p\"a'ss\\word ~?> ü";

fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server of its own on a free port, with a certificate for `localhost`.
struct Server {
    directory: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
}

impl Server {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let programs = sh("ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1").into();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { directory, programs, port };
        for name in ["ca", "other"] {
            server.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
                 -addext keyUsage=critical,keyCertSign -keyout {name}.key -out {name}.pem"
            ));
        }
        server.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=db -keyout db.key -out db.csr",
        );
        std::fs::write(server.path("san"), "subjectAltName=DNS:localhost\n").unwrap();
        server.openssl(
            "x509 -req -in db.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out db.pem",
        );
        sh(&format!("chown -R postgres: {0} && chmod 600 {0}/db.key", server.show()));
        server.run("initdb -D data -A scram-sha-256 -U admin --pwfile=<(echo admin) -E UTF8 --locale=C.UTF-8 >/dev/null");
        let settings = format!(
            "port={}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{1}'\nfsync=off\nssl=on\n\
             ssl_cert_file='{1}/db.pem'\nssl_key_file='{1}/db.key'\n",
            server.port,
            server.show()
        );
        std::fs::write(server.path("data/postgresql.conf"), settings).unwrap();
        let access = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(server.path("data/pg_hba.conf"), access).unwrap();
        server.start();
        server.sql(&format!("CREATE ROLE me LOGIN CREATEDB PASSWORD '{}'", PASSWORD.replace('\'', "''")));
        server.sql("CREATE ROLE poor LOGIN PASSWORD 'poor'");
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn show(&self) -> String {
        self.directory.path().display().to_string()
    }

    fn openssl(&self, arguments: &str) {
        sh(&format!("cd {} && openssl {arguments} 2>&1", self.show()));
    }

    /// Runs one of PostgreSQL's programs as its user.
    fn run(&self, command: &str) -> String {
        let command = format!("cd {} && {}/{command}", self.show(), self.programs.display());
        let output = Command::new("setpriv")
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups", "bash", "-c", &command])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn start(&self) {
        self.run("pg_ctl -D data -w -l log start >/dev/null");
    }

    fn stop(&self) {
        self.run("pg_ctl -D data -m immediate stop >/dev/null");
    }

    fn sql(&self, sql: &str) -> String {
        std::fs::write(self.path("sql"), sql).unwrap();
        self.run(&format!("psql -h {} -p {} -U admin -d postgres -qAtf sql", self.show(), self.port))
    }

    /// The process id of the server.
    fn pid(&self) -> String {
        std::fs::read_to_string(self.path("data/postmaster.pid")).unwrap().lines().next().unwrap().to_owned()
    }

    fn ca(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The state database as its owner-to-be sees it.
    fn database(&self) -> Database {
        Database {
            host: "localhost".into(),
            port: self.port,
            name: "state \"of\" affairs".into(),
            ca_bundle: self.ca("ca.pem"),
            credentials: Ok(("me".into(), PASSWORD.into())),
            wake_seconds: 2,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ =
            Command::new("sh").args(["-c", &format!("kill -CONT {0}; kill -QUIT {0}", self.pid())]).output();
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Progress for Said {
    fn step(&self, _: &str, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

struct Nothing;

#[async_trait]
impl Objects for Nothing {
    async fn download(&self, _: &str, _: &str, _: &Path) -> Result<String> {
        Ok(String::new())
    }
}

#[async_trait]
impl Registries for Nothing {
    async fn login(&self, _: &str) -> Result<Option<RegistryLogin>> {
        Ok(None)
    }
}

fn host() -> (Host, Arc<Said>) {
    let said = Arc::new(Said::default());
    let host = Host {
        root: "/nonexistent".into(),
        ledger: Arc::new(Ledger::new("/nonexistent/ledger.json".into())),
        fingerprints: Arc::new(Fingerprints::new([7; 64])),
        objects: Arc::new(Nothing),
        registries: Arc::new(Nothing),
        progress: said.clone(),
    };
    (host, said)
}

/// What looking says when it fails: the text, and whether it may be tried again.
async fn refusal(database: Database) -> (String, bool) {
    let error = database.observe(&host().0).await.unwrap_err();
    assert!(!error.to_string().contains(PASSWORD), "tells the password: {error}");
    (error.to_string(), error.is_transient())
}

#[tokio::test]
async fn made_once_and_ours() {
    let server = Server::new();
    let (host, _) = host();
    let it = server.database();
    let current = it.observe(&host).await.unwrap();
    assert_eq!(current, Current::Missing);
    it.apply(&host, current.clone()).await.unwrap();
    it.verify(&host).await.unwrap();
    assert_eq!(it.observe(&host).await.unwrap(), Current::OwnedBy("me".into()));
    // A run that was stopped in the middle of creating has created it all the same.
    it.apply(&host, current).await.unwrap();
    let encrypted = server.sql("SELECT count(*) FROM pg_database WHERE datname = 'state \"of\" affairs'");
    assert_eq!(encrypted, "1");

    // A look is one connection.
    server.sql("ALTER SYSTEM SET log_connections = on");
    server.sql("SELECT pg_reload_conf()");
    std::thread::sleep(Duration::from_millis(300));
    let count = || server.ca("log").matches("connection authorized: user=me").count();
    let before = count();
    it.verify(&host).await.unwrap();
    assert_eq!(count() - before, 1);
    assert!(server.ca("log").contains("application_name=ops-agent SSL enabled"), "{}", server.ca("log"));
}

#[tokio::test]
async fn another_owner_and_missing_rights_are_refused_with_the_fix() {
    let server = Server::new();
    let (host, _) = host();
    server.sql("CREATE DATABASE theirs");
    let it = Database { name: "theirs".into(), ..server.database() };
    let current = it.observe(&host).await.unwrap();
    assert_eq!(it.diff(&current).summary(), "owner admin → me");
    let error = it.apply(&host, current).await.unwrap_err().to_string();
    assert!(error.contains("belongs to admin, not to me"), "{error}");
    assert!(error.contains("ALTER DATABASE \"theirs\" OWNER TO \"me\""), "{error}");

    let it = Database { credentials: Ok(("poor".into(), "poor".into())), ..server.database() };
    let error = it.apply(&host, Current::Missing).await.unwrap_err().to_string();
    assert!(error.contains("poor may not create databases") && error.contains("CREATEDB"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_is_told_at_once_and_in_one_line() {
    let server = Server::new();
    let began = Instant::now();
    let patient = || Database { wake_seconds: 60, ..server.database() };
    let cases = [
        (Database { ca_bundle: server.ca("other.pem"), ..patient() }, "signed by no CA of the bundle"),
        (Database { host: "127.0.0.1".into(), ..patient() }, "for another name than 127.0.0.1"),
        (
            Database { credentials: Ok(("me".into(), "wrong".into())), ..patient() },
            "refuses the password of me",
        ),
        (
            Database { credentials: Ok(("nobody".into(), "x".into())), ..patient() },
            "refuses the password of nobody",
        ),
        (Database { host: "nosuch.invalid".into(), ..patient() }, "nosuch.invalid cannot be resolved"),
        (Database { ca_bundle: String::new(), ..patient() }, "holds no certificate"),
        (Database { ca_bundle: "-----BEGIN CERTIFICATE-----\n!".into(), ..patient() }, "not PEM"),
    ];
    for (database, expected) in cases {
        let (text, transient) = refusal(database).await;
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains('\n') && !transient, "{text}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "waited for what waiting does not mend");
    // A second CA beside the right one does no harm.
    let both = Database { ca_bundle: server.ca("other.pem") + &server.ca("ca.pem"), ..server.database() };
    assert_eq!(both.observe(&host().0).await.unwrap(), Current::Missing);
    // A server that does not speak TLS at all is refused, not spoken to in the clear.
    server.sql("ALTER SYSTEM SET ssl = off");
    server.sql("SELECT pg_reload_conf()");
    std::thread::sleep(Duration::from_millis(300));
    let (text, _) = refusal(server.database()).await;
    assert!(text.contains("does not support TLS"), "{text}");
}

#[tokio::test]
async fn a_database_that_wakes_up_is_waited_for() {
    let server = Server::new();
    let (host, said) = host();
    let it = Database { wake_seconds: 30, ..server.database() };
    // Nothing listens at first.
    server.stop();
    let (observed, ()) = tokio::join!(it.observe(&host), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        server.start();
    });
    assert_eq!(observed.unwrap(), Current::Missing);
    let waking = said.0.lock().unwrap().clone();
    assert!(waking.iter().any(|text| text == "database is waking up, 3 s"), "{waking:?}");

    // It takes the connection and lets it wait, as Aurora does.
    sh(&format!("kill -STOP {}", server.pid()));
    let (observed, ()) = tokio::join!(it.observe(&host), async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        sh(&format!("kill -CONT {}", server.pid()));
    });
    assert_eq!(observed.unwrap(), Current::Missing);

    // And when it never does, that is told.
    server.stop();
    let began = Instant::now();
    let error = server.database().observe(&host).await.unwrap_err();
    server.start();
    assert!(matches!(error, Error::Database { transient: true, .. }), "{error:?}");
    assert!(error.to_string().contains("refused") && error.to_string().contains("to wake up"), "{error}");
    assert!((1..10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_credentials() {
    let problem = |held| SecretProblem {
        message: "secret aurora-data-operations: denied".into(),
        held,
        needs_a_person: false,
    };
    let database = |held| Database {
        host: "nosuch.invalid".into(),
        port: 1,
        name: "state".into(),
        ca_bundle: String::new(),
        credentials: Err(problem(held)),
        wake_seconds: 1,
    };
    let (host, _) = host();
    let error = database(false).observe(&host).await.unwrap_err().to_string();
    assert!(error.contains("no credentials") && error.contains("aurora-data-operations: denied"), "{error}");
    // AWS cannot be reached: what runs is left alone.
    let held = database(true);
    let current = held.observe(&host).await.unwrap();
    assert_eq!(current, Current::Held);
    assert!(held.diff(&current).is_empty());
    held.verify(&host).await.unwrap();
}
