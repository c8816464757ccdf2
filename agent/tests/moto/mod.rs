//! A moto server of one test: AWS's API on loopback, with its access log as the count of calls.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_ssm::types::ParameterType;
use ops_agent::inputs::aws::{self, Environment};
use ops_agent::inputs::{Connection, HostIdentity, Source, connect_in};

pub const BUCKET: &str = "artifacts";
pub const REGION: &str = "eu-west-1";

/// How long moto may take to answer for the first time: its imports take seconds on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The server, and the root of a host that talks to it.
pub struct Moto {
    child: Child,
    pub source: Source,
    environment: Environment,
    log: PathBuf,
    seen: usize,
    pub root: tempfile::TempDir,
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Moto {
    /// Starts the server that `OPS_TEST_MOTO` names, and makes the bucket.
    pub async fn start() -> Self {
        let program = std::env::var("OPS_TEST_MOTO").expect("OPS_TEST_MOTO names the program moto_server");
        let root = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = root.path().join("moto.log");
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let source = Source {
            root: root.path().into(),
            endpoint_url: Some(format!("http://127.0.0.1:{port}")),
            region: Some(REGION.into()),
            keep: true,
        };
        let mut moto =
            Self { child, source, environment: environment("AKTEST", "secret"), log, seen: 0, root };
        let started = std::time::Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(
                started.elapsed() < START,
                "moto does not answer: {}",
                std::fs::read_to_string(&moto.log).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(REGION.into())
            .build();
        moto.s3().create_bucket().bucket(BUCKET).create_bucket_configuration(place).send().await.unwrap();
        moto.calls();
        moto
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Credentials of another user from now on.
    pub fn become_user(&mut self, key: &str, secret: &str) {
        self.environment = environment(key, secret);
    }

    pub fn identity(&self) -> HostIdentity {
        HostIdentity { role: "sqlmesh-server".into(), bucket: BUCKET.into(), region: None, signal: None }
    }

    pub async fn connect(&self) -> Connection {
        connect_in(&self.source, &self.identity(), &self.environment).await.unwrap()
    }

    fn config(&self) -> aws_config::SdkConfig {
        aws::config(&self.source, &self.environment, REGION, None)
    }

    pub fn s3(&self) -> aws_sdk_s3::Client {
        aws::s3(&self.source, &self.environment, &self.config())
    }

    pub async fn put_object(&self, key: &str, text: &str) {
        let body = ByteStream::from(text.as_bytes().to_vec());
        self.s3().put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap();
    }

    pub async fn put_parameter(&self, name: &str, value: &str, secure: bool) {
        let kind = if secure { ParameterType::SecureString } else { ParameterType::String };
        let client = aws_sdk_ssm::Client::new(&self.config());
        let name =
            if name.starts_with('/') { name.into() } else { format!("/ops-vpc/sqlmesh-server/{name}") };
        client.put_parameter().name(name).value(value).r#type(kind).overwrite(true).send().await.unwrap();
    }

    pub async fn put_secret(&self, name: &str, text: &str) {
        let client = aws_sdk_secretsmanager::Client::new(&self.config());
        client.create_secret().name(name).secret_string(text).send().await.unwrap();
    }

    /// The calls since this was last asked: `POST /` is SSM or Secrets Manager.
    pub fn calls(&mut self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let lines = log.lines().filter_map(|line| {
            let request = line.split('"').nth(1)?.strip_suffix(" HTTP/1.1")?;
            Some(request.split('?').next()?.to_owned())
        });
        let all: Vec<_> = lines.collect();
        let mut new = all[self.seen..].to_vec();
        self.seen = all.len();
        new.sort();
        new
    }

    /// Whether a text lies anywhere in what the host keeps on disk.
    pub fn on_disk(&self, text: &str) -> bool {
        fn search(path: &std::path::Path, text: &str) -> bool {
            std::fs::read_dir(path).unwrap().any(|entry| {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    search(&path, text)
                } else {
                    String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(text)
                }
            })
        }
        search(&self.root.path().join("var"), text)
    }
}

fn environment(key: &str, secret: &str) -> Environment {
    let pairs = [
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ];
    Environment::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
}
