//! The status for people: fits 80 columns, styled by ANSI codes that the caller strips where they do
//! not belong.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::health::{ServiceHealth, State};
use super::signal::{Signal, Status as Said};
use super::status::Status;
use super::wrap::paragraph;
use super::{Freshness, Input, Outcome, Probe, Report, ResourceReport, Service};

/// Good news.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Bad news.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Neither.
pub const UNSURE: Style = AnsiColor::Yellow.on_default();
/// Titles.
pub const STRONG: Style = Style::new().bold();
/// Of less interest.
pub const FAINT: Style = Style::new().dimmed();

/// Column at which the values of the lower part begin.
const VALUES: usize = 10;

/// The status as text, for a terminal of `width` columns.
#[must_use]
pub fn status(status: &Status, now: Timestamp, width: usize) -> String {
    let mut out = String::new();
    head(&mut out, status, width);
    run(&mut out, &status.report, now, width);
    if let Some(holder) = &status.running {
        let _ = writeln!(out, "{UNSURE}●{UNSURE:#} Running now: {holder}");
    }
    problems(&mut out, &status.report, width);
    services(&mut out, status, now, width);
    foot(&mut out, status, width);
    out
}

/// How a run went, in the words that end a converge.
#[must_use]
pub fn summary(report: &Report, width: usize) -> String {
    let mut out = String::new();
    let (style, word) = verdict(report);
    let _ = write!(out, "{style}● {word}{style:#} ");
    let line = format!("in {}: {}", took(report.run.duration_ms), counts(report));
    paragraph(&mut out, &line, word.len() + 3, 2, width);
    problems(&mut out, report, width);
    for notice in &report.notices {
        let _ = write!(out, "  {STRONG}Notice{STRONG:#} ");
        paragraph(&mut out, notice, 9, 4, width);
    }
    // What is missing is told by the resource that fails for it; what is held fails nothing.
    for input in report.inputs.iter().filter(|input| input.freshness == Freshness::Held) {
        let _ = write!(out, "  {UNSURE}Inputs{UNSURE:#} ");
        paragraph(&mut out, &stale(input), 9, 4, width);
    }
    out
}

/// An input that is not of this run: `objects held: …`.
pub(super) fn stale(input: &Input) -> String {
    let word = if input.freshness == Freshness::Held { "held" } else { "missing" };
    format!("{} {word}: {}", input.source, input.detail)
}

fn head(out: &mut String, status: &Status, width: usize) {
    let report = &status.report;
    let mut right = report.role.clone();
    if let Some(instance) = &report.instance_id {
        let _ = write!(right, "  {instance}");
    }
    let _ = write!(right, "  ops-agent {}", report.agent_version);
    let used = status.host.chars().count() + right.chars().count();
    let gap = " ".repeat(width.saturating_sub(used).max(2));
    let _ = writeln!(out, "{STRONG}{}{STRONG:#}{gap}{FAINT}{right}{FAINT:#}\n", status.host);
}

fn run(out: &mut String, report: &Report, now: Timestamp, width: usize) {
    let (style, word) = verdict(report);
    let when = report.run.ended.parse::<Timestamp>().map_or_else(
        |_| report.run.ended.clone(),
        |ended| format!("{} ({} UTC)", ago(ended, now), ended.strftime("%H:%M:%S")),
    );
    let line = format!(
        "{when}, reason {}, took {}: {}",
        report.run.reason,
        took(report.run.duration_ms),
        counts(report)
    );
    let _ = write!(out, "{style}● {word}{style:#} ");
    paragraph(out, &line, word.len() + 3, 2, width);
}

const fn verdict(report: &Report) -> (Style, &'static str) {
    match report.run.outcome {
        Outcome::Unchanged | Outcome::Changed => (GOOD, "Converged"),
        Outcome::Interrupted => (UNSURE, "Interrupted"),
        Outcome::Failed | Outcome::Skipped | Outcome::Pending => (BAD, "Failed"),
    }
}

/// `1 failed, 3 skipped, 2 changed, 20 unchanged`; nothing that is zero.
#[must_use]
pub fn counts(report: &Report) -> String {
    let outcomes = [
        Outcome::Failed,
        Outcome::Skipped,
        Outcome::Interrupted,
        Outcome::Pending,
        Outcome::Changed,
        Outcome::Unchanged,
    ];
    let some = outcomes.into_iter().map(|outcome| (report.count(outcome), outcome.as_str()));
    let words: Vec<String> =
        some.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if words.is_empty() { "nothing was begun".to_owned() } else { words.join(", ") }
}

fn problems(out: &mut String, report: &Report, width: usize) {
    let failed: Vec<&ResourceReport> =
        report.resources.iter().filter(|resource| resource.outcome == Outcome::Failed).collect();
    // It failed before there was any resource, with one that is not in the report, or for settings beside which
    // those of before are held.
    let cause = report.root_cause.as_deref().filter(|_| report.run.outcome == Outcome::Failed);
    let is_below = |cause: &str| failed.iter().any(|one| cause.starts_with(&format!("{}: ", one.id())));
    if let Some(cause) = cause.filter(|cause| !is_below(cause)) {
        for line in cause.lines() {
            out.push_str("  ");
            paragraph(out, line, 2, 4, width);
        }
    }
    for resource in failed {
        let id = resource.id().to_string();
        let _ = writeln!(out, "  {BAD}{}{BAD:#}", short(&id));
        for line in resource.error.as_deref().unwrap_or("failed").lines() {
            out.push_str("    ");
            paragraph(out, &short(line), 4, 6, width);
        }
        let blocked: Vec<String> = report
            .resources
            .iter()
            .filter(|other| other.blocked_by.as_deref() == Some(id.as_str()))
            .map(|other| short(&other.id().to_string()))
            .collect();
        if !blocked.is_empty() {
            let _ = write!(out, "    {FAINT}holds up{FAINT:#} ");
            paragraph(out, &blocked.join(", "), 13, 6, width);
        }
    }
}

fn services(out: &mut String, status: &Status, now: Timestamp, width: usize) {
    if status.report.services.is_empty() {
        return;
    }
    let age = match &status.health {
        _ if status.live => "live".to_owned(),
        Some(health) => format!("as of {}", ago(health.checked, now)),
        None => "not probed since boot".to_owned(),
    };
    let _ = writeln!(out, "\n{STRONG}Services{STRONG:#} {FAINT}{age}{FAINT:#}");
    let names = status.report.services.iter().map(|service| service.name.chars().count());
    let column = names.max().unwrap_or(0) + 4;
    for service in &status.report.services {
        let found = status.service(&service.name, now);
        let state = found.map_or(State::Unknown, |found| found.state);
        let style = match state {
            State::Healthy => GOOD,
            State::Starting | State::Unknown => UNSURE,
            State::Unhealthy => BAD,
        };
        let _ = write!(
            out,
            "  {:width$}{style}{:9}{style:#}  ",
            service.name,
            state.as_str(),
            width = column - 2
        );
        let indent = column + 11;
        let mut lines = about(service, found, now).into_iter();
        paragraph(out, &lines.next().unwrap_or_default(), indent, indent, width);
        for line in lines {
            out.push_str(&" ".repeat(indent));
            paragraph(out, &line, indent, indent, width);
        }
    }
}

/// What there is to say of a service, one line each.
fn about(service: &Service, found: Option<&ServiceHealth>, now: Timestamp) -> Vec<String> {
    let mut lines: Vec<String> = service.about.iter().cloned().collect();
    if let Some(detail) = found.map(|found| found.detail.as_str()).filter(|detail| !detail.is_empty()) {
        lines.push(detail.to_owned());
    }
    if let Some(scheduler) = found.and_then(|found| found.scheduler.as_ref()) {
        let next = scheduler.next_start.map(|next| format!(", next run {}", ahead(next, now)));
        let line = format!("{}{}", scheduler.state.as_str(), next.unwrap_or_default());
        // The finding may have been just this word.
        if lines.last() != Some(&line) {
            lines.push(line);
        }
        if let Some(last) = &scheduler.last {
            let (outcome, duration) = (last.outcome.as_str(), took(last.duration_ms));
            lines.push(format!("last run {outcome}, {}, took {duration}", ago(last.ended, now)));
        }
    }
    if let Probe::Http { url } = &service.probe
        && !lines.iter().any(|line| line.contains(url))
    {
        lines.insert(0, url.clone());
    }
    lines
}

fn foot(out: &mut String, status: &Status, width: usize) {
    let report = &status.report;
    let mut rows: Vec<(&str, String)> = Vec::new();
    for notice in &report.notices {
        rows.push(("Notice", notice.clone()));
    }
    for unit in &report.owed_restarts {
        rows.push(("Restart", format!("{unit} still owes one")));
    }
    let held: Vec<_> = report.inputs.iter().filter(|input| input.freshness != Freshness::Fresh).collect();
    if held.is_empty() && !report.inputs.is_empty() {
        rows.push(("Inputs", "all fresh".to_owned()));
    }
    for input in held {
        rows.push(("Inputs", stale(input)));
    }
    if let Some(words) = signal(&status.signal) {
        rows.push(("Signal", words));
    }
    if !rows.is_empty() {
        out.push('\n');
    }
    for (title, words) in rows {
        let _ = write!(out, "{STRONG}{title:VALUES$}{STRONG:#}");
        paragraph(out, &words, VALUES, VALUES, width);
    }
}

fn signal(signal: &Signal) -> Option<String> {
    let word = |status: &Said| match status {
        Said::Success => "success",
        Said::Failure => "failure",
    };
    match signal {
        Signal::NotConfigured => None,
        Signal::Undecided { .. } => Some("not sent yet: waiting for a run without failures".to_owned()),
        Signal::Pending { status, error, .. } => {
            let why = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            Some(format!("{}, not delivered yet{why}", word(status)))
        }
        Signal::Acknowledged { status, at, note } => {
            let note = note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
            Some(format!("{}, acknowledged {} UTC{note}", word(status), at.strftime("%Y-%m-%d %H:%M:%S")))
        }
    }
}

/// A digest is cut to 12 digits, which is enough to compare by eye.
#[must_use]
pub fn short(text: &str) -> String {
    const MARK: &str = "sha256:";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(MARK) {
        let digits = after.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(after.len());
        let (digest, next) = after.split_at(digits);
        out.push_str(before);
        out.push_str(MARK);
        match digest.get(..12).filter(|_| digits == 64) {
            Some(start) => {
                out.push_str(start);
                out.push('…');
            }
            None => out.push_str(digest),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

/// `42 s ago`.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", rough(now.as_second() - then.as_second()))
}

/// `in 42 s`, or `due` when that is over.
fn ahead(then: Timestamp, now: Timestamp) -> String {
    match then.as_second() - now.as_second() {
        seconds if seconds > 0 => format!("in {}", rough(seconds)),
        _ => "due".to_owned(),
    }
}

fn rough(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// A duration of work: `0.2 s`, `2 min 5 s`.
#[must_use]
pub fn took(milliseconds: u64) -> String {
    match milliseconds {
        ..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds % 60_000 / 1000),
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
