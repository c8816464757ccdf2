//! The one table of every key: name, shape, default, unit, meaning, and the roles that have it.
//! Parsing, validation, suggestions, the annotated example and `ops-agent config` all read it.

use super::Role;
use super::shape::Shape;

/// A key that can be written in a layer.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What its value must look like.
    pub shape: Shape,
    /// What holds where no layer sets it.
    pub default: Preset,
    /// Unit of a number.
    pub unit: Option<&'static str>,
    /// What it is for: whole sentences.
    pub doc: &'static str,
    /// The roles that have it.
    pub roles: &'static [Role],
}

/// What holds where no layer sets a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Preset {
    /// Some layer must set it; the text is an example of what.
    Required(&'static str),
    /// Nothing; the text is an example of what could be set.
    Unset(&'static str),
    /// A text.
    Text(&'static str),
    /// A number.
    Integer(i64),
    /// A list.
    List(&'static [&'static str]),
}

/// A section with what it is about.
pub const SECTIONS: &[(&str, &str)] = &[
    ("docker", "The Docker engine."),
    ("image", "The SQLMesh image, for the UI and the scheduler."),
    ("project", "The SQLMesh project."),
    ("database", "The PostgreSQL database that holds SQLMesh's state, reached over verified TLS."),
    ("warehouse", "The warehouse in which the models run."),
    ("ui", "The web UI, and the proxy that stands before it: the UI itself has no authentication."),
    ("scheduler", "The scheduler, which runs `sqlmesh run` on an interval."),
];

const SQLMESH: &[Role] = &[Role::SqlmeshServer];

/// Every key, in the order of the example.
pub const KEYS: &[Key] = &[
    Key {
        name: "docker.version",
        shape: Shape::PackageVersion,
        default: Preset::Unset("25.0.14-1.amzn2023.0.1"),
        unit: None,
        doc: "Version of the Docker package to pin. Unset: the version that the distribution offers.",
        roles: SQLMESH,
    },
    Key {
        name: "image.reference",
        shape: Shape::ImageReference,
        default: Preset::Required(
            "111122223333.dkr.ecr.us-east-1.amazonaws.com/sqlmesh@sha256:\
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ),
        unit: None,
        doc: "The image by registry, repository and digest. A tag is refused: it can change under a running host.",
        roles: SQLMESH,
    },
    Key {
        name: "project.bundle",
        shape: Shape::Sha256,
        default: Preset::Unset("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        unit: None,
        doc: "SHA-256 of the bundle, which lies at projects/SHA256.tar.gz of the artifact bucket. \
              Unset: nothing is published yet, and neither UI nor scheduler runs.",
        roles: SQLMESH,
    },
    Key {
        name: "database.host",
        shape: Shape::Host,
        default: Preset::Unset("operations.cluster-abcdefghijkl.us-east-1.rds.amazonaws.com"),
        unit: None,
        doc: "Host name, which the server's certificate must carry. Unset: `host` of the secret.",
        roles: SQLMESH,
    },
    Key {
        name: "database.port",
        shape: Shape::Port,
        default: Preset::Integer(5432),
        unit: None,
        doc: "TCP port of the database.",
        roles: SQLMESH,
    },
    Key {
        name: "database.name",
        shape: Shape::DatabaseName,
        default: Preset::Text("sqlmesh_state"),
        unit: None,
        doc: "Name of the database; made, and marked as this host's, where it does not exist.",
        roles: SQLMESH,
    },
    Key {
        name: "database.secret",
        shape: Shape::SecretName,
        default: Preset::Text("aurora-data-operations"),
        unit: None,
        doc: "Secret in Secrets Manager with the keys username and password, and host and port where RDS wrote them.",
        roles: SQLMESH,
    },
    Key {
        name: "database.ca_bundle",
        shape: Shape::ConfigObject,
        default: Preset::Text(DEFAULT_CA_BUNDLE),
        unit: None,
        doc: "Key in the artifact bucket of the CA bundle (PEM) that the server's certificate is verified against.",
        roles: SQLMESH,
    },
    Key {
        name: "warehouse.secret",
        shape: Shape::SecretName,
        default: Preset::Text("snowflake-warehouse"),
        unit: None,
        doc: "Secret in Secrets Manager; each of its keys becomes one environment variable of the SQLMesh containers.",
        roles: SQLMESH,
    },
    Key {
        name: "warehouse.env_prefix",
        shape: Shape::EnvironmentPrefix,
        default: Preset::Text("SNOWFLAKE_"),
        unit: None,
        doc: "Prefix of those variables: key `account` becomes SNOWFLAKE_ACCOUNT.",
        roles: SQLMESH,
    },
    Key {
        name: "ui.port",
        shape: Shape::UnprivilegedPort,
        default: Preset::Integer(8000),
        unit: None,
        doc: "TCP port on which the proxy, which has no privileges, listens on every address of the host.",
        roles: SQLMESH,
    },
    Key {
        name: "ui.allow",
        shape: Shape::Networks,
        default: Preset::List(&["172.22.0.0/16", "172.20.0.0/16"]),
        unit: None,
        doc: "Networks that may reach the port. An empty list closes it to everyone, the host itself included.",
        roles: SQLMESH,
    },
    Key {
        name: "ui.memory_mb",
        shape: Shape::Integer { min: 384, max: 65_536 },
        default: Preset::Integer(768),
        unit: Some("MiB"),
        doc: "Memory limit of the UI's container. The UI alone takes about 250 MiB.",
        roles: SQLMESH,
    },
    Key {
        name: "ui.proxy_version",
        shape: Shape::PackageVersion,
        default: Preset::Unset("1:1.28.0-1.amzn2023.0.2"),
        unit: None,
        doc: "Version of the nginx package to pin. Unset: the version that the distribution offers.",
        roles: SQLMESH,
    },
    Key {
        name: "scheduler.interval_seconds",
        shape: Shape::Integer { min: 30, max: 604_800 },
        default: Preset::Integer(300),
        unit: Some("seconds"),
        doc: "Time between the starts of two runs. A run that takes longer delays the next one.",
        roles: SQLMESH,
    },
    Key {
        name: "scheduler.drain_seconds",
        shape: Shape::Integer { min: 10, max: 86_400 },
        default: Preset::Integer(3600),
        unit: Some("seconds"),
        doc: "How long a stop or a deploy waits for a run in progress, which is never killed before.",
        roles: SQLMESH,
    },
    Key {
        name: "scheduler.memory_mb",
        shape: Shape::Integer { min: 512, max: 65_536 },
        default: Preset::Integer(1024),
        unit: Some("MiB"),
        doc: "Memory limit of the scheduler's container. A run without models takes about 280 MiB.",
        roles: SQLMESH,
    },
];

/// Default of `database.ca_bundle`: fetched before the settings are known, since it is rarely another.
pub const DEFAULT_CA_BUNDLE: &str = "config/rds-ca.pem";

/// The keys of a role, in the order of the table.
pub fn of_role(role: Role) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.roles.contains(&role))
}

/// A key of the role by its name.
#[must_use]
pub fn find(role: Role, name: &str) -> Option<&'static Key> {
    of_role(role).find(|key| key.name == name)
}

impl Key {
    /// The part before the dot.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(section, _)| section)
    }

    /// The part after the dot.
    #[must_use]
    pub fn leaf(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, leaf)| leaf)
    }

    /// What a value must be, for messages: `an integer of at least 30 (seconds)`.
    #[must_use]
    pub fn expected(&self) -> String {
        match self.unit {
            Some(unit) => format!("{} ({unit})", self.shape.expected()),
            None => self.shape.expected(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::fragment::Value;

    #[test]
    fn names_are_unique_and_in_known_sections() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(KEYS.iter().skip(index + 1).all(|other| other.name != key.name), "{} twice", key.name);
            assert!(SECTIONS.iter().any(|(name, _)| *name == key.section()), "{}", key.name);
            assert!(!key.leaf().contains('.') && key.leaf() != key.name, "{}", key.name);
            assert!(key.doc.ends_with('.') && !key.roles.is_empty(), "{}", key.name);
        }
    }

    #[test]
    fn every_default_and_every_example_is_of_its_own_shape() {
        for key in KEYS {
            let value = match key.default {
                Preset::Required(text) | Preset::Unset(text) | Preset::Text(text) => {
                    key.shape.parse(text).unwrap()
                }
                Preset::Integer(number) => Value::Integer(number),
                Preset::List(list) => Value::List(list.iter().map(ToString::to_string).collect()),
            };
            key.shape.check(&value).unwrap_or_else(|problem| panic!("{}: {problem}", key.name));
        }
    }
}
