//! The inputs whose settings were valid when they were last read: what a run holds on to when those of now are
//! not. Kept as the others are: no secret, no value of a `SecureString`.

use super::cache::{Cache, Kept};
use super::{HostIdentity, Inputs};

/// Name of the kept file.
const SOURCE: &str = "valid";

/// Settings are of one role, and of one bucket.
fn scope(identity: &HostIdentity) -> String {
    format!("{} {}", identity.role, identity.bucket)
}

/// Keeps inputs of which settings were just made.
pub fn keep(cache: &Cache, identity: &HostIdentity, inputs: &Inputs) {
    let mut kept = inputs.clone();
    let secure = kept.parameters.iter().filter(|parameter| parameter.secure);
    kept.unknown.extend(secure.map(|parameter| parameter.name.clone()));
    kept.parameters.retain(|parameter| !parameter.secure);
    cache.keep(SOURCE, &scope(identity), &kept);
}

/// The inputs that last were valid. `SecureString`s are not among what is kept: their values are those of `now`.
#[must_use]
pub fn load(cache: &Cache, identity: &HostIdentity, now: &Inputs) -> Option<Kept<Inputs>> {
    let mut kept: Kept<Inputs> = cache.load(SOURCE, &scope(identity))?;
    let Inputs { parameters, unknown, .. } = &mut kept.value;
    for parameter in now.parameters.iter().filter(|parameter| parameter.secure) {
        let before = unknown.len();
        unknown.retain(|name| *name != parameter.name);
        if unknown.len() < before {
            parameters.push(parameter.clone());
        }
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Parameter;

    fn parameter(name: &str, value: &str, secure: bool) -> Parameter {
        Parameter { name: name.into(), value: value.into(), version: 1, secure }
    }

    fn identity(bucket: &str) -> HostIdentity {
        HostIdentity { role: "sqlmesh-server".into(), bucket: bucket.into(), region: None, signal: None }
    }

    #[test]
    fn secure_values_stay_off_the_disk_and_are_those_of_now() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        let parameters = vec![parameter("/a", "1", false), parameter("/s", "canary", true)];
        keep(&cache, &identity("b"), &Inputs { parameters: parameters.clone(), ..Inputs::default() });
        let file = root.path().join("var/lib/ops-agent/inputs/valid.json");
        assert!(!std::fs::read_to_string(file).unwrap().contains("canary"));

        let nothing = load(&cache, &identity("b"), &Inputs::default()).unwrap().value;
        assert_eq!((nothing.parameters.len(), nothing.unknown), (1, vec!["/s".to_owned()]));
        let now = vec![parameter("/a", "2", false), parameter("/s", "new", true), parameter("/t", "x", true)];
        let now = Inputs { parameters: now, ..Inputs::default() };
        let held = load(&cache, &identity("b"), &now).unwrap().value;
        assert_eq!(held.parameters, [parameter("/a", "1", false), parameter("/s", "new", true)]);
        assert!(held.unknown.is_empty());
        assert!(load(&cache, &identity("another"), &now).is_none());
    }
}
