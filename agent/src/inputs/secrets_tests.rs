use secrecy::ExposeSecret;

use super::*;

const NEED: fn() -> SecretNeed =
    || SecretNeed { name: "aurora-data-operations".into(), keys: &["username", "password"] };

fn entry(text: &str) -> SecretValueEntry {
    SecretValueEntry::builder().name("aurora-data-operations").version_id("v1").secret_string(text).build()
}

#[test]
fn reads_what_rds_writes() {
    let secret =
        read(&entry(r#"{"username":"sqlmesh","password":"p","port":5432,"ssl":true}"#), &NEED()).unwrap();
    let fields: Vec<_> =
        secret.fields.iter().map(|(key, value)| (key.as_str(), value.expose_secret())).collect();
    assert_eq!(fields, [("password", "p"), ("port", "5432"), ("ssl", "true"), ("username", "sqlmesh")]);
    assert_eq!(secret.version, "v1");
}

#[test]
fn a_plain_text_is_one_value() {
    let need = SecretNeed { name: "token".into(), keys: &["value"] };
    let secret = read(&entry("hunter2"), &need).unwrap();
    assert_eq!(secret.fields["value"].expose_secret(), "hunter2");
}

#[test]
fn refusals_name_keys_and_never_values() {
    let cases = [
        (entry(r#"{"user":"hunter2"}"#), "has no key username and no key password: add it (it has user)"),
        (entry(r#"{"username":{"a":"hunter2"}}"#), "the value of its key username is not a text"),
        (entry("hunter2"), "has no key username and no key password: add it (it has value)"),
        (SecretValueEntry::builder().name("aurora-data-operations").build(), "is binary"),
    ];
    for (entry, said) in cases {
        let problem = read(&entry, &NEED()).err().unwrap();
        assert!(problem.message.contains(said) && !problem.held, "{}", problem.message);
        assert!(!problem.message.contains("hunter2"));
    }
}

#[test]
fn problems_say_what_to_do() {
    let said = |failure| problem("eu-west-1", &NEED(), failure, "AccessDeniedException: no");
    assert_eq!(
        said(AwsFailure::NotFound).message,
        "secret aurora-data-operations does not exist in eu-west-1: create it with the keys username, password"
    );
    assert_eq!(
        said(AwsFailure::Denied).message,
        "secret aurora-data-operations: AccessDeniedException: no; allow secretsmanager:GetSecretValue on \
         arn:aws:secretsmanager:eu-west-1:*:secret:aurora-data-operations-??????, and \
         secretsmanager:BatchGetSecretValue on *, to the instance's role"
    );
    assert!(
        !said(AwsFailure::NotFound).held && !said(AwsFailure::Denied).held && !said(AwsFailure::Other).held
    );
    assert!(said(AwsFailure::Busy).held && said(AwsFailure::Unreachable).held);
}

#[test]
fn an_arn_names_a_secret_with_or_without_its_suffix() {
    let arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:aurora-AbCdEf";
    let entry = SecretValueEntry::builder().name("aurora").arn(arn).build();
    for name in ["aurora", arn, "arn:aws:secretsmanager:eu-west-1:111122223333:secret:aurora"] {
        assert!(is_it(&entry, name), "{name}");
    }
    assert!(!is_it(&entry, "aur"));
}
