use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::*;
use crate::host::testing::{me, test_host_in};

fn in_tmpfs() -> (TempDir, Host) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let host = test_host_in(directory.path());
    (directory, host)
}

fn secrets(files: &[(&str, &str)]) -> SecretFiles {
    let files = files.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    SecretFiles { consumer: "app".into(), owner: me(), files: Ok(files), versions: vec!["v-7".into()] }
}

fn problem(held: bool) -> SecretFiles {
    let message = "secretsmanager: access to secret x is denied".into();
    let problem = SecretProblem { message, held, needs_a_person: !held };
    SecretFiles { files: Err(problem), ..secrets(&[]) }
}

async fn converge(resource: &SecretFiles, host: &Host) -> Diff {
    let current = resource.observe(host).await.unwrap();
    let diff = resource.diff(&current);
    if !diff.is_empty() {
        resource.apply(host, current).await.unwrap();
    }
    resource.verify(host).await.unwrap();
    diff
}

#[tokio::test]
async fn written_changed_and_removed_without_showing_a_value() {
    let (_dir, host) = in_tmpfs();
    let diff = converge(&secrets(&[("USER", "me"), ("PASSWORD", "canary-1")]), &host).await;
    assert!(diff.summary().ends_with("versions → v-7"), "{}", diff.summary());
    let path = host.path("/run/ops-agent/secrets/app");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o500);
    assert_eq!(fs::read(path.join("PASSWORD")).unwrap(), b"canary-1");
    assert_eq!(fs::metadata(path.join("PASSWORD")).unwrap().mode() & 0o7777, 0o400);
    assert!(converge(&secrets(&[("USER", "me"), ("PASSWORD", "canary-1")]), &host).await.is_empty());

    let user = fs::metadata(path.join("USER")).unwrap().ino();
    let diff = converge(&secrets(&[("USER", "me"), ("PASSWORD", "canary-2")]), &host).await;
    let (old, new) = (host.fingerprints.of(b"canary-1"), host.fingerprints.of(b"canary-2"));
    assert_eq!(diff.summary(), format!("PASSWORD fingerprint {old} → fingerprint {new}, versions → v-7"));
    assert!(!format!("{diff:?}").contains("canary"));
    assert_eq!(fs::metadata(path.join("USER")).unwrap().ino(), user, "an unchanged secret was rewritten");

    let diff = converge(&secrets(&[("USER", "me")]), &host).await;
    assert_eq!(diff.summary(), format!("PASSWORD fingerprint {new} → none"));
    assert!(!path.join("PASSWORD").exists());
}

#[tokio::test]
async fn modes_are_repaired_and_leftovers_removed() {
    let (_dir, host) = in_tmpfs();
    let resource = secrets(&[("A", "a")]);
    converge(&resource, &host).await;
    let path = host.path("/run/ops-agent/secrets/app");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path.join("A"), fs::Permissions::from_mode(0o444)).unwrap();
    fs::write(path.join(".ops-agent-0011223344556677"), "half a secret").unwrap();
    let summary = converge(&resource, &host).await.summary();
    assert!(summary.starts_with("directory mode 0755 → 0500, A mode 0444 → 0400, .ops-agent-"), "{summary}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[tokio::test]
async fn a_held_problem_keeps_what_is_there_and_fails_where_nothing_is() {
    let (_dir, host) = in_tmpfs();
    let error = problem(true).observe(&host).await.err().unwrap();
    assert!(error.to_string().contains("access to secret x is denied"), "{error}");
    assert!(!error.needs_a_person(), "CloudFormation would be told of a failure that passes by itself");
    converge(&secrets(&[("A", "a")]), &host).await;
    assert!(converge(&problem(true), &host).await.is_empty());
    let error = problem(false).observe(&host).await.err().unwrap();
    assert!(error.needs_a_person(), "{error}");
    let kept = host.path("/run/ops-agent/secrets/app/A");
    assert_eq!(fs::read(kept).unwrap(), b"a", "a problem took a secret away");
}

#[tokio::test]
async fn refuses_what_cannot_be_environment_and_never_quotes_a_value() {
    let (_dir, host) = in_tmpfs();
    for (files, says) in [
        (vec![("lower", "canary")], "\"lower\" cannot be"),
        (vec![("1ST", "canary")], "\"1ST\" cannot be"),
        (vec![("", "canary")], "\"\" cannot be"),
        (vec![("../X", "canary")], "\"../X\" cannot be"),
        (vec![("A", "can\0ary")], "value of A holds a NUL"),
        (vec![("A", "canary"), ("A", "canary")], "two secrets give A"),
    ] {
        let error = secrets(&files).observe(&host).await.err().unwrap().to_string();
        assert!(error.contains(says) && !error.contains("canary"), "{error}");
    }
    let climbing = SecretFiles { consumer: "../x".into(), ..secrets(&[]) };
    assert!(climbing.observe(&host).await.is_err());
}

#[tokio::test]
async fn refuses_a_disk() {
    // The build's own directory: /tmp may be a tmpfs.
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let host = test_host_in(directory.path());
    let error = secrets(&[("A", "canary")]).observe(&host).await.err().unwrap().to_string();
    assert!(error.contains("is not on tmpfs"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
