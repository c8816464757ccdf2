//! A directory with owner and mode.

use async_trait::async_trait;

use super::{Change, Diff, Id, Kind, Resource};
use crate::host::place::{Place, make_one, make_parents, mode_text, owner_text};
use crate::host::{Host, blocking};
use crate::{Error, Result};

/// A directory. Parents are made as needed, 0755, owned by root.
pub struct Directory {
    /// Absolute path on the host. Anything else in this place, a link included, is refused: it may
    /// hold what nobody can make again.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// User and group ids.
    pub owner: (u32, u32),
}

#[async_trait]
impl Resource for Directory {
    type Current = Place;

    fn id(&self) -> Id {
        Id::new(Kind::Directory, &self.path)
    }

    async fn observe(&self, host: &Host) -> Result<Place> {
        Place::look(&host.path(&self.path))
    }

    fn diff(&self, current: &Place) -> Diff {
        let mut diff = Diff::default();
        let wanted = format!("{} {}", mode_text(self.mode), owner_text(self.owner));
        match current {
            Place::Directory { mode, owner } => {
                diff.compare("mode", Some(mode_text(*mode)), mode_text(self.mode));
                diff.compare("owner", Some(owner_text(*owner)), owner_text(self.owner));
            }
            Place::Absent => diff.0.push(Change::new("directory", None, Some(wanted))),
            other => {
                diff.0.push(Change::new("type", Some(other.to_string()), Some("a directory".into())));
            }
        }
        diff
    }

    async fn apply(&self, host: &Host, current: Place) -> Result<()> {
        if !matches!(current, Place::Absent | Place::Directory { .. }) {
            return Err(Error::Refused {
                what: format!("make the directory {}", self.path),
                why: format!("{current} is in its place"),
                fix: "move that away".into(),
            });
        }
        let (path, mode, owner) = (host.path(&self.path), self.mode, self.owner);
        blocking(move || {
            make_parents(&path)?;
            make_one(&path, mode, Some(owner))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::{me, test_host};

    fn directory(mode: u32) -> Directory {
        Directory { path: "/var/lib/app/data".into(), mode, owner: me() }
    }

    #[tokio::test]
    async fn makes_it_and_repairs_its_mode() {
        let (_dir, host) = test_host();
        for (wanted, says) in [(0o700, "directory → 0700 "), (0o755, "mode 0700 → 0755")] {
            let resource = directory(wanted);
            let current = resource.observe(&host).await.unwrap();
            assert!(resource.diff(&current).summary().starts_with(says));
            resource.apply(&host, current).await.unwrap();
            resource.verify(&host).await.unwrap();
        }
    }

    #[tokio::test]
    async fn refuses_what_else_is_there() {
        let (_dir, host) = test_host();
        let resource = directory(0o755);
        make_parents(&host.path(&resource.path)).unwrap();
        std::fs::write(host.path(&resource.path), "precious").unwrap();
        let current = resource.observe(&host).await.unwrap();
        assert_eq!(resource.diff(&current).summary(), "type a file → a directory");
        let error = resource.apply(&host, current).await.unwrap_err();
        assert!(error.to_string().contains("a file is in its place"), "{error}");
        assert_eq!(std::fs::read(host.path(&resource.path)).unwrap(), b"precious");
    }
}
