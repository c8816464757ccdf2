//! Packages by dnf and rpm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{INSTALL_LIMIT, Installed, Installer, LOCK_PAUSE, LOCK_WAIT, QUERY_LIMIT, unavailable};
use crate::host::command::{self, Output};
use crate::{Error, Result};

/// The program by which a host is known to use dnf.
pub const DNF: &str = "/usr/bin/dnf";
const RPM: &str = "/usr/bin/rpm";

/// Messages in the language that this file reads.
const ENVIRONMENT: [(&str, &str); 1] = [("LC_ALL", "C.UTF-8")];

/// Use the metadata that is there whatever its age; fetch it where there is none.
const KNOWN_METADATA: &str = "--setopt=*.metadata_expire=never";

/// Fail where a repository cannot be reached: skipped, it would look as if it lacked the package.
const REPOSITORIES_ANSWER: &str = "--setopt=skip_if_unavailable=False";

const RPM_IS_LOCKED: &str = "can't create transaction lock";

/// dnf on one root.
pub struct Dnf {
    root: PathBuf,
}

impl Dnf {
    /// dnf for the system at `root`; other roots than `/` are for tests.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    async fn dnf(&self, args: &[&str], limit: Duration) -> Result<Output> {
        let root = format!("--installroot={}", self.root.display());
        let mut all = Vec::new();
        if self.root != Path::new("/") {
            all.push(root.as_str());
        }
        all.extend(["-q", "-y", "--setopt=exit_on_lock=False", REPOSITORIES_ANSWER]);
        all.extend(args);
        let start = Instant::now();
        loop {
            match command::run(DNF, &all, &ENVIRONMENT, limit).await {
                // dnf waits for another dnf, but not for an rpm at work.
                Err(Error::CommandFailed { stderr, .. })
                    if stderr.contains(RPM_IS_LOCKED) && start.elapsed() < LOCK_WAIT =>
                {
                    sleep(LOCK_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Versions in the repositories, newest first.
    async fn known(&self, name: &str) -> Result<Vec<String>> {
        let args = ["repoquery", "--showduplicates", "--queryformat", "%{evr}", name];
        let output = self.dnf(&args, QUERY_LIMIT).await?;
        let mut known: Vec<_> =
            output.stdout.lines().map(|line| without_epoch(line.trim()).to_owned()).collect();
        known.reverse();
        Ok(known)
    }
}

#[async_trait]
impl Installer for Dnf {
    async fn installed(&self, name: &str) -> Result<Installed> {
        let root = format!("--root={}", self.root.display());
        let args = [root.as_str(), "-q", "--queryformat", "%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n", name];
        match command::run(RPM, &args, &ENVIRONMENT, QUERY_LIMIT).await {
            Ok(output) => Ok(parse_query(&output.stdout)),
            Err(Error::CommandFailed { stderr, .. }) if stderr.contains("is not installed") => {
                Ok(Installed::default())
            }
            Err(error) => Err(error),
        }
    }

    async fn install(&self, name: &str, version: Option<&str>) -> Result<()> {
        if self.installed(name).await?.unfinished.is_some() {
            self.dnf(&["remove", "--duplicates", name], INSTALL_LIMIT).await?;
        }
        let wanted = version.map_or_else(|| name.to_owned(), |version| format!("{name}-{version}"));
        let Err(first) = self.dnf(&[KNOWN_METADATA, "install", &wanted], INSTALL_LIMIT).await else {
            return Ok(());
        };
        if matches!(first, Error::CommandStart { .. } | Error::CommandTimeout { .. }) {
            return Err(first);
        }
        // What is wanted, or what the old metadata named, may be known after a refresh.
        match self.dnf(&["--refresh", "install", &wanted], INSTALL_LIMIT).await {
            Err(Error::CommandFailed { stderr, .. }) if has_no_match(&stderr) => {
                Err(unavailable(name, version, self.known(name).await?))
            }
            other => other.map(drop),
        }
    }

    fn same_version(&self, installed: &str, wanted: &str) -> bool {
        installed == wanted || without_epoch(installed) == wanted
    }
}

fn has_no_match(stderr: &str) -> bool {
    stderr.contains("Unable to find a match") || stderr.contains("No match for argument")
}

/// `0:1.2-3` is written `1.2-3`; other epochs belong to the version.
fn without_epoch(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

/// Reads one version a line. Two versions of one package are what an interrupted upgrade leaves.
fn parse_query(text: &str) -> Installed {
    let mut versions: Vec<_> = text.lines().map(|line| line.strip_prefix("0:").unwrap_or(line)).collect();
    versions.dedup();
    let unfinished = (versions.len() > 1).then(|| format!("installed as {}", versions.join(" and ")));
    Installed { version: versions.last().map(|version| (*version).into()), unfinished }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_rpm_prints() {
        let one = |version: &str| Installed { version: Some(version.into()), unfinished: None };
        assert_eq!(parse_query("0:1.2-3.amzn2023\n"), one("1.2-3.amzn2023"));
        assert_eq!(parse_query("2:1.2-3\n"), one("2:1.2-3"));
        // Two architectures of the same version.
        assert_eq!(parse_query("0:1-1\n0:1-1\n"), one("1-1"));
        let two = parse_query("0:1-1\n0:2-1\n");
        assert_eq!(two.unfinished.as_deref(), Some("installed as 1-1 and 2-1"));
    }

    #[test]
    fn an_epoch_may_be_left_out() {
        let dnf = Dnf::new("/");
        assert!(dnf.same_version("2:1.2-3", "1.2-3") && dnf.same_version("2:1.2-3", "2:1.2-3"));
        assert!(!dnf.same_version("2:1.2-3", "1:1.2-3") && !dnf.same_version("1.2-3", "1.2"));
    }
}
