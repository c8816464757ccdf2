//! The key of this host's fingerprints, made at its first run.

use std::io;
use std::path::Path;

use crate::host::replace::{Replacement, replace};
use crate::host::{Fingerprints, STATE_DIR};
use crate::{Error, Result};

/// Bytes of the key: the block of HMAC-SHA-256 (RFC 2104), beyond which a key gains nothing.
const LENGTH: usize = 64;

/// Fingerprints under the key in `/var/lib/ops-agent/fingerprint.key`. Where there is none, one is made,
/// and with `keep` written, readable by root only.
///
/// # Errors
/// When the file cannot be read or written, is damaged, or the kernel has no randomness to give.
pub fn fingerprints(root: &Path, keep: bool) -> Result<Fingerprints> {
    let path = root.join(STATE_DIR).join("fingerprint.key");
    match std::fs::read(&path) {
        Ok(bytes) => match <[u8; LENGTH]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(Fingerprints::new(key)),
            Err(_) => Err(Error::Refused {
                what: format!("the key {}", path.display()),
                why: format!("it has {} bytes in place of {LENGTH}", bytes.len()),
                fix: "delete it: the next run makes a new one, and sees every secret as changed once"
                    .to_owned(),
            }),
        },
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; LENGTH];
            getrandom::fill(&mut key)
                .map_err(|error| Error::io("make the key", &path, io::Error::other(error.to_string())))?;
            if keep {
                let dir = root.join(STATE_DIR);
                std::fs::create_dir_all(&dir)
                    .map_err(|source| Error::io("make the directory", &dir, source))?;
                replace(&Replacement { path, content: key.to_vec(), mode: 0o600, owner: None })?;
            }
            Ok(Fingerprints::new(key))
        }
        Err(source) => Err(Error::io("read", path, source)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_for_root() {
        let dir = tempfile::tempdir().unwrap();
        let first = fingerprints(dir.path(), true).unwrap().of(b"secret");
        assert_eq!(fingerprints(dir.path(), true).unwrap().of(b"secret"), first);
        let mode =
            std::fs::metadata(dir.path().join(STATE_DIR).join("fingerprint.key")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_plan_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        fingerprints(dir.path(), false).unwrap();
        assert!(!dir.path().join("var").exists());
    }

    #[test]
    fn a_damaged_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(STATE_DIR).join("fingerprint.key");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "short").unwrap();
        let message = fingerprints(dir.path(), true).err().unwrap().to_string();
        assert!(message.contains("it has 5 bytes in place of 64"), "{message}");
    }
}
