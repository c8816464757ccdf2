use super::*;
use crate::inputs::HostIdentity;
use crate::report::signal::Status;

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
    let environment = inputs::aws::Environment::new(
        [
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let connection = inputs::connect_in(&source, &identity, &environment).await.unwrap();
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
