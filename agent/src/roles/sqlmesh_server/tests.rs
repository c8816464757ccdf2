use std::collections::BTreeMap;

use secrecy::SecretString;

use super::*;
use crate::host::Fingerprints;
use crate::inputs::{Document, HostIdentity, Inputs, SecretProblem, SecretValue, Secrets};
use crate::settings;

const BUNDLE: &str = "11f0a3c6a1f5e1f0a3c6a1f5e1f0a3c6a1f5e1f0a3c6a1f5e1f0a3c6a1f5e1aa";

fn settings(bundle: Option<&str>) -> SqlmeshServer {
    SqlmeshServer {
        docker: settings::Docker { version: None },
        image: settings::Image { reference: format!("registry.example/sqlmesh@sha256:{BUNDLE}") },
        project: settings::Project { bundle: bundle.map(Into::into) },
        database: settings::Database {
            host: Some("db.example".into()),
            port: 5432,
            name: "sqlmesh_state".into(),
            secret: "aurora-data-operations".into(),
            ca_bundle: "config/rds-ca.pem".into(),
        },
        warehouse: settings::Warehouse {
            secret: "snowflake-warehouse".into(),
            env_prefix: "SNOWFLAKE_".into(),
        },
        ui: settings::Ui {
            port: 8000,
            allow: vec!["172.22.0.0/16".parse().unwrap()],
            memory_mb: 768,
            proxy_version: None,
        },
        scheduler: settings::Scheduler { interval_seconds: 300, drain_seconds: 3600, memory_mb: 1024 },
    }
}

fn secret(fields: &[(&str, &str)]) -> SecretValue {
    let fields = fields.iter().map(|(key, value)| ((*key).into(), SecretString::from(*value)));
    SecretValue { version: "v1".into(), fields: fields.collect() }
}

fn state(password: &str) -> SecretValue {
    secret(&[("username", "postgres"), ("password", password), ("host", "from-secret.example")])
}

struct World {
    identity: HostIdentity,
    inputs: Inputs,
    secrets: Secrets,
    fingerprints: Fingerprints,
}

impl World {
    fn new() -> Self {
        let document = Document { place: "s3://b/config/rds-ca.pem".into(), text: "PEM".into(), etag: None };
        let by_name = BTreeMap::from([
            ("aurora-data-operations".to_owned(), Ok(state("canary-1"))),
            ("snowflake-warehouse".to_owned(), Ok(secret(&[("private-key", "canary-2")]))),
        ]);
        Self {
            identity: HostIdentity {
                role: "sqlmesh-server".into(),
                bucket: "b".into(),
                region: None,
                signal: None,
            },
            inputs: Inputs {
                objects: BTreeMap::from([("config/rds-ca.pem".to_owned(), document)]),
                ..Inputs::default()
            },
            secrets: Secrets { by_name },
            fingerprints: Fingerprints::new([7; 64]),
        }
    }

    fn told(&self) -> Told<'_> {
        Told {
            identity: &self.identity,
            inputs: &self.inputs,
            secrets: &self.secrets,
            os: OsFamily::Debian,
            fingerprints: &self.fingerprints,
        }
    }

    fn environment(&self, settings: &SqlmeshServer) -> Environment {
        Environment::new(settings, &self.told()).unwrap()
    }
}

fn ids(desired: &Desired) -> Vec<String> {
    desired.graph.nodes().keys().map(ToString::to_string).collect()
}

#[test]
fn every_edge_leads_to_a_resource_and_nothing_waits_for_itself() {
    desired(&settings(Some(BUNDLE)), &World::new().told()).unwrap().graph.validate().unwrap();
}

#[test]
fn the_whole_role() {
    let world = World::new();
    insta::assert_snapshot!(ids(&desired(&settings(Some(BUNDLE)), &world.told()).unwrap()).join("\n"));
}

#[test]
fn without_a_project_the_host_is_ready_and_says_what_it_waits_for() {
    let world = World::new();
    let desired = desired(&settings(None), &world.told()).unwrap();
    assert!(!ids(&desired).iter().any(|id| id.starts_with("container:")), "{:?}", ids(&desired));
    assert!(ids(&desired).contains(&"unit:docker.service".to_owned()));
    assert!(desired.notices.iter().any(|notice| notice.contains("/ops-vpc/sqlmesh-server/project/bundle")));
}

#[test]
fn containers_name_no_secret_and_change_with_each() {
    let settings = settings(Some(BUNDLE));
    let mut world = World::new();
    let specification = |world: &World| {
        let environment = world.environment(&settings);
        let containers = Containers { settings: &settings, bundle: BUNDLE, environment: &environment };
        serde_json::to_string(&[containers.ui(), containers.scheduler(), containers.plan()]).unwrap()
    };
    let before = specification(&world);
    assert!(!before.contains("canary"), "{before}");
    world.secrets.by_name.insert("aurora-data-operations".into(), Ok(state("canary-3")));
    assert_ne!(before, specification(&world));
}

#[test]
fn warehouse_fields_become_variables_under_the_prefix() {
    let files = World::new().environment(&settings(Some(BUNDLE))).secret_files().files.unwrap();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["SNOWFLAKE_PRIVATE_KEY", "STATE_DB_PASSWORD", "STATE_DB_USER"]);
}

#[test]
fn the_secret_gives_the_host_where_settings_do_not() {
    let mut settings = settings(Some(BUNDLE));
    settings.database.host = None;
    let world = World::new();
    assert_eq!(world.environment(&settings).database(&settings).host, "from-secret.example");
}

#[test]
fn a_missing_field_is_named() {
    let mut world = World::new();
    let only_user = secret(&[("username", "postgres")]);
    world.secrets.by_name.insert("aurora-data-operations".into(), Ok(only_user));
    let problem = world.environment(&settings(Some(BUNDLE))).secret_files().files.unwrap_err();
    assert!(problem.message.contains("password") && problem.message.contains("aurora-data-operations"));
}

#[test]
fn a_secret_that_cannot_be_had_stops_its_consumers_only() {
    let mut world = World::new();
    let problem = SecretProblem {
        message: "secret snowflake-warehouse does not exist".into(),
        held: false,
        needs_a_person: true,
    };
    world.secrets.by_name.insert("snowflake-warehouse".into(), Err(problem));
    let desired = desired(&settings(Some(BUNDLE)), &world.told()).unwrap();
    assert!(ids(&desired).contains(&"unit:docker.service".to_owned()));
    assert!(world.environment(&settings(Some(BUNDLE))).secret_files().files.is_err());
}

#[test]
fn a_missing_ca_bundle_says_where_to_put_it() {
    let mut world = World::new();
    world.inputs.objects.clear();
    let message = desired(&settings(Some(BUNDLE)), &world.told()).err().unwrap().to_string();
    assert!(message.contains("s3://b/config/rds-ca.pem") && message.contains("aws s3 cp"), "{message}");
}

#[test]
fn a_promotion_has_time_for_the_longest_drain() {
    let mut settings = settings(Some(BUNDLE));
    settings.scheduler.drain_seconds = 86_400;
    let desired = desired(&settings, &World::new().told()).unwrap();
    let promotion =
        desired.graph.nodes().values().find(|node| node.resource.id().to_string() == "promotion:prod");
    let limit = promotion.unwrap().resource.time_limit();
    assert!(limit > std::time::Duration::from_secs(86_400 + 3600), "{limit:?}");
}
