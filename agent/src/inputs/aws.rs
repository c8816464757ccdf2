//! How AWS is reached: region, credentials, endpoint and time limits, the same for every service.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_ssm::config::IdentityCache;
use aws_smithy_http_client::Builder as HttpClient;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use super::Source;
use crate::{Error, Result};

/// How long a TCP and TLS connection may take: AWS is a few milliseconds away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one attempt of a call may take until its headers are there.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of one call, the first included. The SDK backs off between them, up to a second or two.
const ATTEMPTS: u32 = 3;
/// Where IMDS answers on every instance, by AWS's documentation of instance metadata.
const IMDS_V4: &str = "http://169.254.169.254";
const IMDS_V6: &str = "http://[fd00:ec2::254]";

/// The environment variables of the AWS SDKs that this program honours.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Given ones; what does not begin with `AWS_` or is empty is left out.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with("AWS_") && !value.is_empty();
        Self(pairs.into_iter().filter(ours).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The region that the environment names.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.get("AWS_REGION").or_else(|| self.get("AWS_DEFAULT_REGION"))
    }

    /// Whether IMDS must not be asked: then not one packet goes there.
    #[must_use]
    pub fn imds_disabled(&self) -> bool {
        self.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn imds_endpoint(&self) -> &str {
        let by_mode = || match self.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") {
            Some(mode) if mode.eq_ignore_ascii_case("ipv6") => IMDS_V6,
            _ => IMDS_V4,
        };
        self.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(by_mode)
    }

    fn credentials(&self) -> Option<Credentials> {
        Some(Credentials::new(
            self.get("AWS_ACCESS_KEY_ID")?,
            self.get("AWS_SECRET_ACCESS_KEY")?,
            self.get("AWS_SESSION_TOKEN").map(str::to_owned),
            None,
            "environment",
        ))
    }
}

// Holds credentials.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

// `AWS_ENDPOINT_URL_S3` and the like, which go before `AWS_ENDPOINT_URL`.
impl LoadServiceConfig for Environment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_ascii_uppercase().replace([' ', '-'], "_");
        self.get(&format!("{}_{service}", key.env())).map(str::to_owned)
    }
}

/// The one IMDS client: it holds the one IMDSv2 session, from which instance, region and credentials
/// are read. It never falls back to IMDSv1. `None` where the environment disables IMDS.
pub fn imds_client(environment: &Environment) -> Result<Option<imds::Client>> {
    if environment.imds_disabled() {
        return Ok(None);
    }
    // Plain HTTP: the certificates of the host are not read for it.
    let provider = ProviderConfig::without_region().with_http_client(HttpClient::new().build_http());
    let endpoint = environment.imds_endpoint();
    let client =
        imds::Client::builder().configure(&provider).endpoint(endpoint).map_err(|error| Error::Refused {
            what: format!("AWS_EC2_METADATA_SERVICE_ENDPOINT={endpoint}"),
            why: format!("it is not a URL ({error})"),
            fix: "correct or unset the variable".into(),
        })?;
    Ok(Some(client.build()))
}

/// The configuration that all service clients share, and whether it names an endpoint that is not AWS's.
#[must_use]
pub fn config(
    source: &Source,
    environment: &Environment,
    region: &str,
    imds: Option<imds::Client>,
) -> SdkConfig {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(HttpClient::new().tls_provider(tls).build_https())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        // One cache for all clients: credentials are read once a run.
        .identity_cache(IdentityCache::lazy().build())
        .credentials_provider(credentials(environment, imds));
    config.set_app_name(AppName::new(concat!("ops-agent-", env!("CARGO_PKG_VERSION"))).ok());
    match &source.endpoint_url {
        Some(url) => config.set_endpoint_url(Some(url.clone())),
        None => config
            .set_endpoint_url(environment.get("AWS_ENDPOINT_URL").map(str::to_owned))
            .set_service_config(Some(environment.clone())),
    };
    config.build()
}

/// An S3 client. Emulators behind one endpoint take the bucket in the path, not in the host name.
#[must_use]
pub fn s3(source: &Source, environment: &Environment, config: &SdkConfig) -> aws_sdk_s3::Client {
    let emulated = source.endpoint_url.is_some()
        || ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"].iter().any(|name| environment.get(name).is_some());
    let config = aws_sdk_s3::config::Builder::from(config).force_path_style(emulated).build();
    aws_sdk_s3::Client::from_conf(config)
}

/// The environment's, else the instance role's. Profiles, SSO and containers are no matter of a host.
fn credentials(environment: &Environment, imds: Option<imds::Client>) -> SharedCredentialsProvider {
    match (environment.credentials(), imds) {
        (Some(given), _) => SharedCredentialsProvider::new(given),
        (None, Some(client)) => {
            SharedCredentialsProvider::new(ImdsCredentialsProvider::builder().imds_client(client).build())
        }
        (None, None) => SharedCredentialsProvider::new(NoCredentials),
    }
}

/// Says why there are none.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(
            "AWS_EC2_METADATA_DISABLED is true and AWS_ACCESS_KEY_ID is not set",
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_decides_about_imds() {
        assert!(imds_client(&environment(&[("AWS_EC2_METADATA_DISABLED", "True")])).unwrap().is_none());
        assert!(imds_client(&environment(&[("AWS_EC2_METADATA_DISABLED", "false")])).unwrap().is_some());
        let said =
            imds_client(&environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "not a url")])).unwrap_err();
        assert!(said.to_string().contains("correct or unset the variable"), "{said}");
        assert_eq!(environment(&[]).imds_endpoint(), IMDS_V4);
        let six = environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")]);
        assert_eq!(six.imds_endpoint(), IMDS_V6);
    }

    #[test]
    fn region_and_credentials_come_from_the_usual_variables() {
        let given =
            environment(&[("AWS_DEFAULT_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "AK"), ("HOME", "/")]);
        assert_eq!(given.region(), Some("eu-west-1"));
        assert!(given.credentials().is_none(), "half a key is none");
        assert_eq!(environment(&[("AWS_REGION", "a"), ("AWS_DEFAULT_REGION", "b")]).region(), Some("a"));
        assert_eq!(environment(&[("AWS_REGION", "")]).region(), None);
    }

    #[test]
    fn debug_shows_names_only() {
        let given = environment(&[("AWS_SECRET_ACCESS_KEY", "hunter2")]);
        assert_eq!(format!("{given:?}"), "{\"AWS_SECRET_ACCESS_KEY\"}");
    }
}
