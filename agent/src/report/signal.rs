//! The signal that tells CloudFormation whether this host came up.
//!
//! It is never lost: kept on disk until CloudFormation acknowledges it, and tried again by every run.
//! It never lies: success is said only after a run in which every resource was verified.
//!
//! A FAILURE ends the creation of the stack, so it is not said lightly. When the first runs fail, it is
//! said at once where only a person can help (settings that are wrong, something the agent refuses), and
//! otherwise once [`FAILURE_AFTER`] has gone by since the first run began: until then a policy may still
//! propagate, a database wake, a mirror come back, and a later run may still say success.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inputs::SignalTarget;
use crate::inputs::failure::classify;

/// How long runs may fail before CloudFormation is told. Less than any sensible timeout of a
/// `CreationPolicy`, whose own end tells no reason.
pub const FAILURE_AFTER: Duration = Duration::from_secs(600);

/// `UniqueId` of `SignalResource` has at most 64 characters (CloudFormation API reference). It is all of
/// a signal that the stack's events show, so a failure's reason goes there.
const UNIQUE_ID_LENGTH: usize = 64;

/// What CloudFormation is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The host is what it should be.
    Success,
    /// It will not become so by itself.
    Failure,
}

/// Where the signal stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Signal {
    /// No stack waits for this host.
    NotConfigured,
    /// Runs fail, and may still come round.
    Undecided {
        /// When the first run began.
        #[schemars(with = "String")]
        since: Timestamp,
    },
    /// To be sent.
    Pending {
        /// What to say.
        status: Status,
        /// The first root cause, for a failure.
        reason: Option<String>,
        /// When the first run began.
        #[schemars(with = "String")]
        since: Timestamp,
        /// Why the last attempt to send it failed.
        error: Option<String>,
    },
    /// Sent and taken. Nothing is ever sent again.
    Acknowledged {
        /// What was said.
        status: Status,
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// CloudFormation's words, where it was no longer waiting.
        note: Option<String>,
    },
}

/// What a run has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every resource was seen to be right.
    Verified,
    /// Something failed.
    Failed {
        /// The first root cause.
        reason: String,
        /// Whether only a person can help.
        needs_a_person: bool,
    },
}

/// What CloudFormation answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It took the signal.
    Taken,
    /// It no longer waits for one; its own words.
    NotWaiting(String),
    /// It could not be told; why.
    Failed(String),
}

impl Signal {
    /// The state after a run that began at `began` and ended `now`.
    #[must_use]
    pub fn after_run(self, verdict: Verdict, began: Timestamp, now: Timestamp) -> Self {
        let since = match &self {
            Self::NotConfigured | Self::Acknowledged { .. } => return self,
            Self::Undecided { since } | Self::Pending { since, .. } => (*since).min(began),
        };
        let late = now.duration_since(since).unsigned_abs() >= FAILURE_AFTER;
        match verdict {
            Verdict::Verified => Self::Pending { status: Status::Success, reason: None, since, error: None },
            Verdict::Failed { reason, needs_a_person } if needs_a_person || late => {
                // The first reason is kept: later ones are often its consequences.
                let first = match self {
                    Self::Pending { status: Status::Failure, reason: Some(first), .. } => first,
                    _ => reason,
                };
                Self::Pending { status: Status::Failure, reason: Some(first), since, error: None }
            }
            // A success that was not sent yet is not true any more.
            Verdict::Failed { .. } => Self::Undecided { since },
        }
    }

    /// The state after CloudFormation answered.
    #[must_use]
    pub fn answered(self, answer: Answer, now: Timestamp) -> Self {
        match (self, answer) {
            (Self::Pending { status, .. }, Answer::Taken) => {
                Self::Acknowledged { status, at: now, note: None }
            }
            (Self::Pending { status, .. }, Answer::NotWaiting(words)) => {
                Self::Acknowledged { status, at: now, note: Some(words) }
            }
            (Self::Pending { status, reason, since, .. }, Answer::Failed(why)) => {
                Self::Pending { status, reason, since, error: Some(why) }
            }
            (other, _) => other,
        }
    }
}

/// The signal with whom it is for and of whom, kept in `/var/lib/ops-agent/signal.json`. An image made
/// from a host, or a host moved to another stack, begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptSignal {
    /// `STACK/RESOURCE`; empty when none is configured.
    pub target: String,
    /// EC2 instance id; empty when unknown.
    pub instance: String,
    /// Where the signal stands.
    pub signal: Signal,
}

impl KeptSignal {
    /// What was kept, if it is of this target and instance; else a new one.
    #[must_use]
    pub fn resume(
        kept: Option<Self>,
        target: Option<&SignalTarget>,
        instance: &str,
        began: Timestamp,
    ) -> Self {
        let (name, fresh) = match target {
            Some(target) => {
                (format!("{}/{}", target.stack, target.resource), Signal::Undecided { since: began })
            }
            None => (String::new(), Signal::NotConfigured),
        };
        match kept {
            // IMDS may be silent once: that makes no other instance of this one.
            Some(kept)
                if kept.target == name
                    && (kept.instance == instance || kept.instance.is_empty() || instance.is_empty()) =>
            {
                let instance = if instance.is_empty() { kept.instance } else { instance.to_owned() };
                Self { instance, ..kept }
            }
            _ => Self { target: name, instance: instance.to_owned(), signal: fresh },
        }
    }

    /// Sends the signal when there is one to send.
    pub async fn deliver(self, target: Option<&SignalTarget>, sender: &dyn Sender, now: Timestamp) -> Self {
        let (Some(target), Signal::Pending { status, reason, .. }) = (target, &self.signal) else {
            return self;
        };
        let answer = sender.send(target, &unique_id(&self.instance, reason.as_deref()), *status).await;
        Self { signal: self.signal.answered(answer, now), ..self }
    }
}

/// A word with a path in it that is longer than this, in characters, is told by the path's last part.
const LONG_WORD: usize = 20;

/// The instance id, and after it the reason of a failure, cut to what the API takes.
fn unique_id(instance: &str, reason: Option<&str>) -> String {
    // The API takes no empty id; IMDS may not have told one.
    let instance = if instance.is_empty() { "ops-agent" } else { instance };
    let whole = match reason {
        Some(reason) => format!("{instance} {reason}"),
        None => instance.to_owned(),
    };
    let printable = whole.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' });
    let printable: String = printable.collect();
    let words: Vec<_> = printable.split_whitespace().map(last_part).collect();
    words.join(" ").chars().take(UNIQUE_ID_LENGTH).collect::<String>().trim_end().to_owned()
}

/// `s3://BUCKET/config/ROLE.toml` would leave no room to say what is wrong in it.
fn last_part(word: &str) -> &str {
    match word.rsplit_once('/') {
        Some((_, last)) if word.len() > LONG_WORD && !last.is_empty() => last,
        _ => word,
    }
}

/// Sends signals.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Sends one.
    async fn send(&self, target: &SignalTarget, unique_id: &str, status: Status) -> Answer;
}

#[async_trait]
impl Sender for aws_sdk_cloudformation::Client {
    async fn send(&self, target: &SignalTarget, unique_id: &str, status: Status) -> Answer {
        use aws_sdk_cloudformation::error::ProvideErrorMetadata;
        use aws_sdk_cloudformation::types::ResourceSignalStatus;
        let status = match status {
            Status::Success => ResourceSignalStatus::Success,
            Status::Failure => ResourceSignalStatus::Failure,
        };
        let call = self
            .signal_resource()
            .stack_name(&target.stack)
            .logical_resource_id(&target.resource)
            .unique_id(unique_id)
            .status(status);
        match call.send().await {
            Ok(_) => Answer::Taken,
            Err(error) => {
                let words = error.message().map_or_else(|| classify(&error).1, str::to_owned);
                if error.code() == Some("ValidationError") && not_waiting(&words) {
                    Answer::NotWaiting(words)
                } else {
                    Answer::Failed(words)
                }
            }
        }
    }
}

/// CloudFormation's refusal of a signal that it does not wait for is a `ValidationError` that says
/// `… is in CREATE_COMPLETE state and can not be signaled`. Others (no such stack) are mistakes.
fn not_waiting(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("can not be signal") || words.contains("cannot be signal")
}

#[cfg(test)]
#[path = "signal_tests.rs"]
mod tests;
