//! Pulls by digest from a real registry.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ops_agent::Error;
use ops_agent::resource::Resource;
use ops_agent::resource::image::Image;

use crate::{Lab, converge, image, sh, show};

/// A password whose Base64 differs between the two alphabets.
const PASSWORD: &str = "a1~?>ss?~b2";
/// bcrypt of it, for `lab`.
const HTPASSWD: &str = "lab:$2a$04$L..br/sGYZH2mrCb7Abyzel9sJtSOKnr7j3qbV9uDIInoy20k8FlG";

/// A registry process over a directory.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(directory: &std::path::Path, login: bool) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            show(directory)
        );
        if login {
            let file = directory.join("htpasswd");
            std::fs::write(&file, HTPASSWD).unwrap();
            config.push_str(&format!("auth: {{htpasswd: {{realm: lab, path: {}}}}}\n", show(&file)));
        }
        let path = directory.join(format!("{port}.yml"));
        std::fs::write(&path, config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { process, address };
        for _ in 0..200 {
            if TcpStream::connect(&registry.address).is_ok() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the registry does not listen");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Pushes the test image and forgets it here; returns its reference by digest.
fn pushed(registry: &Registry) -> String {
    let name = format!("{}/opsagent-test-image", registry.address);
    let text =
        sh(&format!("docker tag {0} {name}:1 && docker push {name}:1 && docker rmi {name}:1", image()));
    let digest =
        text.split_whitespace().find(|word| word.starts_with("sha256:") && word.len() == 71).unwrap();
    format!("{name}@{digest}")
}

fn status(error: &Error) -> Option<u16> {
    let Error::Docker { status, .. } = error else { panic!("{error}") };
    *status
}

#[tokio::test]
async fn pulled_once_by_digest() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(directory.path(), false);
    let reference = pushed(&registry);
    let lab = Lab::new("pull");
    let image = Image { reference: reference.clone() };
    assert!(converge(&lab, &image).await.unwrap());
    assert!(lab.said().iter().any(|text| text.starts_with("pulling")), "{:?}", lab.said());
    assert!(!converge(&lab, &image).await.unwrap());
    sh(&format!("docker rmi {reference}"));

    // Another digest.
    let wrong = Image { reference: format!("{}0000", &reference[..reference.len() - 4]) };
    let error = converge(&lab, &wrong).await.unwrap_err();
    assert_eq!(status(&error), Some(404), "{error}");
    assert!(error.to_string().contains("no such image; check image.reference"), "{error}");
    assert!(!error.is_transient());

    // Nobody there.
    drop(registry);
    let error = converge(&lab, &image).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_registry_that_asks_for_a_login() {
    let directory = tempfile::tempdir().unwrap();
    let open = Registry::start(directory.path(), false);
    let closed = Registry::start(directory.path(), true);
    let image = Image { reference: pushed(&open).replace(&open.address, &closed.address) };
    for login in [None, Some(("lab", "wrong"))] {
        let lab = Lab::with_login("login", login);
        let error = converge(&lab, &image).await.unwrap_err();
        assert_eq!(status(&error), Some(403), "{error}");
        assert!(error.to_string().contains("check the login"), "{error}");
    }
    let lab = Lab::with_login("login", Some(("lab", PASSWORD)));
    assert!(converge(&lab, &image).await.unwrap());
    sh(&format!("docker rmi {}", image.reference));
}

#[tokio::test]
async fn without_docker_there_is_nothing_and_apply_says_so() {
    let lab = Lab::new("none");
    std::fs::remove_file(lab.root.path().join("run/docker.sock")).unwrap();
    let image = Image { reference: format!("r/a@sha256:{}", "0".repeat(64)) };
    assert!(!image.observe(&lab.host).await.unwrap());
    let error = converge(&lab, &image).await.unwrap_err();
    assert!(error.to_string().contains("is docker.service running?"), "{error}");
    assert_eq!(status(&error), None);
    std::fs::write(lab.root.path().join("run/docker.sock"), "").unwrap();
    let error = converge(&lab, &image).await.unwrap_err();
    assert_eq!(status(&error), None, "{error}");
    assert!(error.is_transient());
}
