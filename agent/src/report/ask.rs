//! Probes the real world: HTTP, the supervisor's file, systemd over D-Bus, Docker over its socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::HealthStatusEnum;
use zbus::{OwnedObjectPath, OwnedVariant};

use super::health::{Ask, Finding, State};
use crate::container::state::SchedulerState;
use crate::resource::docker::find_below;

/// How long one probe may take. A service that needs longer to say that it is well is not.
const LIMIT: Duration = Duration::from_secs(2);

/// The world below a root.
pub struct World {
    root: PathBuf,
}

impl World {
    /// The world below a root; `/` outside tests.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

#[async_trait]
impl Ask for World {
    async fn http(&self, url: &str) -> Finding {
        let client = match reqwest::Client::builder().timeout(LIMIT).no_proxy().build() {
            Ok(client) => client,
            Err(error) => return (State::Unknown, causes(&error)),
        };
        match client.get(url).send().await {
            Ok(answer) if answer.status() == reqwest::StatusCode::OK => (State::Healthy, String::new()),
            Ok(answer) => (State::Unhealthy, format!("{url} answers {}", answer.status())),
            Err(error) if error.is_timeout() => {
                (State::Unhealthy, format!("{url} does not answer within {} s", LIMIT.as_secs()))
            }
            Err(error) => (State::Unhealthy, format!("{url}: {}", causes(&error.without_url()))),
        }
    }

    fn scheduler(&self, path: &str) -> Result<SchedulerState, String> {
        let path = self.root.join(path.trim_start_matches('/'));
        let text =
            std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        serde_json::from_slice(&text)
            .map_err(|error| format!("cannot understand {}: {error}", path.display()))
    }

    async fn unit(&self, unit: &str) -> Finding {
        match tokio::time::timeout(LIMIT, active_state(unit)).await {
            Ok(Ok(state)) => match state.as_str() {
                "active" | "reloading" => (State::Healthy, String::new()),
                "activating" => (State::Starting, state),
                _ => (State::Unhealthy, state),
            },
            Ok(Err(error)) => (State::Unknown, format!("systemd cannot be asked: {error}")),
            Err(_) => (State::Unknown, format!("systemd does not answer within {} s", LIMIT.as_secs())),
        }
    }

    async fn container(&self, container: &str) -> Finding {
        match tokio::time::timeout(LIMIT, inspect(&self.root, container)).await {
            Ok(finding) => finding,
            Err(_) => (State::Unknown, format!("docker does not answer within {} s", LIMIT.as_secs())),
        }
    }
}

/// An error with what caused it, in one line: reqwest's own words stop at "error sending request".
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        words.push(error.to_string());
        source = error.source();
    }
    words.dedup();
    words.join(": ")
}

async fn active_state(unit: &str) -> zbus::Result<String> {
    let bus = zbus::Connection::system().await?;
    let (systemd, manager) = ("org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager");
    let answer =
        bus.call_method(Some(systemd), "/org/freedesktop/systemd1", Some(manager), "LoadUnit", &unit).await?;
    let path: OwnedObjectPath = answer.body().deserialize()?;
    let property = ("org.freedesktop.systemd1.Unit", "ActiveState");
    let properties = Some("org.freedesktop.DBus.Properties");
    let answer = bus.call_method(Some(systemd), path, properties, "Get", &property).await?;
    let value: OwnedVariant = answer.body().deserialize()?;
    String::try_from(value)
}

async fn inspect(root: &Path, container: &str) -> Finding {
    let docker = match find_below(root, LIMIT.as_secs()).await {
        Ok(Some(docker)) => docker,
        Ok(None) => return (State::Unknown, "docker cannot be asked: there is no socket".to_owned()),
        Err(error) => return (State::Unknown, error.to_string()),
    };
    let found =
        docker.inspect_container(container, None::<bollard::query_parameters::InspectContainerOptions>);
    let state = match found.await {
        Ok(found) => found.state.unwrap_or_default(),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
            return (State::Unhealthy, "there is no such container".to_owned());
        }
        Err(error) => return (State::Unknown, format!("docker cannot be asked: {error}")),
    };
    if state.running != Some(true) {
        let status = state.status.map_or_else(|| "not running".to_owned(), |status| status.to_string());
        return (State::Unhealthy, format!("{status}, exit code {}", state.exit_code.unwrap_or_default()));
    }
    match state.health.and_then(|health| health.status) {
        Some(HealthStatusEnum::STARTING) => (State::Starting, String::new()),
        Some(HealthStatusEnum::UNHEALTHY) => (State::Unhealthy, "its own health check fails".to_owned()),
        _ => (State::Healthy, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn answering(status: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        format!("http://{address}/")
    }

    #[tokio::test]
    async fn only_200_is_well() {
        let world = World::new("/");
        assert_eq!(world.http(&answering("200 OK").await).await.0, State::Healthy);
        let (state, detail) = world.http(&answering("503 Service Unavailable").await).await;
        assert_eq!(state, State::Unhealthy);
        assert!(detail.ends_with("answers 503 Service Unavailable"), "{detail}");
    }

    #[tokio::test]
    async fn nobody_listening_is_said_in_one_line() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let (state, detail) = World::new("/").http(&url).await;
        assert_eq!(state, State::Unhealthy);
        assert!(detail.contains("onnection refused") && detail.lines().count() == 1, "{detail}");
    }

    #[tokio::test]
    async fn docker_is_asked_over_the_socket_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        let listener = tokio::net::UnixListener::bind(root.path().join("run/docker.sock")).unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let body = if request.starts_with("GET /version") {
                    r#"{"ApiVersion":"1.41"}"#
                } else {
                    r#"{"State":{"Running":true}}"#
                };
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let found = World::new(root.path()).container("x").await;
        assert_eq!(found, (State::Healthy, String::new()));
    }

    #[test]
    fn a_damaged_state_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("state.json"), "{").unwrap();
        let why = World::new(dir.path()).scheduler("/state.json").unwrap_err();
        assert!(why.contains("cannot understand") && why.contains("state.json"), "{why}");
        assert!(World::new(dir.path()).scheduler("/none.json").unwrap_err().contains("none.json"));
    }
}
