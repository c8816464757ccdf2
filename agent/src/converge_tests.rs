use super::*;
use crate::inputs::HostIdentity;
use crate::report::signal::Status;

/// One that reaches neither IMDS nor anyone's credentials.
fn environment() -> Environment {
    let variables = [
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    Environment::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// A CloudFormation that takes connections and never answers: a route that leads nowhere looks so too.
#[tokio::test]
async fn a_signal_to_stop_ends_a_delivery_that_hangs_and_loses_nothing() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path());
    let target = SignalTarget { stack: "s".into(), resource: "r".into() };
    let identity =
        HostIdentity { role: "sqlmesh-server".into(), bucket: "b".into(), region: None, signal: None };
    let source = Source {
        root: root.path().into(),
        endpoint_url: Some(format!("http://{}", silent.local_addr().unwrap())),
        region: Some("us-west-2".into()),
        keep: true,
    };
    let connection = inputs::connect_in(&source, &identity, &environment()).await.unwrap();
    let cancel = CancellationToken::new();
    let kept = decide(&store, Some(&target), "i-1", Verdict::Verified, Timestamp::now());
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
    };
    let began = Instant::now();
    let (signal, ()) = tokio::join!(tell(&store, kept, Some(&target), Some(&connection), &cancel), stop);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(matches!(signal, Signal::Pending { status: Status::Success, .. }), "{signal:?}");
    assert_eq!(store.signal().unwrap().unwrap().signal, signal, "it was not kept");
}

const DOCUMENT: &str = "image.reference = \"registry.lab/sqlmesh@sha256:\
                        0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\ndatabase.host = \"db\"\n";

/// A host that keeps this document from before, and whose AWS is away.
fn host_with(root: &Path, document: &str) {
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("etc/os-release", "ID=debian\n");
    put("etc/ops-agent/host.toml", "role = \"sqlmesh-server\"\nbucket = \"b\"\nregion = \"us-west-2\"\n");
    let of = |text: &str| serde_json::json!({"place": "s3://b/config/sqlmesh-server.toml", "text": text});
    let objects = serde_json::json!({"scope": "b", "value": {"objects": {
        "config/sqlmesh-server.toml": of(document), "config/rds-ca.pem": of("the CA")}}});
    put("var/lib/ops-agent/inputs/objects.json", &objects.to_string());
    let parameters = r#"{"scope":"/ops-vpc/sqlmesh-server/","value":{"parameters":[],"secure":[]}}"#;
    put("var/lib/ops-agent/inputs/parameters.json", parameters);
}

async fn prepared(root: &Path, act: bool) -> Result<Ready, Unready> {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source =
        Source { root: root.into(), endpoint_url: Some(format!("http://{nobody}")), region: None, keep: act };
    let order = Order { source, overrides: Overrides::default() };
    let progress: Arc<dyn Progress> = Arc::new(crate::host::Silent);
    prepare(&order, &environment(), &progress, &mut Known::default(), act).await
}

#[tokio::test]
async fn invalid_settings_hold_those_that_last_were_valid_and_fail_the_run() {
    let root = tempfile::tempdir().unwrap();
    let wrong = DOCUMENT.replace("database.host", "database.hots");
    host_with(root.path(), &wrong);
    let unready = prepared(root.path(), true).await.err().unwrap();
    assert_eq!(unready.exit, Exit::Settings, "nothing was kept");

    host_with(root.path(), DOCUMENT);
    let valid = prepared(root.path(), true).await.unwrap();
    assert!(valid.held.is_none());
    host_with(root.path(), &wrong);
    let kept = root.path().join("var/lib/ops-agent/inputs/valid.json");
    let before = std::fs::read(&kept).unwrap();
    let held = prepared(root.path(), true).await.unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), before, "what is wrong is not kept");
    assert!(held.graph.nodes().keys().eq(valid.graph.nodes().keys()));
    assert!(
        held.notices[0].starts_with("holding the settings that last were valid (seen "),
        "{:?}",
        held.notices
    );
    let ended = Ended {
        outcome: Outcome::Changed,
        exit: Exit::Ok,
        root: Some(RootCause { line: "container:x: it died".into(), needs_a_person: false }),
        resources: Vec::new(),
        services: Vec::new(),
        owed: Vec::new(),
        notices: Vec::new(),
    };
    let ended = ended.on_held_settings(&held.held.unwrap());
    let root_cause = ended.root.unwrap();
    assert_eq!(
        (ended.outcome, ended.exit, root_cause.needs_a_person),
        (Outcome::Failed, Exit::Settings, true)
    );
    assert!(root_cause.line.contains("line 2: unknown key database.hots"), "{}", root_cause.line);

    let looking = prepared(root.path(), false).await.err().unwrap();
    assert_eq!(looking.exit, Exit::Settings, "who only looks is told what is wrong");
}
