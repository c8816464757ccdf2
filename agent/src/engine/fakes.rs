//! Resources and a host for tests of the engine.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::ledger::Ledger;
use crate::host::{Fingerprints, Host, Objects, Registries, RegistryLogin, Silent};
use crate::resource::{Change, Diff, Id, Kind, Resource};
use crate::{Error, Result};

/// The id of a fake of the default kind.
pub fn id(name: &str) -> Id {
    Id::new(Kind::File, name)
}

/// A host that has nothing, with a ledger that cannot be written.
pub fn host() -> Host {
    host_at(Path::new("/nonexistent"))
}

/// A host below a directory.
pub fn host_at(root: &Path) -> Host {
    Host {
        root: root.to_owned(),
        ledger: Arc::new(Ledger::new(root.join("ledger.json"))),
        fingerprints: Arc::new(Fingerprints::new([0; 64])),
        objects: Arc::new(Nothing),
        registries: Arc::new(Nothing),
        progress: Arc::new(Silent),
    }
}

struct Nothing;

#[async_trait]
impl Objects for Nothing {
    async fn download(&self, _bucket: &str, _key: &str, _to: &Path) -> Result<String> {
        Err(Error::Interrupted)
    }
}

#[async_trait]
impl Registries for Nothing {
    async fn login(&self, _registry: &str) -> Result<Option<RegistryLogin>> {
        Ok(None)
    }
}

/// What happened to fakes, in order, and how many were applied at once.
#[derive(Default)]
pub struct Trace {
    pub lines: Mutex<Vec<String>>,
    now: AtomicU32,
    pub most: AtomicU32,
}

impl Trace {
    pub fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

/// Counts itself among those at work until dropped.
struct AtWork(Arc<Trace>);

impl AtWork {
    fn new(trace: &Arc<Trace>) -> Self {
        let now = trace.now.fetch_add(1, Ordering::SeqCst) + 1;
        trace.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(trace))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How an apply of a fake fails.
#[derive(Clone, Copy)]
pub enum Failing {
    Transient,
    ForGood,
    Panic,
}

/// A resource that does as it is told.
pub struct Fake {
    kind: Kind,
    name: String,
    differs: AtomicBool,
    unseen: Option<String>,
    observe_seconds: u64,
    apply_seconds: u64,
    limit_seconds: u64,
    failures: AtomicU32,
    failing: Failing,
    retry_seconds: u64,
    tried: AtomicBool,
    sticks: bool,
    trace: Arc<Trace>,
}

impl Fake {
    /// One that is as it should be.
    pub fn new(name: &str) -> Self {
        Self {
            kind: Kind::File,
            name: name.to_owned(),
            differs: AtomicBool::new(false),
            unseen: None,
            observe_seconds: 0,
            apply_seconds: 0,
            limit_seconds: 120,
            failures: AtomicU32::new(0),
            failing: Failing::ForGood,
            retry_seconds: 0,
            tried: AtomicBool::new(false),
            sticks: true,
            trace: Arc::default(),
        }
    }

    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// It is to be changed.
    pub fn differs(self) -> Self {
        Self { differs: AtomicBool::new(true), ..self }
    }

    /// Observing it fails.
    pub fn unseen(self, why: &str) -> Self {
        Self { unseen: Some(why.to_owned()), ..self }
    }

    /// Observing takes so many seconds.
    pub fn takes(self, observe_seconds: u64) -> Self {
        Self { observe_seconds, ..self }
    }

    /// Applying takes so many seconds.
    pub fn works(self, apply_seconds: u64) -> Self {
        Self { apply_seconds, ..self.differs() }
    }

    pub fn limit(self, limit_seconds: u64) -> Self {
        Self { limit_seconds, ..self }
    }

    /// The first so many applies fail.
    pub fn fails(self, times: u32, failing: Failing) -> Self {
        Self { failures: AtomicU32::new(times), failing, ..self.differs() }
    }

    /// From the second time on, applying takes so many seconds more.
    pub fn slows(self, retry_seconds: u64) -> Self {
        Self { retry_seconds, ..self }
    }

    /// Apply returns well and changes nothing.
    pub fn lies(self) -> Self {
        Self { sticks: false, ..self.differs() }
    }

    pub fn traced(self, trace: &Arc<Trace>) -> Self {
        Self { trace: Arc::clone(trace), ..self }
    }
}

#[async_trait]
impl Resource for Fake {
    type Current = ();

    fn id(&self) -> Id {
        Id::new(self.kind, self.name.clone())
    }

    async fn observe(&self, _host: &Host) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(self.observe_seconds)).await;
        match &self.unseen {
            Some(why) => Err(Error::io("read the socket", "/fake", std::io::Error::other(why.clone()))),
            None => Ok(()),
        }
    }

    fn diff(&self, _current: &()) -> Diff {
        if self.differs.load(Ordering::SeqCst) {
            Diff(vec![Change::new("state", Some("old".to_owned()), Some("new".to_owned()))])
        } else {
            Diff::default()
        }
    }

    async fn apply(&self, _host: &Host, _current: ()) -> Result<()> {
        let _at_work = AtWork::new(&self.trace);
        self.trace.add(format!("apply {}", self.name));
        let more = if self.tried.swap(true, Ordering::SeqCst) { self.retry_seconds } else { 0 };
        tokio::time::sleep(Duration::from_secs(self.apply_seconds + more)).await;
        let left = self.failures.load(Ordering::SeqCst);
        if left > 0 {
            self.failures.store(left - 1, Ordering::SeqCst);
            return Err(match self.failing {
                Failing::Transient => Error::Database {
                    host: "db:5432".to_owned(),
                    database: self.name.clone(),
                    transient: true,
                    message: "not yet".to_owned(),
                },
                Failing::ForGood => Error::Refused {
                    what: self.name.clone(),
                    why: "it will never do".to_owned(),
                    fix: "give up".to_owned(),
                },
                Failing::Panic => panic!("a bug of {}", self.name),
            });
        }
        self.differs.store(!self.sticks, Ordering::SeqCst);
        self.trace.add(format!("done {}", self.name));
        Ok(())
    }

    fn time_limit(&self) -> Duration {
        Duration::from_secs(self.limit_seconds)
    }
}
