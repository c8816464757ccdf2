//! What staging files together saves: 40 files replaced one by one, and all at once.
//! `cargo test --bench replace` runs it without a release build: the disk decides, not the code.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use ops_agent::host::replace::{Replacement, replace, replace_all};

const FILES: u32 = 40;
const ROUNDS: usize = 15;

fn files(directory: &Path) -> Vec<Replacement> {
    let path = |n| directory.join(format!("file-{n}"));
    (0..FILES)
        .map(|n| Replacement { path: path(n), content: vec![b'x'; 2048], mode: 0o644, owner: None })
        .collect()
}

fn timed(round: impl FnOnce()) -> Duration {
    let start = Instant::now();
    round();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3
}

fn main() {
    // Beside the build, not in /tmp: a tmpfs has nothing to sync.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let files = files(directory.path());
    let (mut single, mut staged) = (Vec::new(), Vec::new());
    // In turns, so that a busy disk slows both.
    for _ in 0..ROUNDS {
        single.push(timed(|| files.iter().for_each(|file| replace(file).unwrap())));
        staged.push(timed(|| replace_all(&files).unwrap()));
    }
    let (single, staged) = (median(single), median(staged));
    println!(
        "{FILES} files: one by one {single:.1} ms, staged {staged:.1} ms, ratio {:.1}",
        single / staged.max(1e-3)
    );
}
