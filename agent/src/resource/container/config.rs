//! From a specification to what the daemon is asked to create: a pure function.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as DockerMount, MountType,
    PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use super::Container;
use super::compare::{HASH_LABEL, SPEC_LABEL};
use crate::host::Host;

const NANOSECONDS: i64 = 1_000_000_000;
const MIB: u64 = 1024 * 1024;
/// Seconds between two health checks. Each costs a process; a new container is seen to be healthy at
/// most this late.
const HEALTH_INTERVAL: i64 = 5;
/// Seconds until a check that does not answer counts as failed.
const HEALTH_TIMEOUT: i64 = 4;
/// Failed checks in a row that make a container unhealthy.
const HEALTH_RETRIES: i64 = 3;
/// SQLMesh's UI has 9 threads, a run some 20: room for both, none for a fork bomb.
const PIDS_LIMIT: i64 = 256;

/// Bytes of a core dump. With exactly 1 the kernel makes none at all, not even for a program to which it
/// pipes them (`do_coredump` of Linux): systemd-coredump writes the memory of a crashed process to the
/// disk and its environment to the journal, and both hold the secrets.
const CORE_LIMIT: i64 = 1;

/// Where journald takes what containers log.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Whether the host has a journal. The daemon refuses the log driver where there is none.
pub(in crate::resource) fn has_journal(host: &Host) -> bool {
    host.path(JOURNAL_SOCKET).exists()
}

/// What the daemon is asked to create. Without a journal the log goes to bounded files.
pub(in crate::resource) fn creation(spec: &Container, journal: bool, restart: bool) -> ContainerCreateBody {
    let (user, group) = spec.user;
    let (entrypoint, command) = match spec.command.split_first() {
        Some((first, rest)) => (Some(vec![first.clone()]), Some(rest.to_vec())),
        None => (None, None),
    };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint,
        cmd: command,
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: Some(format!("{user}:{group}")),
        labels: Some(HashMap::from([
            (HASH_LABEL.to_owned(), spec.hash()),
            (SPEC_LABEL.to_owned(), spec.label()),
        ])),
        healthcheck: spec.health.as_ref().map(|command| health(command, spec.healthy_within_seconds)),
        stop_timeout: i64::try_from(spec.stop_seconds).ok(),
        exposed_ports: Some(spec.ports.iter().map(|(_, _, inside)| format!("{inside}/tcp")).collect()),
        host_config: Some(host_config(spec, journal, restart)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &Container, journal: bool, restart: bool) -> HostConfig {
    let memory = i64::try_from(spec.memory_mb * MIB).ok();
    let mut ports: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for (address, outside, inside) in &spec.ports {
        let binding = PortBinding { host_ip: Some(address.clone()), host_port: Some(outside.to_string()) };
        ports.entry(format!("{inside}/tcp")).or_default().get_or_insert_default().push(binding);
    }
    let tmpfs = spec
        .tmpfs
        .iter()
        .map(|(path, mib)| (path.clone(), format!("rw,noexec,nosuid,nodev,size={},mode=1777", mib * MIB)));
    // A bind by `Mounts`, unlike one by `Binds`, fails when its source is missing, instead of making an
    // empty directory there: secrets on tmpfs are missing until the agent has run after a boot.
    let mounts = spec.mounts.iter().map(|mount| DockerMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..DockerMount::default()
    });
    HostConfig {
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges".into()]),
        privileged: Some(false),
        // PID 1 is the program itself: it reaps and handles signals.
        init: Some(false),
        mounts: Some(mounts.collect()),
        tmpfs: Some(tmpfs.collect()),
        port_bindings: Some(ports),
        memory,
        // The same limit for memory and swap together: no swap.
        memory_swap: memory,
        pids_limit: Some(PIDS_LIMIT),
        ulimits: Some(vec![ResourcesUlimits {
            name: Some("core".into()),
            soft: Some(CORE_LIMIT),
            hard: Some(CORE_LIMIT),
        }]),
        log_config: Some(log_config(&spec.name, journal)),
        // Not `always`: after a boot the agent starts it, once its secrets are there.
        restart_policy: Some(RestartPolicy {
            name: Some(if restart { RestartPolicyNameEnum::ON_FAILURE } else { RestartPolicyNameEnum::NO }),
            maximum_retry_count: None,
        }),
        ..HostConfig::default()
    }
}

fn log_config(name: &str, journal: bool) -> HostConfigLogConfig {
    let (driver, options) = if journal {
        ("journald", vec![("tag", name)])
    } else {
        ("json-file", vec![("max-size", "10m"), ("max-file", "3")])
    };
    HostConfigLogConfig {
        typ: Some(driver.into()),
        config: Some(options.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
    }
}

fn health(command: &[String], healthy_within_seconds: u64) -> HealthConfig {
    let test = std::iter::once("CMD".to_owned()).chain(command.iter().cloned());
    HealthConfig {
        test: Some(test.collect()),
        interval: Some(HEALTH_INTERVAL * NANOSECONDS),
        timeout: Some(HEALTH_TIMEOUT * NANOSECONDS),
        retries: Some(HEALTH_RETRIES),
        // While it starts, a failed check does not count; a good one ends the start at once.
        start_period: i64::try_from(healthy_within_seconds).ok().map(|seconds| seconds * NANOSECONDS),
        start_interval: None,
    }
}
