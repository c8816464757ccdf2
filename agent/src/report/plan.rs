//! A plan for people: what a converge would do, with unified diffs.

use std::fmt::Write as _;

use anstyle::AnsiColor;

use super::text::{BAD, FAINT, GOOD, STRONG, UNSURE, short};
use super::wrap::paragraph;
use super::{Outcome, ResourceReport};
use crate::engine::plan::UNKNOWN_YET;
use crate::resource::Change;

/// The plan as text, for a terminal of `width` columns.
#[must_use]
pub fn plan(resources: &[ResourceReport], width: usize) -> String {
    let mut out = String::new();
    for resource in resources {
        let id = short(&resource.id().to_string());
        match resource.outcome {
            Outcome::Unchanged | Outcome::Changed | Outcome::Interrupted => {}
            Outcome::Pending => pending(&mut out, &id, &resource.changes, width),
            Outcome::Failed => {
                let _ = write!(out, "{BAD}! {id}{BAD:#}\n    ");
                paragraph(&mut out, resource.error.as_deref().unwrap_or("cannot be observed"), 4, 6, width);
            }
            Outcome::Skipped => {
                let root = short(resource.blocked_by.as_deref().unwrap_or_default());
                let _ = writeln!(out, "{FAINT}- {id}{FAINT:#}\n    not until {root} can be observed");
            }
        }
    }
    let count = |outcome| resources.iter().filter(|resource| resource.outcome == outcome).count();
    let (change, fail, same) = (count(Outcome::Pending), count(Outcome::Failed), count(Outcome::Unchanged));
    if !out.is_empty() {
        out.push('\n');
    }
    let failed = if fail > 0 { format!(", {fail} cannot be observed") } else { String::new() };
    let line = match change {
        0 => "No changes".to_owned(),
        1 => "1 change".to_owned(),
        _ => format!("{change} changes"),
    };
    let _ = writeln!(out, "{STRONG}{line}{STRONG:#}{failed}, {same} as they should be");
    out
}

fn pending(out: &mut String, id: &str, changes: &[Change], width: usize) {
    if let Some(change) = changes.first().filter(|change| change.what == UNKNOWN_YET) {
        let after = short(change.to.as_deref().unwrap_or_default());
        let _ = writeln!(out, "{UNSURE}? {id}{UNSURE:#}\n    {after}: {UNKNOWN_YET}");
        return;
    }
    let _ = writeln!(out, "{GOOD}~ {id}{GOOD:#}");
    for change in changes {
        if let Some(unified) = &change.unified {
            let _ = writeln!(out, "    {}", change.what);
            diff(out, unified);
            continue;
        }
        let words = match (&change.from, &change.to) {
            (None, None) => change.what.clone(),
            (None, Some(to)) => format!("{}: {to}", change.what),
            (Some(from), None) => format!("{}: {from} → none", change.what),
            (Some(from), Some(to)) => format!("{}: {from} → {to}", change.what),
        };
        out.push_str("    ");
        paragraph(out, &short(&words), 4, 6, width);
    }
}

/// Lines of a diff stay as they are, so that they can be copied.
fn diff(out: &mut String, unified: &str) {
    let (added, removed) = (AnsiColor::Green.on_default(), AnsiColor::Red.on_default());
    for line in unified.lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => added,
            Some(b'-') => removed,
            Some(b'@') => FAINT,
            _ => anstyle::Style::new(),
        };
        let _ = writeln!(out, "    {style}{line}{style:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    fn plain(resources: &[ResourceReport]) -> String {
        anstream::adapter::strip_str(&plan(resources, 80)).to_string()
    }

    #[test]
    fn a_plan_with_everything_in_it() {
        insta::assert_snapshot!(plain(&examples::planned()));
    }

    #[test]
    fn a_plan_with_nothing_to_do() {
        assert_eq!(plain(&examples::well().resources), "No changes, 2 as they should be\n");
    }
}
