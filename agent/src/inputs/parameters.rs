//! Settings from SSM: every parameter below the role's path, decrypted.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::ParameterType;
use serde::{Deserialize, Serialize};

use super::Parameter;
use super::cache::{Cache, Kept, ago};
use super::failure::{Call, OrFailed};
use crate::report::{Freshness, Input};
use crate::settings::Role;
use crate::{Error, Result};

/// Most parameters of one page: the API allows no more.
const PAGE: i32 = 10;
/// Name of the source, in reports and of the kept file.
const SOURCE: &str = "parameters";

/// What is known of the parameters.
#[derive(Debug, Default)]
pub struct Found {
    /// With their values.
    pub parameters: Vec<Parameter>,
    /// Names of those whose value is not known: `SecureString`s while SSM cannot be asked.
    pub unknown: Vec<String>,
}

/// What outlives a run.
#[derive(Default, Serialize, Deserialize)]
struct Saved {
    parameters: Vec<Parameter>,
    /// Names only.
    secure: Vec<String>,
}

/// Fetches the role's parameters, or holds what is kept.
///
/// # Errors
/// The failure of the call where nothing is kept.
pub async fn fetch(client: &Client, region: &str, role: Role, cache: &Cache) -> Result<(Found, Input)> {
    let prefix = role.parameter_prefix();
    match pages(client, region, &prefix).await {
        Ok(parameters) => {
            cache.keep(SOURCE, &prefix, &without_secrets(&parameters));
            let detail = format!("{} under {prefix}", count(parameters.len()));
            Ok((Found { parameters, unknown: Vec::new() }, input(Freshness::Fresh, detail)))
        }
        Err(error) => cache.load(SOURCE, &prefix).map(|kept| held(kept, &error)).ok_or(error),
    }
}

fn without_secrets(parameters: &[Parameter]) -> Saved {
    let (secure, plain): (Vec<_>, Vec<_>) = parameters.iter().partition(|parameter| parameter.secure);
    Saved {
        parameters: plain.into_iter().cloned().collect(),
        secure: secure.into_iter().map(|parameter| parameter.name.clone()).collect(),
    }
}

fn held(kept: Kept<Saved>, error: &Error) -> (Found, Input) {
    let Saved { parameters, secure } = kept.value;
    let detail = format!("holding {} seen {}: {error}", count(parameters.len()), ago(kept.age));
    (Found { parameters, unknown: secure }, input(Freshness::Held, detail))
}

fn count(parameters: usize) -> String {
    if parameters == 1 { "1 parameter".into() } else { format!("{parameters} parameters") }
}

fn input(freshness: Freshness, detail: String) -> Input {
    Input { source: SOURCE.into(), freshness, detail }
}

async fn pages(client: &Client, region: &str, prefix: &str) -> Result<Vec<Parameter>> {
    let path = prefix.trim_end_matches('/');
    let call = Call {
        action: "ssm:GetParametersByPath",
        subject: path.to_owned(),
        resource: format!("arn:aws:ssm:{region}:*:parameter{path} and …{path}/*"),
        make: format!("make parameters below {path}"),
    };
    let mut found = Vec::new();
    let mut token = None;
    loop {
        let page = client
            .get_parameters_by_path()
            .path(path)
            .recursive(true)
            .with_decryption(true)
            .max_results(PAGE)
            .set_next_token(token)
            .send()
            .await
            .or_failed(&call)?;
        found.extend(page.parameters().iter().filter_map(|parameter| {
            Some(Parameter {
                name: parameter.name()?.to_owned(),
                value: parameter.value()?.to_owned(),
                version: parameter.version(),
                secure: parameter.r#type() == Some(&ParameterType::SecureString),
            })
        }));
        token = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
        if token.is_none() {
            // The order of pages is not promised; that of problems should be.
            found.sort_by(|a: &Parameter, b| a.name.cmp(&b.name));
            return Ok(found);
        }
    }
}
