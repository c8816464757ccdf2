//! Live progress on a terminal: a line for each resource that is being changed, a line for the whole,
//! and a lasting line for each that changed or failed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::engine::run::{Event, Watch};
use crate::host::Progress;
use crate::report::text::{BAD, FAINT, GOOD, UNSURE, short, took};
use crate::report::{Outcome, ResourceReport};
use crate::resource::Diff;

/// How often spinners turn: smooth, and next to no work.
const TICK: Duration = Duration::from_millis(120);

/// The lines on the terminal.
pub struct Live {
    all: MultiProgress,
    whole: ProgressBar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: HashMap<String, ProgressBar>,
    done: usize,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Live {
    /// Begins with one line that says what the whole is about.
    #[must_use]
    pub fn new(about: &str) -> Self {
        let all = MultiProgress::new();
        let whole = all.add(
            ProgressBar::new_spinner().with_style(style("{spinner} {prefix} {msg:.dim} {elapsed:.dim}")),
        );
        whole.set_prefix(about.to_owned());
        whole.enable_steady_tick(TICK);
        Self { all, whole, state: Mutex::default() }
    }

    /// The lines, for what else writes to the terminal.
    #[must_use]
    pub const fn bars(&self) -> &MultiProgress {
        &self.all
    }

    /// Takes the lines away, but for the lasting ones.
    pub fn clear(&self) {
        self.whole.finish_and_clear();
        let _ = self.all.clear();
    }

    fn say(&self, subject: &str, what: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = state.lines.entry(subject.to_owned()).or_insert_with(|| {
            let bar = ProgressBar::new_spinner()
                .with_style(style("  {spinner} {prefix} {wide_msg:.dim} {elapsed:.dim}"));
            let bar = self.all.insert_before(&self.whole, bar);
            bar.set_prefix(short(subject));
            bar.enable_steady_tick(TICK);
            bar
        });
        line.set_message(short(what));
    }

    fn ended(&self, report: &ResourceReport) {
        let id = report.id().to_string();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = state.lines.remove(&id) {
            line.finish_and_clear();
            self.all.remove(&line);
        }
        state.done += 1;
        self.whole.set_message(format!("{} done", state.done));
        drop(state);
        if let Some(line) = lasting(report) {
            let _ = self.all.println(line);
        }
    }
}

/// The line that stays of a resource; none when there is nothing to tell.
fn lasting(report: &ResourceReport) -> Option<String> {
    let id = short(&report.id().to_string());
    let error = || short(report.error.as_deref().unwrap_or_default());
    Some(match report.outcome {
        Outcome::Unchanged | Outcome::Pending => return None,
        Outcome::Changed => {
            let what = short(&Diff(report.changes.clone()).summary());
            format!("{GOOD}✓{GOOD:#} {id}  {FAINT}{what}, {}{FAINT:#}", took(report.duration_ms))
        }
        Outcome::Failed => format!("{BAD}✗ {id}{BAD:#}  {}", error()),
        Outcome::Skipped => {
            let root = short(report.blocked_by.as_deref().unwrap_or_default());
            format!("{UNSURE}-{UNSURE:#} {id}  {FAINT}skipped: {root} failed{FAINT:#}")
        }
        Outcome::Interrupted => format!("{UNSURE}! {id}{UNSURE:#}  interrupted"),
    })
}

impl Progress for Live {
    fn step(&self, subject: &str, what: &str) {
        if subject == "inputs" {
            self.whole.set_message(format!("{what} {subject}"));
        } else {
            self.say(subject, what);
        }
    }
}

impl Watch for Live {
    fn event(&self, event: &Event<'_>) {
        match event {
            // Most are as they should be and done in milliseconds: their lines would only flicker.
            Event::Started(_) => {}
            Event::Differs(id, changes) => self.say(&id.to_string(), &Diff(changes.to_vec()).summary()),
            Event::Retry(id, error, _) => self.say(&id.to_string(), &format!("trying again: {error}")),
            Event::Ended(report) => self.ended(report),
        }
    }
}
