//! Runs programs without a shell: could not start, said no and took too long are three errors.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::process::Command;

use crate::{Error, Result};

/// How many of a failed program's last lines an error quotes.
const QUOTED_LINES: usize = 5;
/// How much of a program's output is read, from its end: enough for any list of packages.
const OUTPUT_LIMIT: u64 = 16 * 1024 * 1024;
/// How much of a command line an error quotes, in characters.
const QUOTED_COMMAND: usize = 160;

/// What a program that ended with success wrote.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output, lossily UTF-8.
    pub stdout: String,
    /// Standard error, lossily UTF-8.
    pub stderr: String,
}

/// Runs `program` with `args` and environment `env` added, standard input closed, for at most
/// `limit`.
///
/// The program is *not* ended when the future is dropped or the limit runs out: a package manager
/// cut off in the middle leaves worse than one that ends by itself, and the next run waits for its
/// lock. For the same reason it has a process group of its own, so that ctrl-C at a terminal ends
/// only the agent, and it writes into memory files, not pipes: a pipe whose reader is gone would
/// end it with SIGPIPE.
///
/// # Errors
/// [`Error::CommandStart`], [`Error::CommandFailed`] with the last lines that it wrote, and
/// [`Error::CommandTimeout`]; [`Error::Io`] where its output cannot be caught.
pub async fn run(program: &str, args: &[&str], env: &[(&str, &str)], limit: Duration) -> Result<Output> {
    let (stdout, to_stdout) = catcher(program)?;
    let (stderr, to_stderr) = catcher(program)?;
    let mut child = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(to_stdout)
        .stderr(to_stderr)
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .map_err(|source| Error::CommandStart { program: program.into(), source })?;
    let status = tokio::time::timeout(limit, child.wait())
        .await
        .map_err(|_| Error::CommandTimeout { program: label(program, args), limit })?
        .map_err(|source| Error::io("wait for", program, source))?;
    let output = Output { stdout: caught(stdout, program)?, stderr: caught(stderr, program)? };
    if status.success() {
        return Ok(output);
    }
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    Err(Error::CommandFailed {
        program: label(program, args),
        status: status.to_string(),
        stderr: last_lines(said),
    })
}

/// A file in memory, for us to read and for the program to write.
fn catcher(program: &str) -> Result<(File, Stdio)> {
    let failed = |source: io::Error| Error::io("catch the output of", program, source);
    let file: File =
        memfd_create(c"output", MFdFlags::MFD_CLOEXEC).map_err(|errno| failed(errno.into()))?.into();
    let write_end = file.try_clone().map_err(failed)?;
    Ok((file, write_end.into()))
}

fn caught(mut file: File, program: &str) -> Result<String> {
    let mut bytes = Vec::new();
    file.metadata()
        .and_then(|found| file.seek(SeekFrom::Start(found.len().saturating_sub(OUTPUT_LIMIT))))
        .and_then(|_| file.take(OUTPUT_LIMIT).read_to_end(&mut bytes))
        .map_err(|source| Error::io("read the output of", program, source))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The command in one line, shortened.
fn label(program: &str, args: &[&str]) -> String {
    let mut line = program.rsplit('/').next().unwrap_or(program).to_owned();
    for arg in args {
        line.push(' ');
        line.push_str(arg);
    }
    if line.chars().count() > QUOTED_COMMAND {
        line = line.chars().take(QUOTED_COMMAND).chain(['…']).collect();
    }
    line
}

/// The last lines that say something, in one line.
fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let kept = lines.get(lines.len().saturating_sub(QUOTED_LINES)..).unwrap_or_default();
    if kept.is_empty() { "it wrote nothing".into() } else { kept.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn sh(script: &str) -> Result<Output> {
        run("/bin/sh", &["-c", script], &[("GIVEN", "yes")], SOON).await
    }

    #[tokio::test]
    async fn gives_both_outputs_and_the_environment() {
        let output = sh("echo $GIVEN; echo two >&2; cat").await.unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("yes\n", "two\n"));
    }

    #[tokio::test]
    async fn tells_three_failures_apart() {
        let error = run("/no/such/program", &[], &[], SOON).await.unwrap_err();
        assert!(matches!(error, Error::CommandStart { .. }), "{error}");
        let error = run("/bin/sleep", &["1"], &[], Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, Error::CommandTimeout { .. }), "{error}");
        let error = run("/bin/false", &["x"], &[], SOON).await.unwrap_err();
        assert_eq!(error.to_string(), "false x failed (exit status: 1): it wrote nothing");
        let error = sh("kill -9 $$").await.unwrap_err();
        assert!(error.to_string().contains("signal: 9"), "{error}");
    }

    #[tokio::test]
    async fn quotes_the_last_lines_of_what_it_said() {
        let error = sh("seq 20 >&2; echo out; exit 3").await.unwrap_err();
        assert!(error.to_string().ends_with("(exit status: 3): 16; 17; 18; 19; 20"), "{error}");
        let error = sh("echo only stdout; exit 1").await.unwrap_err();
        assert!(error.to_string().ends_with(": only stdout"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_run_goes_on_and_can_still_write() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let script = format!("sleep 0.3; seq 100000; echo said && touch {}", done.display());
        let dropped = tokio::time::timeout(Duration::from_millis(50), sh(&script)).await;
        assert!(dropped.is_err(), "the program ended too early for this test");
        for _ in 0..100 {
            if done.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the program was ended by the drop");
    }

    #[tokio::test]
    async fn has_a_process_group_of_its_own() {
        let output = sh("ps -o pgid= -p $$ | tr -d ' '; echo $$").await.unwrap();
        let ids: Vec<_> = output.stdout.lines().collect();
        assert_eq!(ids.first(), ids.last());
    }
}
