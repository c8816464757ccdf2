//! A resource is one thing of the host that can be observed, compared, applied and verified.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::{Error, Result};

pub mod bundle;
pub mod container;
pub mod database;
pub mod directory;
pub(crate) mod docker;
pub mod file;
pub mod image;
pub mod package;
pub mod promotion;
pub mod secret_files;
pub mod symlink;
pub mod sysctl;
pub mod unit;

/// The kinds of resource. Limits on concurrency and time-outs are by kind.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Files with content, owner and mode, staged together.
    File,
    /// A directory with owner and mode.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A kernel setting, persisted and applied.
    Sysctl,
    /// A package of the distribution.
    Package,
    /// A systemd unit.
    Unit,
    /// Secret files on tmpfs for one consumer.
    Secrets,
    /// An archive from S3, unpacked to a versioned directory.
    Bundle,
    /// A container image, by digest.
    Image,
    /// A running container.
    Container,
    /// PostgreSQL: reachable, and the state database is ours.
    Database,
    /// A project version applied to the prod environment by `sqlmesh plan`.
    Promotion,
}

impl Kind {
    /// The word used in ids, reports and journal fields.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Sysctl => "sysctl",
            Self::Package => "package",
            Self::Unit => "unit",
            Self::Secrets => "secrets",
            Self::Bundle => "bundle",
            Self::Image => "image",
            Self::Container => "container",
            Self::Database => "database",
            Self::Promotion => "promotion",
        }
    }
}

/// Names a resource: its kind and a name unique within it. Shown as `file:/etc/docker/daemon.json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Kind of the resource.
    pub kind: Kind,
    /// Name within the kind.
    pub name: String,
}

impl Id {
    /// An id from its two parts.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

/// One difference between the host and what it should be. Never holds a secret: a secret is shown
/// by its keyed fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Change {
    /// What differs: `content`, `mode`, `image`, `active`, …
    pub what: String,
    /// What is there now; `None` when there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What should be there; `None` when nothing should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// A unified diff, for text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified: Option<String>,
}

impl Change {
    /// A change of one named value.
    pub fn new(what: impl Into<String>, from: Option<String>, to: Option<String>) -> Self {
        Self { what: what.into(), from, to, unified: None }
    }
}

/// All differences of one resource; empty when it is as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff(pub Vec<Change>);

impl Diff {
    /// Whether the resource is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a change when the two values differ.
    pub fn compare<T: PartialEq + fmt::Display>(&mut self, what: &str, from: Option<T>, to: T) {
        if from.as_ref() != Some(&to) {
            self.0.push(Change::new(what, from.map(|v| v.to_string()), Some(to.to_string())));
        }
    }

    /// One line: `mode 0644 → 0600, content`.
    #[must_use]
    pub fn summary(&self) -> String {
        let words = self.0.iter().map(|change| match (&change.unified, &change.from, &change.to) {
            (Some(_), _, _) | (None, None, None) => change.what.clone(),
            (None, None, Some(to)) => format!("{} → {to}", change.what),
            (None, Some(from), None) => format!("{} {from} → none", change.what),
            (None, Some(from), Some(to)) => format!("{} {from} → {to}", change.what),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// One thing of the host. `observe` reads the world, `diff` is pure, `apply` takes what was observed,
/// `verify` reads the world again: that an apply returned is never success.
#[async_trait]
pub trait Resource: Send + Sync + 'static {
    /// What `observe` finds.
    type Current: Send + Sync;

    /// The resource's name.
    fn id(&self) -> Id;

    /// Reads the world. A thing that does not exist is not an error.
    async fn observe(&self, host: &Host) -> Result<Self::Current>;

    /// Compares what is with what should be.
    fn diff(&self, current: &Self::Current) -> Diff;

    /// Makes it so. Called only when there is a difference. Its future may be dropped at any await
    /// (SIGTERM): what it leaves then, the next run must be able to finish.
    async fn apply(&self, host: &Host, current: Self::Current) -> Result<()>;

    /// Reads the world again and compares.
    async fn verify(&self, host: &Host) -> Result<()> {
        let rest = self.diff(&self.observe(host).await?);
        if rest.is_empty() {
            return Ok(());
        }
        Err(Error::NotConverged { subject: self.id().to_string(), differences: rest.summary() })
    }

    /// How long observe, apply and verify together may take.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(120)
    }
}

/// What the planner learned of one resource: its differences, and what `apply` needs.
pub struct Observed {
    /// The differences; empty when there is nothing to do.
    pub diff: Diff,
    current: Box<dyn std::any::Any + Send + Sync>,
}

/// [`Resource`] with its `Current` erased, so that a graph can hold all kinds.
#[async_trait]
pub trait AnyResource: Send + Sync {
    /// See [`Resource::id`].
    fn id(&self) -> Id;
    /// See [`Resource::time_limit`].
    fn time_limit(&self) -> Duration;
    /// Observe and diff.
    async fn observe(&self, host: &Host) -> Result<Observed>;
    /// Apply what [`AnyResource::observe`] of the same resource returned.
    async fn apply(&self, host: &Host, observed: Observed) -> Result<()>;
    /// See [`Resource::verify`].
    async fn verify(&self, host: &Host) -> Result<()>;
}

#[async_trait]
impl<R: Resource> AnyResource for R {
    fn id(&self) -> Id {
        Resource::id(self)
    }

    fn time_limit(&self) -> Duration {
        Resource::time_limit(self)
    }

    async fn observe(&self, host: &Host) -> Result<Observed> {
        let current = Resource::observe(self, host).await?;
        Ok(Observed { diff: self.diff(&current), current: Box::new(current) })
    }

    async fn apply(&self, host: &Host, observed: Observed) -> Result<()> {
        match observed.current.downcast::<R::Current>() {
            Ok(current) => Resource::apply(self, host, *current).await,
            Err(_) => Err(Error::Refused {
                what: format!("apply of {}", Resource::id(self)),
                why: "it was given what another resource observed".into(),
                fix: "report this as a bug of ops-agent".into(),
            }),
        }
    }

    async fn verify(&self, host: &Host) -> Result<()> {
        Resource::verify(self, host).await
    }
}

/// A shared, erased resource.
pub type Shared = Arc<dyn AnyResource>;
