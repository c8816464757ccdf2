//! What the value of a key must look like: one variant a domain type, with its refusals.

use ipnet::IpNet;

use super::fragment::Value;

/// The domain type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A whole number.
    Integer {
        /// Least legal value.
        min: i64,
        /// Greatest legal value.
        max: i64,
    },
    /// A TCP port.
    Port,
    /// A TCP port on which a process without privileges may listen.
    UnprivilegedPort,
    /// A list of CIDR networks.
    Networks,
    /// `REGISTRY/REPOSITORY@sha256:HEX`.
    ImageReference,
    /// 64 lower-case hex digits.
    Sha256,
    /// A host name or address, without a port.
    Host,
    /// A PostgreSQL name that needs no quotes.
    DatabaseName,
    /// Name or ARN of a secret.
    SecretName,
    /// Key of an object under `config/`.
    ConfigObject,
    /// Beginning of the name of environment variables.
    EnvironmentPrefix,
    /// Version of a package of the distribution.
    PackageVersion,
}

/// Prefixes that would override variables which the agent or the dynamic linker gives a meaning.
const TAKEN_PREFIXES: [&str; 6] = ["STATE_DB_", "PG", "SQLMESH_", "LD_", "PYTHON", "PATH"];

/// Widest networks that `ui.allow` takes. Wider ones are a way to write "everyone" in pieces.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 16;

impl Shape {
    /// What it must be, with an article, for messages.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::Integer { min, max } => format!("an integer from {min} to {max}"),
            Self::Port => "a TCP port, 1 to 65535".into(),
            Self::UnprivilegedPort => "a TCP port, 1024 to 65535".into(),
            Self::Networks => "a list of networks as in [\"172.22.0.0/16\"]".into(),
            Self::ImageReference => "an image as REGISTRY/REPOSITORY@sha256:HEX".into(),
            Self::Sha256 => "a SHA-256 as 64 lower-case hex digits".into(),
            Self::Host => "a host name without scheme and port".into(),
            Self::DatabaseName => "a database name: lower-case letters, digits and _, at most 63".into(),
            Self::SecretName => "the name of a secret in Secrets Manager".into(),
            Self::ConfigObject => "a key in the artifact bucket that begins with config/".into(),
            Self::EnvironmentPrefix => "a prefix of capitals, digits and _, as in SNOWFLAKE_".into(),
            Self::PackageVersion => "a package version as the package manager prints it".into(),
        }
    }

    /// The value that a text stands for, where all values are texts: a parameter. Lists are
    /// comma-separated or JSON. Errs with what was found.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Self::Integer { .. } | Self::Port | Self::UnprivilegedPort => {
                text.parse().map(Value::Integer).map_err(|_| format!("{text:?}"))
            }
            Self::Networks if text.starts_with('[') => {
                serde_json::from_str(text).map(Value::List).map_err(|error| format!("bad JSON ({error})"))
            }
            Self::Networks => Ok(Value::List(
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            )),
            _ => Ok(Value::Text(text.to_owned())),
        }
    }

    /// Whether a value of this type is written as this TOML type at all.
    #[must_use]
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::Integer { .. } | Self::Port | Self::UnprivilegedPort => matches!(value, Value::Integer(_)),
            Self::Networks => matches!(value, Value::List(_)),
            _ => matches!(value, Value::Text(_)),
        }
    }

    /// Refuses a value that cannot be used. Errs with the rest of the sentence that began with the
    /// key: `is 10, expected …`.
    pub fn check(self, value: &Value) -> Result<(), String> {
        let plain = |good: bool| {
            if good { Ok(()) } else { Err(format!("is {value}, expected {}", self.expected())) }
        };
        match (self, value) {
            (Self::Integer { min, max }, Value::Integer(number)) => plain((min..=max).contains(number)),
            (Self::Port, Value::Integer(number)) => plain((1..=65_535).contains(number)),
            (Self::UnprivilegedPort, Value::Integer(number)) => plain((1024..=65_535).contains(number)),
            (Self::Networks, Value::List(list)) => list.iter().try_for_each(|network| check_network(network)),
            (Self::ImageReference, Value::Text(text)) => check_image(text),
            (Self::Sha256, Value::Text(text)) => plain(is_sha256(text)),
            (Self::Host, Value::Text(text)) => plain(is_host(text)),
            (Self::DatabaseName, Value::Text(text)) => plain(is_database_name(text)),
            (Self::SecretName, Value::Text(text)) => plain(is_secret_name(text)),
            (Self::ConfigObject, Value::Text(text)) => plain(is_config_object(text)),
            (Self::EnvironmentPrefix, Value::Text(text)) => {
                check_prefix(text).and_then(|()| plain(is_prefix(text)))
            }
            (Self::PackageVersion, Value::Text(text)) => plain(is_version(text)),
            _ => plain(false),
        }
    }
}

/// Whether the text is 64 lower-case hex digits.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn all(text: &str, longest: usize, good: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.len() <= longest && text.chars().all(good)
}

fn is_host(text: &str) -> bool {
    all(text, 253, |c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
        && text.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
}

// 63 bytes: NAMEDATALEN - 1 of PostgreSQL.
fn is_database_name(text: &str) -> bool {
    all(text, 63, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

// Characters by the API reference of CreateSecret; `:` for ARNs.
fn is_secret_name(text: &str) -> bool {
    let arn = text.starts_with("arn:");
    all(text, 2048, |c| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c) || (arn && c == ':'))
}

fn is_config_object(text: &str) -> bool {
    all(text, 1024, |c| !c.is_control() && !c.is_whitespace())
        && text.strip_prefix("config/").is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/'))
}

fn is_prefix(text: &str) -> bool {
    all(text, 64, |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        && text.starts_with(|c: char| c.is_ascii_uppercase())
}

fn is_version(text: &str) -> bool {
    all(text, 128, |c| c.is_ascii_alphanumeric() || ".+:~^_-".contains(c)) && !text.starts_with('-')
}

fn check_prefix(text: &str) -> Result<(), String> {
    match TAKEN_PREFIXES.iter().find(|taken| text.starts_with(**taken)) {
        Some(taken) => Err(format!(
            "is {text:?}, but variables that begin with {taken} mean something else in the containers; \
             choose a prefix of the warehouse's own, as in SNOWFLAKE_"
        )),
        None => Ok(()),
    }
}

fn check_network(text: &str) -> Result<(), String> {
    let Ok(network) = text.parse::<IpNet>() else {
        let fix = match text.parse::<std::net::IpAddr>() {
            Ok(address) => format!("for one address write {}", IpNet::from(address)),
            Err(_) => "write networks as in 172.22.0.0/16".into(),
        };
        return Err(format!("holds {text:?}, which is not a network; {fix}"));
    };
    let widest = if network.addr().is_ipv4() { WIDEST_V4 } else { WIDEST_V6 };
    if network.prefix_len() < widest {
        return Err(format!(
            "holds {text}, which lets in far more than your networks, and SQLMesh's UI has no authentication \
             of its own; name the networks that need it, as in 172.22.0.0/16 (/{widest} at the widest)"
        ));
    }
    if network.trunc() != network {
        return Err(format!(
            "holds {text}, whose address does not begin a network; write {}",
            network.trunc()
        ));
    }
    Ok(())
}

/// Registry, repository and digest; the grammar is that of Docker's `reference` package.
fn check_image(text: &str) -> Result<(), String> {
    let how =
        "write REGISTRY/REPOSITORY@sha256:HEX; `docker buildx imagetools inspect IMAGE` prints the digest";
    let Some((name, digest)) = text.split_once('@') else {
        return Err(format!(
            "is {text:?}, which names no digest, and a tag can change under a running host; {how}"
        ));
    };
    if !digest.strip_prefix("sha256:").is_some_and(is_sha256) {
        return Err(format!("is {text:?}, whose digest is not sha256: and 64 lower-case hex digits; {how}"));
    }
    let Some((registry, repository)) = name.split_once('/') else {
        return Err(format!("is {text:?}, which names no registry; {how}"));
    };
    if !(registry.contains('.') || registry.contains(':') || registry == "localhost") {
        return Err(format!("is {text:?}, which names no registry ({registry:?} is not a host name); {how}"));
    }
    if repository.contains(':') {
        return Err(format!(
            "is {text:?}, which names a tag beside the digest, and the digest alone decides; {how}"
        ));
    }
    let (host, port) = registry.split_once(':').unwrap_or((registry, "443"));
    let good = is_host(host)
        && port.parse::<u16>().is_ok_and(|port| port != 0)
        && repository.split('/').all(|part| {
            all(part, 255, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
        });
    if good { Ok(()) } else { Err(format!("is {text:?}, which Docker does not take as a name; {how}")) }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
