//! Packages by apt and dpkg.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{INSTALL_LIMIT, Installed, Installer, LOCK_PAUSE, LOCK_WAIT, QUERY_LIMIT, unavailable};
use crate::host::command::{self, Output};
use crate::{Error, Result};

/// The program by which a host is known to use apt.
pub const APT_GET: &str = "/usr/bin/apt-get";
const APT_CACHE: &str = "/usr/bin/apt-cache";
const DPKG: &str = "/usr/bin/dpkg";
const DPKG_QUERY: &str = "/usr/bin/dpkg-query";

/// No questions, and messages in the language that this file reads.
const ENVIRONMENT: [(&str, &str); 2] = [("LC_ALL", "C.UTF-8"), ("DEBIAN_FRONTEND", "noninteractive")];

/// apt on one root.
pub struct Apt {
    root: PathBuf,
}

/// What a failed apt-get calls for.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// Another one is at work.
    Wait,
    /// `dpkg --configure -a`
    Finish,
    /// `apt-get update`: what the lists name is gone.
    Refresh,
    /// Nothing here.
    None,
}

impl Apt {
    /// apt for the system at `root`; other roots than `/` are for tests, and run no maintainer
    /// scripts that need a system.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Options that make apt work on another root.
    fn root_options(&self) -> Vec<String> {
        if self.root == Path::new("/") {
            return Vec::new();
        }
        let root = self.root.display();
        [format!("Dir={root}"), format!("DPkg::Options::=--root={root}")]
            .into_iter()
            .flat_map(|option| ["-o".to_owned(), option])
            .collect()
    }

    async fn run(&self, program: &str, args: &[&str], limit: Duration) -> Result<Output> {
        let options = self.root_options();
        let args: Vec<_> = options.iter().map(String::as_str).chain(args.iter().copied()).collect();
        command::run(program, &args, &ENVIRONMENT, limit).await
    }

    /// Runs apt-get; waits for others, and finishes once what was interrupted.
    async fn apt_get(&self, args: &[&str]) -> Result<()> {
        let start = Instant::now();
        let mut finished = false;
        loop {
            let error = match self.run(APT_GET, args, INSTALL_LIMIT).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match remedy(&error) {
                Remedy::Wait if start.elapsed() < LOCK_WAIT => sleep(LOCK_PAUSE).await,
                Remedy::Finish if !finished => {
                    finished = true;
                    self.finish_interrupted().await?;
                }
                _ => return Err(error),
            }
        }
    }

    async fn refresh(&self) -> Result<()> {
        // Without the option a list that cannot be fetched is a warning only.
        self.apt_get(&["-q", "-o", "APT::Update::Error-Mode=any", "update"]).await
    }

    /// Configures what was unpacked when a run was cut off.
    async fn finish_interrupted(&self) -> Result<()> {
        let root = format!("--root={}", self.root.display());
        let args = [root.as_str(), "--force-confdef", "--force-confold", "--configure", "-a"];
        command::run(DPKG, &args, &ENVIRONMENT, INSTALL_LIMIT).await.map(drop)
    }

    /// Versions that the lists on this host name, newest first.
    async fn known(&self, name: &str) -> Result<Vec<String>> {
        let output = self.run(APT_CACHE, &["madison", name], QUERY_LIMIT).await?;
        Ok(output.stdout.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned())).collect())
    }
}

#[async_trait]
impl Installer for Apt {
    async fn installed(&self, name: &str) -> Result<Installed> {
        let database = format!("--admindir={}", self.root.join("var/lib/dpkg").display());
        let args = [database.as_str(), "-W", "-f", "${db:Status-Status} ${Version}\\n", name];
        match command::run(DPKG_QUERY, &args, &ENVIRONMENT, QUERY_LIMIT).await {
            Ok(output) => Ok(parse_status(&output.stdout)),
            Err(Error::CommandFailed { stderr, .. }) if stderr.contains("no packages found matching") => {
                Ok(Installed::default())
            }
            Err(error) => Err(error),
        }
    }

    async fn install(&self, name: &str, version: Option<&str>) -> Result<()> {
        if self.installed(name).await?.unfinished.is_some() {
            self.finish_interrupted().await?;
        }
        let is_known = |known: &[String]| match version {
            Some(version) => known.iter().any(|known| known == version),
            None => !known.is_empty(),
        };
        if !is_known(&self.known(name).await?) {
            self.refresh().await?;
            let known = self.known(name).await?;
            if !is_known(&known) {
                return Err(unavailable(name, version, known));
            }
        }
        let wanted = version.map_or_else(|| name.to_owned(), |version| format!("{name}={version}"));
        let wait = format!("DPkg::Lock::Timeout={}", LOCK_WAIT.as_secs());
        let install = [
            "-y",
            "-q",
            "-o",
            &wait,
            // Configuration files are the agent's business: keep what is there, ask nobody.
            "-o",
            "DPkg::Options::=--force-confdef",
            "-o",
            "DPkg::Options::=--force-confold",
            "--no-install-recommends",
            "--no-remove",
            "--allow-downgrades",
            "--allow-change-held-packages",
            "install",
            &wanted,
        ];
        match self.apt_get(&install).await {
            Err(error) if remedy(&error) == Remedy::Refresh => {
                self.refresh().await?;
                self.apt_get(&install).await
            }
            other => other,
        }
    }
}

/// Reads lines of `STATUS VERSION`, one for each architecture.
fn parse_status(text: &str) -> Installed {
    let mut found = Installed::default();
    for line in text.lines() {
        let (status, version) = line.split_once(' ').unwrap_or((line, ""));
        match status {
            "installed" | "triggers-pending" | "triggers-awaited" => {
                return Installed { version: Some(version.into()), unfinished: None };
            }
            "not-installed" | "config-files" => {}
            other => found.unfinished = Some(other.into()),
        }
    }
    found
}

fn remedy(error: &Error) -> Remedy {
    let Error::CommandFailed { stderr, .. } = error else { return Remedy::None };
    let says = |words: &[&str]| words.iter().any(|words| stderr.contains(words));
    if says(&["dpkg was interrupted"]) {
        Remedy::Finish
    } else if says(&["Could not get lock", "Unable to acquire the dpkg frontend lock", "Unable to lock"]) {
        Remedy::Wait
    } else if says(&["404 ", "Unable to fetch some archives", "Hash Sum mismatch", "File not found"]) {
        Remedy::Refresh
    } else {
        Remedy::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_dpkg_query_prints() {
        let installed = |version: &str| Installed { version: Some(version.into()), unfinished: None };
        assert_eq!(parse_status("installed 1.2-3\n"), installed("1.2-3"));
        assert_eq!(parse_status("not-installed \ninstalled 1:2\n"), installed("1:2"));
        assert_eq!(parse_status("config-files 1.2-3\n"), Installed::default());
        assert_eq!(parse_status("").version, None);
        assert_eq!(parse_status("half-configured 1\n").unfinished.as_deref(), Some("half-configured"));
    }

    #[test]
    fn knows_what_helps() {
        let failed = |stderr: &str| {
            let (program, status) = ("apt-get".into(), "exit status: 100".into());
            remedy(&Error::CommandFailed { program, status, stderr: stderr.into() })
        };
        for (stderr, expected) in [
            ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a'", Remedy::Finish),
            ("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt)", Remedy::Wait),
            ("E: Failed to fetch http://x/y.deb  404  Not Found", Remedy::Refresh),
            ("E: Unable to correct problems, you have held broken packages.", Remedy::None),
        ] {
            assert_eq!(failed(stderr), expected, "{stderr}");
        }
        assert_eq!(
            remedy(&Error::CommandTimeout { program: "apt-get".into(), limit: INSTALL_LIMIT }),
            Remedy::None
        );
    }
}
