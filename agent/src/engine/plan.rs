//! What a run would change: every resource observed at once, nothing touched.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::graph::Graph;
use super::limits::Limits;
use crate::host::Host;
use crate::report::{Outcome, ResourceReport};
use crate::resource::{Change, Diff, Id, Shared};
use crate::{Error, Result};

/// What is said of a resource that cannot be looked at before something it needs is there: a
/// container while Docker is not installed.
pub const UNKNOWN_YET: &str = "unknown until its prerequisites are there";

/// Observes every resource, under the limits of a run, and tells what a run would change: a report for
/// each, in the order of the graph.
///
/// # Errors
/// When the graph is not one ([`Graph::validate`]). What fails to be observed is in the reports.
pub async fn plan(graph: &Graph, host: &Host) -> Result<Vec<ResourceReport>> {
    let order = graph.validate()?;
    let limits = Limits::for_kinds(graph.nodes().keys().map(|id| id.kind));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (id, node) in graph.nodes() {
        let (id, resource) = (id.clone(), node.resource.clone());
        let (host, limits) = (host.clone(), limits.clone());
        tasks.spawn(async move {
            let _permit = limits.permit(id.kind).await;
            let start = Instant::now();
            let seen = look(&resource, &host).await;
            (id, Seen { diff: seen, start_ms: millis(start - begun), duration_ms: millis(start.elapsed()) })
        });
    }
    let mut seen = BTreeMap::new();
    while let Some(ended) = tasks.join_next().await {
        // A task that panicked is missing below, and reported as failed.
        if let Ok((id, one)) = ended {
            seen.insert(id, one);
        }
    }
    Ok(weigh(graph, &order, seen))
}

/// What was seen of one resource.
struct Seen {
    diff: Result<Diff>,
    start_ms: u64,
    duration_ms: u64,
}

async fn look(resource: &Shared, host: &Host) -> Result<Diff> {
    let limit = resource.time_limit();
    match tokio::time::timeout(limit, resource.observe(host)).await {
        Ok(observed) => observed.map(|observed| observed.diff),
        Err(_) => Err(Error::Timeout { subject: resource.id().to_string(), limit }),
    }
}

/// Milliseconds, for reports.
#[must_use]
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Judges what was seen by what comes before it.
fn weigh(graph: &Graph, order: &[Id], mut seen: BTreeMap<Id, Seen>) -> Vec<ResourceReport> {
    let mut upstream: BTreeMap<&Id, Upstream> = BTreeMap::new();
    let mut restarts: BTreeMap<&Id, Vec<&Id>> = BTreeMap::new();
    let mut reports = Vec::with_capacity(order.len());
    for (id, node) in order.iter().filter_map(|id| graph.nodes().get_key_value(id)) {
        let mut above = Upstream::default();
        for before in node.after.iter().filter_map(|before| upstream.get(before)) {
            above.add(before);
        }
        let one = seen.remove(id);
        let (start_ms, duration_ms) = one.as_ref().map_or((0, 0), |one| (one.start_ms, one.duration_ms));
        let mut report =
            ResourceReport { start_ms, duration_ms, ..ResourceReport::of(id, Outcome::Unchanged) };
        let certain = match one.map(|one| one.diff) {
            Some(Ok(diff)) => {
                report.changes = diff.0;
                if let Some(causes) = restarts.get(id) {
                    add_restart(&mut report.changes, causes);
                }
                true
            }
            Some(Err(error)) => {
                report.error = Some(error.to_string());
                false
            }
            None => {
                report.error = Some(format!("observing {id} panicked; report this as a bug of ops-agent"));
                false
            }
        };
        report.outcome = match (&above.failed, certain, above.pending.first()) {
            (Some(root), _, _) => {
                report.blocked_by = Some(root.to_string());
                Outcome::Skipped
            }
            (None, false, Some(first)) => {
                report.error = None;
                report.changes = vec![Change::new(UNKNOWN_YET, None, Some(format!("after {first}")))];
                Outcome::Pending
            }
            (None, false, None) => Outcome::Failed,
            (None, true, _) if report.changes.is_empty() => Outcome::Unchanged,
            (None, true, _) => Outcome::Pending,
        };
        match report.outcome {
            Outcome::Failed => above.failed = Some(id),
            Outcome::Pending if certain => {
                above.pending.insert(id);
                for unit in &node.restarts {
                    restarts.entry(unit).or_default().push(id);
                }
            }
            _ => {}
        }
        upstream.insert(id, above);
        reports.push(report);
    }
    reports
}

/// What comes before a resource, directly or not, the resource itself included once it is judged.
#[derive(Clone, Default)]
struct Upstream<'a> {
    failed: Option<&'a Id>,
    pending: BTreeSet<&'a Id>,
}

impl<'a> Upstream<'a> {
    fn add(&mut self, other: &Self) {
        self.failed = self.failed.or(other.failed);
        self.pending.extend(other.pending.iter().copied());
    }
}

/// A unit that runs will be restarted; one that is yet to be started reads the new state anyway.
fn add_restart(changes: &mut Vec<Change>, causes: &[&Id]) {
    if changes.iter().any(|change| change.what == "state" || change.what == "restart") {
        return;
    }
    let causes: Vec<String> = causes.iter().map(ToString::to_string).collect();
    changes.push(Change::new("restart", None, Some(format!("because of {}", causes.join(", ")))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fakes::{Fake, host};
    use crate::resource::Kind;

    async fn outcomes(graph: &Graph) -> Vec<(String, Outcome, String)> {
        let reports = plan(graph, &host()).await.unwrap();
        let detail = |report: &ResourceReport| {
            let changes = Diff(report.changes.clone()).summary();
            report.blocked_by.clone().or(report.error.clone()).unwrap_or(changes)
        };
        reports.iter().map(|report| (report.name.clone(), report.outcome, detail(report))).collect()
    }

    #[tokio::test]
    async fn what_cannot_be_seen_yet_is_pending_after_its_prerequisite() {
        let mut graph = Graph::default();
        let docker = graph.add(Fake::new("docker").differs(), &[]);
        let dir = graph.add(Fake::new("steady"), &[&docker]);
        graph.add(Fake::new("ui").unseen("no socket"), &[&dir]);
        graph.add(Fake::new("alone").unseen("no socket"), &[]);
        let expected = [
            ("alone".to_owned(), Outcome::Failed, "cannot read the socket /fake: no socket".to_owned()),
            ("docker".to_owned(), Outcome::Pending, "state old → new".to_owned()),
            ("steady".to_owned(), Outcome::Unchanged, String::new()),
            ("ui".to_owned(), Outcome::Pending, format!("{UNKNOWN_YET} → after file:docker")),
        ];
        assert_eq!(outcomes(&graph).await, expected);
    }

    #[tokio::test]
    async fn what_depends_on_a_failure_is_skipped_by_name() {
        let mut graph = Graph::default();
        let broken = graph.add(Fake::new("a").unseen("gone"), &[]);
        let next = graph.add(Fake::new("b").differs(), &[&broken]);
        graph.add(Fake::new("c"), &[&next]);
        let skipped = outcomes(&graph).await;
        assert_eq!(skipped[1], ("b".to_owned(), Outcome::Skipped, "file:a".to_owned()));
        assert_eq!(skipped[2], ("c".to_owned(), Outcome::Skipped, "file:a".to_owned()));
    }

    #[tokio::test]
    async fn a_restart_that_a_change_calls_for_is_planned() {
        let mut graph = Graph::default();
        let file = graph.add(Fake::new("daemon.json").differs(), &[]);
        let unit = graph.add(Fake::new("docker.service").kind(Kind::Unit), &[]);
        graph.restart_on(&unit, &[&file]);
        let unit = outcomes(&graph).await.remove(1);
        assert_eq!(
            unit,
            (
                "docker.service".to_owned(),
                Outcome::Pending,
                "restart → because of file:daemon.json".to_owned()
            )
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_a_failure_and_holds_up_no_other() {
        let mut graph = Graph::default();
        graph.add(Fake::new("hangs").takes(500).limit(7), &[]);
        graph.add(Fake::new("quick").differs(), &[]);
        let seen = outcomes(&graph).await;
        assert_eq!(
            seen[0],
            ("hangs".to_owned(), Outcome::Failed, "file:hangs took longer than 7 s".to_owned())
        );
        assert_eq!(seen[1].1, Outcome::Pending);
    }
}
