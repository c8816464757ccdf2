//! What SQLMesh said and meant: its exit code tells neither "nothing to do" from a success, nor a
//! database that is down from a model that failed. Texts are those of SQLMesh 0.236.

use std::collections::VecDeque;

use super::state::RunOutcome;

/// How many lines are kept to pick the one worth telling.
const KEPT: usize = 60;
/// How much of a line is told, in characters.
const LINE_LENGTH: usize = 300;

const NEEDS_MIGRATION: [&str; 2] = ["Please run a migration", "(remote). Please upgrade"];
const FAILED_MODELS: &str = "Failed models";
const DATABASE_DOWN: [&str; 6] = [
    "OperationalError",
    "State backend connection failed",
    "could not translate host name",
    "the database system is starting up",
    "server closed the connection unexpectedly",
    "could not connect to server",
];
const NOTHING_TO_DO: [&str; 2] = ["No models are ready to run", "No changes to plan"];
const NEXT_READY: &str = "Next run will be ready at";

/// Listens to a command of SQLMesh line by line.
#[derive(Debug, Default)]
pub struct Verdict {
    kept: VecDeque<String>,
    needs_migration: Option<String>,
    database_down: bool,
    nothing_to_do: bool,
    next_ready: Option<String>,
    failed: Failed,
}

/// Where in the section on failed models the listening is.
#[derive(Debug, Default)]
enum Failed {
    #[default]
    NotSeen,
    Heading,
    Model {
        name: String,
        words: Vec<String>,
    },
}

impl Verdict {
    /// Takes one line, as it came.
    pub fn line(&mut self, raw: &str) {
        let line = plain(raw);
        let text = line.trim();
        if text.is_empty() {
            return;
        }
        if NEEDS_MIGRATION.iter().any(|words| text.contains(words)) {
            self.needs_migration = Some(text.trim_start_matches("Error: ").to_owned());
        }
        self.database_down |= DATABASE_DOWN.iter().any(|words| text.contains(words));
        self.nothing_to_do |= NOTHING_TO_DO.iter().any(|words| text.contains(words));
        if let Some(start) = text.find(NEXT_READY) {
            self.next_ready = text.get(start..).map(str::to_owned);
        }
        self.failed.line(text);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    /// How the command ended, given its exit code (`None`: a signal ended it), and the line worth telling.
    #[must_use]
    pub fn end(self, code: Option<i32>) -> (RunOutcome, String) {
        let (outcome, message) = match code {
            Some(0) if self.nothing_to_do => (RunOutcome::NothingToDo, self.next_ready.unwrap_or_default()),
            Some(0) => (RunOutcome::Success, String::new()),
            None => (RunOutcome::Killed, "a signal from outside ended it".into()),
            Some(code) => {
                let text = self.telling().unwrap_or_else(|| format!("ended with exit code {code}"));
                match (self.needs_migration, self.failed.first()) {
                    (Some(why), _) => (RunOutcome::NeedsMigration, why),
                    (None, Some(model)) => (RunOutcome::ModelFailed, model),
                    (None, None) if self.database_down => (RunOutcome::DatabaseDown, text),
                    (None, None) => (RunOutcome::Failed, text),
                }
            }
        };
        (outcome, cut(&message))
    }

    /// SQLMesh's own last error; else the exception at the end of a traceback; else the last line.
    fn telling(&self) -> Option<String> {
        let lines = || self.kept.iter().rev().map(|line| line.trim_end());
        let own = lines().find_map(|line| line.strip_prefix("Error: "));
        let chosen = own.or_else(|| lines().find(|line| is_exception(line))).or_else(|| lines().next())?;
        Some(chosen.trim().to_owned())
    }
}

impl Failed {
    fn line(&mut self, text: &str) {
        let is_fence = text.starts_with("```");
        match self {
            Self::NotSeen if text.trim_matches('*') == FAILED_MODELS => *self = Self::Heading,
            Self::Heading if !is_fence => {
                let name = text.trim_start_matches("* ").trim_matches('`').to_owned();
                *self = Self::Model { name, words: Vec::new() };
            }
            // The class of the exception, and the first line of what it says.
            Self::Model { words, .. } if words.len() < 2 && !is_fence && !text.starts_with("Error: ") => {
                words.push(text.to_owned());
            }
            _ => {}
        }
    }

    /// The first model that failed, with why.
    fn first(self) -> Option<String> {
        match self {
            Self::NotSeen => None,
            Self::Heading => Some("a model failed".into()),
            Self::Model { name, words } if words.is_empty() => Some(name),
            Self::Model { name, words } => Some(format!("{name}: {}", words.join(" "))),
        }
    }
}

/// Whether a line is the last of a Python traceback, as in `psycopg2.OperationalError: …`.
fn is_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    let is_path =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_');
    is_path && line.len() > name.len() && (name.ends_with("Error") || name.ends_with("Exception"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LINE_LENGTH) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A line without escape sequences and other control characters; of a line that was drawn several times
/// with carriage returns, the last state.
#[must_use]
pub fn plain(raw: &str) -> String {
    let last = raw.trim_end_matches(['\r', '\n']).rsplit('\r').next().unwrap_or_default();
    let mut text = String::with_capacity(last.len());
    let mut characters = last.chars();
    while let Some(character) = characters.next() {
        match character {
            // CSI sequences end with a byte from @ to ~; other escapes are one character long.
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    characters.by_ref().find(|end| ('@'..='~').contains(end));
                }
            }
            '\t' => text.push(' '),
            other if other.is_control() => {}
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str, code: i32) -> (RunOutcome, String) {
        let mut verdict = Verdict::default();
        text.lines().for_each(|line| verdict.line(line));
        verdict.end(Some(code))
    }

    #[test]
    fn a_run_that_had_nothing_to_do() {
        let text = "No models are ready to run. Please wait until a model `cron` interval has elapsed.\n\n\
                    Next run will be ready at 2026-11-24 08:20AM (2026-11-24 08:20AM UTC).\n";
        let (outcome, message) = verdict(text, 0);
        assert_eq!(outcome, RunOutcome::NothingToDo);
        assert!(message.starts_with("Next run will be ready at 2026-11-24"), "{message}");
    }

    #[test]
    fn a_run_that_did_its_work() {
        assert_eq!(verdict("Run finished for environment 'prod'\n", 0), (RunOutcome::Success, String::new()));
    }

    #[test]
    fn a_model_that_failed_is_named_with_why() {
        let text = "**Failed models**\n* `\"lab\".\"marts\".\"x\"`\n\n  ```\n    UndefinedTable:\n      \
                    relation \"gone\" does not exist\n    LINE 1: SELECT\n  ```\n\nError: Run failed.\n";
        let (outcome, message) = verdict(text, 1);
        assert_eq!(outcome, RunOutcome::ModelFailed);
        assert_eq!(message, "\"lab\".\"marts\".\"x\": UndefinedTable: relation \"gone\" does not exist");
    }

    #[test]
    fn a_warehouse_that_fails_in_a_model_is_not_the_state_database() {
        let text = "Failed models\n\n  \"a\".\"b\"\n\n  OperationalError:\n    timeout\nError: Run failed.";
        assert_eq!(verdict(text, 1).0, RunOutcome::ModelFailed);
    }

    #[test]
    fn a_database_that_is_down() {
        let text = "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\n    raise\n\
                    psycopg2.OperationalError: connection to server at \"db\", port 5432 failed: Connection refused\n\
                    \tIs the server running on that host and accepting TCP/IP connections?\n";
        let (outcome, message) = verdict(text, 1);
        assert_eq!(outcome, RunOutcome::DatabaseDown);
        assert!(message.starts_with("psycopg2.OperationalError: connection to server"), "{message}");
    }

    #[test]
    fn state_of_another_version() {
        let ahead = "Error: SQLMesh (local) is using version '102' which is ahead of '100' (remote). \
                     Please run a migration ('sqlmesh migrate' command).";
        let (outcome, message) = verdict(ahead, 1);
        assert_eq!(outcome, RunOutcome::NeedsMigration);
        assert!(message.starts_with("SQLMesh (local) is using"), "{message}");
        let behind = "Error: SQLMesh (local) is using version '100' which is behind '102' (remote). \
                      Please upgrade SQLMesh ('pip install --upgrade \"sqlmesh==0.236.4\"' command).";
        assert_eq!(verdict(behind, 1).0, RunOutcome::NeedsMigration);
    }

    #[test]
    fn anything_else_is_told_by_its_own_error() {
        let text = "Initializing new project state...\n\u{1b}[31mError: Environment 'prod' was not found.\u{1b}[0m\n";
        assert_eq!(verdict(text, 1), (RunOutcome::Failed, "Environment 'prod' was not found.".into()));
        assert_eq!(verdict("", 3), (RunOutcome::Failed, "ended with exit code 3".into()));
        assert_eq!(Verdict::default().end(None).0, RunOutcome::Killed);
    }

    #[test]
    fn what_a_terminal_would_show_is_left() {
        assert_eq!(plain("\u{1b}[1;31mred\u{1b}[0m\tx\u{7}\r\n"), "red x");
        assert_eq!(plain("10%\r50%\r100%\n"), "100%");
        assert_eq!(plain("\u{1b}[31"), "");
    }
}
