//! Which version this is.

/// The version: of the release where one was built, else of the crate.
pub const VERSION: &str = match option_env!("OPS_AGENT_VERSION") {
    Some(release) => release,
    None => env!("CARGO_PKG_VERSION"),
};
