//! Plans and runs a graph of resources.
//!
//! `plan` and `run` share observe and diff, so that a plan tells what a run would do: a run goes on
//! to apply and verify. What both found is a [`crate::report::ResourceReport`] for each resource.

pub mod graph;
pub mod ledger;
pub mod limits;
pub mod lock;
pub mod plan;
pub mod retry;
pub mod run;

#[cfg(test)]
mod fakes;
