//! Makes a graph of resources so: each one as soon as what it needs is done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::graph::{Graph, Node};
use super::limits::Limits;
use super::plan::millis;
use super::retry::Backoff;
use crate::host::Host;
use crate::report::{Outcome, ResourceReport};
use crate::resource::{Change, Id, Shared};
use crate::{Error, Result};

/// How long the futures that a signal dropped have to be gone. The report must be written within a
/// second of the signal, and a future that blocks its thread is not waited for.
const DROP_GRACE: Duration = Duration::from_millis(500);

/// Hears what a run does, as it does it.
pub trait Watch: Send + Sync {
    /// Something happened. Called from many tasks; must not block.
    fn event(&self, event: &Event<'_>);
}

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// Work on a resource began.
    Started(&'a Id),
    /// It is not as it should be, and is about to be changed.
    Differs(&'a Id, &'a [Change]),
    /// It failed, and is tried again after a wait.
    Retry(&'a Id, &'a Error, Duration),
    /// It is done with, well or not.
    Ended(&'a ResourceReport),
}

/// What a run is made with.
#[derive(Clone)]
pub struct Options {
    /// When to try again.
    pub backoff: Backoff,
    /// Random numbers in 0..1.
    pub random: fn() -> f64,
    /// Hears what happens.
    pub watch: Arc<dyn Watch>,
    /// Asks the run to stop: nothing new is begun, and what runs is dropped.
    pub cancel: CancellationToken,
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// Every resource, in the order of the graph.
    pub resources: Vec<ResourceReport>,
    /// The first failure.
    pub root: Option<RootCause>,
    /// Whether it was asked to stop before it was done.
    pub interrupted: bool,
}

/// The first failure of a run; by definition not the consequence of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCause {
    /// One line: the resource and what is wrong with it.
    pub line: String,
    /// See [`Error::needs_a_person`].
    pub needs_a_person: bool,
}

/// Runs the graph.
///
/// # Errors
/// When the graph is not one ([`Graph::validate`]). What fails in the run is in its result.
pub async fn run(graph: &Graph, host: &Host, options: &Options) -> Result<Finished> {
    let order = graph.validate()?;
    let mut run = Running {
        graph,
        host,
        options,
        begun: Instant::now(),
        limits: Limits::for_kinds(graph.nodes().keys().map(|id| id.kind)),
        waits: graph.nodes().iter().map(|(id, node)| (id, node.after.len())).collect(),
        dependents: graph.dependents(),
        tasks: JoinSet::new(),
        flights: HashMap::new(),
        done: BTreeMap::new(),
        roots: BTreeMap::new(),
        first: None,
    };
    let interrupted = run.go().await;
    if interrupted {
        run.interrupt().await;
    }
    let mut done = run.done;
    let resources =
        order.iter().map(|id| done.remove(id).unwrap_or_else(|| interrupted_report(id))).collect();
    Ok(Finished { resources, root: run.first, interrupted })
}

/// A run that is going on.
struct Running<'a> {
    graph: &'a Graph,
    host: &'a Host,
    options: &'a Options,
    begun: Instant,
    limits: Limits,
    /// For each resource, how many that it needs are not done.
    waits: BTreeMap<&'a Id, usize>,
    dependents: BTreeMap<&'a Id, Vec<&'a Id>>,
    tasks: JoinSet<Result<Outcome>>,
    /// What is being worked on, by task.
    flights: HashMap<tokio::task::Id, (&'a Id, Arc<Flight>)>,
    done: BTreeMap<Id, ResourceReport>,
    /// For what failed or was skipped: the failure at the root of it.
    roots: BTreeMap<&'a Id, &'a Id>,
    first: Option<RootCause>,
}

impl<'a> Running<'a> {
    /// Until all is done (`false`) or a signal came (`true`).
    async fn go(&mut self) -> bool {
        let ready: Vec<&'a Id> =
            self.waits.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        for id in ready {
            self.begin(id);
        }
        loop {
            let ended = tokio::select! {
                biased;
                () = self.options.cancel.cancelled() => return true,
                ended = self.tasks.join_next_with_id() => ended,
            };
            let (task, result) = match ended {
                None => return false,
                Some(Ok((task, result))) => (task, result),
                Some(Err(error)) => (error.id(), Err(panicked(&error))),
            };
            if let Some((id, flight)) = self.flights.remove(&task) {
                self.ended(id, &flight, result);
            }
        }
    }

    fn begin(&mut self, id: &'a Id) {
        let Some(node) = self.graph.nodes().get(id) else { return };
        let flight = Arc::new(Flight::new(self.begun));
        let work = Work {
            id: id.clone(),
            resource: node.resource.clone(),
            restarts: node.restarts.clone(),
            host: self.host.clone(),
            options: self.options.clone(),
            flight: Arc::clone(&flight),
        };
        let limits = self.limits.clone();
        let task = self.tasks.spawn(async move {
            let _permit = limits.permit(work.id.kind).await;
            work.within_limit().await
        });
        self.flights.insert(task.id(), (id, flight));
    }

    fn ended(&mut self, id: &'a Id, flight: &Flight, result: Result<Outcome>) {
        let mut report = flight.report(id, Outcome::Failed);
        match result {
            Ok(outcome) => report.outcome = outcome,
            Err(error) => {
                let line = flight.explain(&error);
                if self.first.is_none() {
                    self.first = Some(RootCause {
                        line: format!("{id}: {line}"),
                        needs_a_person: error.needs_a_person(),
                    });
                }
                self.roots.insert(id, id);
                report.error = Some(line);
            }
        }
        self.settle(id, report);
    }

    /// Files a report, and begins or skips what has waited for nothing else.
    fn settle(&mut self, id: &'a Id, report: ResourceReport) {
        let mut settled = vec![(id, report)];
        while let Some((id, report)) = settled.pop() {
            self.options.watch.event(&Event::Ended(&report));
            self.done.insert(id.clone(), report);
            for dependent in self.dependents.get(id).cloned().unwrap_or_default() {
                let Some(count) = self.waits.get_mut(dependent) else { continue };
                *count = count.saturating_sub(1);
                if *count > 0 {
                    continue;
                }
                let needs = self.graph.nodes().get(dependent).map(|Node { after, .. }| after);
                let root = needs.into_iter().flatten().find_map(|need| self.roots.get(need).copied());
                if let Some(root) = root {
                    self.roots.insert(dependent, root);
                    let mut report = ResourceReport::of(dependent, Outcome::Skipped);
                    report.start_ms = millis(self.begun.elapsed());
                    report.blocked_by = Some(root.to_string());
                    settled.push((dependent, report));
                } else {
                    self.begin(dependent);
                }
            }
        }
    }

    /// Drops what runs, and reports it as interrupted with what it was about to change.
    async fn interrupt(&mut self) {
        let _ = tokio::time::timeout(DROP_GRACE, self.tasks.shutdown()).await;
        for (id, flight) in self.flights.values() {
            let report = flight.report(id, Outcome::Interrupted);
            self.options.watch.event(&Event::Ended(&report));
            self.done.insert((*id).clone(), report);
        }
    }
}

fn interrupted_report(id: &Id) -> ResourceReport {
    ResourceReport::of(id, Outcome::Interrupted)
}

fn panicked(error: &tokio::task::JoinError) -> Error {
    Error::Refused {
        what: "this resource".to_owned(),
        why: format!("the agent's own code failed ({error})"),
        fix: "report this as a bug of ops-agent".to_owned(),
    }
}

/// What is known of a resource while it is worked on; outlives the work when that is dropped.
struct Flight {
    begun: Instant,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    start: Option<Instant>,
    changes: Vec<Change>,
    last_error: Option<String>,
}

impl Flight {
    fn new(begun: Instant) -> Self {
        Self { begun, known: Mutex::default() }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn report(&self, id: &Id, outcome: Outcome) -> ResourceReport {
        self.with(|known| {
            let start = known.start.unwrap_or_else(Instant::now);
            ResourceReport {
                changes: known.changes.clone(),
                start_ms: millis(start - self.begun),
                duration_ms: millis(start.elapsed()),
                ..ResourceReport::of(id, outcome)
            }
        })
    }

    /// The error in one line. That time ran out says little: what went wrong before says more.
    fn explain(&self, error: &Error) -> String {
        match (error, self.with(|known| known.last_error.clone())) {
            (Error::Timeout { .. }, Some(last)) => format!("{error}; before that: {last}"),
            _ => error.to_string(),
        }
    }
}

/// The work on one resource.
struct Work {
    id: Id,
    resource: Shared,
    restarts: BTreeSet<Id>,
    host: Host,
    options: Options,
    flight: Arc<Flight>,
}

impl Work {
    async fn within_limit(&self) -> Result<Outcome> {
        self.flight.with(|known| known.start = Some(Instant::now()));
        self.options.watch.event(&Event::Started(&self.id));
        let limit = self.resource.time_limit();
        match tokio::time::timeout(limit, self.attempts(limit)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { subject: self.id.to_string(), limit }),
        }
    }

    /// Tries as often as the backoff allows and the time limit has room for: an attempt that the limit
    /// would cut off in its middle is better not begun.
    async fn attempts(&self, limit: Duration) -> Result<Outcome> {
        let end = Instant::now() + limit;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let began = Instant::now();
            let error = match self.once().await {
                Err(error) if error.is_transient() => error,
                ended => return ended,
            };
            let Some(wait) = self.options.backoff.after(attempt, (self.options.random)()) else {
                return Err(error);
            };
            if Instant::now() + wait + began.elapsed() > end {
                return Err(error);
            }
            self.flight.with(|known| known.last_error = Some(error.to_string()));
            self.options.watch.event(&Event::Retry(&self.id, &error, wait));
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self) -> Result<Outcome> {
        let observed = self.resource.observe(&self.host).await?;
        if observed.diff.is_empty() {
            if self.flight.with(|known| known.changes.is_empty()) {
                return Ok(Outcome::Unchanged);
            }
            // An earlier attempt changed it and was not seen to succeed.
            self.resource.verify(&self.host).await?;
            return Ok(Outcome::Changed);
        }
        self.flight.with(|known| {
            if known.changes.is_empty() {
                known.changes.clone_from(&observed.diff.0);
            }
        });
        self.options.watch.event(&Event::Differs(&self.id, &observed.diff.0));
        // Before the change: a crash right after it must not lose the restart.
        for unit in &self.restarts {
            self.host.ledger.owe(&unit.name, &format!("{} changed", self.id)).await?;
        }
        self.resource.apply(&self.host, observed).await?;
        self.resource.verify(&self.host).await?;
        Ok(Outcome::Changed)
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
