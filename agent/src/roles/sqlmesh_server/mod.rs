//! The SQLMesh server: Docker, the UI behind its proxy, the scheduler, and the project they run.

use containers::{Containers, SCHEDULER};
use environment::Environment;

use super::{Desired, Told};
use crate::Result;
use crate::engine::graph::Graph;
use crate::inputs::os::OsFamily;
use crate::report::{Probe, Service};
use crate::resource::Id;
use crate::resource::bundle::Bundle;
use crate::resource::container::Standing;
use crate::resource::directory::Directory;
use crate::resource::file::{FileEntry, Files};
use crate::resource::image::Image;
use crate::resource::package::Package;
use crate::resource::promotion::Promotion;
use crate::resource::symlink::Symlink;
use crate::resource::unit::Unit;
use crate::settings::{SqlmeshServer, Ui};

mod containers;
mod environment;
#[cfg(test)]
mod tests;
mod ui_proxy;

/// User and group of the containers' processes; `sysusers.d/ops-agent.conf` names it.
const CONTAINER_USER: (u32, u32) = (10001, 10001);
const ROOT: (u32, u32) = (0, 0);

const SQLMESH_DIR: &str = "/var/lib/ops-agent/sqlmesh";
const CA_BUNDLE: &str = "/etc/ops-agent/rds-ca.pem";

/// Project versions kept on the host: this one, and those that one would go back to.
const KEEP_PROJECTS: usize = 5;

/// journald keeps the containers' logs; a restart of the daemon leaves the containers running.
const DAEMON_JSON: &str = "{\n  \"live-restore\": true,\n  \"log-driver\": \"journald\"\n}\n";

/// The desired state of a SQLMesh server.
///
/// # Errors
/// The CA bundle of the database is nowhere to be had.
pub fn desired(settings: &SqlmeshServer, told: &Told<'_>) -> Result<Desired> {
    let mut graph = Graph::default();
    let docker = docker(&mut graph, settings, told.os);
    let proxy = proxy(&mut graph, settings)?;
    let image = graph.add(Image { reference: settings.image.reference.clone() }, &[&docker]);

    let environment = Environment::new(settings, told)?;
    let ca_bundle = graph.add(one_file(CA_BUNDLE, environment.ca_bundle.clone().into_bytes()), &[]);
    let secrets = graph.add(environment.secret_files(), &[]);
    let database = graph.add(environment.database(settings), &[]);

    let mut services = vec![
        service("docker", Probe::Unit { unit: "docker.service".into() }),
        Service { about: Some(whom(&settings.ui)), ..service("ui-proxy", Probe::Unit { unit: proxy.name }) },
    ];
    let Some(bundle) = &settings.project.bundle else {
        return Ok(Desired {
            graph,
            services,
            notices: vec![format!(
                "waiting for a project: publish one and set /ops-vpc/{}/project/bundle",
                told.identity.role
            )],
        });
    };

    let state_dir = graph.add(directory(SQLMESH_DIR, ROOT), &[]);
    let projects_dir = graph.add(directory(&format!("{SQLMESH_DIR}/projects"), ROOT), &[&state_dir]);
    let scheduler_dir =
        graph.add(directory(&format!("{SQLMESH_DIR}/scheduler"), CONTAINER_USER), &[&state_dir]);
    let project = graph.add(
        Bundle {
            name: "sqlmesh-project".into(),
            bucket: told.identity.bucket.clone(),
            key: format!("projects/{bundle}.tar.gz"),
            sha256: bundle.clone(),
            into: format!("{SQLMESH_DIR}/projects"),
            keep: KEEP_PROJECTS,
        },
        &[&projects_dir],
    );
    let containers = Containers { settings, bundle, environment: &environment };
    let (ui, scheduler) = (containers.ui(), containers.scheduler());
    // A boot with a version that is no good serves the one before it.
    let standing = [&docker, &secrets, &ca_bundle];
    let plan = containers.plan();
    let ui_as_it_was = graph.add(Standing { name: ui.name.clone(), not_beside: None }, &standing);
    let scheduler_as_it_was =
        graph.add(Standing { name: scheduler.name.clone(), not_beside: Some(plan.name.clone()) }, &standing);
    let promotion = graph.add(
        Promotion {
            version: format!("{bundle} {}", digest(&settings.image.reference)),
            plan,
            scheduler: SCHEDULER.into(),
            drain_seconds: scheduler.stop_seconds,
        },
        &[&project, &image, &ca_bundle, &secrets, &database, &scheduler_as_it_was],
    );
    let current = graph.add(
        Symlink { path: format!("{SQLMESH_DIR}/current"), target: format!("projects/{bundle}") },
        &[&promotion],
    );
    graph.add(ui, &[&current, &ui_as_it_was]);
    graph.add(scheduler, &[&current, &scheduler_dir]);

    let ui = format!("http://{}/health", ui_proxy::upstream());
    services.push(service("sqlmesh-ui", Probe::Http { url: ui }));
    let state = format!("{SQLMESH_DIR}/scheduler/state.json");
    services.push(service("sqlmesh-scheduler", Probe::Scheduler { path: state }));
    Ok(Desired { graph, services, notices: Vec::new() })
}

fn service(name: &str, probe: Probe) -> Service {
    Service { name: name.into(), about: None, probe }
}

/// Where the UI answers, and whom.
fn whom(ui: &Ui) -> String {
    let networks: Vec<String> = ui.allow.iter().map(ToString::to_string).collect();
    format!("port {}, for {}", ui.port, networks.join(", "))
}

/// Docker, configured before it is installed, so that its first start is already right.
fn docker(graph: &mut Graph, settings: &SqlmeshServer, os: OsFamily) -> Id {
    let name = match os {
        OsFamily::Debian => "docker.io",
        OsFamily::Fedora => "docker",
    };
    let directory = graph.add(directory("/etc/docker", ROOT), &[]);
    let config = graph.add(one_file("/etc/docker/daemon.json", DAEMON_JSON.into()), &[&directory]);
    let package =
        graph.add(Package { name: name.into(), version: settings.docker.version.clone() }, &[&config]);
    let unit = graph.add(Unit { name: "docker.service".into(), enabled: true }, &[&package]);
    graph.restart_on(&unit, &[&config, &package]);
    unit
}

/// nginx as the only way to the UI. The distribution's own nginx.service is masked before the
/// package is there, since Debian starts it at installation, open to everyone on port 80.
fn proxy(graph: &mut Graph, settings: &SqlmeshServer) -> Result<Id> {
    let mask = graph
        .add(Symlink { path: "/etc/systemd/system/nginx.service".into(), target: "/dev/null".into() }, &[]);
    let package =
        graph.add(Package { name: "nginx".into(), version: settings.ui.proxy_version.clone() }, &[&mask]);
    let config =
        graph.add(one_file("/etc/ops-agent/ui-proxy.conf", ui_proxy::render(&settings.ui)?.into()), &[]);
    let unit = graph.add(Unit { name: "ops-ui-proxy.service".into(), enabled: true }, &[&package, &config]);
    graph.restart_on(&unit, &[&config, &package]);
    Ok(unit)
}

fn directory(path: &str, owner: (u32, u32)) -> Directory {
    Directory { path: path.into(), mode: 0o755, owner }
}

fn one_file(path: &str, content: Vec<u8>) -> Files {
    Files {
        name: path.into(),
        files: vec![FileEntry { path: path.into(), content, mode: 0o644, owner: ROOT }],
    }
}

fn digest(reference: &str) -> &str {
    reference.split_once('@').map_or(reference, |(_, digest)| digest)
}
