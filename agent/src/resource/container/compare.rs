//! Labels that say what a container was made from, and the differences in words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bollard::models::ContainerInspectResponse;
use sha2::{Digest, Sha256};

use super::{Container, Found};
use crate::resource::Change;

/// Hash of the specification.
pub(super) const HASH_LABEL: &str = "ops-agent.spec";
/// The specification itself, as JSON. Holds no secret: a spec has fingerprints at most.
pub(super) const SPEC_LABEL: &str = "ops-agent.spec-json";

/// Raised when the same specification is made into another container than before (a new limit, say),
/// so that containers of an older agent are replaced.
const GENERATION: u32 = 2;

impl Container {
    /// The specification as JSON.
    pub(super) fn label(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Hex SHA-256 over the generation and the specification.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(format!("{GENERATION} {}", self.label())))
    }

    /// Whether that container was made from this specification, what is not known left out.
    pub(super) fn made(&self, found: &Found) -> bool {
        found.hash.as_deref() == Some(&self.knowing(found.spec.as_deref()).hash())
    }

    /// This specification with what is not known of `depends` taken from the one that `was`.
    pub(super) fn knowing(&self, was: Option<&Self>) -> Cow<'_, Self> {
        let Some(was) = was.filter(|_| self.depends.iter().any(|(_, digest)| digest.is_empty())) else {
            return Cow::Borrowed(self);
        };
        let mut known = self.clone();
        for (name, digest) in known.depends.iter_mut().filter(|(_, digest)| digest.is_empty()) {
            if let Some((_, old)) = was.depends.iter().find(|(old, _)| old == name) {
                digest.clone_from(old);
            }
        }
        Cow::Owned(known)
    }

    /// Every part by name: `env STATE_DB_HOST`, `mount /project`.
    fn parts(&self) -> BTreeMap<String, String> {
        let mut parts = BTreeMap::from([
            ("image".to_owned(), self.image.clone()),
            ("command".to_owned(), self.command.join(" ")),
            ("user".to_owned(), format!("{}:{}", self.user.0, self.user.1)),
            ("memory".to_owned(), format!("{} MiB", self.memory_mb)),
            ("stop limit".to_owned(), format!("{} s", self.stop_seconds)),
            ("health limit".to_owned(), format!("{} s", self.healthy_within_seconds)),
        ]);
        if let Some(command) = &self.health {
            parts.insert("health check".into(), command.join(" "));
        }
        for (name, value) in &self.env {
            parts.insert(format!("env {name}"), value.clone());
        }
        for mount in &self.mounts {
            let mode = if mount.read_only { "read-only" } else { "writable" };
            parts.insert(format!("mount {}", mount.target), format!("{} {mode}", mount.source));
        }
        for (path, mib) in &self.tmpfs {
            parts.insert(format!("tmpfs {path}"), format!("{mib} MiB"));
        }
        for (address, outside, inside) in &self.ports {
            parts.insert(format!("port {inside}"), format!("{address}:{outside}"));
        }
        for (name, digest) in &self.depends {
            let short = digest.get(..12).unwrap_or(digest);
            parts.insert(name.clone(), short.to_owned());
        }
        parts
    }
}

/// Whether a container was made from this specification.
pub(in crate::resource) fn is_of(inspected: &ContainerInspectResponse, spec: &Container) -> bool {
    let labels = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
    labels.and_then(|labels| labels.get(HASH_LABEL)) == Some(&spec.hash())
}

/// What differs, never empty: it is asked only when the hashes differ.
pub(super) fn changes(was: Option<&Container>, spec: &Container) -> Vec<Change> {
    let Some(was) = was else {
        return vec![Change::new(
            "container",
            Some("not made by ops-agent".into()),
            Some(spec.image.clone()),
        )];
    };
    let (before, after) = (was.parts(), spec.parts());
    let mut changes = Vec::new();
    for (name, value) in &after {
        if before.get(name) != Some(value) {
            changes.push(Change::new(name, before.get(name).cloned(), Some(value.clone())));
        }
    }
    for (name, value) in before {
        if !after.contains_key(&name) {
            changes.push(Change::new(name, Some(value), None));
        }
    }
    if changes.is_empty() {
        changes.push(Change::new("made by another version of ops-agent", None, None));
    }
    changes
}
