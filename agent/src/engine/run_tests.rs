use std::sync::atomic::Ordering;

use super::super::fakes::{Failing, Fake, Trace, host, host_at, id};
use super::super::ledger::Ledger;
use super::*;
use crate::host::replace::{Replacement, replace};
use crate::resource::Kind;

/// Keeps what happened as short lines.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Watch for Heard {
    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(match event {
            Event::Started(id) => format!("started {id}"),
            Event::Differs(id, changes) => format!("differs {id} {}", changes.len()),
            Event::Retry(id, _, wait) => format!("retry {id} after {} ms", wait.as_millis()),
            Event::Ended(report) => format!("ended {} {:?}", report.name, report.outcome),
        });
    }
}

fn options() -> Options {
    Options {
        backoff: Backoff::RESOURCE,
        random: || 1.0,
        watch: Arc::new(Heard::default()),
        cancel: CancellationToken::new(),
    }
}

fn by_name<'a>(finished: &'a Finished, name: &str) -> &'a ResourceReport {
    finished.resources.iter().find(|report| report.name == name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn independent_work_is_concurrent_under_the_limit_of_its_kind() {
    let (files, packages) = (Arc::<Trace>::default(), Arc::<Trace>::default());
    let mut graph = Graph::default();
    for n in 0..12 {
        graph.add(Fake::new(&format!("f{n}")).works(10).traced(&files), &[]);
    }
    for n in 0..3 {
        graph.add(Fake::new(&format!("p{n}")).kind(Kind::Package).works(10).traced(&packages), &[]);
    }
    let begun = Instant::now();
    let finished = run(&graph, &host(), &options()).await.unwrap();
    assert!(finished.resources.iter().all(|report| report.outcome == Outcome::Changed));
    assert_eq!(files.most.load(Ordering::SeqCst), 8);
    assert_eq!(packages.most.load(Ordering::SeqCst), 1);
    assert_eq!(begun.elapsed().as_secs(), 30, "three packages one after another are the longest way");
    assert_eq!(by_name(&finished, "p1").start_ms, 10_000, "waiting for a permit is not work");
    assert_eq!(by_name(&finished, "p1").duration_ms, 10_000);
}

#[tokio::test(start_paused = true)]
async fn each_begins_when_what_it_needs_is_done() {
    let trace = Arc::<Trace>::default();
    let mut graph = Graph::default();
    let slow = graph.add(Fake::new("slow").works(10).traced(&trace), &[]);
    let quick = graph.add(Fake::new("quick").works(1).traced(&trace), &[]);
    graph.add(Fake::new("after-quick").works(1).traced(&trace), &[&quick]);
    graph.add(Fake::new("after-both").works(1).traced(&trace), &[&quick, &slow]);
    let finished = run(&graph, &host(), &options()).await.unwrap();
    assert_eq!(by_name(&finished, "after-quick").start_ms, 1000);
    assert_eq!(by_name(&finished, "after-both").start_ms, 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_failure_skips_only_its_dependents_and_names_itself() {
    let mut graph = Graph::default();
    let bad = graph.add(Fake::new("bad").fails(9, Failing::ForGood), &[]);
    let next = graph.add(Fake::new("next").differs(), &[&bad]);
    graph.add(Fake::new("last").differs(), &[&next]);
    graph.add(Fake::new("other").works(5), &[]);
    let finished = run(&graph, &host(), &options()).await.unwrap();
    let root = finished.root.clone().unwrap();
    assert_eq!(root.line, "file:bad: bad: it will never do; give up");
    assert!(root.needs_a_person);
    for name in ["next", "last"] {
        let report = by_name(&finished, name);
        assert_eq!((report.outcome, report.blocked_by.as_deref()), (Outcome::Skipped, Some("file:bad")));
    }
    assert_eq!(by_name(&finished, "other").outcome, Outcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn a_panic_fails_its_own_resource_only() {
    let mut graph = Graph::default();
    let bad = graph.add(Fake::new("bad").fails(1, Failing::Panic), &[]);
    graph.add(Fake::new("next").differs(), &[&bad]);
    graph.add(Fake::new("other").works(5), &[]);
    let finished = run(&graph, &host(), &options()).await.unwrap();
    let error = by_name(&finished, "bad").error.clone().unwrap();
    assert!(error.contains("the agent's own code failed") && error.contains("a bug of"), "{error}");
    assert!(finished.root.as_ref().unwrap().needs_a_person);
    assert_eq!(by_name(&finished, "next").blocked_by.as_deref(), Some("file:bad"));
    assert_eq!(by_name(&finished, "other").outcome, Outcome::Changed);
}

/// The test above is of a profile that unwinds; what is shipped has to be one, too.
#[test]
fn no_profile_aborts_on_a_panic() {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let manifest: toml_edit::DocumentMut = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
    for (name, profile) in manifest["profile"].as_table().unwrap() {
        assert_ne!(profile.get("panic").and_then(|how| how.as_str()), Some("abort"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_and_a_lasting_one_is_not() {
    let trace = Arc::<Trace>::default();
    let heard = Arc::new(Heard::default());
    let mut graph = Graph::default();
    graph.add(Fake::new("flaky").fails(2, Failing::Transient).traced(&trace), &[]);
    let options = Options { watch: heard.clone(), ..options() };
    let finished = run(&graph, &host(), &options).await.unwrap();
    assert_eq!(by_name(&finished, "flaky").outcome, Outcome::Changed);
    assert_eq!(by_name(&finished, "flaky").duration_ms, 3000, "1 s and 2 s of waiting");
    assert_eq!(trace.lines(), ["apply flaky", "apply flaky", "apply flaky", "done flaky"]);
    let heard = heard.0.lock().unwrap().clone();
    let expected = [
        "started file:flaky",
        "differs file:flaky 1",
        "retry file:flaky after 1000 ms",
        "differs file:flaky 1",
        "retry file:flaky after 2000 ms",
        "differs file:flaky 1",
        "ended flaky Changed",
    ];
    assert_eq!(heard, expected);
}

#[tokio::test(start_paused = true)]
async fn attempts_end() {
    let trace = Arc::<Trace>::default();
    let mut graph = Graph::default();
    graph.add(Fake::new("down").fails(99, Failing::Transient).traced(&trace), &[]);
    let finished = run(&graph, &host(), &options()).await.unwrap();
    assert_eq!(by_name(&finished, "down").error.as_deref(), Some("database down at db:5432: not yet"));
    assert!(!finished.root.unwrap().needs_a_person);
    assert_eq!(trace.lines().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_tells_what_went_wrong_before() {
    let mut graph = Graph::default();
    graph.add(Fake::new("slow").fails(99, Failing::Transient).slows(60).limit(6), &[]);
    let finished = run(&graph, &host(), &options()).await.unwrap();
    assert_eq!(
        by_name(&finished, "slow").error.as_deref(),
        Some("file:slow took longer than 6 s; before that: database slow at db:5432: not yet")
    );
    assert_eq!(by_name(&finished, "slow").duration_ms, 6000);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_begun_that_the_time_limit_would_cut_off() {
    let trace = Arc::<Trace>::default();
    let mut graph = Graph::default();
    graph.add(Fake::new("slow").works(4).fails(99, Failing::Transient).limit(8).traced(&trace), &[]);
    let finished = run(&graph, &host(), &options()).await.unwrap();
    assert_eq!(by_name(&finished, "slow").error.as_deref(), Some("database slow at db:5432: not yet"));
    assert_eq!(trace.lines(), ["apply slow"], "4 s of work, 1 s of waiting and 4 s more are over 8 s");
}

#[tokio::test(start_paused = true)]
async fn that_apply_returned_is_not_success() {
    let mut graph = Graph::default();
    graph.add(Fake::new("liar").lies(), &[]);
    let finished = run(&graph, &host(), &options()).await.unwrap();
    assert_eq!(
        by_name(&finished, "liar").error.as_deref(),
        Some("file:liar still differs after it was applied: state old → new")
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_stays_owed_when_a_sibling_fails() {
    let dir = tempfile::tempdir().unwrap();
    let mut graph = Graph::default();
    let config = graph.add(Fake::new("daemon.json").differs(), &[]);
    let bad = graph.add(Fake::new("bad").fails(1, Failing::ForGood), &[]);
    let unit = graph.add(Fake::new("docker.service").kind(Kind::Unit), &[&bad]);
    graph.restart_on(&unit, &[&config]);
    let finished = run(&graph, &host_at(dir.path()), &options()).await.unwrap();
    assert_eq!(by_name(&finished, "docker.service").outcome, Outcome::Skipped);
    let next = Ledger::new(dir.path().join("ledger.json"));
    assert_eq!(next.reasons("docker.service").await.unwrap(), ["file:daemon.json changed"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_owed_before_the_change_and_survives_a_drop_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let trace = Arc::<Trace>::default();
    let mut graph = Graph::default();
    let config = graph.add(Fake::new("daemon.json").works(60).traced(&trace), &[]);
    let unit = graph.add(Fake::new("docker.service").kind(Kind::Unit), &[]);
    graph.restart_on(&unit, &[&config]);
    let (host, options) = (host_at(dir.path()), options());
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        options.cancel.cancel();
    };
    let (finished, ()) = tokio::join!(run(&graph, &host, &options), stop);
    assert!(finished.unwrap().interrupted);
    assert_eq!(trace.lines(), ["apply daemon.json"], "dropped before it was done");
    let next = Ledger::new(dir.path().join("ledger.json"));
    assert_eq!(next.reasons("docker.service").await.unwrap(), ["file:daemon.json changed"]);
}

#[tokio::test(start_paused = true)]
async fn no_change_is_made_whose_restart_cannot_be_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.json");
    replace(&Replacement { path: ledger, content: b"{".to_vec(), mode: 0o644, owner: None }).unwrap();
    let trace = Arc::<Trace>::default();
    let mut graph = Graph::default();
    let config = graph.add(Fake::new("daemon.json").differs().traced(&trace), &[]);
    let unit = graph.add(Fake::new("docker.service").kind(Kind::Unit), &[]);
    graph.restart_on(&unit, &[&config]);
    let finished = run(&graph, &host_at(dir.path()), &options()).await.unwrap();
    assert_eq!(by_name(&finished, "daemon.json").outcome, Outcome::Failed);
    assert!(trace.lines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_signal_stops_within_a_second_and_begins_nothing_new() {
    let trace = Arc::<Trace>::default();
    let mut graph = Graph::default();
    let long = graph.add(Fake::new("long").works(600).traced(&trace), &[]);
    graph.add(Fake::new("next").differs().traced(&trace), &[&long]);
    graph.add(Fake::new("quick").differs().traced(&trace), &[]);
    let options = options();
    let cancelled = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        options.cancel.cancel();
        Instant::now()
    };
    let host = host();
    let (finished, at) = tokio::join!(run(&graph, &host, &options), cancelled);
    assert!(at.elapsed() < Duration::from_secs(1));
    let finished = finished.unwrap();
    let long = by_name(&finished, "long");
    assert_eq!((long.outcome, long.duration_ms, long.changes.len()), (Outcome::Interrupted, 3000, 1));
    assert_eq!(by_name(&finished, "next").outcome, Outcome::Interrupted);
    assert_eq!(by_name(&finished, "quick").outcome, Outcome::Changed);
    assert_eq!(trace.most.load(Ordering::SeqCst), 2);
    assert!(finished.root.is_none(), "a signal is not a failure");
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let trace = Arc::<Trace>::default();
    let mut graph = Graph::default();
    graph.add(Fake::new("a").differs().traced(&trace), &[]);
    let changed = run(&graph, &host(), &options()).await.unwrap();
    assert_eq!(by_name(&changed, "a").outcome, Outcome::Changed);
    let again = run(&graph, &host(), &options()).await.unwrap();
    assert_eq!(by_name(&again, "a").outcome, Outcome::Unchanged);
    assert_eq!(trace.lines().len(), 2);
    assert_eq!(again.resources[0].name, id("a").name);
}
