//! The order of the fetches: what can be asked at the same time is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::imds as imds_api;
use tokio::sync::OnceCell;

use super::aws::{self, Environment};
use super::cache::{Cache, ago};
use super::imds::{self, Instance};
use super::objects::{Bucket, Configuration, S3Objects};
use super::registries::AwsRegistries;
use super::{Document, HostIdentity, Inputs, Secrets, Source, local, parameters, secrets, valid};
use crate::host::{Objects, Registries};
use crate::report::{Freshness, Input};
use crate::settings::{Role, Settings};
use crate::{Error, Result};

/// The clients of one run. They share one IMDSv2 session, one set of credentials, one pool of connections.
pub struct Connection {
    /// AWS region.
    pub region: String,
    /// Objects in S3.
    pub objects: Arc<dyn Objects>,
    /// Logins of registries.
    pub registries: Arc<dyn Registries>,
    /// For the signal.
    pub cloudformation: aws_sdk_cloudformation::Client,
    ssm: aws_sdk_ssm::Client,
    s3: aws_sdk_s3::Client,
    secrets: aws_sdk_secretsmanager::Client,
    imds: Option<imds_api::Client>,
    instance: OnceCell<(Option<Instance>, Input)>,
    cache: Cache,
    source: Source,
}

/// What was fetched.
pub struct Fetched {
    /// What settings are made of.
    pub inputs: Inputs,
    /// Where it came from and how fresh it is, for the report.
    pub report: Vec<Input>,
    /// EC2 instance id, where IMDS gave one.
    pub instance_id: Option<String>,
    bucket: String,
    configuration: Configuration,
    /// Objects of inputs that are held: they win.
    held: BTreeMap<String, Document>,
}

/// Makes the clients. IMDS is asked only where nothing else names the region: arguments, the SDK's
/// environment variables, `host.toml`.
///
/// # Errors
/// [`Error::Refused`] where no region is known.
pub async fn connect(source: &Source, identity: &HostIdentity) -> Result<Connection> {
    connect_in(source, identity, &Environment::of_process()).await
}

/// [`connect`] with the environment as an argument.
///
/// # Errors
/// As [`connect`].
pub async fn connect_in(
    source: &Source,
    identity: &HostIdentity,
    environment: &Environment,
) -> Result<Connection> {
    let cache = Cache::new(&source.root).that(source.keep);
    let imds = aws::imds_client(environment)?;
    let instance = OnceCell::new();
    let named = source.region.as_deref().or(environment.region()).or(identity.region.as_deref());
    let region = match named {
        Some(region) => region.to_owned(),
        None => {
            let (found, input) = instance.get_or_init(|| ask(imds.as_ref(), &cache)).await;
            let region = found.as_ref().map(|instance| instance.region.clone());
            region.ok_or_else(|| Error::Refused {
                what: "the AWS region".into(),
                why: format!(
                    "no argument, variable or /etc/ops-agent/host.toml names it, and {}",
                    input.detail
                ),
                fix: "set region in /etc/ops-agent/host.toml, or use --region".into(),
            })?
        }
    };
    let config = aws::config(source, environment, &region, imds.clone());
    let s3 = aws::s3(source, environment, &config);
    Ok(Connection {
        region,
        objects: Arc::new(S3Objects { client: s3.clone() }),
        cloudformation: aws_sdk_cloudformation::Client::new(&config),
        ssm: aws_sdk_ssm::Client::new(&config),
        secrets: aws_sdk_secretsmanager::Client::new(&config),
        registries: Arc::new(AwsRegistries { config }),
        s3,
        imds,
        instance,
        cache,
        source: source.clone(),
    })
}

/// Fetches all that settings are made of, concurrently. Each source by itself is fetched, or held
/// from the last run that saw it.
///
/// # Errors
/// The failure of a source of which nothing is kept.
pub async fn fetch(connection: &Connection, identity: &HostIdentity) -> Result<Fetched> {
    let role: Role = identity.role.parse()?;
    let Connection { region, cache, ssm, s3, .. } = connection;
    let bucket = Bucket { client: s3, name: &identity.bucket, cache };
    let (instance, parameters, configuration) = tokio::join!(
        connection.instance.get_or_init(|| ask(connection.imds.as_ref(), cache)),
        parameters::fetch(ssm, region, role, cache),
        bucket.fetch(role),
    );
    let (instance, imds_input) = instance;
    let (local, local_input) = local::settings(&connection.source.root)?;
    let (parameters, parameters_input) = parameters?;
    let configuration = configuration?;
    let mut objects = configuration.objects.clone();
    let document = objects.remove(&role.document_key());
    let objects_input = configuration.input(&identity.bucket);
    Ok(Fetched {
        inputs: Inputs {
            document,
            objects,
            parameters: parameters.parameters,
            unknown: parameters.unknown,
            local,
        },
        report: vec![imds_input.clone(), parameters_input, objects_input, local_input],
        instance_id: instance.as_ref().map(|instance| instance.id.clone()),
        bucket: identity.bucket.clone(),
        configuration,
        held: BTreeMap::new(),
    })
}

impl Fetched {
    /// Puts the inputs of the last valid settings in the place of those of now, where any are kept. Returns
    /// how long ago those settings were seen.
    pub fn hold(&mut self, connection: &Connection, identity: &HostIdentity) -> Option<Duration> {
        let kept = valid::load(&connection.cache, identity, &self.inputs)?;
        self.held.clone_from(&kept.value.objects);
        self.inputs = kept.value;
        Some(kept.age)
    }

    /// Keeps the inputs as those of the last valid settings.
    pub fn keep_valid(&self, connection: &Connection, identity: &HostIdentity) {
        valid::keep(&connection.cache, identity, &self.inputs);
    }

    /// Fetches what only the settings name: the secrets, and objects other than the usual ones. A secret
    /// that cannot be had says why; it stops nothing but what needs it.
    ///
    /// # Errors
    /// The failure of an object that exists, of which nothing is kept.
    pub async fn complete(&mut self, connection: &Connection, settings: &Settings) -> Result<Secrets> {
        let Connection { region, cache, s3, .. } = connection;
        let bucket = Bucket { client: s3, name: &self.bucket, cache };
        let (needs, keys) = (settings.secrets(), settings.objects());
        let ((found, input), more) = tokio::join!(
            secrets::fetch(&connection.secrets, region, &needs),
            bucket.fetch_more(&mut self.configuration, &keys),
        );
        self.inputs.objects.clone_from(&self.configuration.objects);
        self.inputs.objects.remove(&settings.role().document_key());
        self.inputs.objects.extend(self.held.clone());
        let objects = self.configuration.input(&self.bucket);
        if let Some(old) = self.report.iter_mut().find(|old| old.source == objects.source) {
            *old = objects;
        }
        self.report.push(input);
        more.map(|()| found)
    }
}

/// The instance by IMDS, else as it was kept: an instance does not move.
async fn ask(client: Option<&imds_api::Client>, cache: &Cache) -> (Option<Instance>, Input) {
    const SOURCE: &str = "imds";
    let input = |freshness, detail| Input { source: SOURCE.into(), freshness, detail };
    let error = match client {
        None => "IMDS is disabled (AWS_EC2_METADATA_DISABLED)".to_owned(),
        Some(client) => match imds::instance(client).await {
            Ok(instance) => {
                cache.keep(SOURCE, "", &instance);
                let detail = format!("{} in {}", instance.id, instance.region);
                return (Some(instance), input(Freshness::Fresh, detail));
            }
            Err(error) => error,
        },
    };
    // With IMDS disabled this is no instance, whatever was kept.
    match client.and_then(|_| cache.load::<Instance>(SOURCE, "")) {
        Some(kept) => {
            let detail = format!("holding {} seen {}: {error}", kept.value.id, ago(kept.age));
            (Some(kept.value), input(Freshness::Held, detail))
        }
        None => (None, input(Freshness::Missing, error)),
    }
}
