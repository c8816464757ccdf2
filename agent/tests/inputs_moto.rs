//! Inputs against a real server of the AWS API: what is fetched, what it costs, what is kept, and
//! what is said when something is missing, denied or away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use ops_agent::Error;
use ops_agent::error::AwsFailure;
use ops_agent::inputs::{Fetched, Secrets, fetch};
use ops_agent::report::{Freshness, Input};
use ops_agent::settings::{self, EffectiveValue, Role, Settings, SqlmeshServer};
use secrecy::ExposeSecret;

mod moto;
use moto::{BUCKET, Moto};

const DOCUMENT: &str = "config/sqlmesh-server.toml";
const IMAGE: &str = "image.reference = \"registry.lab/sqlmesh@sha256:\
                     0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";
const DATABASE: &str = r#"{"username":"sqlmesh","password":"canary-password"}"#;

struct Run {
    fetched: Fetched,
    server: SqlmeshServer,
    values: Vec<EffectiveValue>,
    secrets: Secrets,
}

impl Run {
    fn input(&self, source: &str) -> &Input {
        self.fetched.report.iter().find(|input| input.source == source).unwrap()
    }

    fn freshness(&self) -> Vec<(&str, Freshness)> {
        self.fetched.report.iter().map(|input| (input.source.as_str(), input.freshness)).collect()
    }

    fn problem(&self, secret: &str) -> (&str, bool) {
        let problem = self.secrets.by_name[secret].as_ref().err().unwrap();
        (problem.message.as_str(), problem.held)
    }
}

/// Everything that a converge does with inputs.
async fn run(moto: &Moto) -> Run {
    let connection = moto.connect().await;
    let mut fetched = fetch(&connection, &moto.identity()).await.unwrap();
    let (settings, values) = settings::resolve(Role::SqlmeshServer, &fetched.inputs).unwrap();
    let secrets = fetched.complete(&connection, &settings).await.unwrap();
    let Settings::SqlmeshServer(server) = settings;
    Run { fetched, server, values, secrets }
}

async fn seeded() -> Moto {
    let mut moto = Moto::start().await;
    moto.put_object(DOCUMENT, IMAGE).await;
    moto.put_object("config/rds-ca.pem", "the CA").await;
    moto.put_parameter("scheduler/interval-seconds", "60", false).await;
    moto.put_secret("aurora-data-operations", DATABASE).await;
    moto.put_secret("snowflake-warehouse", r#"{"account":"a","password":"canary-warehouse"}"#).await;
    moto.calls();
    moto
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_op_costs_three_calls_and_a_change_one_more() {
    let mut moto = seeded().await;
    let first = run(&moto).await;
    assert_eq!(first.server.scheduler.interval_seconds, 60);
    assert_eq!(first.fetched.inputs.objects["config/rds-ca.pem"].text, "the CA");
    let database = first.secrets.by_name["aurora-data-operations"].as_ref().ok().unwrap();
    assert_eq!(database.fields["password"].expose_secret(), "canary-password");
    let list = "GET /artifacts/";
    let (toml, pem) = ("GET /artifacts/config/sqlmesh-server.toml", "GET /artifacts/config/rds-ca.pem");
    assert_eq!(moto.calls(), [list, pem, toml, "POST /", "POST /"]);

    let second = run(&moto).await;
    assert_eq!(second.server, first.server);
    assert_eq!(second.fetched.inputs.objects["config/rds-ca.pem"].text, "the CA");
    assert_eq!(moto.calls(), [list, "POST /", "POST /"]);

    moto.put_object(DOCUMENT, &format!("{IMAGE}ui.port = 8080\n")).await;
    moto.calls();
    assert_eq!(run(&moto).await.server.ui.port, 8080);
    assert_eq!(moto.calls(), [list, toml, "POST /", "POST /"]);

    // A document that was deleted does not live on in what is kept.
    moto.put_parameter(
        "image/reference",
        "registry.lab/other@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        false,
    )
    .await;
    moto.s3().delete_object().bucket(BUCKET).key(DOCUMENT).send().await.unwrap();
    let without = run(&moto).await;
    assert_eq!(without.fetched.inputs.document, None);
    assert_eq!(without.server.ui.port, 8000);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_come_and_secure_values_stay_off_the_disk() {
    let mut moto = seeded().await;
    moto.put_parameter("database/host", "canary-host.lab", true).await;
    for (name, value) in [
        ("database/port", "5433"),
        ("database/name", "state"),
        ("docker/version", "25.0"),
        ("ui/port", "8080"),
        ("ui/allow", "10.0.0.0/8,172.22.0.0/16"),
        ("ui/memory-mb", "512"),
        ("ui/proxy-version", "1.2"),
        ("scheduler/drain-seconds", "60"),
        ("scheduler/memory-mb", "2048"),
        ("warehouse/env-prefix", "WH_"),
        ("project/bundle", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    ] {
        moto.put_parameter(name, value, false).await;
    }
    // Of another role, whose name begins with this one's.
    moto.put_parameter("/ops-vpc/sqlmesh-server-2/ui/port", "1", false).await;
    moto.calls();
    let found = run(&moto).await;
    assert_eq!(moto.calls().iter().filter(|call| *call == "POST /").count(), 3, "two pages, and the secrets");
    assert_eq!(found.fetched.inputs.parameters.len(), 13);
    assert_eq!(found.server.database.host.as_deref(), Some("canary-host.lab"));
    assert_eq!(found.server.ui.allow.len(), 2);
    assert!(!serde_json::to_string(&found.values).unwrap().contains("canary"));
    for canary in ["canary-host.lab", "canary-password", "canary-warehouse"] {
        assert!(!moto.on_disk(canary), "{canary} is on disk");
    }
    assert!(moto.on_disk("8080"));

    // Held, the value that is not kept is missing; a lower layer does not take its place.
    moto.stop();
    let held = fetch(&moto.connect().await, &moto.identity()).await.unwrap();
    let said = settings::resolve(Role::SqlmeshServer, &held.inputs).unwrap_err().to_string();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("parameter /ops-vpc/sqlmesh-server/database/host: it is a SecureString"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_is_held_while_aws_is_away() {
    let mut moto = seeded().await;
    let before = run(&moto).await;
    let fresh = Freshness::Fresh;
    assert_eq!(
        before.freshness(),
        [
            ("imds", Freshness::Missing),
            ("parameters", fresh),
            ("objects", fresh),
            ("local", fresh),
            ("secrets", fresh),
        ]
    );
    moto.stop();
    let held = run(&moto).await;
    assert_eq!(held.server, before.server);
    assert_eq!(held.fetched.inputs.document, before.fetched.inputs.document);
    assert_eq!(held.fetched.inputs.objects, before.fetched.inputs.objects);
    for source in ["parameters", "objects", "secrets"] {
        assert_eq!(held.input(source).freshness, Freshness::Held, "{:?}", held.input(source));
    }
    let said = &held.input("parameters").detail;
    assert!(said.starts_with("holding 1 parameter seen ") && said.contains("no answer"), "{said}");
    let (said, held) = held.problem("aurora-data-operations");
    assert!(held && said.contains("no answer"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_kept_the_failure_says_what_was_asked_and_what_to_check() {
    let mut moto = Moto::start().await;
    moto.stop();
    let Err(error) = fetch(&moto.connect().await, &moto.identity()).await else {
        panic!("fetched from nowhere")
    };
    assert!(matches!(error, Error::Aws { failure: AwsFailure::Unreachable, .. }) && error.is_transient());
    let said = error.to_string();
    assert!(said.starts_with("ssm:GetParametersByPath on /ops-vpc/sqlmesh-server: no answer ("), "{said}");
    assert!(said.ends_with("check the subnet's route, the security group and DNS"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_told_and_stops_no_other() {
    let moto = Moto::start().await;
    moto.put_object(DOCUMENT, IMAGE).await;
    moto.put_secret("snowflake-warehouse", r#"{"account":"a"}"#).await;
    let found = run(&moto).await;
    assert!(found.secrets.by_name["snowflake-warehouse"].is_ok());
    assert_eq!(
        found.problem("aurora-data-operations"),
        (
            "secret aurora-data-operations does not exist in eu-west-1: create it with the keys username, password",
            false
        )
    );
    assert_eq!(found.input("secrets").freshness, Freshness::Missing);
    let said = &found.input("objects").detail;
    assert!(said.contains("s3://artifacts/config/rds-ca.pem does not exist: put it there"), "{said}");
    assert_eq!(found.input("objects").freshness, Freshness::Missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_bundle_of_another_name_is_fetched_once() {
    let mut moto = seeded().await;
    moto.put_object("config/lab-ca.pem", "the lab's CA").await;
    moto.put_parameter("database/ca-bundle", "config/lab-ca.pem", false).await;
    moto.calls();
    let bundle = "GET /artifacts/config/lab-ca.pem".to_owned();
    for expected in [true, false, false] {
        let found = run(&moto).await;
        assert_eq!(found.fetched.inputs.objects["config/lab-ca.pem"].text, "the lab's CA");
        assert_eq!(moto.calls().contains(&bundle), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_does_not_exist_is_named() {
    let moto = Moto::start().await;
    let mut identity = moto.identity();
    identity.bucket = "artefacts".into();
    let Err(error) = fetch(&moto.connect().await, &identity).await else { panic!("there is no such bucket") };
    let said = error.to_string();
    assert!(said.starts_with("s3:ListBucket on s3://artefacts/config/: NoSuchBucket: "), "{said}");
    assert!(said.ends_with("check the name of the artifact bucket in /etc/ops-agent/host.toml"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_are_hashed_and_registries_logged_in_to() {
    let moto = seeded().await;
    let connection = moto.connect().await;
    let big = "0123456789abcdef".repeat(200_000);
    moto.put_object("projects/x.tar.gz", &big).await;
    let to = moto.root.path().join("x.tar.gz");
    std::fs::write(&to, "longer than nothing").unwrap();
    let hash = connection.objects.download(BUCKET, "projects/x.tar.gz", &to).await.unwrap();
    assert_eq!(std::fs::read_to_string(&to).unwrap(), big);
    use sha2::Digest;
    assert_eq!(hash, hex::encode(sha2::Sha256::digest(&big)));
    let error = connection.objects.download(BUCKET, "projects/y.tar.gz", &to).await.unwrap_err();
    assert!(matches!(error, Error::Aws { failure: AwsFailure::NotFound, .. }), "{error}");
    assert!(
        error.to_string().starts_with("s3:GetObject on s3://artifacts/projects/y.tar.gz: NoSuchKey"),
        "{error}"
    );

    let login =
        connection.registries.login("111122223333.dkr.ecr.us-east-1.amazonaws.com").await.unwrap().unwrap();
    assert_eq!(login.user, "AWS");
    assert!(connection.registries.login("registry.lab:5000").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_names_the_action_to_allow_and_holds_what_is_kept() {
    let mut moto = seeded().await;
    run(&moto).await;
    let (key, secret) = user_without_rights(&moto).await;
    moto.become_user(&key, &secret);
    let held = run(&moto).await;
    let said = &held.input("parameters").detail;
    assert!(
        said.contains(
            "allow ssm:GetParametersByPath on arn:aws:ssm:eu-west-1:*:parameter/ops-vpc/sqlmesh-server"
        ),
        "{said}"
    );
    let said = &held.input("objects").detail;
    assert!(said.contains("allow s3:ListBucket on arn:aws:s3:::artifacts to the instance's role"), "{said}");
    let (said, held) = held.problem("snowflake-warehouse");
    assert!(!held && said.contains("allow secretsmanager:GetSecretValue on"), "{said}");

    std::fs::remove_dir_all(moto.root.path().join("var")).unwrap();
    let Err(error) = fetch(&moto.connect().await, &moto.identity()).await else { panic!("denied") };
    assert!(
        matches!(error, Error::Aws { failure: AwsFailure::Denied, .. }) && !error.is_transient(),
        "{error}"
    );
}

/// A user with a key and no policy, and policies enforced from then on.
async fn user_without_rights(moto: &Moto) -> (String, String) {
    let url = moto.source.endpoint_url.clone().unwrap();
    let client = reqwest::Client::new();
    let iam = async |form: &'static str| {
        let scope = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0";
        let request = client.post(&url).header("Authorization", scope);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
        request.send().await.unwrap().text().await.unwrap()
    };
    iam("Action=CreateUser&Version=2010-05-08&UserName=nobody").await;
    let answer = iam("Action=CreateAccessKey&Version=2010-05-08&UserName=nobody").await;
    let between =
        |from: &str, to: &str| answer.split(from).nth(1).unwrap().split(to).next().unwrap().to_owned();
    let key =
        (between("<AccessKeyId>", "</AccessKeyId>"), between("<SecretAccessKey>", "</SecretAccessKey>"));
    let reset =
        client.post(format!("{url}/moto-api/reset-auth")).header("Content-Type", "text/plain").body("0");
    assert!(reset.send().await.unwrap().status().is_success());
    key
}
