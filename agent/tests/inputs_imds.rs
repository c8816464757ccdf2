//! Who the host is and with whose credentials it asks, against an emulated IMDS on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::process::Command;

use ops_agent::Error;
use ops_agent::error::AwsFailure;
use ops_agent::inputs::aws::Environment;
use ops_agent::inputs::{Fetched, HostIdentity, Source, connect, connect_in, fetch};
use ops_agent::report::Freshness;
use ops_agent::settings::{self, Role};

mod listener;
use listener::{Answer, Listener, Request};

const TOKEN: &str = "the-one-session";
const IDENTITY: &str =
    r#"{"instanceId":"i-0123456789abcdef0","region":"eu-west-1","accountId":"111122223333"}"#;
const CREDENTIALS: &str = r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAROLE","SecretAccessKey":"s",
    "Token":"role-token","LastUpdated":"2026-01-01T00:00:00Z","Expiration":"2099-01-01T00:00:00Z"}"#;

/// IMDSv2 as the EC2 user guide describes it: a token by PUT, and 401 to whoever comes without.
fn imds() -> Listener {
    Listener::start(|request| {
        if request.method == "PUT" && request.path == "/latest/api/token" {
            let ttl = request.headers["x-aws-ec2-metadata-token-ttl-seconds"].clone();
            return (200, vec![("x-aws-ec2-metadata-token-ttl-seconds", ttl)], TOKEN.into());
        }
        if request.headers.get("x-aws-ec2-metadata-token").map(String::as_str) != Some(TOKEN) {
            return (401, vec![], String::new());
        }
        match request.path.as_str() {
            "/latest/dynamic/instance-identity/document" => (200, vec![], IDENTITY.into()),
            "/latest/meta-data/iam/security-credentials/" => (200, vec![], "ops-role".into()),
            "/latest/meta-data/iam/security-credentials/ops-role" => (200, vec![], CREDENTIALS.into()),
            _ => (404, vec![], String::new()),
        }
    })
}

/// An account in which there is nothing.
fn empty_account(request: &Request) -> Answer {
    match request.headers.get("x-amz-target").map(String::as_str) {
        Some("AmazonSSM.GetParametersByPath") => (200, vec![], r#"{"Parameters":[]}"#.into()),
        Some("secretsmanager.BatchGetSecretValue") => {
            (200, vec![], r#"{"SecretValues":[],"Errors":[]}"#.into())
        }
        _ => (200, vec![("Content-Type", "application/xml".into())], "<ListBucketResult/>".into()),
    }
}

fn source(root: &std::path::Path, aws: &Listener) -> Source {
    Source { root: root.into(), endpoint_url: Some(aws.url.clone()), region: None, keep: true }
}

fn identity() -> HostIdentity {
    HostIdentity { role: "sqlmesh-server".into(), bucket: "artifacts".into(), region: None, signal: None }
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    Environment::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

async fn fetch_in(source: &Source, environment: &Environment) -> Result<Fetched, Error> {
    fetch(&connect_in(source, &identity(), environment).await?, &identity()).await
}

#[test]
fn one_session_gives_instance_region_and_credentials() {
    let (imds, aws) = (imds(), Listener::start(empty_account));
    let root = tempfile::tempdir().unwrap();
    // A process of its own, since the SDK reads the environment of the process.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_process_of_its_own", "--ignored", "--nocapture"])
        .env_clear()
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds.url)
        .env("TEST_AWS", &aws.url)
        .env("TEST_ROOT", root.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("i-0123456789abcdef0 in eu-west-1"), "{output:?}");

    let lines = imds.lines();
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count("PUT /latest/api/token"), 1, "{lines:?}");
    assert_eq!(count("instance-identity/document"), 1, "{lines:?}");
    assert_eq!((count("security-credentials/"), lines.len()), (2, 4), "{lines:?}");
    let aws = aws.requests();
    assert_eq!(aws.len(), 3, "{aws:?}");
    for request in aws {
        assert!(request.headers["authorization"].contains("Credential=ASIAROLE/"));
        assert!(request.headers["authorization"].contains("/eu-west-1/"));
        assert_eq!(request.headers["x-amz-security-token"], "role-token");
        assert!(
            request.headers["user-agent"].contains("app/ops-agent-"),
            "{:?}",
            request.headers["user-agent"]
        );
    }
}

#[ignore = "the child of another test"]
#[tokio::test(flavor = "multi_thread")]
async fn in_a_process_of_its_own() {
    let (Ok(url), Ok(root)) = (std::env::var("TEST_AWS"), std::env::var("TEST_ROOT")) else { return };
    // Never the address of the real one.
    assert!(std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap().starts_with("http://127.0.0.1:"));
    let source = Source { root: root.into(), endpoint_url: Some(url), region: None, keep: true };
    let connection = connect(&source, &identity()).await.unwrap();
    let mut fetched = fetch(&connection, &identity()).await.unwrap();
    println!("{} in {}", fetched.instance_id.clone().unwrap(), connection.region);
    fetched.inputs.document = Some(ops_agent::inputs::Document {
        place: "test".into(),
        text: format!("image.reference = \"r.lab/x@sha256:{}\"", "0".repeat(64)),
        etag: None,
    });
    let (settings, _) = settings::resolve(Role::SqlmeshServer, &fetched.inputs).unwrap();
    let secrets = fetched.complete(&connection, &settings).await.unwrap();
    assert!(secrets.by_name.values().all(|secret| secret.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_means_not_one_request() {
    let (imds, aws) = (imds(), Listener::start(empty_account));
    let root = tempfile::tempdir().unwrap();
    let off =
        [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url.as_str())];
    let Err(error) = fetch_in(&source(root.path(), &aws), &environment(&off)).await else {
        panic!("no region")
    };
    let said = error.to_string();
    assert!(said.starts_with("the AWS region: ") && said.ends_with("or use --region"), "{said}");

    let with_region = Source { region: Some("eu-west-1".into()), ..source(root.path(), &aws) };
    let Err(error) = fetch_in(&with_region, &environment(&off)).await else { panic!("no credentials") };
    assert!(matches!(error, Error::Aws { failure: AwsFailure::Unreachable, .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("no credentials (") && said.contains("AWS_ACCESS_KEY_ID is not set"), "{said}");
    assert!(imds.lines().is_empty() && aws.lines().is_empty(), "{:?} {:?}", imds.lines(), aws.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_the_environment_go_first() {
    let (imds, aws) = (imds(), Listener::start(empty_account));
    let root = tempfile::tempdir().unwrap();
    let given = environment(&[
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds.url),
        ("AWS_ACCESS_KEY_ID", "AKGIVEN"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_SSM", &aws.url),
        ("AWS_ENDPOINT_URL_S3", &aws.url),
    ]);
    let source = Source { root: root.path().into(), endpoint_url: None, region: None, keep: true };
    let fetched = fetch_in(&source, &given).await.unwrap();
    assert_eq!(fetched.instance_id.as_deref(), Some("i-0123456789abcdef0"));
    assert_eq!(aws.requests().len(), 2);
    assert!(aws.requests().iter().all(|request| request.headers["authorization"].contains("=AKGIVEN/")));
    assert!(!imds.lines().iter().any(|line| line.contains("security-credentials")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_cannot_be_asked_is_who_it_was() {
    let aws = Listener::start(empty_account);
    let root = tempfile::tempdir().unwrap();
    let key = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let at = |url: &str| environment(&[key[0], key[1], ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)]);
    // Nothing listens there.
    let away = at("http://127.0.0.1:1");
    let Err(error) = fetch_in(&source(root.path(), &aws), &away).await else { panic!("no region is known") };
    assert!(error.to_string().contains("no answer from IMDS ("), "{error}");

    fetch_in(&source(root.path(), &aws), &at(&imds().url)).await.unwrap();
    let held = fetch_in(&source(root.path(), &aws), &away).await.unwrap();
    assert_eq!(held.instance_id.as_deref(), Some("i-0123456789abcdef0"));
    let input = held.report.iter().find(|input| input.source == "imds").unwrap();
    assert_eq!(input.freshness, Freshness::Held, "{input:?}");
    assert!(aws.requests().last().unwrap().headers["authorization"].contains("/eu-west-1/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_service_is_tried_three_times_and_then_held() {
    let root = tempfile::tempdir().unwrap();
    let given = environment(&[
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AK"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
    ]);
    fetch_in(&source(root.path(), &Listener::start(empty_account)), &given).await.unwrap();
    let busy = Listener::start(|request| match request.headers.contains_key("x-amz-target") {
        true => (400, vec![], r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#.into()),
        false => empty_account(request),
    });
    let held = fetch_in(&source(root.path(), &busy), &given).await.unwrap();
    let input = held.report.iter().find(|input| input.source == "parameters").unwrap();
    assert_eq!(input.freshness, Freshness::Held);
    assert!(input.detail.contains("ThrottlingException: Rate exceeded; AWS is busy"), "{}", input.detail);
    assert_eq!(busy.lines().iter().filter(|line| line.starts_with("POST")).count(), 3);
    // Each source by itself.
    let objects = held.report.iter().find(|input| input.source == "objects").unwrap();
    assert_eq!(objects.freshness, Freshness::Fresh);
}
