//! How many resources of a kind may be worked on at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::resource::Kind;

/// How many resources of a kind may be worked on at once. dnf and apt hold a lock of their own, two
/// plans of one SQLMesh state would fight, and two image pulls fill the network of a small instance.
#[must_use]
pub const fn at_once(kind: Kind) -> usize {
    match kind {
        Kind::Package | Kind::Promotion => 1,
        Kind::Image => 2,
        Kind::Container | Kind::Unit => 4,
        Kind::File
        | Kind::Directory
        | Kind::Symlink
        | Kind::Sysctl
        | Kind::Secrets
        | Kind::Bundle
        | Kind::Database => 8,
    }
}

/// The permits of one plan or run.
#[derive(Clone, Default)]
pub struct Limits(BTreeMap<Kind, Arc<Semaphore>>);

impl Limits {
    /// Permits for the kinds given.
    pub fn for_kinds(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self(kinds.into_iter().map(|kind| (kind, Arc::new(Semaphore::new(at_once(kind))))).collect())
    }

    /// Waits for a permit of the kind; held until dropped. `None` for a kind without limit.
    pub async fn permit(&self, kind: Kind) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(self.0.get(&kind)?).acquire_owned().await.ok()
    }
}
