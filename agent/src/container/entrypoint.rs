//! Turns secret files into the environment of the one program that needs them, and becomes that program.
//!
//! An environment given to `docker run` is on disk and in `docker inspect`; one made here is seen only
//! by the program itself and by root.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use crate::{Error, Result};

/// Variables that a project's `.env` must not set even where the agent gave none of that name.
const RESERVED: [&str; 2] = ["PGSSLROOTCERT", "SQLMESH_CACHE_DIR"];
/// The same, by prefix.
const RESERVED_PREFIX: &str = "STATE_DB_";
/// Secrets that would change which code is loaded are refused, by prefix.
const FORBIDDEN: [&str; 3] = ["LD_", "PYTHON", "PATH"];

/// Reads the secrets in `secrets`, checks the project's `.env`, and becomes `command`. Returns only
/// when it could not.
pub fn run(secrets: &Path, project: &Path, command: &[OsString]) -> Result<std::convert::Infallible> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(refused("entrypoint".into(), "no command was given", "write it after `--`"));
    };
    let variables = read(secrets)?;
    let given = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    check_dotenv(&project.join(".env"), &variables.keys().cloned().chain(given).collect())?;
    let source = Command::new(program).args(arguments).envs(&variables).exec();
    Err(Error::CommandStart { program: program.to_string_lossy().into_owned(), source })
}

/// Every regular file of a directory as a variable: its name, and its content to the byte. Names that
/// begin with a dot are files being replaced, and are passed over.
fn read(directory: &Path) -> Result<BTreeMap<String, OsString>> {
    let what = || format!("secrets in {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused(
                what(),
                "there is no such directory",
                "run `ops-agent converge`: it writes them",
            ));
        }
        Err(error) => return Err(Error::io("read the secrets in", directory, error)),
    };
    let mut variables = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read the secrets in", directory, error))?;
        let path = entry.path();
        let is_file = entry.file_type().map_err(|error| Error::io("look at", &path, error))?.is_file();
        let name = entry.file_name();
        if !is_file || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let name = legal_name(&name).map_err(|why| {
            refused(format!("secret file {}", path.display()), why, "name the key of the secret otherwise")
        })?;
        let value = fs::read(&path).map_err(|error| Error::io("read the secret", &path, error))?;
        if value.contains(&0) {
            let why = "it holds a NUL byte, which no variable can";
            return Err(refused(format!("secret file {}", path.display()), why, "change the secret's value"));
        }
        variables.insert(name, OsString::from_vec(value));
    }
    if variables.is_empty() {
        return Err(refused(what(), "there are none", "run `ops-agent converge`: it writes them"));
    }
    Ok(variables)
}

/// A name that can be a variable and that no program loader listens to.
fn legal_name(name: &OsStr) -> Result<String, &'static str> {
    let name = name.to_str().ok_or("its name is not UTF-8")?;
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_word || name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err("its name cannot be a variable: only letters, digits and _, not a digit first");
    }
    if FORBIDDEN.iter().any(|prefix| name.starts_with(prefix)) {
        return Err("its name would change which code is loaded");
    }
    Ok(name.to_owned())
}

/// SQLMesh loads `PROJECT/.env` over the environment it was given, so a forgotten file there would send
/// it to another database without a word. Refused when it sets anything that the agent gives.
fn check_dotenv(path: &Path, given: &BTreeSet<String>) -> Result<()> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let is_ours =
        |name: &&str| given.contains(*name) || RESERVED.contains(name) || name.starts_with(RESERVED_PREFIX);
    match dotenv_names(&text).find(is_ours) {
        None => Ok(()),
        Some(name) => Err(refused(
            format!("project file {}", path.display()),
            &format!("it sets {name}, which the agent gives, and SQLMesh would prefer the file's"),
            "remove that line from the project",
        )),
    }
}

/// The names that a `.env` sets. More than python-dotenv would find, if anything: the lines of a value
/// that spans several are looked at too.
fn dotenv_names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(line);
        let name = line.split(['=', '#']).next()?.trim().trim_matches('\'');
        (!name.is_empty()).then_some(name)
    })
}

fn refused(what: String, why: &str, fix: &str) -> Error {
    Error::Refused { what, why: why.to_owned(), fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        directory
    }

    #[test]
    fn values_are_exact() {
        let value: &[u8] = b" a\"b\\c'd#e: ${X} {{y}} <&>\n\n\xff";
        let secrets = directory(&[("STATE_DB_PASSWORD", value), (".tmp", b"x"), ("EMPTY", b"")]);
        fs::create_dir(secrets.path().join("DIRECTORY")).unwrap();
        let read = read(secrets.path()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read["STATE_DB_PASSWORD"].as_encoded_bytes(), value);
        assert_eq!(read["EMPTY"], "");
    }

    #[test]
    fn what_cannot_be_a_variable_is_refused() {
        let cases: [(&str, &[u8], &str); 6] = [
            ("A-B", b"x", "cannot be a variable"),
            ("1A", b"x", "cannot be a variable"),
            ("A=B", b"x", "cannot be a variable"),
            ("LD_PRELOAD", b"x", "which code is loaded"),
            ("PATH", b"x", "which code is loaded"),
            ("A", b"x\0y", "NUL"),
        ];
        for (name, content, message) in cases {
            let secrets = directory(&[(name, content)]);
            let error = read(secrets.path()).unwrap_err().to_string();
            assert!(error.contains(message) && error.contains(name), "{name}: {error}");
            assert!(!error.contains('\0'), "the value is told");
        }
    }

    #[test]
    fn no_secrets_are_refused() {
        let empty = directory(&[]);
        assert!(read(empty.path()).unwrap_err().to_string().contains("there are none"));
        let missing = read(&empty.path().join("no")).unwrap_err().to_string();
        assert!(missing.contains("no such directory") && missing.contains("ops-agent converge"), "{missing}");
    }

    #[test]
    fn a_dotenv_over_our_variables_is_refused_by_name() {
        let given = BTreeSet::from(["WAREHOUSE_PASSWORD".to_owned()]);
        let cases = [
            ("STATE_DB_HOST=nosuch\n", Some("STATE_DB_HOST")),
            ("# x\n  export\tWAREHOUSE_PASSWORD = 'a'", Some("WAREHOUSE_PASSWORD")),
            ("'PGSSLROOTCERT'=/x", Some("PGSSLROOTCERT")),
            ("STATE_DB_PORT", Some("STATE_DB_PORT")),
            ("#STATE_DB_HOST=x\nMY_OWN=1\nexported=2\n", None),
            ("", None),
        ];
        for (text, name) in cases {
            let project = directory(&[(".env", text.as_bytes())]);
            let result = check_dotenv(&project.path().join(".env"), &given);
            match name {
                None => assert!(result.is_ok(), "{text:?}"),
                Some(name) => {
                    assert!(result.unwrap_err().to_string().contains(&format!("sets {name},")), "{text:?}")
                }
            }
        }
    }

    #[test]
    fn no_dotenv_is_fine() {
        assert!(check_dotenv(Path::new("/nonexistent/.env"), &BTreeSet::new()).is_ok());
    }
}
