//! Takes secrets out of what programs say, before anyone may read it.

use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

/// Stands in the place of a secret.
const MASK: &str = "(secret)";
/// Shorter values are words, numbers and names: to take those out would make a message unreadable and tell the
/// value by where it is missing.
const SHORTEST: usize = 6;
/// Deepest directory that is read: one a consumer.
const DEPTH: usize = 2;
/// Endings of variables that name things. They come with the secrets, and messages need them.
const NAMES: [&str; 7] = ["_USER", "_HOST", "_PORT", "_DATABASE", "_SCHEMA", "_ROLE", "_WAREHOUSE"];

/// The secrets that must not be told. Its `Debug` form shows how many there are.
#[derive(Clone, Default)]
pub struct Mask(Vec<SecretString>);

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Mask {
    /// From secret files: each is named as its variable and holds the value. What cannot be read is not there
    /// for the program that speaks, either.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        let mut values = Vec::new();
        collect(directory, DEPTH, &mut values);
        // A value may be a part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values.into_iter().map(SecretString::from).collect())
    }

    /// The text without them. A value of several lines is taken out line by line.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            let secret = secret.expose_secret();
            if text.contains(secret) { text.replace(secret, MASK) } else { text }
        })
    }
}

fn collect(directory: &Path, depth: usize, values: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if depth > 1 {
                collect(&path, depth - 1, values);
            }
        } else if !NAMES.iter().any(|ending| name.ends_with(ending))
            && let Ok(bytes) = std::fs::read(&path)
        {
            let text = String::from_utf8_lossy(&bytes);
            values
                .extend(text.lines().map(str::trim).filter(|line| line.len() >= SHORTEST).map(str::to_owned));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_out_values_but_not_names_and_short_words() {
        let root = tempfile::tempdir().unwrap();
        let consumer = root.path().join("sqlmesh");
        std::fs::create_dir(&consumer).unwrap();
        for (name, value) in [
            ("STATE_DB_USER", "sqlmesh"),
            ("STATE_DB_PASSWORD", "canary-1"),
            ("SNOWFLAKE_PASSWORD", "canary-1-longer"),
            ("SNOWFLAKE_KEY", "-----BEGIN KEY-----\nabcdefgh\n"),
            ("SNOWFLAKE_REGION", "eu"),
        ] {
            std::fs::write(consumer.join(name), value).unwrap();
        }
        for directory in [root.path(), &consumer] {
            let mask = Mask::read(directory);
            let text = mask.apply("sqlmesh of eu: canary-1-longer, canary-1 and abcdefgh");
            assert_eq!(text, "sqlmesh of eu: (secret), (secret) and (secret)");
            assert_eq!(format!("{mask:?}"), "4 secrets");
        }
        assert_eq!(Mask::read(Path::new("/nonexistent")).apply("canary-1"), "canary-1");
    }
}
