//! What went wrong with an AWS call, in one place: its kind, and one line that says what to do.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::error::AwsFailure;
use crate::{Error, Result};

/// A call, with what its failures mean to an operator.
pub struct Call {
    /// Service and action, as in `s3:GetObject`.
    pub action: &'static str,
    /// What it asks for, as in `s3://BUCKET/KEY`.
    pub subject: String,
    /// ARNs that the instance's role must be allowed the action on.
    pub resource: String,
    /// How to make what does not exist.
    pub make: String,
}

impl Call {
    /// The error of this call.
    pub fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let (failure, words) = classify(error);
        self.error(failure, &words)
    }

    /// An error of this call from a kind and the service's words.
    #[must_use]
    pub fn error(&self, failure: AwsFailure, words: &str) -> Error {
        Error::Aws {
            call: self.action,
            subject: self.subject.clone(),
            failure,
            message: self.message(failure, words),
        }
    }

    /// The service's words with what to do.
    #[must_use]
    pub fn message(&self, failure: AwsFailure, words: &str) -> String {
        match failure {
            AwsFailure::Denied => {
                format!("{words}; allow {} on {} to the instance's role", self.action, self.resource)
            }
            AwsFailure::NotFound => format!("{words}; {}", self.make),
            AwsFailure::Busy => format!("{words}; AWS is busy, the next run tries again"),
            AwsFailure::Unreachable | AwsFailure::Other => words.to_owned(),
        }
    }
}

/// Adds what a call was to its failure.
pub trait OrFailed<T> {
    /// The result with [`Call::failed`].
    fn or_failed(self, call: &Call) -> Result<T>;
}

impl<T, E> OrFailed<T> for Result<T, SdkError<E, HttpResponse>>
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    fn or_failed(self, call: &Call) -> Result<T> {
        self.map_err(|error| call.failed(&error))
    }
}

/// The kind of a failure, and its words in one line.
pub fn classify<E>(error: &SdkError<E, HttpResponse>) -> (AwsFailure, String)
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code();
            let failure = by_code(code, status);
            let said = service.err().message().map(one_line).unwrap_or_default();
            let words = match (code, said.is_empty()) {
                (Some(code), false) => format!("{code}: {said}"),
                (Some(code), true) => code.to_owned(),
                (None, false) => said,
                (None, true) => http_status(status),
            };
            (failure, words + if failure == AwsFailure::Unreachable { BAD_CREDENTIALS } else { "" })
        }
        SdkError::TimeoutError(_) => (AwsFailure::Unreachable, format!("no answer in time; {ROUTE}")),
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
            let words = chain(error);
            if is_about_credentials(error) {
                (AwsFailure::Unreachable, format!("no credentials ({words}); {NO_CREDENTIALS}"))
            } else {
                (AwsFailure::Unreachable, format!("no answer ({words}); {ROUTE}"))
            }
        }
        // An answer that is none: by a proxy, or a denial in another service's format.
        _ => (by_code(None, status), format!("{} with an answer that cannot be read", http_status(status))),
    }
}

const ROUTE: &str = "check the subnet's route, the security group and DNS";
const NO_CREDENTIALS: &str = "attach an instance profile with the host's role";
const BAD_CREDENTIALS: &str =
    "; AWS does not accept the credentials: check the host's clock, and where they come from";

/// The kind by the service's error code, else by the HTTP status.
#[must_use]
pub fn by_code(code: Option<&str>, status: Option<u16>) -> AwsFailure {
    match code.unwrap_or_default() {
        // No right credentials is not the same as no right: it may be over when they are refreshed.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidToken" => AwsFailure::Unreachable,
        code if code.starts_with("AccessDenied")
            || code == "UnauthorizedOperation"
            || code == "Forbidden" =>
        {
            AwsFailure::Denied
        }
        "NoSuchKey" | "NoSuchBucket" | "NotFound" | "ParameterNotFound" | "ResourceNotFoundException" => {
            AwsFailure::NotFound
        }
        code if code.starts_with("Throttl")
            || code.starts_with("TooManyRequests")
            || matches!(
                code,
                "SlowDown"
                    | "RequestLimitExceeded"
                    | "RequestThrottled"
                    | "ServiceUnavailable"
                    | "ServiceUnavailableException"
                    | "InternalError"
                    | "InternalFailure"
                    | "InternalServerError"
                    | "InternalServiceError"
                    | "RequestTimeout"
            ) =>
        {
            AwsFailure::Busy
        }
        _ => match status {
            Some(403) => AwsFailure::Denied,
            Some(404) => AwsFailure::NotFound,
            Some(429) => AwsFailure::Busy,
            Some(status) if status >= 500 => AwsFailure::Busy,
            _ => AwsFailure::Other,
        },
    }
}

fn http_status(status: Option<u16>) -> String {
    status.map_or_else(|| "no HTTP status".into(), |status| format!("HTTP {status}"))
}

/// The words of an error and its causes, without repetitions.
#[must_use]
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let said = one_line(&cause.to_string());
        let known = words.iter().any(|word| word.contains(&said));
        if !known && said != "dispatch failure" {
            words.push(said);
        }
        next = cause.source();
    }
    words.join(": ")
}

fn is_about_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<CredentialsError>() {
            return true;
        }
        next = cause.source();
    }
    false
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_kinds_apart() {
        use AwsFailure::{Busy, Denied, NotFound, Other, Unreachable};
        let cases = [
            (Some("AccessDenied"), Some(403), Denied),
            (Some("AccessDeniedException"), Some(400), Denied),
            (None, Some(403), Denied),
            (Some("403"), Some(403), Denied),
            (Some("ExpiredTokenException"), Some(400), Unreachable),
            (Some("SignatureDoesNotMatch"), Some(403), Unreachable),
            (Some("NoSuchKey"), Some(404), NotFound),
            (Some("ResourceNotFoundException"), Some(400), NotFound),
            (None, Some(404), NotFound),
            (Some("ThrottlingException"), Some(400), Busy),
            (Some("SlowDown"), Some(503), Busy),
            (None, Some(502), Busy),
            (None, Some(429), Busy),
            (Some("ValidationException"), Some(400), Other),
            (None, None, Other),
        ];
        for (code, status, failure) in cases {
            assert_eq!(by_code(code, status), failure, "{code:?} {status:?}");
        }
    }

    #[test]
    fn says_what_to_do() {
        let call = Call {
            action: "ssm:GetParametersByPath",
            subject: "/ops-vpc/sqlmesh-server".into(),
            resource: "arn:aws:ssm:eu-west-1:*:parameter/ops-vpc/sqlmesh-server/*".into(),
            make: "make it".into(),
        };
        assert_eq!(
            call.error(AwsFailure::Denied, "AccessDeniedException: no").to_string(),
            "ssm:GetParametersByPath on /ops-vpc/sqlmesh-server: AccessDeniedException: no; allow \
             ssm:GetParametersByPath on arn:aws:ssm:eu-west-1:*:parameter/ops-vpc/sqlmesh-server/* to the \
             instance's role"
        );
        assert!(call.message(AwsFailure::NotFound, "gone").ends_with("; make it"));
        assert!(call.error(AwsFailure::Busy, "slow").is_transient());
    }
}
