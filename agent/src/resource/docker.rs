//! The way to the Docker daemon: its socket below the host's root, and its errors in our words.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::errors::Error as Bollard;
use bollard::query_parameters::{ListContainersOptions, RemoveContainerOptions, StopContainerOptions};
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::host::Host;
use crate::{Error, Result};

/// The daemon's socket, below the root.
const SOCKET: &str = "/run/docker.sock";
/// Seconds that one request may take until its headers arrive. Creating a container from a cold
/// image takes seconds on a small disk.
const REQUEST_SECONDS: u64 = 120;
/// How much longer than the container's own limit a stop may take: the kill and the clean-up.
const STOP_MARGIN: Duration = Duration::from_secs(60);
/// How long a stop may take before it is worth a word on the terminal.
const STOP_SPEAKS_AFTER: Duration = Duration::from_secs(2);

/// A client that speaks the daemon's own version of the API; `None` where there is no socket, that
/// is: Docker is not installed, or was never started.
pub(super) async fn find(host: &Host) -> Result<Option<Docker>> {
    find_below(&host.root, REQUEST_SECONDS).await
}

/// As [`find`], below a root and with another limit of seconds for one request.
pub(crate) async fn find_below(root: &Path, limit: u64) -> Result<Option<Docker>> {
    let socket = root.join(SOCKET.trim_start_matches('/'));
    let subject = socket.display().to_string();
    let client = match Docker::connect_with_unix(&subject, limit, API_DEFAULT_VERSION) {
        Ok(client) => client,
        Err(Bollard::SocketNotFoundError(_)) => return Ok(None),
        Err(error) => return Err(failed("open", &subject, &error)),
    };
    // bollard encodes credentials with the standard alphabet; the daemon reads the URL-safe one and
    // takes what it cannot read for no credentials at all. Differs for passwords with `~`, `?`, `>`.
    let client = client.with_request_modifier(|mut request| {
        if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth") {
            let safe =
                value.to_str().map(|text| text.replace('+', "-").replace('/', "_")).unwrap_or_default();
            if let Ok(safe) = safe.parse() {
                *value = safe;
            }
        }
        request
    });
    let client = client.negotiate_version().await.map_err(|error| failed("talk over", &subject, &error))?;
    Ok(Some(client))
}

/// What containers have mounted from the host, whether they run or could be started again; `None` where
/// there is no Docker to ask.
pub(super) async fn mounted(host: &Host) -> Result<Option<BTreeSet<PathBuf>>> {
    let Some(docker) = find(host).await? else { return Ok(None) };
    let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let containers = docker.list_containers(Some(all)).await;
    let containers = containers.map_err(|error| failed("list", "the containers", &error))?;
    let mounts = containers.into_iter().filter_map(|container| container.mounts).flatten();
    Ok(Some(mounts.filter_map(|mount| mount.source).map(PathBuf::from).collect()))
}

/// As [`find`], where Docker has to be there.
pub(super) async fn connect(host: &Host) -> Result<Docker> {
    find(host).await?.ok_or_else(|| Error::Docker {
        action: "open",
        subject: host.path(SOCKET).display().to_string(),
        status: None,
        message: "no such socket; is docker.service running?".into(),
    })
}

/// Our error for the daemon's: without an HTTP status when it could not be reached.
pub(super) fn failed(action: &'static str, subject: &str, error: &Bollard) -> Error {
    let (status, message) = match error {
        Bollard::DockerResponseServerError { status_code, message } => {
            (Some(*status_code), message.trim().to_owned())
        }
        // Said in the middle of an answer that began with 200.
        Bollard::DockerStreamError { error } => (Some(500), error.trim().to_owned()),
        Bollard::RequestTimeoutError => (None, "the daemon did not answer in time".into()),
        other => (None, innermost(other)),
    };
    Error::Docker { action, subject: subject.to_owned(), status, message }
}

/// Whether the daemon said that there is no such thing.
pub(super) const fn is_not_found(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { status_code: 404, .. })
}

/// The root of an error's chain: "client error (Connect)" says less than "Permission denied".
fn innermost(error: &Bollard) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// Stops a container as its own limit says: SIGTERM, and SIGKILL only when the limit has run out.
/// The daemon goes on with it even when this future is dropped. Fine when it is not running.
pub(super) async fn stop(docker: &Docker, host: &Host, subject: &str, container: &str) -> Result<()> {
    let inspected = match docker.inspect_container(container, None).await {
        Ok(inspected) => inspected,
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(error) => return Err(failed("inspect", container, &error)),
    };
    let limit = inspected.config.and_then(|config| config.stop_timeout).unwrap_or(10);
    let limit = Duration::from_secs(limit.max(0).unsigned_abs());
    let patient = docker.clone().with_timeout(limit + STOP_MARGIN);
    let stopping = patient.stop_container(container, None::<StopContainerOptions>);
    tokio::pin!(stopping);
    let began = Instant::now();
    loop {
        match tokio::time::timeout(STOP_SPEAKS_AFTER, &mut stopping).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if is_not_found(&error) => return Ok(()),
            Ok(Err(error)) => return Err(failed("stop", container, &error)),
            Err(_) => {
                let seconds = began.elapsed().as_secs();
                let text =
                    format!("waiting for {container} to stop, {seconds} of at most {} s", limit.as_secs());
                host.progress.step(subject, &text);
            }
        }
    }
}

/// Stops a container in its own time, and removes it. Fine when there is none.
pub(super) async fn discard(docker: &Docker, host: &Host, subject: &str, container: &str) -> Result<()> {
    stop(docker, host, subject, container).await?;
    let options = RemoveContainerOptions { v: true, ..RemoveContainerOptions::default() };
    match docker.remove_container(container, Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(failed("remove", container, &error)),
    }
}
