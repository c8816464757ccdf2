//! Packages by the real apt and the real dnf, each on a root and a repository of its own.
//! Needs root, and Debian's packages `dpkg-dev dnf rpm createrepo-c`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use ops_agent::Error;
use ops_agent::resource::Resource;
use ops_agent::resource::package::apt::Apt;
use ops_agent::resource::package::dnf::Dnf;
use ops_agent::resource::package::{Installer, Package};
use tempfile::TempDir;

fn run(directory: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A root and a repository.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.repository()).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn repository(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    fn apt() -> (Self, Apt) {
        let place = Self::new();
        let root = place.root();
        for directory in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/log/apt",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/dpkg/triggers",
        ] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let source = format!("deb [trusted=yes] file:{} ./\n", place.repository().display());
        write(&root.join("etc/apt/sources.list"), &source);
        write(&root.join("var/lib/dpkg/status"), "");
        (place, Apt::new(root))
    }

    fn dnf() -> (Self, Dnf) {
        let place = Self::new();
        let root = place.root();
        let repository = format!(
            "[local]\nname=local\nbaseurl=file://{}\nenabled=1\ngpgcheck=0\nmetadata_expire=48h\n",
            place.repository().display()
        );
        write(&root.join("etc/yum.repos.d/local.repo"), &repository);
        write(&root.join("etc/dnf/dnf.conf"), "[main]\ngpgcheck=0\n");
        (place, Dnf::new(root))
    }

    fn publish_deb(&self, version: &str) {
        let tree = self.directory.path().join("deb");
        let control = format!(
            "Package: tiny\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <n@example.com>\n\
             Description: a test\n"
        );
        write(&tree.join("DEBIAN/control"), &control);
        write(&tree.join("usr/share/tiny/version"), version);
        let file = self.repository().join(format!("tiny_{version}_all.deb"));
        run(self.directory.path(), "dpkg-deb", &["--build", "-Znone", "deb", file.to_str().unwrap()]);
        let packages = run(&self.repository(), "dpkg-scanpackages", &["-m", "."]);
        write(&self.repository().join("Packages"), &packages);
    }

    fn publish_rpm(&self, version: &str) {
        let spec = format!(
            "Name: tiny\nVersion: {version}\nRelease: 1\nSummary: a test\nLicense: none\nBuildArch: noarch\n\
             %description\na test\n%install\nmkdir -p %{{buildroot}}/usr/share/tiny\n\
             echo {version} > %{{buildroot}}/usr/share/tiny/version\n%files\n/usr/share/tiny/version\n"
        );
        write(&self.directory.path().join("tiny.spec"), &spec);
        let top = format!("_topdir {}/build", self.directory.path().display());
        let out = format!("_rpmdir {}", self.repository().display());
        let args = ["-bb", "--quiet", "--define", &top, "--define", &out, "tiny.spec"];
        run(self.directory.path(), "rpmbuild", &args);
        run(&self.repository(), "createrepo_c", &["-q", "."]);
    }

    fn installed_version(&self) -> String {
        fs::read_to_string(self.root().join("usr/share/tiny/version")).unwrap().trim().to_owned()
    }
}

fn tiny(version: Option<&str>) -> Package {
    Package { name: "tiny".into(), version: version.map(Into::into) }
}

/// Converges and says what differed; a second look must find nothing.
async fn converge(package: &Package, installer: &dyn Installer) -> Result<String, Error> {
    let summary = package.diff(&package.observe_with(installer).await?).summary();
    if !summary.is_empty() {
        package.apply_with(installer).await?;
    }
    let rest = package.diff(&package.observe_with(installer).await?);
    assert!(rest.is_empty(), "{}", rest.summary());
    Ok(summary)
}

/// Locks a file as dpkg and rpm do, and lets go after a while.
fn lock_for(path: &Path, time: Duration) -> std::thread::JoinHandle<()> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path).unwrap();
    let whole = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_SETLK(&whole)).unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(time);
        drop(file);
    })
}

/// What both must do.
async fn versions(place: &Place, installer: &dyn Installer, publish: fn(&Place, &str), suffix: &str) {
    let version = |plain: &str| format!("{plain}{suffix}");
    publish(place, "1.0");
    publish(place, "2.0");
    assert_eq!(converge(&tiny(None), installer).await.unwrap(), "version → newest");
    assert_eq!(place.installed_version(), "2.0");
    let pinned = version("1.0");
    assert_eq!(
        converge(&tiny(Some(&pinned)), installer).await.unwrap(),
        format!("version {} → {pinned}", version("2.0")),
        "a downgrade"
    );
    assert_eq!(place.installed_version(), "1.0");
    assert_eq!(converge(&tiny(None), installer).await.unwrap(), "", "any version will do");

    publish(place, "3.0");
    let newer = version("3.0");
    converge(&tiny(Some(&newer)), installer).await.expect("metadata was not refreshed");
    assert_eq!(place.installed_version(), "3.0");

    let error = converge(&tiny(Some("9.9")), installer).await.unwrap_err();
    let named = [version("3.0"), version("2.0"), version("1.0")].join(", ");
    assert!(
        matches!(&error, Error::Refused { .. }) && error.to_string().contains(&format!("there are {named};")),
        "{error}"
    );
    assert_eq!(place.installed_version(), "3.0");
    let missing = Package { name: "no-such-package".into(), version: None };
    let error = converge(&missing, installer).await.unwrap_err().to_string();
    assert!(error.contains("no repository of this host has it"), "{error}");
}

#[tokio::test]
async fn apt_installs_changes_and_names_versions() {
    let (place, apt) = Place::apt();
    versions(&place, &apt, Place::publish_deb, "").await;
}

#[tokio::test]
async fn dnf_installs_changes_and_names_versions() {
    let (place, dnf) = Place::dnf();
    versions(&place, &dnf, Place::publish_rpm, "-1").await;
}

#[tokio::test]
async fn apt_fetches_lists_only_when_they_do_not_help() {
    let (place, apt) = Place::apt();
    place.publish_deb("1.0");
    place.publish_deb("2.0");
    converge(&tiny(Some("1.0")), &apt).await.unwrap();
    let list = place.repository().join("Packages");
    fs::remove_file(&list).unwrap();
    converge(&tiny(Some("2.0")), &apt).await.expect("it fetched lists that it did not need");

    // Named by the lists of this host, but gone from the repository.
    fs::remove_file(place.repository().join("tiny_1.0_all.deb")).unwrap();
    write(&list, &run(&place.repository(), "dpkg-scanpackages", &["-m", "."]));
    let error = converge(&tiny(Some("1.0")), &apt).await.unwrap_err().to_string();
    assert!(error.contains("1.0"), "{error}");
    assert_eq!(place.installed_version(), "2.0");
}

#[tokio::test]
async fn apt_waits_for_others() {
    let (place, apt) = Place::apt();
    place.publish_deb("1.0");
    let start = Instant::now();
    let lists = lock_for(&place.root().join("var/lib/apt/lists/lock"), Duration::from_secs(2));
    let dpkg = lock_for(&place.root().join("var/lib/dpkg/lock-frontend"), Duration::from_secs(5));
    converge(&tiny(None), &apt).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(5), "it did not wait");
    lists.join().unwrap();
    dpkg.join().unwrap();
}

#[tokio::test]
async fn an_interrupted_dpkg_is_finished_first() {
    let (place, apt) = Place::apt();
    place.publish_deb("1.0");
    place.publish_deb("2.0");
    converge(&tiny(Some("1.0")), &apt).await.unwrap();
    // Cut off between unpacking and configuring.
    let status = place.root().join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).unwrap();
    fs::write(&status, text.replace("install ok installed", "install ok unpacked")).unwrap();
    assert_eq!(converge(&tiny(Some("1.0")), &apt).await.unwrap(), "state unpacked → installed");
    // Cut off while writing its database: apt refuses to work before that is finished.
    let stanza = fs::read_to_string(&status).unwrap().trim_start().to_owned();
    fs::write(place.root().join("var/lib/dpkg/updates/0000"), stanza).unwrap();
    assert_eq!(converge(&tiny(Some("2.0")), &apt).await.unwrap(), "version 1.0 → 2.0");
    assert_eq!(place.installed_version(), "2.0");
}

#[tokio::test]
async fn dnf_waits_for_others() {
    let (place, dnf) = Place::dnf();
    place.publish_rpm("1.0");
    converge(&tiny(None), &dnf).await.unwrap();
    place.publish_rpm("2.0");
    let lock = run(&place.root(), "rpm", &["--eval", "%{_rpmlock_path}"]);
    let lock = place.root().join(lock.trim().trim_start_matches('/'));
    assert!(lock.exists(), "rpm locks another file");
    let start = Instant::now();
    let holder = lock_for(&lock, Duration::from_secs(6));
    converge(&tiny(Some("2.0-1")), &dnf).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(6), "it did not wait");
    holder.join().unwrap();
}
