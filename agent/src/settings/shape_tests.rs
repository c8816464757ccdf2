use super::*;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

fn refusal(shape: Shape, value: &Value) -> String {
    shape.check(value).expect_err(&format!("{shape:?} took {value}"))
}

#[test]
fn takes_good_values() {
    let cases = [
        (Shape::ImageReference, text(&format!("registry.lab:5000/sqlmesh@{DIGEST}"))),
        (Shape::ImageReference, text(&format!("localhost/a/b_c@{DIGEST}"))),
        (Shape::Host, text("operations.cluster-x.us-east-1.rds.amazonaws.com")),
        (Shape::Host, text("172.22.2.10")),
        (Shape::DatabaseName, text("sqlmesh_state")),
        (Shape::SecretName, text("aurora-data-operations")),
        (Shape::SecretName, text("arn:aws:secretsmanager:us-east-1:111122223333:secret:a-AbCdEf")),
        (Shape::ConfigObject, text("config/rds/global-bundle.pem")),
        (Shape::EnvironmentPrefix, text("WAREHOUSE_")),
        (Shape::PackageVersion, text("5:27.3.1-1~debian.12~bookworm")),
        (Shape::Networks, Value::List(vec![])),
        (Shape::Networks, Value::List(vec!["10.0.0.0/8".into(), "fd00::/16".into(), "10.1.2.3/32".into()])),
        (Shape::Port, Value::Integer(65_535)),
        (Shape::UnprivilegedPort, Value::Integer(1024)),
        (Shape::Integer { min: 30, max: 40 }, Value::Integer(30)),
    ];
    for (shape, value) in cases {
        shape.check(&value).unwrap_or_else(|problem| panic!("{shape:?} {problem}"));
    }
}

#[test]
fn refuses_bad_values_with_what_is_expected() {
    let long = "a".repeat(64);
    let cases = [
        (Shape::Integer { min: 30, max: 60 }, Value::Integer(29), "is 29, expected an integer from 30 to 60"),
        (Shape::Integer { min: 30, max: 60 }, Value::Integer(61), "is 61, expected"),
        (Shape::Port, Value::Integer(0), "is 0, expected a TCP port, 1 to 65535"),
        (Shape::Port, Value::Integer(65_536), "is 65536, expected"),
        // The proxy could not bind it, and would be down after the restart.
        (Shape::UnprivilegedPort, Value::Integer(80), "is 80, expected a TCP port, 1024 to 65535"),
        (Shape::Port, text("80"), "is \"80\", expected a TCP port"),
        (Shape::Sha256, text("abc"), "is \"abc\", expected a SHA-256 as 64 lower-case hex digits"),
        (Shape::Sha256, text(&"A".repeat(64)), "lower-case"),
        (Shape::Host, text("https://db"), "expected a host name without scheme and port"),
        (Shape::Host, text("db:5432"), "without scheme and port"),
        (Shape::Host, text("db..lab"), "expected a host name"),
        (Shape::Host, text("-db.lab"), "expected a host name"),
        (Shape::DatabaseName, text("SQLMesh"), "lower-case letters"),
        (Shape::DatabaseName, text("1state"), "lower-case letters"),
        (Shape::DatabaseName, text(&long), "at most 63"),
        (Shape::SecretName, text("two words"), "name of a secret"),
        (Shape::SecretName, text("a:b"), "name of a secret"),
        (Shape::ConfigObject, text("rds-ca.pem"), "begins with config/"),
        (Shape::ConfigObject, text("config/"), "begins with config/"),
        (Shape::EnvironmentPrefix, text("snowflake_"), "capitals"),
        (Shape::EnvironmentPrefix, text("STATE_DB_"), "mean something else"),
        (Shape::EnvironmentPrefix, text("LD_PRE"), "mean something else"),
        (Shape::PackageVersion, text("-1.0"), "a package version"),
        (Shape::PackageVersion, text("1.0 --assumeyes"), "a package version"),
    ];
    for (shape, value, said) in cases {
        let problem = refusal(shape, &value);
        assert!(problem.contains(said), "{problem:?} does not say {said:?}");
    }
}

#[test]
fn refuses_networks_that_let_everyone_in_or_are_none() {
    let cases = [
        ("0.0.0.0/0", "no authentication of its own"),
        ("::/0", "no authentication of its own"),
        ("0.0.0.0/1", "no authentication of its own"),
        ("172.22.1.0/16", "write 172.22.0.0/16"),
        ("10.0.0.1", "for one address write 10.0.0.1/32"),
        ("office", "write networks as in 172.22.0.0/16"),
        ("10.0.0.0/33", "not a network"),
    ];
    for (network, said) in cases {
        let list = Value::List(vec!["172.20.0.0/16".into(), network.into()]);
        let problem = refusal(Shape::Networks, &list);
        assert!(problem.contains(said) && problem.contains(network), "{problem}");
    }
}

#[test]
fn refuses_images_that_can_change_or_have_no_registry() {
    let cases = [
        ("registry.lab/sqlmesh:1.0".to_owned(), "a tag can change under a running host"),
        ("registry.lab/sqlmesh".to_owned(), "names no digest"),
        ("registry.lab/sqlmesh@sha256:abc".to_owned(), "64 lower-case hex digits"),
        ("registry.lab/sqlmesh@md5:abc".to_owned(), "64 lower-case hex digits"),
        (format!("sqlmesh@{DIGEST}"), "names no registry"),
        (format!("library/sqlmesh@{DIGEST}"), "\"library\" is not a host name"),
        (format!("registry.lab/sqlmesh:1@{DIGEST}"), "a tag beside the digest"),
        (format!("registry.lab:0/sqlmesh@{DIGEST}"), "does not take as a name"),
        (format!("registry.lab/SQLMesh@{DIGEST}"), "does not take as a name"),
        (format!("registry.lab//x@{DIGEST}"), "does not take as a name"),
    ];
    for (reference, said) in cases {
        let problem = refusal(Shape::ImageReference, &text(&reference));
        assert!(problem.contains(said) && problem.contains("REGISTRY/REPOSITORY@sha256:HEX"), "{problem}");
    }
}

#[test]
fn reads_texts_by_type() {
    assert_eq!(Shape::Port.parse(" 8000\n").unwrap(), Value::Integer(8000));
    assert_eq!(Shape::Port.parse("8k").unwrap_err(), "\"8k\"");
    let list = Value::List(vec!["10.0.0.0/8".into(), "172.22.0.0/16".into()]);
    for written in
        ["10.0.0.0/8,172.22.0.0/16", "10.0.0.0/8, 172.22.0.0/16,", "[\"10.0.0.0/8\",\"172.22.0.0/16\"]"]
    {
        assert_eq!(Shape::Networks.parse(written).unwrap(), list);
    }
    assert!(Shape::Networks.parse("[10.0.0.0/8]").unwrap_err().contains("bad JSON"));
    assert_eq!(Shape::Host.parse("db").unwrap(), text("db"));
}
