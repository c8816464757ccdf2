use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;
use crate::report::examples;

/// Keeps events with the names that tracing-journald gives their fields.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Entry>>>);

/// Names and values.
type Entry = Vec<(String, String)>;

impl<S: tracing::Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut fields = vec![("PRIORITY".to_owned(), event.metadata().level().to_string())];
        event.record(&mut Fields(&mut fields));
        self.0.lock().unwrap().push(fields);
    }
}

struct Fields<'a>(&'a mut Entry);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.name().to_uppercase(), format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name().to_uppercase(), value.to_owned()));
    }
}

fn entries() -> Vec<Entry> {
    let kept = Kept::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), || {
        let report = examples::failed();
        let journal = Journal { run: report.run.id.clone() };
        for resource in &report.resources {
            journal.event(&Event::Ended(resource));
        }
        let error = crate::Error::Unhealthy { service: "ui".to_owned(), detail: "503".to_owned() };
        let id = report.resources[0].id();
        journal.event(&Event::Retry(&id, &error, std::time::Duration::from_millis(1500)));
        run(&report);
        run(&examples::well());
    });
    let entries = kept.0.lock().unwrap();
    entries.clone()
}

#[test]
fn entries_keep_their_fields() {
    let mut text = String::new();
    for entry in entries() {
        for (name, value) in entry {
            let _ = writeln!(text, "{name}={value}");
        }
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn every_field_is_in_the_table_and_the_other_way_round() {
    let used: BTreeSet<String> = entries()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("OPS_"))
        .collect();
    let listed: BTreeSet<String> = FIELDS.into_iter().map(str::to_owned).collect();
    assert_eq!(used, listed);
    let documentation = include_str!("journal.rs");
    for name in FIELDS {
        assert!(documentation.contains(&format!("//! | `{name}` |")), "{name} is not in the table above");
    }
}
