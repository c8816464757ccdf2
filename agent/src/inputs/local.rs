//! The files of the host itself: its identity, and the local settings.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml_edit::{Document as Toml, Item};

use super::{Document, HostIdentity, Overrides, SignalTarget};
use crate::report::{Freshness, Input};
use crate::settings::Role;
use crate::{Error, Result};

const IDENTITY: &str = "/etc/ops-agent/host.toml";
const SETTINGS: &str = "/etc/ops-agent/config.d";

fn below(root: &Path, absolute: &str) -> PathBuf {
    root.join(absolute.trim_start_matches('/'))
}

/// Who this host is: `/etc/ops-agent/host.toml`, over which arguments win.
///
/// # Errors
/// [`Error::Settings`] with every problem; [`Error::Refused`] for an unknown role or no file.
pub fn identity(root: &Path, overrides: &Overrides) -> Result<HostIdentity> {
    let path = below(root, IDENTITY);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    if text.trim().is_empty() && (overrides.role.is_none() || overrides.bucket.is_none()) {
        return Err(Error::Refused {
            what: IDENTITY.into(),
            why: "it does not exist or is empty, so this host has no role".into(),
            fix: "let the installer write it, or give it two lines: role = \"sqlmesh-server\" and bucket = \
                  \"NAME OF THE ARTIFACT BUCKET\" (or use --role and --bucket)"
                .into(),
        });
    }
    let mut problems = Vec::new();
    let mut read = parse(&text, &mut problems);
    let given = |over: &Option<String>, read: &mut Option<String>| over.clone().or_else(|| read.take());
    let role = given(&overrides.role, &mut read.role);
    let bucket = given(&overrides.bucket, &mut read.bucket);
    for (name, value) in [("role", &role), ("bucket", &bucket)] {
        if value.as_ref().is_none_or(String::is_empty) {
            problems.push(format!("{IDENTITY}: {name} is not set; set it, or use --{name}"));
        }
    }
    match (role, bucket) {
        (Some(role), Some(bucket)) if problems.is_empty() => {
            role.parse::<Role>()?;
            Ok(HostIdentity { role, bucket, region: read.region, signal: read.signal })
        }
        _ => Err(Error::Settings(problems)),
    }
}

#[derive(Default)]
struct Read {
    role: Option<String>,
    bucket: Option<String>,
    region: Option<String>,
    signal: Option<SignalTarget>,
}

fn parse(text: &str, problems: &mut Vec<String>) -> Read {
    let mut read = Read::default();
    let toml = match Toml::parse(text) {
        Ok(toml) => toml,
        Err(error) => {
            let line = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            let line = line.matches('\n').count() + 1;
            problems
                .push(format!("{IDENTITY} line {line}: not TOML: {}", error.message().replace('\n', ", ")));
            return read;
        }
    };
    for (name, item) in toml.iter() {
        let texts = |problems: &mut Vec<String>| match item.as_str() {
            Some(text) if !text.is_empty() => Some(text.to_owned()),
            Some(_) => None,
            None => {
                problems.push(format!("{IDENTITY}: {name} is {}, expected a string", item.type_name()));
                None
            }
        };
        match name {
            "role" => read.role = texts(problems),
            "bucket" => read.bucket = texts(problems),
            "region" => read.region = texts(problems),
            "signal" => read.signal = signal(item, problems),
            _ => problems.push(format!(
                "{IDENTITY}: unknown key {name}; legal are role, bucket, region and [signal] stack, resource"
            )),
        }
    }
    read
}

fn signal(item: &Item, problems: &mut Vec<String>) -> Option<SignalTarget> {
    let text = |name: &str| item.as_table_like()?.get(name)?.as_str().filter(|text| !text.is_empty());
    match (text("stack"), text("resource")) {
        (Some(stack), Some(resource)) => {
            Some(SignalTarget { stack: stack.to_owned(), resource: resource.to_owned() })
        }
        _ => {
            problems.push(format!("{IDENTITY}: [signal] needs the strings stack and resource"));
            None
        }
    }
}

/// The files of `/etc/ops-agent/config.d`, by name. A directory that does not exist is an empty one.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read or is not UTF-8: half the settings are not the settings.
pub fn settings(root: &Path) -> Result<(Vec<Document>, Input)> {
    let directory = below(root, SETTINGS);
    let fail = |error| Error::io("read", &directory, error);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(fail)?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fail(error)),
    };
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    // Editors and package managers leave others behind.
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut documents = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        documents.push(Document { place: format!("{SETTINGS}/{name}"), text, etag: None });
    }
    let detail = match documents.len() {
        0 => format!("no files in {SETTINGS}"),
        1 => format!("1 file in {SETTINGS}"),
        more => format!("{more} files in {SETTINGS}"),
    };
    Ok((documents, Input { source: "local".into(), freshness: Freshness::Fresh, detail }))
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
