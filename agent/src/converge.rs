//! One converge from its inputs to its report: the arrows of ARCHITECTURE.md in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::graph::Graph;
use crate::engine::ledger::Ledger;
use crate::engine::plan::{self, millis};
use crate::engine::retry::{self, Backoff};
use crate::engine::run::{self, Finished, RootCause, Watch};
use crate::exit::Exit;
use crate::host::{Host, Progress, STATE_DIR};
use crate::inputs::aws::Environment;
use crate::inputs::cache::ago;
use crate::inputs::os::OsFamily;
use crate::inputs::{self, Connection, Fetched, HostIdentity, Overrides, SignalTarget, Source};
use crate::report::ask::World;
use crate::report::signal::{KeptSignal, Signal, Verdict};
use crate::report::store::Store;
use crate::report::{Input, Outcome, Report, ResourceReport, Run, SCHEMA_VERSION, Service, health, journal};
use crate::roles::{self, Told};
use crate::settings::{self, Role, Settings};
use crate::{Error, Result, key, version};

/// How long delivering the signal may take: a run that is done must not hang on it.
const SIGNAL_LIMIT: Duration = Duration::from_secs(20);

/// What a converge or a plan is to be made of.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where inputs come from.
    pub source: Source,
    /// What wins over `/etc/ops-agent/host.toml`.
    pub overrides: Overrides,
}

/// Who hears of a converge while it goes on, and may end it.
#[derive(Clone)]
pub struct Company {
    /// Hears what happens to resources.
    pub watch: Arc<dyn Watch>,
    /// Hears what long steps are doing.
    pub progress: Arc<dyn Progress>,
    /// Asks for a stop.
    pub cancel: CancellationToken,
}

/// How a converge ended.
#[derive(Debug)]
pub struct Converged {
    /// What it did and found.
    pub report: Report,
    /// What to say to the caller of the process.
    pub exit: Exit,
    /// Where the signal to CloudFormation stands.
    pub signal: Signal,
}

/// Why there is no desired state, with the exit code that says so.
#[derive(Debug)]
pub struct Unready {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong.
    pub error: Error,
}

/// What is known by now of the host and its inputs; a report of a failure tells as much.
#[derive(Default)]
struct Known {
    role: String,
    target: Option<SignalTarget>,
    connection: Option<Connection>,
    inputs: Vec<Input>,
    instance: Option<String>,
}

/// Everything that a plan or a run needs.
struct Ready {
    host: Host,
    graph: Graph,
    services: Vec<Service>,
    notices: Vec<String>,
    held: Option<Held>,
}

/// The settings are invalid, and those that last were valid are held: a host that lost all at a reboot comes
/// back with them.
struct Held {
    /// What is wrong with the settings of now.
    error: Error,
    /// How long ago those that are held were seen.
    age: Duration,
}

/// Inputs to desired state. `act` says whether this is for a run: only that writes what must outlive the
/// process, and only that holds on to settings of before. Who looks is told what is wrong with those of now.
async fn prepare(
    order: &Order,
    environment: &Environment,
    progress: &Arc<dyn Progress>,
    known: &mut Known,
    act: bool,
) -> Result<Ready, Unready> {
    let root = &order.source.root;
    let settle = |error| Unready { exit: Exit::Settings, error };
    let fail = |error| Unready { exit: Exit::Failed, error };
    let unfetched = |error| match error {
        Error::Settings(_) => Unready { exit: Exit::Settings, error },
        _ => Unready { exit: Exit::Inputs, error },
    };
    let identity = inputs::identity(root, &order.overrides).map_err(settle)?;
    known.role.clone_from(&identity.role);
    known.target.clone_from(&identity.signal);
    let role: Role = identity.role.parse().map_err(settle)?;
    let fingerprints = Arc::new(key::fingerprints(root, act).map_err(fail)?);
    let os = OsFamily::read(root).map_err(fail)?;

    progress.step("inputs", "fetching");
    let connection = inputs::connect_in(&order.source, &identity, environment).await.map_err(unfetched)?;
    let connection = known.connection.insert(connection);
    let mut fetched = inputs::fetch(connection, &identity).await.map_err(unfetched)?;
    known.inputs.clone_from(&fetched.report);
    known.instance.clone_from(&fetched.instance_id);
    let (settings, held) = resolve(role, &mut fetched, connection, &identity, act).map_err(settle)?;
    let secrets = fetched.complete(connection, &settings).await;
    known.inputs.clone_from(&fetched.report);
    let secrets = secrets.map_err(unfetched)?;

    let told = Told {
        identity: &identity,
        inputs: &fetched.inputs,
        secrets: &secrets,
        os,
        fingerprints: &fingerprints,
    };
    let desired = roles::desired(&settings, &told).map_err(|error| match error {
        Error::Settings(_) => settle(error),
        _ => fail(error),
    })?;
    if act && held.is_none() {
        fetched.keep_valid(connection, &identity);
    }
    let mut notices = desired.notices;
    if let Some(Held { age, .. }) = &held {
        notices.insert(0, format!("holding the settings that last were valid (seen {})", ago(*age)));
    }
    let host = Host {
        root: root.clone(),
        ledger: Arc::new(Ledger::new(root.join(STATE_DIR).join("ledger.json"))),
        fingerprints,
        objects: Arc::clone(&connection.objects),
        registries: Arc::clone(&connection.registries),
        progress: Arc::clone(progress),
    };
    Ok(Ready { host, graph: desired.graph, services: desired.services, notices, held })
}

/// The settings; where they are invalid and this is for a run, those that last were valid. What is held may be
/// invalid too, for a newer agent or without a `SecureString`: then there is nothing to hold on to.
fn resolve(
    role: Role,
    fetched: &mut Fetched,
    connection: &Connection,
    identity: &HostIdentity,
    act: bool,
) -> Result<(Settings, Option<Held>)> {
    let error = match settings::resolve(role, &fetched.inputs) {
        Ok((settings, _)) => return Ok((settings, None)),
        Err(error) => error,
    };
    if !act || !matches!(error, Error::Settings(_)) {
        return Err(error);
    }
    let Some(age) = fetched.hold(connection, identity) else { return Err(error) };
    match settings::resolve(role, &fetched.inputs) {
        Ok((settings, _)) => Ok((settings, Some(Held { error, age }))),
        Err(_) => Err(error),
    }
}

/// What a converge would do now; touches nothing.
///
/// # Errors
/// [`Unready`] when there is no desired state.
pub async fn plan(order: &Order, progress: Arc<dyn Progress>) -> Result<Vec<ResourceReport>, Unready> {
    let ready = prepare(order, &Environment::of_process(), &progress, &mut Known::default(), false).await?;
    plan::plan(&ready.graph, &ready.host).await.map_err(|error| Unready { exit: Exit::Failed, error })
}

/// Converges, and leaves a report whatever happens. The caller holds the lock.
pub async fn converge(order: &Order, reason: &str, company: &Company) -> Converged {
    let (began, start) = (Timestamp::now(), Instant::now());
    let id = run_id(began);
    let store = Store::new(&order.source.root);
    let mut known = Known::default();
    let environment = Environment::of_process();
    let prepared = tokio::select! {
        biased;
        () = company.cancel.cancelled() => Err(Unready { exit: Exit::Interrupted, error: Error::Interrupted }),
        ready = prepare(order, &environment, &company.progress, &mut known, true) => ready,
    };
    let ended = match prepared {
        Ok(ready) => go(ready, &id, company).await,
        Err(unready) => Ended::without_run(unready, &store),
    };
    let now = Timestamp::now();
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        agent_version: version::VERSION.to_owned(),
        role: known.role,
        instance_id: known.instance,
        run: Run {
            id,
            reason: reason.to_owned(),
            started: began.to_string(),
            ended: now.to_string(),
            duration_ms: millis(start.elapsed()),
            outcome: ended.outcome,
        },
        inputs: known.inputs,
        resources: ended.resources,
        root_cause: ended.root.as_ref().map(|root| root.line.clone()),
        services: ended.services,
        owed_restarts: ended.owed,
        notices: ended.notices,
    };
    let mut exit = ended.exit;
    if let Err(error) = store.write_report(&report) {
        tracing::error!("{error}");
        report.root_cause.get_or_insert(error.to_string());
        if exit == Exit::Ok {
            exit = Exit::Failed;
            report.run.outcome = Outcome::Failed;
        }
    }
    journal::run(&report);
    tokio::select! {
        biased;
        () = company.cancel.cancelled() => {}
        () = look(&store, &order.source.root, &report) => {}
    }
    // Without an identity there is no knowing whether a stack waits; what was kept stays as it is.
    if exit == Exit::Interrupted || report.role.is_empty() {
        let signal = kept(&store).map_or(Signal::NotConfigured, |kept| kept.signal);
        return Converged { report, exit, signal };
    }
    let verdict = match (&ended.root, exit) {
        (None, Exit::Ok) => Verdict::Verified,
        (root, _) => Verdict::Failed {
            reason: report.root_cause.clone().unwrap_or_default(),
            needs_a_person: root.as_ref().is_some_and(|root| root.needs_a_person),
        },
    };
    let instance = report.instance_id.clone().unwrap_or_default();
    let kept = decide(&store, known.target.as_ref(), &instance, verdict, began);
    let (target, connection) = (known.target.as_ref(), known.connection.as_ref());
    let signal = tell(&store, kept, target, connection, &company.cancel).await;
    Converged { report, exit, signal }
}

/// What there is to report of a run, or of a failure before it.
struct Ended {
    outcome: Outcome,
    exit: Exit,
    root: Option<RootCause>,
    resources: Vec<ResourceReport>,
    services: Vec<Service>,
    owed: Vec<String>,
    notices: Vec<String>,
}

impl Ended {
    /// The services of the last report are still there, and so are the restarts that it owed.
    fn without_run(unready: Unready, store: &Store) -> Self {
        let before = store.report().ok().flatten();
        let (services, owed) =
            before.map_or_else(Default::default, |report| (report.services, report.owed_restarts));
        let Unready { exit, error } = unready;
        let interrupted = exit == Exit::Interrupted;
        let line = error.to_string();
        Self {
            outcome: if interrupted { Outcome::Interrupted } else { Outcome::Failed },
            exit,
            root: (!interrupted).then(|| RootCause { line, needs_a_person: error.needs_a_person() }),
            resources: Vec::new(),
            services,
            owed,
            notices: Vec::new(),
        }
    }

    /// However well the run went: it was not the one that was asked for.
    fn on_held_settings(self, held: &Held) -> Self {
        if self.outcome == Outcome::Interrupted {
            return self;
        }
        let root = RootCause { line: held.error.to_string(), needs_a_person: held.error.needs_a_person() };
        Self { outcome: Outcome::Failed, exit: Exit::Settings, root: Some(root), ..self }
    }
}

/// Runs the graph.
async fn go(ready: Ready, id: &str, company: &Company) -> Ended {
    let options = run::Options {
        backoff: Backoff::RESOURCE,
        random: retry::random,
        watch: Arc::new(Both(Arc::new(journal::Journal { run: id.to_owned() }), Arc::clone(&company.watch))),
        cancel: company.cancel.clone(),
    };
    let Ready { host, graph, services, notices, held } = ready;
    let finished = run::run(&graph, &host, &options).await.unwrap_or_else(|error| Finished {
        resources: Vec::new(),
        root: Some(RootCause { line: error.to_string(), needs_a_person: true }),
        interrupted: false,
    });
    let Finished { resources, mut root, interrupted } = finished;
    let owed = host.ledger.all().await.unwrap_or_else(|error| {
        root.get_or_insert(RootCause { line: error.to_string(), needs_a_person: true });
        Default::default()
    });
    let changed = resources.iter().any(|resource| resource.outcome == Outcome::Changed);
    let (outcome, exit) = match (&root, interrupted, changed) {
        (_, true, _) => (Outcome::Interrupted, Exit::Interrupted),
        (Some(_), ..) => (Outcome::Failed, Exit::Failed),
        (None, false, true) => (Outcome::Changed, Exit::Ok),
        (None, false, false) => (Outcome::Unchanged, Exit::Ok),
    };
    let owed = owed.into_keys().collect();
    let ended = Ended { outcome, exit, root, resources, services, owed, notices };
    match &held {
        Some(held) => ended.on_held_settings(held),
        None => ended,
    }
}

/// Two that hear the same.
struct Both(Arc<dyn Watch>, Arc<dyn Watch>);

impl Watch for Both {
    fn event(&self, event: &run::Event<'_>) {
        self.0.event(event);
        self.1.event(event);
    }
}

fn kept(store: &Store) -> Option<KeptSignal> {
    store.signal().unwrap_or_else(|error| {
        tracing::warn!("{error}");
        None
    })
}

/// Decides what CloudFormation is to be told, and keeps it.
fn decide(
    store: &Store,
    target: Option<&SignalTarget>,
    instance: &str,
    verdict: Verdict,
    began: Timestamp,
) -> KeptSignal {
    let before = kept(store);
    let mut signal = KeptSignal::resume(before.clone(), target, instance, began);
    signal.signal = signal.signal.after_run(verdict, began, Timestamp::now());
    keep(store, before.as_ref(), &signal);
    signal
}

/// Delivers what was kept, and keeps how that went. What goes wrong is told and never fails the run; what
/// was cut off by a signal to stop, the next run delivers.
async fn tell(
    store: &Store,
    mut signal: KeptSignal,
    target: Option<&SignalTarget>,
    connection: Option<&Connection>,
    cancel: &CancellationToken,
) -> Signal {
    if let Some(connection) = connection {
        let delivering = signal.clone().deliver(target, &connection.cloudformation, Timestamp::now());
        let delivered = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            delivered = tokio::time::timeout(SIGNAL_LIMIT, delivering) => delivered.ok(),
        };
        if let Some(delivered) = delivered {
            keep(store, Some(&signal), &delivered);
            signal = delivered;
        }
    }
    if let Signal::Pending { error: Some(why), .. } = &signal.signal {
        tracing::warn!("CloudFormation could not be signalled, the next run tries again: {why}");
    }
    signal.signal
}

fn keep(store: &Store, before: Option<&KeptSignal>, signal: &KeptSignal) {
    if before != Some(signal)
        && let Err(error) = store.write_signal(signal)
    {
        tracing::error!("{error}");
    }
}

/// Looks whether the services are well, for those who may not look themselves.
async fn look(store: &Store, root: &Path, report: &Report) {
    let found = health::probe(&report.services, &World::new(root), Timestamp::now()).await;
    if let Err(error) = store.write_health(&found) {
        tracing::warn!("{error}");
    }
}

/// Names a run: sorts by time, and differs between two of one second.
fn run_id(began: Timestamp) -> String {
    let random = getrandom::u32().unwrap_or_else(|_| std::process::id()) & 0xffff;
    format!("{}-{random:04x}", began.strftime("%Y%m%dT%H%M%S"))
}

#[cfg(test)]
#[path = "converge_tests.rs"]
mod tests;
