//! The `ops-agent` command.

fn main() {}
