use super::*;
use crate::inputs::{Document, Parameter};

const IMAGE: &str =
    "registry.lab:5000/sqlmesh@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn document(place: &str, text: &str) -> Document {
    Document { place: place.into(), text: text.into(), etag: None }
}

fn inputs(text: &str) -> Inputs {
    Inputs { document: Some(document("s3://B/config/sqlmesh-server.toml", text)), ..Inputs::default() }
}

fn parameter(name: &str, value: &str, secure: bool) -> Parameter {
    Parameter { name: format!("/ops-vpc/sqlmesh-server/{name}"), value: value.into(), version: 1, secure }
}

fn server(inputs: &Inputs) -> SqlmeshServer {
    match resolve(Role::SqlmeshServer, inputs).unwrap().0 {
        Settings::SqlmeshServer(server) => server,
    }
}

fn problems(inputs: &Inputs) -> Vec<String> {
    match resolve(Role::SqlmeshServer, inputs) {
        Err(Error::Settings(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_is_all_that_must_be_set() {
    let server = server(&inputs(&format!("image.reference = \"{IMAGE}\"")));
    assert_eq!(server.project.bundle, None);
    assert_eq!(server.docker.version, None);
    assert_eq!((server.database.port, server.database.name.as_str()), (5432, "sqlmesh_state"));
    assert_eq!(server.database.secret, "aurora-data-operations");
    assert_eq!(server.database.ca_bundle, "config/rds-ca.pem");
    assert_eq!(server.warehouse.env_prefix, "SNOWFLAKE_");
    assert_eq!((server.ui.port, server.ui.memory_mb), (8000, 768));
    assert_eq!(server.ui.allow, ["172.22.0.0/16".parse().unwrap(), "172.20.0.0/16".parse().unwrap()]);
    let scheduler = &server.scheduler;
    assert_eq!((scheduler.interval_seconds, scheduler.drain_seconds, scheduler.memory_mb), (300, 3600, 1024));
}

#[test]
fn higher_layers_win_and_say_where_they_were_written() {
    let mut inputs =
        inputs(&format!("[image]\nreference = \"{IMAGE}\"\n[scheduler]\ninterval_seconds = 60\n"));
    inputs.parameters.push(parameter("scheduler/interval-seconds", "90", false));
    inputs.parameters.push(parameter("scheduler/memory-mb", "2048", false));
    inputs.local.push(document("/etc/ops-agent/config.d/10.toml", "[scheduler]\ninterval_seconds = 100\n"));
    inputs.local.push(document("/etc/ops-agent/config.d/20.toml", "\nscheduler.interval_seconds = 120\n"));
    let (settings, values) = resolve(Role::SqlmeshServer, &inputs).unwrap();
    let Settings::SqlmeshServer(server) = settings;
    assert_eq!((server.scheduler.interval_seconds, server.scheduler.memory_mb), (120, 2048));
    let interval = values.iter().find(|value| value.key == "scheduler.interval_seconds").unwrap();
    assert_eq!(interval.origin.to_string(), "/etc/ops-agent/config.d/20.toml line 2");
    let overridden: Vec<_> = interval.overrides.iter().map(ToString::to_string).collect();
    assert_eq!(
        overridden,
        [
            "/etc/ops-agent/config.d/10.toml line 2",
            "parameter /ops-vpc/sqlmesh-server/scheduler/interval-seconds",
            "s3://B/config/sqlmesh-server.toml line 4",
        ]
    );
}

#[test]
fn an_empty_text_unsets_what_may_be_unset() {
    let mut inputs = inputs(&format!("image.reference = \"{IMAGE}\"\ndatabase.host = \"db.lab\"\n"));
    assert_eq!(server(&inputs).database.host.as_deref(), Some("db.lab"));
    inputs.local.push(document("/etc/ops-agent/config.d/10.toml", "database.host = \"\"\n"));
    assert_eq!(server(&inputs).database.host, None);
    inputs.local.push(document("/etc/ops-agent/config.d/20.toml", "database.name = \"\"\n"));
    assert!(
        problems(&inputs)
            .concat()
            .contains("20.toml line 1: database.name is \"\", expected a database name")
    );
}

#[test]
fn all_problems_of_all_layers_come_at_once() {
    let mut inputs = inputs("[scheduler]\ninterval_seconds = 10\nintervall_seconds = 60\n");
    inputs.parameters.push(parameter("ui/allow", "0.0.0.0/0", false));
    inputs.parameters.push(parameter("database/port", "70000", true));
    inputs.local.push(document("/etc/ops-agent/config.d/10.toml", "[ui]\nport = true\n"));
    insta::assert_snapshot!(problems(&inputs).join("\n"), @r#"
    s3://B/config/sqlmesh-server.toml line 3: unknown key scheduler.intervall_seconds; did you mean scheduler.interval_seconds?
    /etc/ops-agent/config.d/10.toml line 2: ui.port is a boolean, expected a TCP port, 1024 to 65535
    parameter /ops-vpc/sqlmesh-server/database/port: database.port is not what it must be, expected a TCP port, 1 to 65535 (not shown: SecureString)
    parameter /ops-vpc/sqlmesh-server/ui/allow: ui.allow holds 0.0.0.0/0, which lets in far more than your networks, and SQLMesh's UI has no authentication of its own; name the networks that need it, as in 172.22.0.0/16 (/8 at the widest)
    s3://B/config/sqlmesh-server.toml line 2: scheduler.interval_seconds is 10, expected an integer from 30 to 604800 (seconds)
    image.reference is not set in any layer, expected an image as REGISTRY/REPOSITORY@sha256:HEX; put it into s3://B/config/sqlmesh-server.toml
    "#);
}

#[test]
fn what_only_shows_together_is_refused_too() {
    let image = format!("image.reference = \"{IMAGE}\"\n");
    let said = problems(&inputs(&format!("{image}ui.port = 8001\n"))).concat();
    assert!(said.contains("on which the UI itself listens"), "{said}");
    let said = problems(&inputs(&format!("{image}warehouse.secret = \"aurora-data-operations\"\n"))).concat();
    assert!(said.contains("give each a secret of its own"), "{said}");
}

#[test]
fn without_a_document_it_says_where_to_put_what_is_missing() {
    let said = problems(&Inputs::default()).concat();
    assert!(
        said.contains("put it into config/sqlmesh-server.toml of the artifact bucket, or a parameter below")
    );
}

#[test]
fn a_secure_value_is_used_and_not_shown() {
    let mut inputs = inputs(&format!("image.reference = \"{IMAGE}\""));
    inputs.parameters.push(parameter("database/host", "hidden.lab", true));
    let (settings, values) = resolve(Role::SqlmeshServer, &inputs).unwrap();
    let Settings::SqlmeshServer(server) = settings;
    assert_eq!(server.database.host.as_deref(), Some("hidden.lab"));
    let shown = serde_json::to_string(&values).unwrap();
    assert!(!shown.contains("hidden.lab") && shown.contains("SecureString, not shown"));
    let fragments = fragments(Role::SqlmeshServer, &inputs, &mut Vec::new());
    assert!(!format!("{inputs:?} {fragments:?}").contains("hidden.lab"));
}

#[test]
fn an_unknown_role_is_refused_with_the_known_ones() {
    let said = "rustdesk".parse::<Role>().unwrap_err().to_string();
    assert!(
        said.starts_with("role \"rustdesk\": ") && said.ends_with("use one of: sqlmesh-server"),
        "{said}"
    );
}

#[test]
fn one_file_can_be_checked_alone() {
    let (values, missing) = check(Role::SqlmeshServer, &document("x.toml", "ui.port = 8080\n")).unwrap();
    assert_eq!(missing, ["image.reference"]);
    assert_eq!(values.iter().filter(|value| value.origin.line.is_some()).count(), 1);
    let said = check(Role::SqlmeshServer, &document("x.toml", "ui.prot = 8080\n")).unwrap_err().to_string();
    assert_eq!(said, "x.toml line 1: unknown key ui.prot; did you mean ui.port?");
}

#[test]
fn a_parameter_without_its_value_does_not_fall_back_to_a_lower_layer() {
    let mut inputs = inputs(&format!("image.reference = \"{IMAGE}\"\ndatabase.host = \"old.lab\"\n"));
    inputs.unknown.push("/ops-vpc/sqlmesh-server/database/host".into());
    let said = problems(&inputs).concat();
    assert!(
        said.starts_with("parameter /ops-vpc/sqlmesh-server/database/host: it is a SecureString"),
        "{said}"
    );
}

proptest::proptest! {
    /// Whatever somebody wrote, the answer is settings or lines that say where.
    #[test]
    fn any_text_is_settings_or_problems(text in "\\PC*", index in 0..keys::KEYS.len(), value in "\\PC{0,40}") {
        let key = &keys::KEYS[index];
        let mut inputs = inputs(&text);
        inputs.parameters.push(parameter(&key.name.replace('.', "/"), &value, false));
        inputs.local.push(document("/etc/ops-agent/config.d/10.toml", &format!("{} = {value}\n", key.name)));
        inputs.local.push(document("/etc/ops-agent/config.d/20.toml", &format!("{} = {value:?}\n", key.name)));
        match resolve(Role::SqlmeshServer, &inputs) {
            Ok((_, values)) => assert_eq!(values.len(), keys::of_role(Role::SqlmeshServer).count()),
            Err(Error::Settings(problems)) => {
                assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.contains('\n')), "{problems:?}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}
