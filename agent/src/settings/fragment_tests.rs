use super::*;

fn document(text: &str) -> Document {
    Document { place: "s3://B/config/sqlmesh-server.toml".into(), text: text.into(), etag: None }
}

fn problems_of(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    Fragment::from_document(Role::SqlmeshServer, Layer::Document, &document(text), &mut problems);
    problems
}

fn parameter(name: &str, value: &str) -> Parameter {
    Parameter { name: name.into(), value: value.into(), version: 1, secure: false }
}

fn from_parameters(parameters: &[Parameter]) -> (Fragment, Vec<String>) {
    let mut problems = Vec::new();
    let role = Role::SqlmeshServer;
    let found = Fragment::from_parameters(role, &role.parameter_prefix(), parameters, &mut problems);
    (found, problems)
}

#[test]
fn reads_every_way_of_writing_a_table() {
    let text = "ui.port = 1\n[ui]\n[scheduler]\ninterval_seconds = 60\n";
    // A dotted key and a header for one table are refused by TOML itself.
    assert_eq!(problems_of(text).len(), 1);
    for text in
        ["ui.port = 8080\n", "[ui]\nport = 8080\n", "ui = { port = 8080 }\n", "\n\n['ui']\n'port' = 8080"]
    {
        let mut problems = Vec::new();
        let found =
            Fragment::from_document(Role::SqlmeshServer, Layer::Document, &document(text), &mut problems);
        assert!(problems.is_empty(), "{text:?}: {problems:?}");
        let written = found.0.first().unwrap();
        assert_eq!((written.key.name, &written.value), ("ui.port", &Value::Integer(8080)));
        let line = text.lines().position(|line| line.contains("port")).unwrap() + 1;
        assert_eq!(written.origin.line, Some(line), "{text:?}");
    }
}

#[test]
fn names_every_problem_with_its_line() {
    let text = "\
[docker]
version = 25

[scheduler]
# Twice a minute.
memory_mb = 1024
intervall_seconds = 30
drain_seconds = \"1h\"

[ui]
allow = \"172.22.0.0/16\"
port = [8000]
memory_mb = 1.5

[database]
password = \"hunter2\"
";
    insta::assert_snapshot!(problems_of(text).join("\n"), @r#"
    s3://B/config/sqlmesh-server.toml line 2: docker.version is an integer, expected a package version as the package manager prints it
    s3://B/config/sqlmesh-server.toml line 7: unknown key scheduler.intervall_seconds; did you mean scheduler.interval_seconds?
    s3://B/config/sqlmesh-server.toml line 8: scheduler.drain_seconds is a string, expected an integer from 10 to 86400 (seconds)
    s3://B/config/sqlmesh-server.toml line 11: ui.allow is a string, expected a list of networks as in ["172.22.0.0/16"]
    s3://B/config/sqlmesh-server.toml line 12: ui.port is an array, expected a TCP port, 1024 to 65535
    s3://B/config/sqlmesh-server.toml line 13: ui.memory_mb is a float, expected an integer from 384 to 65536 (MiB)
    s3://B/config/sqlmesh-server.toml line 16: unknown key database.password; secrets do not belong in settings: put it into AWS Secrets Manager, into the secret that database.secret or warehouse.secret names, and delete it here
    "#);
}

#[test]
fn names_problems_of_structure() {
    let cases = [
        ("ui = 8000\n", "line 1: ui is an integer, expected a table; write [ui] and its keys below"),
        ("[[ui]]\nport = 8000\n", "line 1: ui is an array of tables, expected a table"),
        ("[ui.port]\nvalue = 1\n", "line 1: ui.port is a table, expected a TCP port"),
        ("[schedular]\n", "line 1: unknown section schedular; did you mean scheduler?"),
        ("\ninterval_seconds = 30\n", "line 2: unknown key interval_seconds; did you mean scheduler."),
        ("[ui]\nallow = [8000]\n", "line 2: ui.allow is an array, expected a list of networks"),
        ("[ui]\nport = \n", "line 2: not TOML: "),
        ("[ui]\nport = 1\nport = 2\n", "line 3: not TOML: duplicate key"),
    ];
    for (text, said) in cases {
        let problems = problems_of(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let problem = problems.first().unwrap();
        assert!(problem.contains(said) && !problem.contains('\n'), "{problem:?} does not say {said:?}");
    }
}

#[test]
fn never_shows_the_value_of_an_unknown_key() {
    let problems = problems_of("[database]\npasswort = \"hunter2\"\nx = \"hunter2\"\n");
    assert_eq!(problems.len(), 2);
    assert!(!problems.concat().contains("hunter2"));
}

#[test]
fn reads_parameters_by_the_type_of_their_key() {
    let (found, problems) = from_parameters(&[
        parameter("/ops-vpc/sqlmesh-server/scheduler/interval-seconds", "60"),
        parameter("/ops-vpc/sqlmesh-server/ui/allow", "10.0.0.0/8, 172.22.0.0/16"),
        parameter("/ops-vpc/sqlmesh-server/database/host", "db.lab"),
    ]);
    assert!(problems.is_empty(), "{problems:?}");
    let values: Vec<_> =
        found.0.iter().map(|written| (written.key.name, written.value.to_string())).collect();
    assert_eq!(
        values,
        [
            ("scheduler.interval_seconds", "60".to_owned()),
            ("ui.allow", "[\"10.0.0.0/8\", \"172.22.0.0/16\"]".to_owned()),
            ("database.host", "\"db.lab\"".to_owned()),
        ]
    );
}

#[test]
fn names_the_parameter_of_every_problem() {
    let mut hidden = parameter("/ops-vpc/sqlmesh-server/database/port", "hunter2");
    hidden.secure = true;
    let (found, problems) = from_parameters(&[
        parameter("/ops-vpc/sqlmesh-server/scheduler/intervall-seconds", "60"),
        parameter("/ops-vpc/sqlmesh-server/scheduler/memory-mb", "1 GB"),
        parameter("/ops-vpc/sqlmesh-server/ui/port", "8000"),
        parameter("/ops-vpc/sqlmesh-server/ui-port", "8000"),
        parameter("/ops-vpc/sqlmesh-server/ui/memory-mb", "768"),
        parameter("/ops-vpc/sqlmesh-server/ui/memory_mb", "769"),
        hidden,
    ]);
    assert_eq!(found.0.len(), 2);
    insta::assert_snapshot!(problems.join("\n"), @r#"
    parameter /ops-vpc/sqlmesh-server/scheduler/intervall-seconds: unknown key scheduler.intervall_seconds; did you mean scheduler.interval_seconds?
    parameter /ops-vpc/sqlmesh-server/scheduler/memory-mb: scheduler.memory_mb is "1 GB", expected an integer from 512 to 65536 (MiB)
    parameter /ops-vpc/sqlmesh-server/ui-port: unknown key ui_port; did you mean ui.port?
    parameter /ops-vpc/sqlmesh-server/ui/memory_mb: ui.memory_mb is also set by parameter /ops-vpc/sqlmesh-server/ui/memory-mb; delete one of the two
    parameter /ops-vpc/sqlmesh-server/database/port: database.port is something else (not shown: SecureString), expected a TCP port, 1 to 65535
    "#);
}
