//! A package of the distribution, by dnf or apt.

use std::time::Duration;

use async_trait::async_trait;

use self::apt::Apt;
use self::dnf::Dnf;
use super::{Change, Diff, Id, Kind, Resource};
use crate::host::Host;
use crate::{Error, Result};

pub mod apt;
pub mod dnf;

/// How long a question to the database of installed packages may take.
const QUERY_LIMIT: Duration = Duration::from_secs(60);
/// How long an installation may take, downloads and waiting for locks included.
const INSTALL_LIMIT: Duration = Duration::from_secs(780);
/// How long to wait for another installation: unattended upgrades take minutes.
const LOCK_WAIT: Duration = Duration::from_secs(600);
/// Pause between two attempts where the program does not wait for a lock by itself.
const LOCK_PAUSE: Duration = Duration::from_secs(2);
/// How many of the versions that exist an error names.
const NAMED_VERSIONS: usize = 8;

/// A package that must be installed.
pub struct Package {
    /// Name in the distribution.
    pub name: String,
    /// Exact version to hold, as the distribution writes it; an rpm's epoch may be left out. Any
    /// installed version will do when `None`.
    pub version: Option<String>,
}

/// What the distribution's database says of one package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// The version; `None` when it is not there.
    pub version: Option<String>,
    /// In words, when an interrupted installation left it in between.
    pub unfinished: Option<String>,
}

/// How a distribution installs packages.
#[async_trait]
pub trait Installer: Send + Sync {
    /// Asks the database of installed packages; no network.
    async fn installed(&self, name: &str) -> Result<Installed>;

    /// Installs, upgrades or downgrades to a version, or installs the newest one. Waits for other
    /// installations, and finishes interrupted ones first. Never removes another package.
    async fn install(&self, name: &str, version: Option<&str>) -> Result<()>;

    /// Whether an installed version is the wanted one.
    fn same_version(&self, installed: &str, wanted: &str) -> bool {
        installed == wanted
    }
}

/// What is there, and whether it is what should be.
pub struct Found {
    installed: Installed,
    right: bool,
}

impl Package {
    /// Asks a given installer.
    ///
    /// # Errors
    /// Those of the programs asked.
    pub async fn observe_with(&self, installer: &dyn Installer) -> Result<Found> {
        let installed = installer.installed(&self.name).await?;
        let right = match (&installed.version, &self.version) {
            _ if installed.unfinished.is_some() => false,
            (None, _) => false,
            (Some(_), None) => true,
            (Some(installed), Some(wanted)) => installer.same_version(installed, wanted),
        };
        Ok(Found { installed, right })
    }

    /// Installs by a given installer.
    ///
    /// # Errors
    /// [`Error::Refused`] with the versions that exist, where the wanted one does not; those of the
    /// programs run.
    pub async fn apply_with(&self, installer: &dyn Installer) -> Result<()> {
        installer.install(&self.name, self.version.as_deref()).await
    }
}

/// The installer of a host: apt where there is apt-get, else dnf.
fn installer_of(host: &Host) -> Result<Box<dyn Installer>> {
    if host.path(apt::APT_GET).exists() {
        Ok(Box::new(Apt::new(&host.root)))
    } else if host.path(dnf::DNF).exists() {
        Ok(Box::new(Dnf::new(&host.root)))
    } else {
        Err(Error::Refused {
            what: "packages".into(),
            why: format!("the host has neither {} nor {}", apt::APT_GET, dnf::DNF),
            fix: "use Amazon Linux 2023 or Debian".into(),
        })
    }
}

/// The error for a version that no repository has.
fn unavailable(name: &str, version: Option<&str>, mut known: Vec<String>) -> Error {
    known.dedup();
    let more = if known.len() > NAMED_VERSIONS { ", …" } else { "" };
    known.truncate(NAMED_VERSIONS);
    let (why, fix) = if known.is_empty() {
        ("no repository of this host has it".to_owned(), "correct its name, or add the repository")
    } else {
        (
            format!("no repository has that version; there are {}{more}", known.join(", ")),
            "correct the version in the settings",
        )
    };
    let what = version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"));
    Error::Refused { what: format!("package {what}"), why, fix: fix.into() }
}

#[async_trait]
impl Resource for Package {
    type Current = Found;

    fn id(&self) -> Id {
        Id::new(Kind::Package, &self.name)
    }

    async fn observe(&self, host: &Host) -> Result<Found> {
        self.observe_with(installer_of(host)?.as_ref()).await
    }

    fn diff(&self, current: &Found) -> Diff {
        let mut diff = Diff::default();
        if let Some(state) = &current.installed.unfinished {
            diff.0.push(Change::new("state", Some(state.clone()), Some("installed".into())));
        } else if !current.right {
            let wanted = self.version.clone().unwrap_or_else(|| "newest".into());
            diff.0.push(Change::new("version", current.installed.version.clone(), Some(wanted)));
        }
        diff
    }

    async fn apply(&self, host: &Host, _current: Found) -> Result<()> {
        host.progress.step(&Resource::id(self).to_string(), "installing");
        self.apply_with(installer_of(host)?.as_ref()).await
    }

    fn time_limit(&self) -> Duration {
        Duration::from_secs(900)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::test_host;

    #[test]
    fn names_the_versions_that_exist() {
        let known = (1..=20).map(|n| format!("1.{n}")).collect();
        assert_eq!(
            unavailable("docker", Some("9"), known).to_string(),
            "package docker 9: no repository has that version; there are 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, \
             1.8, …; correct the version in the settings"
        );
        assert_eq!(
            unavailable("dokcer", None, Vec::new()).to_string(),
            "package dokcer: no repository of this host has it; correct its name, or add the repository"
        );
    }

    #[tokio::test]
    async fn a_host_without_either_says_so() {
        let (_dir, host) = test_host();
        let package = Package { name: "docker".into(), version: None };
        let error = package.observe(&host).await.err().unwrap().to_string();
        assert!(error.contains("neither /usr/bin/apt-get nor /usr/bin/dnf"), "{error}");
    }

    #[test]
    fn a_difference_is_a_version_or_an_unfinished_installation() {
        let package = Package { name: "x".into(), version: Some("2-1".into()) };
        let summary = |version: Option<&str>, unfinished: Option<&str>, right| {
            let installed =
                Installed { version: version.map(Into::into), unfinished: unfinished.map(Into::into) };
            package.diff(&Found { installed, right }).summary()
        };
        assert_eq!(summary(None, None, false), "version → 2-1");
        assert_eq!(summary(Some("1-1"), None, false), "version 1-1 → 2-1");
        assert_eq!(summary(Some("2-1"), None, true), "");
        assert_eq!(summary(Some("2-1"), Some("half-configured"), false), "state half-configured → installed");
    }
}
