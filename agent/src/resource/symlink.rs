//! A symbolic link, switched atomically.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{Change, Diff, Id, Kind, Resource};
use crate::Result;
use crate::host::link::switch;
use crate::host::place::{Place, make_parents};
use crate::host::{Host, blocking};

/// A symbolic link. Parents are made as needed, 0755, owned by root.
pub struct Symlink {
    /// Absolute path of the link. A file in this place is replaced, a directory refused.
    pub path: String,
    /// What it points at, verbatim. It need not exist.
    pub target: String,
}

#[async_trait]
impl Resource for Symlink {
    type Current = Place;

    fn id(&self) -> Id {
        Id::new(Kind::Symlink, &self.path)
    }

    async fn observe(&self, host: &Host) -> Result<Place> {
        Place::look(&host.path(&self.path))
    }

    fn diff(&self, current: &Place) -> Diff {
        let mut diff = Diff::default();
        match current {
            Place::Link { target } => {
                diff.compare("target", Some(target.display().to_string()), self.target.clone());
            }
            Place::Absent => diff.compare("target", None, self.target.clone()),
            other => {
                let wanted = format!("a link to {}", self.target);
                diff.0.push(Change::new("type", Some(other.to_string()), Some(wanted)));
            }
        }
        diff
    }

    async fn apply(&self, host: &Host, _current: Place) -> Result<()> {
        let (path, target) = (host.path(&self.path), PathBuf::from(&self.target));
        blocking(move || {
            make_parents(&path)?;
            switch(&path, &target)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::test_host;

    #[tokio::test]
    async fn is_made_then_switched_then_left_alone() {
        let (_dir, host) = test_host();
        for (target, says) in [("projects/1", "target → projects/1"), ("p/2", "target projects/1 → p/2")]
        {
            let link = Symlink { path: "/var/current".into(), target: target.into() };
            let current = link.observe(&host).await.unwrap();
            assert_eq!(link.diff(&current).summary(), says);
            link.apply(&host, current).await.unwrap();
            link.verify(&host).await.unwrap();
        }
    }
}
