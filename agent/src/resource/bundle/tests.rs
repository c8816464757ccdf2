use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::host::Objects;
use crate::host::testing::test_host;

/// Gives the same bytes for every object.
struct Only(Vec<u8>);

#[async_trait]
impl Objects for Only {
    async fn download(&self, _bucket: &str, _key: &str, to: &Path) -> Result<String> {
        fs::write(to, &self.0).unwrap();
        Ok(hex::encode(Sha256::digest(&self.0)))
    }
}

fn entry(kind: EntryType, name: &str, mode: u32, content: &str) -> (Header, Vec<u8>) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(4242);
    // Written raw: the builder itself refuses names that climb.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    let link = kind == EntryType::Symlink || kind == EntryType::Link;
    if link {
        header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
    }
    let content = if link { Vec::new() } else { content.as_bytes().to_vec() };
    header.set_size(content.len() as u64);
    header.set_cksum();
    (header, content)
}

fn file(name: &str, content: &str) -> (Header, Vec<u8>) {
    entry(EntryType::Regular, name, 0o600, content)
}

fn archive(entries: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (header, content) in entries {
        builder.append(header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn published(entries: &[(Header, Vec<u8>)]) -> (TempDir, Host, Bundle) {
    let (dir, mut host) = test_host();
    let bundle = publish(&mut host, entries);
    (dir, host, bundle)
}

fn publish(host: &mut Host, entries: &[(Header, Vec<u8>)]) -> Bundle {
    let bytes = archive(entries);
    let sha256 = hex::encode(Sha256::digest(&bytes));
    host.objects = Arc::new(Only(bytes));
    Bundle {
        name: "project".into(),
        bucket: "b".into(),
        key: format!("projects/{sha256}.tar.gz"),
        sha256,
        into: "/var/app/projects".into(),
        keep: 2,
    }
}

async fn apply(bundle: &Bundle, host: &Host) -> Result<()> {
    let current = bundle.observe(host).await?;
    assert!(!bundle.diff(&current).is_empty());
    bundle.apply(host, current).await?;
    bundle.verify(host).await
}

fn names(host: &Host) -> Vec<String> {
    let listed = listed(&host.path("/var/app/projects")).unwrap();
    listed.into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn unpacks_with_our_modes_and_owner() {
    let (_dir, host, bundle) = published(&[
        entry(EntryType::XGlobalHeader, "pax_global_header", 0o644, "17 comment=abcde\n"),
        entry(EntryType::Directory, "./", 0o777, ""),
        file("./config.yaml", "x: 1\n"),
        entry(EntryType::Regular, "bin/run", 0o4711, "#!"),
        entry(EntryType::Directory, "models", 0o700, ""),
        file("models/a.sql", "select 1"),
        entry(EntryType::Symlink, "models/b.sql", 0o777, "../config.yaml"),
    ]);
    apply(&bundle, &host).await.unwrap();
    let tree = host.path("/var/app/projects").join(&bundle.sha256);
    let mode = |name: &str| fs::symlink_metadata(tree.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(fs::read_to_string(tree.join("models/b.sql")).unwrap(), "x: 1\n");
    assert_eq!(
        [mode(""), mode("config.yaml"), mode("bin"), mode("bin/run"), mode("models")],
        [0o755, 0o644, 0o755, 0o755, 0o755]
    );
    assert_eq!(fs::metadata(tree.join("bin/run")).unwrap().uid(), nix::unistd::getuid().as_raw());
    assert_eq!(names(&host), std::slice::from_ref(&bundle.sha256), "something was left beside");
    let current = bundle.observe(&host).await.unwrap();
    assert!(bundle.diff(&current).is_empty());
}

#[tokio::test]
async fn another_digest_unpacks_nothing() {
    let (_dir, host, mut bundle) = published(&[file("a", "a")]);
    let right = std::mem::replace(&mut bundle.sha256, "0".repeat(64));
    let error = apply(&bundle, &host).await.unwrap_err().to_string();
    assert!(error.contains(&format!("has SHA-256 {right}, not 0000")), "{error}");
    assert!(names(&host).is_empty());
    bundle.sha256 = "../../etc".into();
    assert!(matches!(bundle.observe(&host).await, Err(Error::Refused { .. })));
}

#[tokio::test]
async fn refuses_what_leads_out_and_what_is_no_file() {
    let link = |name, target| entry(EntryType::Symlink, name, 0o777, target);
    for (entries, says) in [
        (vec![file("/etc/x", "")], "leads out"),
        (vec![file("a/../../x", "")], "leads out"),
        (vec![link("l", "/etc")], "leads out"),
        (vec![link("l", "../x")], "leads out"),
        (vec![link("a/b/l", "../../d"), link("a/b/m", "l/../../..")], "leads out"),
        (vec![link("l", "d"), file("l/x", "")], "both a directory and not"),
        (vec![link("l", "d"), file("l", "")], "is in it twice"),
        (vec![file("a", ""), entry(EntryType::Link, "l", 0o644, "a")], "hard link"),
        (vec![entry(EntryType::Char, "null", 0o666, "")], "neither a file"),
        (vec![entry(EntryType::Fifo, "pipe", 0o666, "")], "neither a file"),
        (vec![entry(EntryType::Directory, ".", 0o755, "")], "it is empty"),
    ] {
        let (_dir, host, bundle) = published(&entries);
        let error = apply(&bundle, &host).await.unwrap_err();
        assert!(
            matches!(error, Error::Refused { .. }) && error.to_string().contains(says),
            "{says}: {error}"
        );
        assert!(names(&host).is_empty(), "{says}: something was left");
    }
}

#[tokio::test]
async fn an_archive_cut_off_is_an_error() {
    let (_dir, mut host, mut bundle) = published(&[]);
    let mut bytes = archive(&[file("a", &"x".repeat(5000))]);
    bytes.truncate(bytes.len() - 12);
    bundle.sha256 = hex::encode(Sha256::digest(&bytes));
    host.objects = Arc::new(Only(bytes));
    assert!(matches!(apply(&bundle, &host).await, Err(Error::Io { .. })));
    assert!(names(&host).is_empty());
}

#[tokio::test]
async fn old_versions_go_but_not_the_one_in_use() {
    let (_dir, mut host) = test_host();
    let daemon = Daemon::start(&host);
    let mut versions = Vec::new();
    for n in 0..5 {
        let bundle = publish(&mut host, &[file("n", &n.to_string())]);
        apply(&bundle, &host).await.unwrap();
        if n == 0 {
            let target = format!("projects/{}", bundle.sha256);
            symlink(target, host.path("/var/app/current")).unwrap();
        }
        if n == 1 {
            let source = host.path("/var/app/projects").join(&bundle.sha256);
            *daemon.mounted.lock().unwrap() = source.display().to_string();
        }
        versions.push(bundle.sha256);
        // Versions are told apart by their time.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut left = names(&host);
    left.sort();
    let mut expected = versions.clone();
    expected.remove(2);
    expected.sort();
    assert_eq!(left, expected, "of {versions:?}: linked, mounted, and the newest two");
}

#[tokio::test]
async fn nothing_goes_while_docker_cannot_be_asked() {
    let (_dir, mut host) = test_host();
    for n in 0..4 {
        apply(&publish(&mut host, &[file("n", &n.to_string())]), &host).await.unwrap();
        if n == 1 {
            fs::create_dir_all(host.path("/run")).unwrap();
            drop(std::os::unix::net::UnixListener::bind(host.path("/run/docker.sock")).unwrap());
        }
    }
    assert_eq!(names(&host).len(), 4);
}

/// A Docker daemon that has one container with one mount.
struct Daemon {
    mounted: Arc<std::sync::Mutex<String>>,
}

impl Daemon {
    fn start(host: &Host) -> Self {
        use std::io::{Read, Write};
        fs::create_dir_all(host.path("/run")).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(host.path("/run/docker.sock")).unwrap();
        let mounted = Arc::<std::sync::Mutex<String>>::default();
        let source = Arc::clone(&mounted);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let body =
                    if String::from_utf8_lossy(&request[..length]).contains("/containers/json?all=true") {
                        format!(r#"[{{"Mounts":[{{"Source":"{}"}}]}}]"#, source.lock().unwrap())
                    } else {
                        r#"{"ApiVersion":"1.43"}"#.to_owned()
                    };
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { mounted }
    }
}

#[tokio::test]
async fn what_a_killed_run_left_is_removed_and_never_taken_for_whole() {
    let (_dir, host, bundle) = published(&[file("a", "a")]);
    let half = host.path("/var/app/projects/.ops-agent-0011223344556677/tree");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("a"), "").unwrap();
    apply(&bundle, &host).await.unwrap();
    assert_eq!(names(&host), std::slice::from_ref(&bundle.sha256));
}
