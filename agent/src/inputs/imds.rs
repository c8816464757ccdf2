//! What the instance says of itself, over IMDSv2.

use aws_config::imds::Client;
use serde::{Deserialize, Serialize};

use super::failure::chain;

/// The instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// EC2 instance id.
    #[serde(rename = "instanceId")]
    pub id: String,
    /// AWS region.
    pub region: String,
}

/// One read for both: the instance identity document. Its fields are described in the EC2 user
/// guide, "Instance identity documents".
const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";

/// Asks the instance who it is. Errs with one line.
pub async fn instance(client: &Client) -> Result<Instance, String> {
    let text =
        client.get(DOCUMENT).await.map_err(|error| format!("no answer from IMDS ({})", chain(&error)))?;
    serde_json::from_str(text.as_ref()).map_err(|error| format!("IMDS gave no identity document ({error})"))
}
