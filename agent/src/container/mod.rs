//! What runs inside the containers: the entrypoint, the scheduler's supervisor, the health probe.

pub mod state;
