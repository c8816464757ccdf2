//! The configuration of the reverse proxy before the SQLMesh UI, from the template `ui-proxy.conf`.

use crate::settings::{UI_UPSTREAM_PORT, Ui};
use crate::{Error, Result};

const TEMPLATE: &str = include_str!("ui-proxy.conf");

/// Address on which the UI's container is published: this host only.
pub const UPSTREAM_ADDRESS: &str = "127.0.0.1";

/// Where the proxy and the probes reach the UI.
#[must_use]
pub fn upstream() -> String {
    format!("{UPSTREAM_ADDRESS}:{UI_UPSTREAM_PORT}")
}

/// The nginx configuration for these settings.
///
/// # Errors
/// The template has a placeholder that nothing fills.
pub fn render(ui: &Ui) -> Result<String> {
    let allow: Vec<String> = ui.allow.iter().map(|network| format!("allow {network};")).collect();
    fill(
        TEMPLATE,
        &[("listen", &ui.port.to_string()), ("allow", &allow.join("\n        ")), ("upstream", &upstream())],
    )
}

fn fill(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    match text.split_once("{{") {
        None => Ok(text),
        Some((_, rest)) => Err(Error::Refused {
            what: "the proxy's configuration".into(),
            why: format!(
                "its template has a placeholder that nothing fills: {}",
                rest.split("}}").next().unwrap_or_default()
            ),
            fix: "this is a bug of ops-agent: report it".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ui() -> Ui {
        Ui {
            port: 8000,
            allow: vec!["172.22.0.0/16".parse().unwrap(), "172.20.0.0/16".parse().unwrap()],
            memory_mb: 768,
            proxy_version: None,
        }
    }

    #[test]
    fn lists_every_network_and_nothing_is_left_open() {
        let text = render(&ui()).unwrap();
        assert!(text.contains("allow 172.22.0.0/16;") && text.contains("allow 172.20.0.0/16;"));
        assert!(text.contains("deny all;"), "{text}");
        assert!(text.contains(&upstream()));
        assert!(!text.contains("{{"));
    }

    #[test]
    fn refuses_a_placeholder_that_nothing_fills() {
        let message = fill("listen {{port}};", &[("listen", "8000")]).unwrap_err().to_string();
        assert!(message.contains("port"), "{message}");
    }
}
