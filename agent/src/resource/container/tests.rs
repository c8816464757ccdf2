use bollard::models::{MountType, RestartPolicyNameEnum};

use super::*;

fn spec() -> Container {
    Container {
        name: "ops-sqlmesh-ui".into(),
        image: "r/sqlmesh@sha256:aa".into(),
        command: vec!["/ops-agent".into(), "entrypoint".into(), "--".into(), "sqlmesh".into()],
        env: vec![("STATE_DB_HOST".into(), "db".into())],
        user: (10001, 10001),
        mounts: vec![Mount { source: "/p/1".into(), target: "/project".into(), read_only: true }],
        tmpfs: vec![("/tmp".into(), 64)],
        ports: vec![("127.0.0.1".into(), 8001, 8000)],
        memory_mb: 768,
        health: Some(vec!["/ops-agent".into(), "probe".into()]),
        stop_seconds: 30,
        healthy_within_seconds: 120,
        depends: vec![("secrets".into(), "aaaaaaaaaaaaaaaaaaaaaaaa".into())],
    }
}

fn found(spec: &Container, health: Health) -> Current {
    let found = Found {
        id: "1".into(),
        hash: Some(spec.hash()),
        spec: Some(Box::new(spec.clone())),
        health,
        was_started: true,
    };
    Current { container: Some(found), previous: None }
}

#[test]
fn the_same_and_healthy_is_no_difference() {
    assert!(spec().diff(&found(&spec(), Health::Healthy)).is_empty());
}

#[test]
fn each_part_is_told_by_name() {
    let mut old = spec();
    old.image = "r/sqlmesh@sha256:bb".into();
    old.env.push(("OLD".into(), "1".into()));
    old.mounts = vec![Mount { source: "/p/0".into(), target: "/project".into(), read_only: true }];
    old.depends = vec![("secrets".into(), "bbbbbbbbbbbbbbbbbbbbbbbb".into())];
    let summary = spec().diff(&found(&old, Health::Healthy)).summary();
    assert_eq!(
        summary,
        "image r/sqlmesh@sha256:bb → r/sqlmesh@sha256:aa, mount /project /p/0 read-only → /p/1 read-only, \
         secrets bbbbbbbbbbbb → aaaaaaaaaaaa, env OLD 1 → none"
    );
}

#[test]
fn a_change_of_any_part_changes_the_hash_and_is_told() {
    let changes: [fn(&mut Container); 12] = [
        |s| s.image.push('0'),
        |s| s.command.push("x".into()),
        |s| s.env.push(("A".into(), "b".into())),
        |s| s.user = (1, 1),
        |s| s.mounts.clear(),
        |s| s.tmpfs.clear(),
        |s| s.ports.clear(),
        |s| s.memory_mb = 1,
        |s| s.health = None,
        |s| s.stop_seconds = 1,
        |s| s.healthy_within_seconds = 1,
        |s| s.depends.clear(),
    ];
    for change in changes {
        let mut old = spec();
        change(&mut old);
        assert_ne!(old.hash(), spec().hash());
        let diff = spec().diff(&found(&old, Health::Healthy));
        assert_eq!(diff.0.len(), 1, "{}", diff.summary());
        assert!(!diff.summary().contains("another version"), "{}", diff.summary());
    }
}

#[test]
fn a_stopped_one_and_an_interrupted_replacement_are_differences() {
    let diff = spec().diff(&found(&spec(), Health::Stopped));
    assert_eq!(diff.summary(), "health stopped → healthy");
    let mut current = found(&spec(), Health::Healthy);
    current.previous = current.container.clone();
    assert!(spec().diff(&current).summary().starts_with("interrupted replacement"));
}

#[test]
fn one_that_we_did_not_make_is_replaced() {
    let mut current = found(&spec(), Health::Healthy);
    current.container =
        Some(Found { id: "1".into(), hash: None, spec: None, health: Health::Healthy, was_started: true });
    assert!(spec().diff(&current).summary().contains("not made by ops-agent"));
}

#[test]
fn is_locked_down() {
    let body = creation(&spec(), true, true);
    assert_eq!(body.user.as_deref(), Some("10001:10001"));
    assert_eq!(body.entrypoint.as_deref(), Some(&["/ops-agent".to_owned()][..]));
    assert_eq!(body.stop_timeout, Some(30));
    let host = body.host_config.unwrap();
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!(host.cap_drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert_eq!(host.security_opt.as_deref(), Some(&["no-new-privileges".to_owned()][..]));
    assert_eq!(host.memory, Some(768 * 1024 * 1024));
    assert_eq!(host.memory, host.memory_swap);
    assert_eq!(host.binds, None);
    let core = &host.ulimits.unwrap()[0];
    assert_eq!((core.name.as_deref(), core.soft, core.hard), (Some("core"), Some(1), Some(1)));
    assert_eq!(host.mounts.unwrap()[0].typ, Some(MountType::BIND));
    assert_eq!(host.tmpfs.unwrap()["/tmp"], "rw,noexec,nosuid,nodev,size=67108864,mode=1777");
    assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::ON_FAILURE));
    assert_eq!(host.log_config.unwrap().typ.as_deref(), Some("journald"));
    let bindings = host.port_bindings.unwrap();
    assert_eq!(bindings["8000/tcp"].as_ref().unwrap()[0].host_ip.as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let line = health::one_line(&"ü".repeat(500));
    assert_eq!(line.chars().count(), 241);
    assert_eq!(health::one_line(" a\r\n  b\t"), "a b");
}
