//! Kills a process that replaces files, at random moments, and looks at what it left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ops_agent::host::replace::{Replacement, TEMPORARY_PREFIX, replace_all};

const ROUNDS: u32 = 150;
const FILES: u8 = 6;
/// Several writes' worth, so that a torn file would show.
const LENGTH: usize = 96 * 1024;
/// Names the directory in the environment of the process to be killed.
const DIRECTORY: &str = "OPS_AGENT_TEST_REPLACE_IN";

/// All files of one version: each byte is the version, and the mode goes with it.
fn version(directory: &Path, version: u8) -> Vec<Replacement> {
    let mode = mode_of(version);
    let path = |n| directory.join(format!("file-{n}"));
    (0..FILES)
        .map(|n| Replacement { path: path(n), content: vec![version; LENGTH], mode, owner: None })
        .collect()
}

fn mode_of(version: u8) -> u32 {
    if version.is_multiple_of(2) { 0o644 } else { 0o600 }
}

/// Not a test by itself: what the test below starts and kills.
#[test]
fn writer() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    for round in (0..=u8::MAX).cycle() {
        replace_all(&version(&directory, round)).unwrap();
    }
}

#[test]
fn killed_anywhere_every_file_is_old_or_new() {
    let dir = tempfile::tempdir().unwrap();
    replace_all(&version(dir.path(), 0)).unwrap();
    let (mut leftovers, mut between) = (0, 0);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut random = [0_u8; 2];
        getrandom::fill(&mut random).unwrap();
        std::thread::sleep(Duration::from_micros(4_000 + u64::from(u16::from_ne_bytes(random))));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "the writer ended by itself in round {round}");

        let mut versions = Vec::new();
        for n in 0..FILES {
            let path = dir.path().join(format!("file-{n}"));
            let content = fs::read(&path).unwrap();
            let first = content.first().copied().expect("an empty file");
            assert_eq!(content.len(), LENGTH, "round {round}: file {n} is cut off");
            assert!(content.iter().all(|byte| *byte == first), "round {round}: file {n} is mixed");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode_of(first), "round {round}");
            versions.push(first);
        }
        between += u32::from(versions.iter().any(|version| Some(version) != versions.first()));
        leftovers += u32::from(temporaries(dir.path()) > 0);
    }
    println!("{ROUNDS} kills: {leftovers} left temporaries, {between} fell between two renames");
    assert!(leftovers > 0, "no kill met a replacement under way: this test shows nothing");
    replace_all(&version(dir.path(), 1)).unwrap();
    assert_eq!(temporaries(dir.path()), 0, "leftovers were not removed");
}

fn temporaries(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_str().unwrap().starts_with(TEMPORARY_PREFIX)).count()
}
