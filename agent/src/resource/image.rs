//! A container image, pulled by digest.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use bollard::errors::Error as Bollard;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;
use secrecy::ExposeSecret;

use super::{Change, Diff, Id, Kind, Resource, docker};
use crate::host::Host;
use crate::{Error, Result};

/// 0.8 GB over a slow NAT instance, unpacked to a small disk.
const TIME_LIMIT: Duration = Duration::from_secs(20 * 60);

/// An image that must be present.
pub struct Image {
    /// `REGISTRY/REPOSITORY@sha256:HEX`.
    pub reference: String,
}

impl Image {
    /// Repository and digest; a reference without a digest is refused, since a tag can move.
    fn parts(&self) -> Result<(&str, &str)> {
        let parts = self.reference.split_once('@');
        let is_digest = |digest: &str| {
            digest.strip_prefix("sha256:").is_some_and(|hex| {
                hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
        };
        parts.filter(|(_, digest)| is_digest(digest)).ok_or_else(|| Error::Refused {
            what: format!("image {}", self.reference),
            why: "it is not named by a digest".into(),
            fix: "write it as REGISTRY/REPOSITORY@sha256:HEX, with 64 digits".into(),
        })
    }
}

/// The registry of a repository; Docker Hub where none is named, by Docker's own rule.
fn registry(repository: &str) -> &str {
    match repository.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// A reference as Docker shows it: for its own Hub it leaves out the registry, and `library/`.
fn as_shown(reference: &str) -> &str {
    let on_hub = ["docker.io/", "index.docker.io/"].iter().find_map(|hub| reference.strip_prefix(hub));
    on_hub.map_or(reference, |rest| rest.strip_prefix("library/").unwrap_or(rest))
}

#[async_trait]
impl Resource for Image {
    /// Whether it is there.
    type Current = bool;

    fn id(&self) -> Id {
        // The digest's first digits tell images apart; the plan shows all of it.
        let name = self
            .reference
            .split_once("@sha256:")
            .map(|(repository, hex)| format!("{repository}@{}", hex.get(..12).unwrap_or(hex)));
        Id::new(Kind::Image, name.unwrap_or_else(|| self.reference.clone()))
    }

    async fn observe(&self, host: &Host) -> Result<bool> {
        self.parts()?;
        let Some(docker) = docker::find(host).await? else { return Ok(false) };
        match docker.inspect_image(&self.reference).await {
            Ok(image) => {
                let digests = image.repo_digests.unwrap_or_default();
                Ok(digests.iter().any(|digest| as_shown(digest) == as_shown(&self.reference)))
            }
            Err(error) if docker::is_not_found(&error) => Ok(false),
            Err(error) => Err(docker::failed("inspect", &self.reference, &error)),
        }
    }

    fn diff(&self, current: &bool) -> Diff {
        let missing = Change::new("image", None, Some(self.reference.clone()));
        Diff(if *current { Vec::new() } else { vec![missing] })
    }

    async fn apply(&self, host: &Host, _current: bool) -> Result<()> {
        let (repository, digest) = self.parts()?;
        let registry = registry(repository);
        let docker = docker::connect(host).await?;
        let credentials = host.registries.login(registry).await?.map(|login| DockerCredentials {
            username: Some(login.user),
            password: Some(login.password.expose_secret().to_owned()),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        });
        let options = CreateImageOptions {
            from_image: Some(repository.to_owned()),
            tag: Some(digest.to_owned()),
            ..CreateImageOptions::default()
        };
        let subject = self.id().to_string();
        let mut layers = Layers::default();
        let mut said = String::new();
        let mut pull = docker.create_image(Some(options), None, credentials);
        // An error in the middle of the stream fails the pull, although the answer began with 200.
        while let Some(event) = pull.next().await {
            layers.note(&event.map_err(|error| pull_failed(&self.reference, registry, &error))?);
            let text = layers.text();
            if text != said {
                host.progress.step(&subject, &text);
                said = text;
            }
        }
        Ok(())
    }

    fn time_limit(&self) -> Duration {
        TIME_LIMIT
    }
}

/// One line for a pull that failed, with a status by which retrying is decided: the daemon itself
/// answers 500, or nothing but text in the stream, for most of them.
fn pull_failed(reference: &str, registry: &str, error: &Bollard) -> Error {
    let (status, text) = match docker::failed("pull", reference, error) {
        Error::Docker { status, message, .. } => (status, message),
        other => return other,
    };
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let (status, message) = if says(&[
        "unauthorized",
        "no basic auth",
        "authentication required",
        "access denied",
        "is denied",
    ]) {
        (Some(403), format!("{registry} lets this host not pull it; check the login and its policy ({text})"))
    } else if says(&["verification failed", "unexpected digest", "does not match"]) {
        (Some(409), format!("what {registry} sent has not this digest ({text})"))
    } else if says(&["manifest unknown", "not found", "name unknown"]) {
        (
            Some(404),
            format!("{registry} has no such image; check image.reference and that it was pushed ({text})"),
        )
    } else {
        (status, text)
    };
    Error::Docker { action: "pull", subject: reference.to_owned(), status, message }
}

/// How far the layers of a pull are: bytes had and bytes in all, so far as the registry said.
#[derive(Default)]
struct Layers {
    bytes: BTreeMap<String, (i64, i64)>,
    unpacking: bool,
}

impl Layers {
    fn note(&mut self, event: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&event.id, event.status.as_deref()) else { return };
        match (status, &event.progress_detail) {
            ("Downloading", Some(detail)) => {
                let entry = self.bytes.entry(id.clone()).or_default();
                *entry = (detail.current.unwrap_or(0), detail.total.unwrap_or(entry.1));
            }
            ("Download complete", _) => {
                if let Some(entry) = self.bytes.get_mut(id) {
                    entry.0 = entry.1;
                }
            }
            ("Extracting", _) => self.unpacking = true,
            _ => {}
        }
    }

    fn text(&self) -> String {
        let (had, total) = self.bytes.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if total == 0 {
            "pulling".into()
        } else if had >= total && self.unpacking {
            format!("unpacking {} MB", total / 1_000_000)
        } else {
            format!("pulling, {} of {} MB", had / 1_000_000, total / 1_000_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn event(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn progress_adds_up_the_layers() {
        let mut layers = Layers::default();
        assert_eq!(layers.text(), "pulling");
        layers.note(&event("a", "Downloading", 12_000_000, 72_000_000));
        layers.note(&event("b", "Downloading", 200_000_000, 700_000_000));
        assert_eq!(layers.text(), "pulling, 212 of 772 MB");
        layers.note(&event("a", "Download complete", 0, 0));
        layers.note(&event("b", "Download complete", 0, 0));
        layers.note(&event("a", "Extracting", 1, 72_000_000));
        assert_eq!(layers.text(), "unpacking 772 MB");
    }

    #[test]
    fn registries_by_dockers_rule() {
        assert_eq!(registry("127.0.0.1:5000/sqlmesh"), "127.0.0.1:5000");
        assert_eq!(
            registry("123.dkr.ecr.eu-west-1.amazonaws.com/a/b"),
            "123.dkr.ecr.eu-west-1.amazonaws.com"
        );
        assert_eq!(registry("library/debian"), "docker.io");
    }

    #[test]
    fn images_of_docker_hub_are_known_by_their_short_names() {
        for (written, shown) in [
            ("docker.io/tobikodata/sqlmesh@sha256:0", "tobikodata/sqlmesh@sha256:0"),
            ("index.docker.io/library/debian@sha256:0", "debian@sha256:0"),
            ("registry.lab:5000/library/a@sha256:0", "registry.lab:5000/library/a@sha256:0"),
        ] {
            assert_eq!(as_shown(written), shown);
        }
    }

    #[test]
    fn a_tag_is_refused() {
        for reference in ["r/a:1", "r/a", "r/a@sha256:12", "r/a@md5:0"] {
            let error = Image { reference: reference.into() }.parts().unwrap_err();
            assert!(error.to_string().contains("not named by a digest"), "{error}");
        }
    }

    #[test]
    fn what_the_daemon_says_of_a_pull_decides_whether_to_retry() {
        let said =
            |text: &str| pull_failed("r/a@sha256:0", "r", &Bollard::DockerStreamError { error: text.into() });
        assert!(!said("manifest for r/a@sha256:0 not found: manifest unknown").is_transient());
        assert!(!said("unauthorized: authentication required").is_transient());
        assert!(!said("manifest verification failed for digest sha256:0").is_transient());
        assert!(said("unexpected EOF").is_transient());
    }
}
