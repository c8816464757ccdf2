//! What runs inside the containers: the entrypoint, the scheduler's supervisor, the health probe.

pub mod entrypoint;
pub mod probe;
pub mod schedule;
pub mod state;
pub mod supervisor;
pub mod verdict;
