//! What the containers' processes find in their environment, public and secret.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::{CA_BUNDLE, CONTAINER_USER};
use crate::inputs::{SecretProblem, SecretValue};
use crate::resource::database::Database;
use crate::resource::secret_files::SecretFiles;
use crate::roles::Told;
use crate::settings::SqlmeshServer;
use crate::{Error, Result};

/// Public where settings give it; among the secrets where it comes from one, so that a host that
/// holds its secrets while AWS is away does not see its containers change.
const STATE_DB_HOST: &str = "STATE_DB_HOST";
/// Aurora Serverless v2 takes about 15 s to resume, 30 s and more after a day of pause.
const WAKE_SECONDS: u64 = 90;
/// What the containers' processes find in their environment, public and secret.
pub(super) struct Environment {
    pub(super) public: Vec<(String, String)>,
    secret: Result<Vec<(String, SecretString)>, SecretProblem>,
    versions: Vec<String>,
    /// One keyed fingerprint over all that is secret; empty while it is not known.
    pub(super) fingerprint: String,
    pub(super) ca_bundle: String,
}

impl Environment {
    pub(super) fn new(settings: &SqlmeshServer, told: &Told<'_>) -> Result<Self> {
        let ca_bundle = told
            .inputs
            .objects
            .get(&settings.database.ca_bundle)
            .map(|document| document.text.clone())
            .ok_or_else(|| missing_ca_bundle(settings, told))?;
        let state = told.secrets.get(&settings.database.secret);
        let warehouse = told.secrets.get(&settings.warehouse.secret);
        let versions = [&state, &warehouse].into_iter().flatten().map(|secret| secret.version.clone());
        let versions = versions.collect();
        let secret = secret_variables(settings, state, warehouse);
        let fingerprint = secret.as_ref().map_or_else(
            |_| String::new(),
            |variables| {
                let all: BTreeMap<&str, &str> =
                    variables.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
                told.fingerprints.of(serde_json::json!(all).to_string().as_bytes())
            },
        );
        let public = [
            // Without a terminal SQLMesh breaks its lines at 80 columns, in the middle of what is read from them.
            ("COLUMNS", Some("200".to_owned())),
            ("HOME", Some("/tmp".to_owned())),
            ("PGSSLROOTCERT", Some(CA_BUNDLE.to_owned())),
            ("SQLMESH_CACHE_DIR", Some("/tmp/cache".to_owned())),
            (STATE_DB_HOST, settings.database.host.clone()),
            ("STATE_DB_NAME", Some(settings.database.name.clone())),
            ("STATE_DB_PORT", Some(settings.database.port.to_string())),
        ];
        let public = public.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Ok(Self { public, secret, versions, fingerprint, ca_bundle })
    }

    pub(super) fn secret_files(&self) -> SecretFiles {
        SecretFiles {
            consumer: "sqlmesh".into(),
            owner: CONTAINER_USER,
            files: self.secret.clone(),
            versions: self.versions.clone(),
        }
    }

    pub(super) fn database(&self, settings: &SqlmeshServer) -> Database {
        let value = |wanted: &str| {
            let variables = self.secret.as_ref().ok()?;
            variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        };
        let text = |wanted: &str| value(wanted).map_or_else(String::new, |text| text.expose_secret().into());
        let credentials = match &self.secret {
            Ok(_) => Ok((text("STATE_DB_USER"), value("STATE_DB_PASSWORD").unwrap_or_default())),
            Err(problem) => Err(problem.clone()),
        };
        Database {
            host: settings.database.host.clone().unwrap_or_else(|| text(STATE_DB_HOST)),
            port: settings.database.port,
            name: settings.database.name.clone(),
            ca_bundle: self.ca_bundle.clone(),
            credentials,
            wake_seconds: WAKE_SECONDS,
        }
    }
}

/// The secret variables: user and password of the state database, and every field of the warehouse
/// secret under the prefix.
fn secret_variables(
    settings: &SqlmeshServer,
    state: Result<&SecretValue, SecretProblem>,
    warehouse: Result<&SecretValue, SecretProblem>,
) -> Result<Vec<(String, SecretString)>, SecretProblem> {
    let (state, warehouse) = (state?, warehouse?);
    let mut variables = Vec::new();
    for (field, variable) in [("username", "STATE_DB_USER"), ("password", "STATE_DB_PASSWORD")] {
        let value = state.fields.get(field).ok_or_else(|| SecretProblem {
            message: format!(
                "secret {} has no key {field}: it must hold username and password",
                settings.database.secret
            ),
            held: false,
            needs_a_person: true,
        })?;
        variables.push((variable.to_owned(), value.clone()));
    }
    if settings.database.host.is_none() {
        let host = state.fields.get("host").ok_or_else(|| SecretProblem {
            message: format!(
                "the host of the state database is not known: set database.host or put host into the secret {}",
                settings.database.secret
            ),
            held: false,
            needs_a_person: true,
        })?;
        variables.push((STATE_DB_HOST.to_owned(), host.clone()));
    }
    for (field, value) in &warehouse.fields {
        let variable = format!("{}{}", settings.warehouse.env_prefix, field.to_ascii_uppercase());
        variables.push((variable.replace('-', "_"), value.clone()));
    }
    variables.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(variables)
}

fn missing_ca_bundle(settings: &SqlmeshServer, told: &Told<'_>) -> Error {
    let key = &settings.database.ca_bundle;
    Error::Refused {
        what: format!("the CA bundle of the database, s3://{}/{key}", told.identity.bucket),
        why: "it is not there, and without it the database's certificate cannot be verified".into(),
        fix: format!(
            "download the RDS bundle global-bundle.pem and upload it with `aws s3 cp global-bundle.pem s3://{}/{key}`",
            told.identity.bucket
        ),
    }
}
