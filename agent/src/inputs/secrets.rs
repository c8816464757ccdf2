//! Secrets of Secrets Manager, all in one call. They are in memory only; a secret that cannot be had
//! says why and does not stop the others.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::SecretValueEntry;
use secrecy::SecretString;

use super::failure::{Call, by_code, classify};
use super::{SecretProblem, SecretValue, Secrets};
use crate::error::AwsFailure;
use crate::report::{Freshness, Input};
use crate::settings::SecretNeed;

/// Fetches the secrets with one `BatchGetSecretValue` (which takes up to 20 names).
pub async fn fetch(client: &Client, region: &str, needs: &[SecretNeed]) -> (Secrets, Input) {
    let mut secrets = Secrets::default();
    if needs.is_empty() {
        return (secrets, input(Freshness::Fresh, "none needed".into()));
    }
    let names: Vec<_> = needs.iter().map(|need| need.name.clone()).collect();
    match client.batch_get_secret_value().set_secret_id_list(Some(names)).send().await {
        Ok(answer) => {
            for need in needs {
                let entry = answer.secret_values().iter().find(|entry| is_it(entry, &need.name));
                let refusal = answer.errors().iter().find(|error| error.secret_id() == Some(&need.name));
                let value = match (entry, refusal) {
                    (Some(entry), _) => read(entry, need),
                    (None, Some(refusal)) => {
                        let words = format!(
                            "{}: {}",
                            refusal.error_code().unwrap_or("no code"),
                            refusal.message().unwrap_or("no reason given")
                        );
                        Err(problem(region, need, by_code(refusal.error_code(), None), &words))
                    }
                    (None, None) => Err(problem(region, need, AwsFailure::NotFound, "not in the answer")),
                };
                secrets.by_name.insert(need.name.clone(), value);
            }
        }
        Err(error) => {
            let (failure, words) = classify(&error);
            for need in needs {
                let words = format!("secretsmanager:BatchGetSecretValue: {words}");
                secrets.by_name.insert(need.name.clone(), Err(problem(region, need, failure, &words)));
            }
        }
    }
    let input = summary(&secrets);
    (secrets, input)
}

fn is_it(entry: &SecretValueEntry, name: &str) -> bool {
    // An ARN without its random suffix is legal too.
    let by_arn =
        entry.arn().is_some_and(|arn| arn == name || arn.rsplit_once('-').is_some_and(|(a, _)| a == name));
    entry.name() == Some(name) || by_arn
}

fn read(entry: &SecretValueEntry, need: &SecretNeed) -> Result<SecretValue, SecretProblem> {
    let name = &need.name;
    let bad = |message: String| SecretProblem { message, held: false, needs_a_person: true };
    let Some(text) = entry.secret_string() else {
        return Err(bad(format!("secret {name} is binary: store it as a JSON object of texts")));
    };
    let fields = fields(text).map_err(|key| {
        bad(format!("secret {name}: the value of its key {key} is not a text: store every value as a text"))
    })?;
    let lacking: Vec<_> = need.keys.iter().copied().filter(|key| !fields.contains_key(*key)).collect();
    if !lacking.is_empty() {
        let keys: Vec<_> = fields.keys().map(String::as_str).collect();
        return Err(bad(format!(
            "secret {name} has no key {}: add it (it has {})",
            lacking.join(" and no key "),
            if keys.is_empty() { "none".into() } else { keys.join(", ") }
        )));
    }
    Ok(SecretValue { version: entry.version_id().unwrap_or("unknown").to_owned(), fields })
}

/// A JSON object of texts, numbers and truth values, else one text under `value`. Errs with the key
/// of anything else.
fn fields(text: &str) -> Result<BTreeMap<String, SecretString>, String> {
    let Ok(object) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) else {
        return Ok(BTreeMap::from([("value".to_owned(), SecretString::from(text))]));
    };
    let read = |(key, value): (String, serde_json::Value)| {
        let text = match value {
            serde_json::Value::String(text) => text,
            // RDS writes the port as a number.
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Bool(truth) => truth.to_string(),
            _ => return Err(key),
        };
        Ok((key, SecretString::from(text)))
    };
    object.into_iter().map(read).collect()
}

fn problem(region: &str, need: &SecretNeed, failure: AwsFailure, words: &str) -> SecretProblem {
    let name = &need.name;
    let with = match need.keys {
        [] => "as a JSON object, each key of which becomes a variable".into(),
        keys => format!("with the keys {}", keys.join(", ")),
    };
    let resource = if name.starts_with("arn:") {
        name.clone()
    } else {
        format!("arn:aws:secretsmanager:{region}:*:secret:{name}-??????")
    };
    let call = Call {
        action: "secretsmanager:GetSecretValue",
        subject: name.clone(),
        resource: format!("{resource}, and secretsmanager:BatchGetSecretValue on *,"),
        make: String::new(),
    };
    let message = match failure {
        AwsFailure::NotFound => format!("secret {name} does not exist in {region}: create it {with}"),
        failure => format!("secret {name}: {}", call.message(failure, words)),
    };
    SecretProblem {
        message,
        held: matches!(failure, AwsFailure::Busy | AwsFailure::Unreachable),
        needs_a_person: matches!(failure, AwsFailure::NotFound | AwsFailure::Other),
    }
}

fn summary(secrets: &Secrets) -> Input {
    let problems = || secrets.by_name.values().filter_map(|value| value.as_ref().err());
    let freshness = match problems().next() {
        None => Freshness::Fresh,
        Some(_) if problems().all(|problem| problem.held) => Freshness::Held,
        Some(_) => Freshness::Missing,
    };
    let words = secrets.by_name.iter().map(|(name, value)| match value {
        Ok(value) => format!("{name} version {}", value.version),
        Err(problem) => problem.message.clone(),
    });
    input(freshness, words.collect::<Vec<_>>().join("; "))
}

fn input(freshness: Freshness, detail: String) -> Input {
    Input { source: "secrets".into(), freshness, detail }
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
