use super::*;

fn root(identity: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/ops-agent/config.d")).unwrap();
    fs::write(root.path().join("etc/ops-agent/host.toml"), identity).unwrap();
    root
}

fn read(text: &str) -> Result<HostIdentity> {
    identity(root(text).path(), &Overrides::default())
}

#[test]
fn reads_what_the_installer_writes() {
    let text = "role = \"sqlmesh-server\"\nbucket = \"artifacts\"\nregion = \"eu-west-1\"\n\n[signal]\nstack = \"s\"\nresource = \"r\"\n";
    let host = read(text).unwrap();
    assert_eq!((host.role.as_str(), host.bucket.as_str()), ("sqlmesh-server", "artifacts"));
    assert_eq!(host.region.as_deref(), Some("eu-west-1"));
    assert_eq!(host.signal, Some(SignalTarget { stack: "s".into(), resource: "r".into() }));
}

#[test]
fn arguments_win_and_suffice() {
    let over = Overrides { role: Some("sqlmesh-server".into()), bucket: Some("other".into()) };
    let text = "role = \"x\"\nbucket = \"artifacts\"\n";
    assert_eq!(identity(root(text).path(), &over).unwrap().bucket, "other");
    assert_eq!(identity(tempfile::tempdir().unwrap().path(), &over).unwrap().role, "sqlmesh-server");
}

#[test]
fn says_how_to_make_the_file() {
    let empty = tempfile::tempdir().unwrap();
    let said = identity(empty.path(), &Overrides::default()).unwrap_err().to_string();
    assert!(said.starts_with("/etc/ops-agent/host.toml: it does not exist"), "{said}");
    assert!(said.contains("role = \"sqlmesh-server\"") && said.contains("--bucket"), "{said}");
}

#[test]
fn refuses_with_every_problem() {
    let cases = [
        ("role = \"sqlmesh-server\"\n", "bucket is not set; set it, or use --bucket"),
        ("bucket = \"b\"\n", "role is not set"),
        ("role = \"sqlmesh-server\"\nbucket = 1\n", "bucket is integer, expected a string"),
        (
            "role = \"sqlmesh-server\"\nbucket = \"b\"\nrigion = \"x\"\n",
            "unknown key rigion; legal are role, bucket",
        ),
        (
            "role = \"sqlmesh-server\"\nbucket = \"b\"\n[signal]\nstack = \"s\"\n",
            "[signal] needs the strings",
        ),
        ("role = \"sqlmesh-server\"\nbucket = \n", "line 2: not TOML"),
        ("role = \"rustdesk\"\nbucket = \"b\"\n", "use one of: sqlmesh-server"),
    ];
    for (text, said) in cases {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    }
}

#[test]
fn reads_local_settings_in_order() {
    let root = root("");
    let directory = root.path().join("etc/ops-agent/config.d");
    for name in ["20-b.toml", "10-a.toml", "30-c.toml~", "README"] {
        fs::write(directory.join(name), name).unwrap();
    }
    let (documents, input) = settings(root.path()).unwrap();
    let places: Vec<_> = documents.iter().map(|document| document.place.as_str()).collect();
    assert_eq!(places, ["/etc/ops-agent/config.d/10-a.toml", "/etc/ops-agent/config.d/20-b.toml"]);
    assert_eq!(input.detail, "2 files in /etc/ops-agent/config.d");
    fs::write(directory.join("40.toml"), b"\xff").unwrap();
    assert!(settings(root.path()).unwrap_err().to_string().contains("40.toml"));
    let none = tempfile::tempdir().unwrap();
    assert!(settings(none.path()).unwrap().0.is_empty());
}
