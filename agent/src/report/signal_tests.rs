use std::sync::Mutex;

use super::*;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
}

fn target() -> SignalTarget {
    SignalTarget { stack: "ops-sqlmesh".to_owned(), resource: "Host".to_owned() }
}

fn failed(reason: &str, needs_a_person: bool) -> Verdict {
    Verdict::Failed { reason: reason.to_owned(), needs_a_person }
}

fn begun() -> Signal {
    Signal::Undecided { since: at(0) }
}

#[test]
fn success_is_said_after_a_verified_run_only() {
    let signal = begun().after_run(Verdict::Verified, at(0), at(1));
    assert!(matches!(signal, Signal::Pending { status: Status::Success, .. }));
}

#[test]
fn a_failure_that_may_pass_is_said_only_after_ten_minutes() {
    let early = begun().after_run(failed("database asleep", false), at(0), at(9));
    assert_eq!(early, begun());
    let late = early.after_run(failed("database gone", false), at(9), at(10));
    assert!(
        matches!(late, Signal::Pending { status: Status::Failure, reason: Some(reason), .. } if reason == "database gone")
    );
}

#[test]
fn a_failure_that_needs_a_person_is_said_at_once() {
    let signal = begun().after_run(failed("unknown key", true), at(0), at(0));
    assert!(matches!(signal, Signal::Pending { status: Status::Failure, .. }));
}

#[test]
fn what_was_not_sent_yet_follows_the_truth() {
    let success = begun().after_run(Verdict::Verified, at(0), at(1));
    assert_eq!(success.after_run(failed("x", false), at(2), at(3)), begun());
    let failure = begun().after_run(failed("first", true), at(0), at(1));
    let still = failure.clone().after_run(failed("second", true), at(2), at(3));
    assert!(matches!(still, Signal::Pending { reason: Some(reason), .. } if reason == "first"));
    let well = failure.after_run(Verdict::Verified, at(2), at(3));
    assert!(matches!(well, Signal::Pending { status: Status::Success, .. }));
}

#[test]
fn nothing_follows_an_acknowledgement() {
    let done = Signal::Acknowledged { status: Status::Success, at: at(1), note: None };
    assert_eq!(done.clone().after_run(failed("x", true), at(20), at(30)), done);
    assert_eq!(done.clone().answered(Answer::Failed("x".to_owned()), at(30)), done);
    assert_eq!(Signal::NotConfigured.after_run(Verdict::Verified, at(0), at(1)), Signal::NotConfigured);
}

#[test]
fn a_host_made_from_an_image_of_another_begins_anew() {
    let done = Signal::Acknowledged { status: Status::Success, at: at(1), note: None };
    let kept = KeptSignal { target: "ops-sqlmesh/Host".to_owned(), instance: "i-1".to_owned(), signal: done };
    assert_eq!(KeptSignal::resume(Some(kept.clone()), Some(&target()), "i-1", at(5)), kept);
    assert_eq!(
        KeptSignal::resume(Some(kept.clone()), Some(&target()), "i-2", at(5)).signal,
        Signal::Undecided { since: at(5) }
    );
    assert_eq!(KeptSignal::resume(Some(kept), None, "i-1", at(5)).signal, Signal::NotConfigured);
}

#[test]
fn a_silent_imds_makes_no_other_instance() {
    let kept = KeptSignal::resume(None, Some(&target()), "", at(0));
    let known = KeptSignal::resume(Some(kept), Some(&target()), "i-1", at(5));
    assert_eq!((known.instance.as_str(), &known.signal), ("i-1", &begun()), "the clock runs on");
    let done = Signal::Acknowledged { status: Status::Success, at: at(6), note: None };
    let known = KeptSignal { signal: done.clone(), ..known };
    let silent = KeptSignal::resume(Some(known), Some(&target()), "", at(60));
    assert_eq!((silent.instance.as_str(), silent.signal), ("i-1", done), "nothing is sent twice");
}

#[test]
fn the_reason_fits_the_only_field_there_is() {
    assert_eq!(unique_id("i-0123456789abcdef0", None), "i-0123456789abcdef0");
    let id = unique_id("i-0123456789abcdef0", Some("image:registry/sqlmesh: no such\nmanifest – cafe"));
    assert_eq!(id, "i-0123456789abcdef0 sqlmesh: no such manifest cafe");
    assert!(id.chars().count() <= 64);
    let reason = "s3://ops-vpc-sqlmesh-123456789012/config/x.toml line 4: unknown key ui.prot";
    assert_eq!(
        unique_id("i-0123456789abcdef0", Some(reason)),
        "i-0123456789abcdef0 x.toml line 4: unknown key ui.prot"
    );
    assert_eq!(unique_id("", None), "ops-agent");
}

/// Answers as told, and keeps what was sent.
struct Script(Mutex<Vec<Answer>>, Mutex<Vec<(String, Status)>>);

#[async_trait]
impl Sender for Script {
    async fn send(&self, _target: &SignalTarget, unique_id: &str, status: Status) -> Answer {
        self.1.lock().unwrap().push((unique_id.to_owned(), status));
        self.0.lock().unwrap().remove(0)
    }
}

#[tokio::test]
async fn a_signal_is_kept_until_acknowledged_and_then_never_sent_again() {
    let answers = vec![Answer::Failed("no route".to_owned()), Answer::Taken];
    let sender = Script(Mutex::new(answers), Mutex::default());
    let mut kept = KeptSignal::resume(None, Some(&target()), "i-1", at(0));
    for minute in 1..6 {
        kept.signal = kept.signal.after_run(Verdict::Verified, at(minute), at(minute));
        let text = serde_json::to_string(&kept).unwrap();
        kept = serde_json::from_str::<KeptSignal>(&text)
            .unwrap()
            .deliver(Some(&target()), &sender, at(minute))
            .await;
    }
    assert_eq!(kept.signal, Signal::Acknowledged { status: Status::Success, at: at(2), note: None });
    let sent = vec![("i-1".to_owned(), Status::Success); 2];
    assert_eq!(*sender.1.lock().unwrap(), sent);
}

#[test]
fn no_longer_waiting_is_told_from_a_mistake() {
    assert!(not_waiting("Resource Host is in CREATE_COMPLETE state and can not be signaled"));
    assert!(!not_waiting("Stack 'ops-sqlmesh' does not exist"));
}

/// Answers one request with a status and a body, and returns what was asked.
async fn answered(status: &str, body: &str) -> (Answer, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = String::new();
        while !asked.contains("Status=") {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await.unwrap();
            asked.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        stream.write_all(text.as_bytes()).await.unwrap();
        asked
    });
    let variables = [
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let source = crate::inputs::Source {
        root: "/nonexistent".into(),
        endpoint_url: Some(endpoint),
        region: Some("us-west-2".to_owned()),
        keep: true,
    };
    let identity = crate::inputs::HostIdentity {
        role: "sqlmesh-server".to_owned(),
        bucket: "artifacts".to_owned(),
        region: None,
        signal: Some(target()),
    };
    let environment = crate::inputs::aws::Environment::new(variables);
    let connection = crate::inputs::connect_in(&source, &identity, &environment).await.unwrap();
    let answer = connection.cloudformation.send(&target(), "i-1 no image", Status::Failure).await;
    (answer, server.await.unwrap())
}

#[tokio::test]
async fn what_goes_over_the_wire() {
    let body = "<SignalResourceResponse><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></SignalResourceResponse>";
    let (answer, asked) = answered("200 OK", body).await;
    assert_eq!(answer, Answer::Taken);
    for part in ["Action=SignalResource", "StackName=ops-sqlmesh", "LogicalResourceId=Host", "Status=FAILURE"]
    {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
    assert!(asked.contains("UniqueId=i-1%20no%20image"), "{asked}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_one_short_line() {
    let (answer, _) = answered("400 Bad Request", "not the API\nbut a proxy").await;
    let Answer::Failed(words) = answer else { panic!("{answer:?}") };
    assert!(words.len() < 200 && words.lines().count() == 1, "{words}");
    assert!(words.contains("HTTP 400"), "{words}");
}

#[tokio::test]
async fn refusals_are_told_apart_by_their_words() {
    let error = |words: &str| {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>{words}</Message></Error></ErrorResponse>"
        )
    };
    let words = "Resource Host is in CREATE_COMPLETE state and can not be signaled";
    assert_eq!(answered("400 Bad Request", &error(words)).await.0, Answer::NotWaiting(words.to_owned()));
    let words = "Stack 'ops-sqlmesh' does not exist";
    assert_eq!(answered("400 Bad Request", &error(words)).await.0, Answer::Failed(words.to_owned()));
}
