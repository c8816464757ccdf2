//! What somebody who wrote an unknown key probably meant.

use super::Role;
use super::keys::{self, SECTIONS};

/// Below this likeness (0 to 1) a suggestion would be a guess. Found by trying: one wrong word of two
/// stays above, two unrelated keys of one section stay below.
const LIKE: f64 = 0.68;

/// Words by which somebody may try to write a secret into settings.
const SECRET_WORDS: [&str; 9] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "token",
    "credential",
    "private_key",
    "api_key",
    "access_key",
];

/// `unknown key NAME; …` with the nearest legal key, or the legal keys where none is near. Never
/// shows the value: it may be a secret.
#[must_use]
pub fn unknown_key(role: Role, name: &str) -> String {
    // TOML allows line breaks in quoted keys; a problem is one line.
    let name = &name.replace(char::is_control, "?");
    let leaf = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase().replace('-', "_");
    if SECRET_WORDS.iter().any(|word| leaf.contains(word)) || leaf == "secret_key" {
        return format!(
            "unknown key {name}; secrets do not belong in settings: put it into AWS Secrets Manager, into the \
             secret that database.secret or warehouse.secret names, and delete it here"
        );
    }
    match nearest(role, name) {
        Some(key) => format!("unknown key {name}; did you mean {key}?"),
        None => format!("unknown key {name}; legal are {}", legal(role, name)),
    }
}

/// `unknown section NAME; …`.
#[must_use]
pub fn unknown_section(role: Role, name: &str) -> String {
    let sections = SECTIONS.iter().map(|(section, _)| *section);
    let near = sections
        .map(|section| (strsim::normalized_damerau_levenshtein(section, name), section))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, section)) => format!("unknown section {name}; did you mean {section}?"),
        None => format!("unknown section {name}; legal are {}", legal(role, "")),
    }
}

fn nearest(role: Role, name: &str) -> Option<&'static str> {
    let name = name.replace('-', "_");
    let (section, leaf) = name.rsplit_once('.').unwrap_or(("", &name));
    let alike = strsim::normalized_damerau_levenshtein;
    keys::of_role(role)
        .map(|key| {
            let whole = alike(key.name, &name);
            // The right key in the wrong section, or without one, is nearly right.
            let parts = alike(key.leaf(), leaf) * 0.8 + alike(key.section(), section) * 0.2;
            (whole.max(parts), key.name)
        })
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

/// The keys of the section that was written, or the sections.
fn legal(role: Role, name: &str) -> String {
    let section = name.split('.').next().unwrap_or_default();
    let mut words: Vec<_> =
        keys::of_role(role).filter(|key| key.section() == section).map(|key| key.name).collect();
    if words.is_empty() {
        let of_role = |section: &&str| keys::of_role(role).any(|key| key.section() == *section);
        words = SECTIONS.iter().map(|(section, _)| *section).filter(of_role).collect();
        return format!("the sections {}", words.join(", "));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_was_meant() {
        let cases = [
            ("scheduler.intervall_seconds", "scheduler.interval_seconds"),
            ("scheduler.interval", "scheduler.interval_seconds"),
            ("schedular.interval_seconds", "scheduler.interval_seconds"),
            ("interval_seconds", "scheduler.interval_seconds"),
            ("ui.alow", "ui.allow"),
            ("ui.memory", "ui.memory_mb"),
            ("scheduler.memory-mb", "scheduler.memory_mb"),
            ("databse.hots", "database.host"),
            ("image.refrence", "image.reference"),
            ("project.bundel", "project.bundle"),
            ("warehouse.prefix", "warehouse.env_prefix"),
        ];
        for (wrong, right) in cases {
            let said = unknown_key(Role::SqlmeshServer, wrong);
            assert_eq!(said, format!("unknown key {wrong}; did you mean {right}?"));
        }
    }

    #[test]
    fn names_the_legal_ones_where_nothing_is_near() {
        let said = unknown_key(Role::SqlmeshServer, "ui.colour");
        assert_eq!(
            said,
            "unknown key ui.colour; legal are ui.port, ui.allow, ui.memory_mb, ui.proxy_version"
        );
        let said = unknown_key(Role::SqlmeshServer, "rustdesk.relay");
        assert!(said.contains("legal are the sections docker, image, project"), "{said}");
        let said = unknown_section(Role::SqlmeshServer, "schedular");
        assert_eq!(said, "unknown section schedular; did you mean scheduler?");
    }

    #[test]
    fn sends_secrets_to_secrets_manager() {
        for name in ["database.password", "warehouse.api-key", "ui.TOKEN", "db_passwd", "database.secret_key"]
        {
            let said = unknown_key(Role::SqlmeshServer, name);
            assert!(said.contains("Secrets Manager"), "{said}");
        }
        assert!(!unknown_key(Role::SqlmeshServer, "ui.a\nb").contains('\n'));
    }
}
