//! The committed schemas are those of the types.

use schemars::{JsonSchema, schema_for};

use super::Report;
use super::status::Status;

fn check<T: JsonSchema>(name: &str) {
    let now = serde_json::to_string_pretty(&schema_for!(T)).unwrap() + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == now,
        "{name} is not the schema of the code. If the change is meant and breaks no reader (else raise \
         SCHEMA_VERSION): UPDATE_SCHEMAS=1 cargo test --lib schema_tests"
    );
}

#[test]
fn the_schema_of_the_report_is_committed() {
    check::<Report>("report.schema.json");
}

#[test]
fn the_schema_of_the_status_is_committed() {
    check::<Status>("status.schema.json");
}
