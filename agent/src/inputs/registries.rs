//! Logins of container registries: ECR's are tokens, which AWS hands out to the host's role.

use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::failure::{Call, OrFailed};
use crate::Result;
use crate::error::AwsFailure;
use crate::host::{Registries, RegistryLogin};

/// [`Registries`] with AWS behind them.
pub struct AwsRegistries {
    /// Configuration of the clients.
    pub config: SdkConfig,
}

#[async_trait]
impl Registries for AwsRegistries {
    async fn login(&self, registry: &str) -> Result<Option<RegistryLogin>> {
        let Some(region) = ecr_region(registry) else { return Ok(None) };
        let call = Call {
            action: "ecr:GetAuthorizationToken",
            subject: registry.to_owned(),
            resource: "* (and ecr:BatchGetImage, ecr:GetDownloadUrlForLayer on the repository)".into(),
            make: "check the registry in image.reference".into(),
        };
        let config = self.config.to_builder().region(Region::new(region.to_owned())).build();
        let answer =
            aws_sdk_ecr::Client::new(&config).get_authorization_token().send().await.or_failed(&call)?;
        let token = answer.authorization_data().first().and_then(|data| data.authorization_token());
        let login = token.and_then(|token| decode(&SecretString::from(token)));
        login.map(Some).ok_or_else(|| call.error(AwsFailure::Other, "ECR gave no token that can be read"))
    }
}

/// `USER:PASSWORD` in Base64, by the API reference of GetAuthorizationToken.
fn decode(token: &SecretString) -> Option<RegistryLogin> {
    let text = String::from_utf8(STANDARD.decode(token.expose_secret()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(RegistryLogin { user: user.to_owned(), password: SecretString::from(password) })
}

/// The region of a private ECR registry: `ACCOUNT.dkr.ecr[-fips].REGION.amazonaws.com[.cn]`.
fn ecr_region(registry: &str) -> Option<&str> {
    let (account, rest) = registry.split_once(".dkr.")?;
    let rest = rest.strip_prefix("ecr.").or_else(|| rest.strip_prefix("ecr-fips."))?;
    let region = rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"))?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    (is_account && !region.is_empty() && !region.contains('.')).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_ecr_by_its_host_name() {
        let cases = [
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", Some("us-east-1")),
            ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("11112222333.dkr.ecr.eu-west-1.amazonaws.com", None),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
            ("111122223333.dkr.ecr.a.b.amazonaws.com", None),
            ("public.ecr.aws", None),
            ("registry.lab:5000", None),
        ];
        for (registry, region) in cases {
            assert_eq!(ecr_region(registry), region, "{registry}");
        }
    }

    #[test]
    fn reads_tokens() {
        let login = decode(&SecretString::from(STANDARD.encode("AWS:pass:word"))).unwrap();
        assert_eq!((login.user.as_str(), login.password.expose_secret()), ("AWS", "pass:word"));
        assert!(decode(&SecretString::from("***")).is_none());
        assert!(decode(&SecretString::from(STANDARD.encode("AWS"))).is_none());
    }
}
