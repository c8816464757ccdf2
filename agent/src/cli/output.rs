//! Printing: data on stdout, messages on stderr; colour only where it is wanted.

use std::io::{IsTerminal, Write};

use crate::exit::Exit;

/// Columns of a terminal that does not tell, and of what is no terminal.
const COLUMNS: usize = 80;

/// Writes text to stdout. ANSI codes are stripped where it is no terminal or `NO_COLOR` is set. That the
/// reader went away (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a value to stdout as JSON.
pub fn print_json(value: &impl serde::Serialize) -> Exit {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            print(&(text + "\n"));
            Exit::Ok
        }
        Err(error) => {
            complain(&error.to_string());
            Exit::Failed
        }
    }
}

/// Writes one message to stderr.
pub fn complain(message: &str) {
    let _ = writeln!(anstream::stderr().lock(), "ops-agent: {message}");
}

/// Columns to fit stdout into.
#[must_use]
pub fn columns() -> usize {
    let stdout = console::Term::stdout();
    stdout.size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns).clamp(40, 120))
}

/// Whether a person watches stderr.
#[must_use]
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}
