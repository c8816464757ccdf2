//! What a container's health check asks. Each ends in one line for the daemon's health log.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::state::SchedulerState;
use crate::{Error, Result};

/// Less than the health check's own time-out, so that the reason is told.
const HTTP_LIMIT: Duration = Duration::from_millis(3500);

/// Every URL must answer 200 within the limit.
pub async fn http(urls: &[String]) -> Result<()> {
    let unhealthy = |url: &str, detail: String| Error::Unhealthy { service: url.to_owned(), detail };
    let client = reqwest::Client::builder()
        .timeout(HTTP_LIMIT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| unhealthy("http client", error.to_string()))?;
    for url in urls {
        let answer = client.get(url).send().await.map_err(|error| unhealthy(url, reason(&error)))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(unhealthy(url, format!("answered {}", answer.status())));
        }
    }
    Ok(())
}

/// The root of an HTTP error's chain, without the URL, which is told anyway.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", HTTP_LIMIT.as_secs_f32());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The supervisor's state file must hold a heartbeat that is not older than `max_age`.
pub fn heartbeat(path: &Path, max_age: Duration, now: Timestamp) -> Result<()> {
    let unhealthy = |detail: String| Error::Unhealthy { service: "scheduler".into(), detail };
    let bytes = std::fs::read(path).map_err(|error| unhealthy(format!("{}: {error}", path.display())))?;
    let state: SchedulerState =
        serde_json::from_slice(&bytes).map_err(|error| unhealthy(format!("{}: {error}", path.display())))?;
    let age = now.as_second() - state.heartbeat.as_second();
    if u64::try_from(age).unwrap_or(0) > max_age.as_secs() {
        return Err(unhealthy(format!("its last heartbeat is {age} s old")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers each connection once with the given status line.
    fn server(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn only_200_is_well() {
        assert!(http(&[server(&["200 OK"])]).await.is_ok());
        for answer in [&["422 Unprocessable Entity"][..], &["307 Temporary Redirect"], &["204 No Content"]] {
            let error = http(&[server(answer)]).await.unwrap_err().to_string();
            assert!(error.contains("answered"), "{error}");
        }
        let error = http(&[server(&["200 OK"]), server(&["500 X"])]).await.unwrap_err().to_string();
        assert!(error.contains("answered 500"), "{error}");
        let error = http(&["http://127.0.0.1:1/".into()]).await.unwrap_err().to_string();
        assert!(error.contains("refused"), "{error}");
    }

    #[test]
    fn a_heartbeat_that_is_old_or_missing_is_not_well() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let now: Timestamp = "2026-11-24T08:01:00Z".parse().unwrap();
        let check = || heartbeat(&path, Duration::from_secs(60), now).map_err(|error| error.to_string());
        assert!(check().unwrap_err().contains("No such file"));
        let write = |at: &str| {
            let text =
                format!(r#"{{"state":"waiting","last":null,"next_start":null,"heartbeat":"{at}","runs":0}}"#);
            std::fs::write(&path, text).unwrap();
        };
        write("2026-11-24T08:00:00Z");
        assert_eq!(check(), Ok(()));
        write("2026-11-24T07:59:59Z");
        assert!(check().unwrap_err().contains("61 s old"));
        std::fs::write(&path, "").unwrap();
        assert!(check().is_err());
    }
}
