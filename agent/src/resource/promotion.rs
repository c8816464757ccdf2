//! A project version applied to the prod environment by `sqlmesh plan`.

use super::container::Container;

/// Only a plan promotes code. Runs `sqlmesh plan --auto-apply --no-prompts` in a throw-away container
/// when the project or the image is another than the one last promoted, with the scheduler drained
/// meanwhile. A failed plan leaves prod, UI and scheduler as they were, the scheduler running.
pub struct Promotion {
    /// What is promoted: the digests of project and image.
    pub version: String,
    /// The throw-away container.
    pub plan: Container,
    /// Name of the scheduler's container, drained before and started again after a failure.
    pub scheduler: String,
}
