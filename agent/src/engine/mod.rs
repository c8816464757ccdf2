//! Plans and runs a graph of resources.

pub mod graph;
pub mod ledger;
pub mod lock;
