//! `ops-agent`: makes an EC2 instance of the operations VPC what it should be, keeps it so, and
//! says what it did. The map of the crate is in ARCHITECTURE.md.

pub mod cli;
pub mod container;
pub mod converge;
pub mod engine;
pub mod error;
pub mod exit;
pub mod host;
pub mod inputs;
pub mod key;
pub mod mask;
pub mod report;
pub mod resource;
pub mod roles;
pub mod settings;
pub mod telemetry;
pub mod version;

pub use error::{Error, Result};
