//! The command line: one file a command, which parses, calls the library and prints. stdout is data,
//! stderr is logs.

pub mod config;
pub mod container;
