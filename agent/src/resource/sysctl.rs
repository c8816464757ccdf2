//! A kernel setting, persisted in /etc/sysctl.d, applied, and read back from /proc.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{Diff, Id, Kind, Resource};
use crate::host::place::make_parents;
use crate::host::replace::{Replacement, replace};
use crate::host::{Host, blocking};
use crate::{Error, Result};

/// A kernel setting.
pub struct Sysctl {
    /// Key: `net.ipv4.ip_forward`.
    pub key: String,
    /// Value, as /proc/sys shows it. Several numbers may be separated by any white space.
    pub value: String,
}

/// What the kernel uses, and what it will use after the next boot: two facts.
pub struct Found {
    live: Option<String>,
    persisted: Option<String>,
}

impl Sysctl {
    /// The file that a boot reads (sysctl.d(5)). Later names win there; 60 comes after the
    /// distributions' own 10 and 50.
    fn file(&self) -> String {
        format!("/etc/sysctl.d/60-ops-agent-{}.conf", self.key)
    }

    fn line(&self) -> String {
        format!("{} = {}\n", self.key, words(&self.value))
    }

    fn kernel_path(&self, host: &Host) -> Result<PathBuf> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !self.key.chars().all(legal) || self.key.split('.').any(str::is_empty) {
            return Err(Error::Refused {
                what: format!("kernel setting {:?}", self.key),
                why: "its key is not words separated by dots".into(),
                fix: "write it as in net.ipv4.ip_forward".into(),
            });
        }
        Ok(host.path(format!("/proc/sys/{}", self.key.replace('.', "/"))))
    }
}

/// The words of a value, one space between them: /proc shows tabs.
fn words(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

#[async_trait]
impl Resource for Sysctl {
    type Current = Found;

    fn id(&self) -> Id {
        Id::new(Kind::Sysctl, &self.key)
    }

    async fn observe(&self, host: &Host) -> Result<Found> {
        let live = read(&self.kernel_path(host)?)?.map(|value| words(&value));
        Ok(Found { live, persisted: read(&host.path(self.file()))? })
    }

    fn diff(&self, current: &Found) -> Diff {
        let mut diff = Diff::default();
        diff.compare("live", current.live.clone(), words(&self.value));
        let persisted = current.persisted.as_deref().map(|text| {
            // Shown as the value where the file is ours in form, else as it is.
            let value =
                text.strip_prefix(&format!("{} = ", self.key)).and_then(|rest| rest.strip_suffix('\n'));
            value.unwrap_or(text).to_owned()
        });
        diff.compare("persisted", persisted, words(&self.value));
        diff
    }

    async fn apply(&self, host: &Host, current: Found) -> Result<()> {
        let live = self.kernel_path(host)?;
        let file = Replacement {
            path: host.path(self.file()),
            content: self.line().into_bytes(),
            mode: 0o644,
            owner: None,
        };
        let value = words(&self.value);
        blocking(move || {
            if current.persisted.as_ref().map(String::as_bytes) != Some(&file.content) {
                make_parents(&file.path)?;
                replace(&file)?;
            }
            if current.live.as_ref() != Some(&value) {
                fs::write(&live, &value).map_err(|source| Error::io("write", &live, source))?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::test_host;

    fn sysctl(key: &str, value: &str) -> Sysctl {
        Sysctl { key: key.into(), value: value.into() }
    }

    #[tokio::test]
    async fn both_facts_are_seen_and_mended_apart() {
        let (_dir, host) = test_host();
        let live = host.path("/proc/sys/net/ipv4/ip_local_port_range");
        make_parents(&live).unwrap();
        fs::write(&live, "32768\t60999\n").unwrap();
        let resource = sysctl("net.ipv4.ip_local_port_range", "1024 60999");

        let current = resource.observe(&host).await.unwrap();
        assert_eq!(
            resource.diff(&current).summary(),
            "live 32768 60999 → 1024 60999, persisted → 1024 60999"
        );
        resource.apply(&host, current).await.unwrap();
        resource.verify(&host).await.unwrap();
        let file = host.path("/etc/sysctl.d/60-ops-agent-net.ipv4.ip_local_port_range.conf");
        assert_eq!(fs::read_to_string(&file).unwrap(), "net.ipv4.ip_local_port_range = 1024 60999\n");

        fs::write(&file, "net.ipv4.ip_local_port_range = 1 2\n").unwrap();
        let current = resource.observe(&host).await.unwrap();
        assert_eq!(resource.diff(&current).summary(), "persisted 1 2 → 1024 60999");
    }

    #[tokio::test]
    async fn a_setting_that_the_kernel_does_not_have_is_an_error() {
        let (_dir, host) = test_host();
        let resource = sysctl("net.no_such", "1");
        let current = resource.observe(&host).await.unwrap();
        let error = resource.apply(&host, current).await.unwrap_err();
        assert!(error.to_string().contains("/proc/sys/net/no_such"), "{error}");
    }

    #[tokio::test]
    async fn a_key_cannot_climb() {
        let (_dir, host) = test_host();
        for key in ["../../etc/passwd", "net..ipv4", "", "net.ipv4/x"] {
            let refused = sysctl(key, "1").observe(&host).await;
            assert!(matches!(refused.err(), Some(Error::Refused { .. })), "{key}");
        }
    }
}
