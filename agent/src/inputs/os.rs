//! Which distribution this host runs: `/etc/os-release`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::{Error, Result};

/// The families of distributions that the agent knows the package names of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OsFamily {
    /// Debian, Ubuntu: apt.
    Debian,
    /// Amazon Linux 2023, Fedora: dnf.
    Fedora,
}

impl OsFamily {
    /// Reads `/etc/os-release` below the root.
    ///
    /// # Errors
    /// The file cannot be read, or names a distribution of neither family.
    pub fn read(root: &Path) -> Result<Self> {
        let candidates = ["etc/os-release", "usr/lib/os-release"].map(|path| root.join(path));
        for path in &candidates {
            match fs::read_to_string(path) {
                Ok(text) => return Self::parse(&text),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
        Self::parse("")
    }

    /// The family from the text of an os-release file, by `ID` and `ID_LIKE`
    /// (os-release(5): values may be quoted; `ID_LIKE` is a list by spaces).
    ///
    /// # Errors
    /// A distribution of neither family.
    pub fn parse(text: &str) -> Result<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map_or("", |value| value.trim().trim_matches(['"', '\'']))
        };
        let ids = || value("ID").split_whitespace().chain(value("ID_LIKE").split_whitespace());
        if ids().any(|id| matches!(id, "debian" | "ubuntu")) {
            return Ok(Self::Debian);
        }
        if ids().any(|id| matches!(id, "amzn" | "fedora" | "rhel" | "centos")) {
            return Ok(Self::Fedora);
        }
        Err(Error::Refused {
            what: format!("this distribution (ID={:?} in /etc/os-release)", value("ID")),
            why: "the agent knows Amazon Linux 2023 and Debian".into(),
            fix: "launch the host from one of these".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_amazon_linux_and_debian() {
        let al2023 = "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\n";
        assert_eq!(OsFamily::parse(al2023).unwrap(), OsFamily::Fedora);
        assert_eq!(OsFamily::parse("PRETTY_NAME=\"Debian\"\nID=debian\n").unwrap(), OsFamily::Debian);
        assert_eq!(OsFamily::parse("ID=pop\nID_LIKE=\"ubuntu debian\"\n").unwrap(), OsFamily::Debian);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let message = OsFamily::parse("ID=alpine\n").unwrap_err().to_string();
        assert!(message.contains("alpine") && message.contains("Amazon Linux 2023"), "{message}");
    }
}
