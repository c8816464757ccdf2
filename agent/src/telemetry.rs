//! Where log lines go: the journal with structured fields, a terminal beside live progress, or plain
//! lines on stderr.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsFd;

use indicatif::MultiProgress;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::report::text::{BAD, FAINT, UNSURE};

/// What is logged where nobody asked for another filter.
const LINES: &str = "warn,ops_agent=info";
/// On a terminal, live progress tells the rest.
const BESIDE_PROGRESS: &str = "error,ops_agent=off";
/// A plan is its output; only what went wrong is worth a line more.
const BESIDE_PLAN: &str = "error,ops_agent=warn";

/// Where log lines go.
pub struct Sink {
    filter: &'static str,
    journal: bool,
    bars: Option<MultiProgress>,
}

impl Sink {
    /// For `converge`: the journal, or beside live progress, or plain lines.
    #[must_use]
    pub fn of_converge(journal: bool, bars: Option<&MultiProgress>) -> Self {
        Self { filter: if bars.is_some() { BESIDE_PROGRESS } else { LINES }, journal, bars: bars.cloned() }
    }

    /// For `plan`.
    #[must_use]
    pub fn of_plan(bars: Option<&MultiProgress>) -> Self {
        Self { filter: BESIDE_PLAN, journal: false, bars: bars.cloned() }
    }
}

/// Whether stderr goes to the journal: systemd tells the device and inode of the stream it connected
/// (`JOURNAL_STREAM`, systemd.exec(5)), which a redirection since then makes untrue.
#[must_use]
pub fn is_under_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = nix::sys::stat::fstat(io::stderr().as_fd()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// At the level of traces the SDK's runtime writes out requests and answers: the token of the session, and
/// the credentials that IMDS gives. Whatever is asked for, it gets no further than debug.
const TELL_SECRETS: [&str; 2] = ["aws_smithy_runtime", "aws_sigv4"];

/// The filter that is asked for, without what would tell secrets.
fn without_secrets(asked: &Targets) -> Targets {
    let otherwise = asked.default_level().unwrap_or(LevelFilter::OFF);
    let level_of = |name: &str| {
        let above = asked.iter().filter(|(target, _)| name.starts_with(target));
        above.max_by_key(|(target, _)| target.len()).map_or(otherwise, |(_, level)| level)
    };
    let others = asked.iter().filter(|(target, _)| !TELL_SECRETS.iter().any(|name| target.starts_with(name)));
    let capped = TELL_SECRETS.map(|name| (name, level_of(name).min(LevelFilter::DEBUG)));
    others.chain(capped).collect::<Targets>().with_default(otherwise)
}

/// Sets up logging for the process; `filter` is what the command line asks for. Does nothing when called again.
pub fn init(filter: Option<String>, sink: Sink) {
    let (wrong, asked) = match filter.map(|text| text.parse::<Targets>()) {
        None => (None, None),
        Some(Ok(targets)) => (None, Some(targets)),
        Some(Err(error)) => (Some(error), None),
    };
    // The built-in ones parse; a test says so.
    let filter = without_secrets(&asked.or_else(|| sink.filter.parse().ok()).unwrap_or_default());
    let layer = if sink.journal { tracing_journald::layer().ok() } else { None };
    let layer = match layer {
        // The field names are our own, with a prefix of their own.
        Some(journal) => {
            journal.with_field_prefix(None).with_syslog_identifier("ops-agent".to_owned()).boxed()
        }
        None => tracing_subscriber::fmt::layer()
            .event_format(Plain {
                ansi: anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never,
            })
            .with_writer(Screen(sink.bars))
            .boxed(),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    if let Some(error) = wrong {
        tracing::error!("--log-level: {error}");
    }
}

/// Lines for people: time, level where it matters, message, and fields that are not of the journal.
struct Plain {
    ansi: bool,
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let (style, word) = match *event.metadata().level() {
            Level::ERROR => (BAD, "error: "),
            Level::WARN => (UNSURE, "warning: "),
            Level::INFO => (FAINT, ""),
            Level::DEBUG | Level::TRACE => (FAINT, "debug: "),
        };
        let time = jiff::Timestamp::now().strftime("%H:%M:%S");
        let Line { message, fields } = line;
        if self.ansi {
            writeln!(writer, "{FAINT}{time}{FAINT:#} {style}{word}{style:#}{message}{fields}")
        } else {
            writeln!(writer, "{time} {word}{message}{fields}")
        }
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else if !field.name().starts_with("ops_") {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }
}

/// Stderr, with live progress moved out of the way.
struct Screen(Option<MultiProgress>);

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Pen<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Pen(self.0.as_ref())
    }
}

/// One write of a whole line.
struct Pen<'a>(Option<&'a MultiProgress>);

impl Write for Pen<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().lock().write_all(line).map(|()| line.len());
        self.0.map_or_else(write, |bars| bars.suspend(write))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_filters_are_filters() {
        for filter in [LINES, BESIDE_PROGRESS, BESIDE_PLAN] {
            filter.parse::<Targets>().unwrap();
        }
    }

    #[test]
    fn no_filter_shows_what_goes_over_the_wire() {
        assert!(!without_secrets(&"trace".parse().unwrap()).would_enable("aws_sigv4::sign", &Level::TRACE));
        let runtime = "aws_smithy_runtime::client::orchestrator";
        for filter in ["trace", "aws=trace", "aws_smithy_runtime::client=trace,info"] {
            let targets = without_secrets(&filter.parse().unwrap());
            assert!(!targets.would_enable(runtime, &Level::TRACE), "{filter}");
        }
        let targets = without_secrets(&"debug,ops_agent=trace".parse().unwrap());
        assert!(targets.would_enable(runtime, &Level::DEBUG));
        assert!(targets.would_enable("ops_agent::engine", &Level::TRACE));
        assert!(!without_secrets(&LINES.parse().unwrap()).would_enable(runtime, &Level::INFO));
    }
}
