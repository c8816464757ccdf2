//! `ops-agent config`: what holds for every key and where it was written; checks of files that are
//! not yet anywhere.
//!
//! The frame of the command line holds [`Args`] in its subcommand and calls [`run`] with its global
//! arguments (`--root`, `--endpoint-url`, `--region` in [`Source`]; `--role`, `--bucket` in
//! [`Overrides`]). `run` prints data on stdout only; its errors are the frame's to print:
//! [`Error::Settings`] and [`Error::Refused`] are [`Exit::Settings`], all others [`Exit::Inputs`].

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit::Exit;
use crate::inputs::{self, Document, Overrides, Source};
use crate::report::{Freshness, Input};
use crate::settings::fragment::{Layer, Value};
use crate::settings::{self, EffectiveValue, Role, example};
use crate::{Error, Result};

/// Arguments of `ops-agent config`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What else than showing what holds.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a TOML file: every unknown key, wrong type and bad value at once. Needs neither AWS nor root
    Check {
        /// The file; `-` for standard input
        file: PathBuf,
        /// The role it is for; from the file's name where that is ROLE.toml
        #[arg(long)]
        role: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print an annotated example: every key at its default
    Example {
        /// The role it is for
        #[arg(long)]
        role: Option<String>,
    },
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    role: Role,
    inputs: &'a [Input],
    values: &'a [EffectiveValue],
}

/// What `check --json` prints.
#[derive(Debug, Serialize)]
struct Checked {
    valid: bool,
    problems: Vec<String>,
    /// Required keys that another layer must set.
    missing: Vec<&'static str>,
}

/// Runs the command.
///
/// # Errors
/// Settings that cannot be used, inputs that cannot be had, a file that cannot be read.
pub async fn run(args: &Args, source: &Source, overrides: &Overrides) -> Result<Exit> {
    match &args.command {
        None => show(args.json, source, overrides).await,
        Some(Command::Check { file, role, json }) => {
            check(file, role.as_deref().or(overrides.role.as_deref()), *json)
        }
        Some(Command::Example { role }) => {
            let role = role.as_deref().or(overrides.role.as_deref()).unwrap_or(Role::SqlmeshServer.as_str());
            print(&example::render(role.parse()?))
        }
    }
}

async fn show(json: bool, source: &Source, overrides: &Overrides) -> Result<Exit> {
    let identity = inputs::identity(&source.root, overrides)?;
    let role: Role = identity.role.parse()?;
    let connection = inputs::connect(source, &identity).await?;
    let fetched = inputs::fetch(&connection, &identity).await?;
    for input in fetched.report.iter().filter(|input| input.freshness == Freshness::Held) {
        tracing::warn!("{}: {}", input.source, input.detail);
    }
    let (_, values) = settings::resolve(role, &fetched.inputs)?;
    if json {
        return print_json(&Shown { role, inputs: &fetched.report, values: &values });
    }
    print(&table(&values))
}

fn check(file: &Path, role: Option<&str>, json: bool) -> Result<Exit> {
    let (place, text) = read(file)?;
    let role = role_of(file, role)?;
    let document = Document { place: place.clone(), text, etag: None };
    match (settings::check(role, &document), json) {
        (Ok((_, missing)), true) => print_json(&Checked { valid: true, problems: Vec::new(), missing }),
        (Ok((values, missing)), false) => {
            let set = values.iter().filter(|value| value.origin.layer != Layer::Default).count();
            let mut text = format!("{place}: good for {role}, sets {set} of {} keys\n", values.len());
            for key in missing {
                let _ = writeln!(text, "{place}: does not set {key}, so another layer must");
            }
            print(&text)
        }
        (Err(Error::Settings(problems)), true) => {
            print_json(&Checked { valid: false, problems, missing: Vec::new() })?;
            Ok(Exit::Settings)
        }
        (Err(error), _) => Err(error),
    }
}

fn read(file: &Path) -> Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| Error::io("read", "standard input", error))?;
        return Ok(("standard input".into(), text));
    }
    let text = std::fs::read_to_string(file).map_err(|error| Error::io("read", file, error))?;
    Ok((file.display().to_string(), text))
}

/// The role that was said, else that of a file named `ROLE.toml` or `ROLE.example.toml`.
fn role_of(file: &Path, said: Option<&str>) -> Result<Role> {
    if let Some(said) = said {
        return said.parse();
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let named = Role::ALL.into_iter().find(|role| name.split('.').next() == Some(role.as_str()));
    named.ok_or_else(|| Error::Refused {
        what: format!("check {}", file.display()),
        why: "the file's name does not tell the role".into(),
        fix: format!("add --role, one of: {}", Role::ALL.map(Role::as_str).join(", ")),
    })
}

const KEY: Style = Style::new().bold();
const DEFAULT: Style = Style::new().dimmed();
const SET: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));

/// The values as a table: key, value, where from. What was set stands out from what is a default.
fn table(values: &[EffectiveValue]) -> String {
    let rows: Vec<_> = values.iter().map(|value| (value.key, words(value), value)).collect();
    let keys = rows.iter().map(|(key, ..)| key.len()).max().unwrap_or_default();
    // An image or a digest is long: it does not push all other origins out of sight.
    let widest =
        rows.iter().map(|(_, value, _)| value.len()).filter(|width| *width <= 40).max().unwrap_or_default();
    let mut text = String::new();
    for (key, value, row) in &rows {
        let style = if row.origin.layer == Layer::Default { DEFAULT } else { SET };
        let over = if row.overrides.is_empty() {
            String::new()
        } else {
            let over: Vec<_> = row.overrides.iter().map(ToString::to_string).collect();
            format!(", over {}", over.join(" and "))
        };
        // A long value has its origin below it.
        let indent = keys + widest + 4;
        let gap = if value.len() > widest { format!("\n{:indent$}", "") } else { "  ".into() };
        let from = &row.origin;
        let _ = writeln!(text, "{KEY}{key:keys$}{KEY:#}  {style}{value:widest$}{gap}{from}{over}{style:#}");
    }
    text
}

fn words(value: &EffectiveValue) -> String {
    let text = match &value.value {
        None => return "(unset)".into(),
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::List(list)) if list.is_empty() => "(empty list)".into(),
        Some(Value::List(list)) => list.join(", "),
    };
    value.unit.map_or_else(|| text.clone(), |unit| format!("{text} {unit}"))
}

fn print_json(value: &impl Serialize) -> Result<Exit> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::io("write", "standard output", error.into()))?;
    print(&(text + "\n"))
}

fn print(text: &str) -> Result<Exit> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(Exit::Ok),
        // `| head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Error::io("write", "standard output", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_values_and_origins() {
        let image =
            "registry.lab/sqlmesh@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let document = |place: &str, text: String| Document { place: place.into(), text, etag: None };
        let inputs = inputs::Inputs {
            document: Some(document(
                "s3://B/config/sqlmesh-server.toml",
                format!(
                    "[image]\nreference = \"{image}\"\n[ui]\nallow = []\n[scheduler]\ninterval_seconds = 60\n"
                ),
            )),
            local: vec![document(
                "/etc/ops-agent/config.d/10.toml",
                "scheduler.interval_seconds = 120\n".into(),
            )],
            ..Default::default()
        };
        let (_, values) = settings::resolve(Role::SqlmeshServer, &inputs).unwrap();
        let plain = anstream::adapter::strip_str(&table(&values)).to_string();
        insta::assert_snapshot!(plain, @r"
        docker.version              (unset)                 built-in default
        image.reference             registry.lab/sqlmesh@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
                                                            s3://B/config/sqlmesh-server.toml line 2
        project.bundle              (unset)                 built-in default
        database.host               (unset)                 built-in default
        database.port               5432                    built-in default
        database.name               sqlmesh_state           built-in default
        database.secret             aurora-data-operations  built-in default
        database.ca_bundle          config/rds-ca.pem       built-in default
        warehouse.secret            snowflake-warehouse     built-in default
        warehouse.env_prefix        SNOWFLAKE_              built-in default
        ui.port                     8000                    built-in default
        ui.allow                    (empty list)            s3://B/config/sqlmesh-server.toml line 4
        ui.memory_mb                768 MiB                 built-in default
        ui.proxy_version            (unset)                 built-in default
        scheduler.interval_seconds  120 seconds             /etc/ops-agent/config.d/10.toml line 1, over s3://B/config/sqlmesh-server.toml line 6
        scheduler.drain_seconds     3600 seconds            built-in default
        scheduler.memory_mb         1024 MiB                built-in default
        ");
    }

    #[test]
    fn the_role_is_in_the_name_of_the_file() {
        for good in ["sqlmesh-server.toml", "/x/sqlmesh-server.example.toml"] {
            assert_eq!(role_of(Path::new(good), None).unwrap(), Role::SqlmeshServer);
        }
        let said = role_of(Path::new("x.toml"), None).unwrap_err().to_string();
        assert!(said.ends_with("add --role, one of: sqlmesh-server"), "{said}");
        assert!(role_of(Path::new("sqlmesh-server.toml"), Some("nobody")).is_err());
    }

    #[test]
    fn a_file_is_checked_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sqlmesh-server.toml");
        std::fs::write(&file, "[ui]\nport = 8080\n").unwrap();
        assert_eq!(check(&file, None, false).unwrap(), Exit::Ok);
        std::fs::write(&file, "[ui]\nprot = 8080\nallow = [\"0.0.0.0/0\"]\n").unwrap();
        let Err(Error::Settings(problems)) = check(&file, None, false) else { panic!() };
        assert_eq!(problems.len(), 2);
        assert_eq!(check(&file, None, true).unwrap(), Exit::Settings);
        assert!(check(&directory.path().join("sqlmesh-server.none"), None, false).is_err());
    }

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::{CommandFactory, Parser};
        Alone::command().debug_assert();
        assert!(Alone::try_parse_from(["config", "--json"]).unwrap().args.json);
        let check = Alone::try_parse_from(["config", "check", "x.toml", "--role", "sqlmesh-server"]).unwrap();
        assert!(matches!(check.args.command, Some(Command::Check { .. })));
    }
}
