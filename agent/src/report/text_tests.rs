use super::*;
use crate::report::examples;

fn plain(status: &Status) -> String {
    let text = super::status(status, examples::now(), 80);
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn a_host_that_is_well() {
    insta::assert_snapshot!(plain(&examples::status(examples::well())));
}

#[test]
fn a_host_with_a_failure() {
    let mut status = examples::status(examples::failed());
    status.running = Some(examples::holder());
    status.signal = Signal::Pending {
        status: Said::Failure,
        reason: Some("x".to_owned()),
        since: examples::now(),
        error: Some("dispatch failure: connection refused".to_owned()),
    };
    insta::assert_snapshot!(plain(&status));
}

#[test]
fn a_host_whose_settings_are_wrong() {
    let mut report = examples::failed();
    report.resources.clear();
    report.root_cause = Some(
        "s3://artifacts/config/sqlmesh-server.toml line 3: unknown key scheduler.intervall_seconds; did you mean scheduler.interval_seconds?\n/ops-vpc/sqlmesh-server/ui/port: not a number"
            .to_owned(),
    );
    let status = Status { health: None, ..examples::status(report) };
    insta::assert_snapshot!(plain(&status));
}

#[test]
fn what_failed_beside_settings_that_are_held_does_not_hide_the_settings() {
    let mut report = examples::failed();
    let own = report.root_cause.clone().unwrap();
    assert_eq!(summary(&report, 200).matches(own.split(": ").last().unwrap()).count(), 1, "told once");
    report.root_cause = Some("unknown key ui.prot".to_owned());
    let text = summary(&report, 200);
    assert!(text.contains("unknown key ui.prot") && text.contains("manifest unknown"), "{text}");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for status in [examples::status(examples::well()), examples::status(examples::failed())] {
        for line in plain(&status).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn colour_carries_nothing_that_the_words_do_not() {
    let status = examples::status(examples::well());
    let text = super::status(&status, examples::now(), 80);
    assert!(text.contains("\u{1b}[32mhealthy"), "{text}");
    assert!(!plain(&status).contains('\u{1b}'));
}

#[test]
fn digests_are_cut_and_other_text_is_not() {
    let digest = "a".repeat(64);
    assert_eq!(short(&format!("r/x@sha256:{digest}: no")), "r/x@sha256:aaaaaaaaaaaa…: no");
    assert_eq!(short("sha256:abc, sha256: none"), "sha256:abc, sha256: none");
}

#[test]
fn times_are_rough() {
    let at = |second| Timestamp::from_second(second).unwrap();
    assert_eq!(ago(at(0), at(119)), "119 s ago");
    assert_eq!(ago(at(0), at(120)), "2 min ago");
    assert_eq!(ago(at(0), at(7200)), "2 h ago");
    assert_eq!(ago(at(0), at(200_000)), "2 d ago");
    assert_eq!(ago(at(5), at(0)), "0 s ago", "clocks step back");
    assert_eq!(ahead(at(0), at(5)), "due");
    assert_eq!((took(249), took(61_000)), ("0.2 s".to_owned(), "1 min 1 s".to_owned()));
}
