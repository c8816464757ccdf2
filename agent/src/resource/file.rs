//! Files with content, owner and mode, staged together.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use similar::TextDiff;

use super::{Change, Diff, Id, Kind, Resource};
use crate::host::place::{Place, make_parents, mode_text, owner_text};
use crate::host::replace::{Replacement, replace_all};
use crate::host::{Host, blocking};
use crate::{Error, Result};

/// Texts up to this many bytes are shown as a unified diff; anything else by size and digest.
const DIFF_LIMIT: u64 = 64 * 1024;
/// When a diff takes longer than this it is given up for a coarser one.
const DIFF_TIME: Duration = Duration::from_millis(200);

/// A set of files that change together. An unchanged file is not rewritten. Parents are made as
/// needed, 0755, owned by root.
pub struct Files {
    /// Name of the set: the path where there is one file, else a word.
    pub name: String,
    /// The files.
    pub files: Vec<FileEntry>,
}

/// One file of a set.
pub struct FileEntry {
    /// Absolute path on the host. A link in this place is replaced by the file, a directory refused.
    pub path: String,
    /// The whole content. Never a secret: plans show it as a unified diff.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// User and group ids.
    pub owner: (u32, u32),
}

/// What is in the place of one file.
pub struct Found {
    place: Place,
    /// The content, where it is needed: for a diff, or because only it can tell the difference.
    content: Option<Vec<u8>>,
}

impl FileEntry {
    fn look(&self, host: &Host) -> Result<Found> {
        let path = host.path(&self.path);
        let place = Place::look(&path)?;
        let content = match place {
            Place::File { length, .. } if length <= DIFF_LIMIT || length == self.content.len() as u64 => {
                Some(read_up_to(&path, length).map_err(|source| Error::io("read", &path, source))?)
            }
            _ => None,
        };
        Ok(Found { place, content })
    }

    /// The differences; `alone` says that the file needs no naming.
    fn diff(&self, found: &Found, alone: bool) -> Vec<Change> {
        let what = |what: &str| if alone { what.into() } else { format!("{} {what}", self.path) };
        let mut diff = Diff::default();
        match found.place {
            Place::File { mode, owner, length } => {
                if found.content.as_ref() != Some(&self.content) {
                    diff.0.push(self.content_change(what("content"), length, found.content.as_deref()));
                }
                diff.compare(&what("mode"), Some(mode_text(mode)), mode_text(self.mode));
                diff.compare(&what("owner"), Some(owner_text(owner)), owner_text(self.owner));
            }
            Place::Absent => {
                let mut change = self.content_change(what("file"), 0, Some(b""));
                change.from = None;
                diff.0.push(change);
            }
            ref other => {
                diff.0.push(Change::new(what("type"), Some(other.to_string()), Some("a file".into())));
            }
        }
        diff.0
    }

    fn content_change(&self, what: String, length: u64, now: Option<&[u8]>) -> Change {
        Change {
            what,
            from: Some(size_and_digest(length, now)),
            to: Some(size_and_digest(self.content.len() as u64, Some(&self.content))),
            unified: now.and_then(|now| unified(&self.path, now, &self.content)),
        }
    }
}

fn read_up_to(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // One more, so that a file that grew meanwhile is not taken for equal.
    File::open(path)?.take(length.saturating_add(1)).read_to_end(&mut content)?;
    Ok(content)
}

fn size_and_digest(length: u64, content: Option<&[u8]>) -> String {
    match content {
        Some(content) => {
            let mut digest = hex::encode(Sha256::digest(content));
            digest.truncate(12);
            format!("{length} bytes, sha256 {digest}")
        }
        None => format!("{length} bytes"),
    }
}

/// The difference of two texts; `None` for what is not text or too long.
fn unified(path: &str, from: &[u8], to: &[u8]) -> Option<String> {
    let text = |bytes| std::str::from_utf8(bytes).ok().filter(|text: &&str| !text.contains('\0'));
    if from.len().max(to.len()) as u64 > DIFF_LIMIT {
        return None;
    }
    let (from, to) = (text(from)?, text(to)?);
    let diff = TextDiff::configure().timeout(DIFF_TIME).diff_lines(from, to);
    Some(diff.unified_diff().header(path, path).to_string())
}

#[async_trait]
impl Resource for Files {
    /// In the order of the files.
    type Current = Vec<Found>;

    fn id(&self) -> Id {
        Id::new(Kind::File, &self.name)
    }

    async fn observe(&self, host: &Host) -> Result<Self::Current> {
        self.files.iter().map(|file| file.look(host)).collect()
    }

    fn diff(&self, current: &Self::Current) -> Diff {
        let alone = self.files.len() == 1;
        Diff(self.files.iter().zip(current).flat_map(|(file, found)| file.diff(found, alone)).collect())
    }

    async fn apply(&self, host: &Host, current: Self::Current) -> Result<()> {
        let different =
            self.files.iter().zip(&current).filter(|(file, found)| !file.diff(found, true).is_empty());
        let replacements: Vec<_> = different
            .map(|(file, _)| Replacement {
                path: host.path(&file.path),
                content: file.content.clone(),
                mode: file.mode,
                owner: Some(file.owner),
            })
            .collect();
        blocking(move || {
            replacements.iter().try_for_each(|file| make_parents(&file.path))?;
            replace_all(&replacements)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::host::testing::{me, test_host};

    fn set(files: &[(&str, &[u8], u32)]) -> Files {
        let files = files
            .iter()
            .map(|(path, content, mode)| FileEntry {
                path: (*path).into(),
                content: content.to_vec(),
                mode: *mode,
                owner: me(),
            })
            .collect();
        Files { name: "set".into(), files }
    }

    async fn converge(resource: &Files, host: &Host) -> Diff {
        let current = resource.observe(host).await.unwrap();
        let diff = resource.diff(&current);
        if !diff.is_empty() {
            resource.apply(host, current).await.unwrap();
        }
        resource.verify(host).await.unwrap();
        diff
    }

    #[tokio::test]
    async fn new_then_unchanged_then_each_difference_alone() {
        let (_dir, host) = test_host();
        let files = set(&[("/etc/app/a.conf", b"one\ntwo\n", 0o644), ("/etc/app/b", b"\0\xff", 0o600)]);
        let diff = converge(&files, &host).await;
        assert_eq!(diff.summary(), "/etc/app/a.conf file, /etc/app/b file → 2 bytes, sha256 06eb7d6a69ee");
        assert!(converge(&files, &host).await.is_empty());

        let (a, b) = (host.path("/etc/app/a.conf"), host.path("/etc/app/b"));
        let inode = fs::metadata(&b).unwrap().ino();
        fs::set_permissions(&a, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(converge(&files, &host).await.summary(), "/etc/app/a.conf mode 0666 → 0644");
        fs::write(&a, "one\n2\n").unwrap();
        let diff = converge(&files, &host).await;
        insta::assert_snapshot!(diff.0[0].unified.clone().unwrap(), @r"
        --- /etc/app/a.conf
        +++ /etc/app/a.conf
        @@ -1,2 +1,2 @@
         one
        -2
        +two
        ");
        assert_eq!(fs::metadata(&b).unwrap().ino(), inode, "an unchanged file was rewritten");
    }

    #[tokio::test]
    async fn long_or_binary_content_is_shown_by_size_and_digest() {
        let (_dir, host) = test_host();
        let long = vec![b'x'; 100_000];
        let files = set(&[("/f", &long, 0o644)]);
        fs::write(host.path("/f"), "short").unwrap();
        let diff = converge(&files, &host).await;
        assert_eq!(diff.0[0].unified, None);
        assert!(diff.summary().starts_with("content 5 bytes, sha256 "), "{}", diff.summary());
        let mut other = long.clone();
        other[50_000] = b'y';
        fs::write(host.path("/f"), &other).unwrap();
        assert!(!converge(&files, &host).await.is_empty(), "same length, other content");
    }

    #[tokio::test]
    async fn a_link_is_replaced_and_a_directory_refused() {
        let (_dir, host) = test_host();
        fs::write(host.path("/target"), "precious").unwrap();
        std::os::unix::fs::symlink("target", host.path("/f")).unwrap();
        let files = set(&[("/f", b"new", 0o644)]);
        assert_eq!(converge(&files, &host).await.summary(), "type a link to target → a file");
        assert_eq!(fs::read_to_string(host.path("/target")).unwrap(), "precious");

        fs::create_dir(host.path("/d")).unwrap();
        let files = set(&[("/d", b"new", 0o644)]);
        let current = files.observe(&host).await.unwrap();
        let error = files.apply(&host, current).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
}
