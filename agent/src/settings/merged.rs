//! Second stage: all layers over the defaults, each value with its origin.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Role;
use super::fragment::{Fragment, Layer, Origin, Value, Written};
use super::keys::{self, Key, Preset};
use crate::{Error, Result};

/// The value of every key of a role.
#[derive(Debug)]
pub struct Merged {
    role: Role,
    values: BTreeMap<&'static str, Vec<Written>>,
}

/// One key with what holds for it: what `ops-agent config` shows.
#[derive(Debug, Clone, Serialize)]
pub struct EffectiveValue {
    /// `section.key`.
    pub key: &'static str,
    /// Its value; `None` where it is unset. A value that came encrypted is not shown.
    pub value: Option<Value>,
    /// Unit of a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
    /// Where it was written.
    pub origin: Origin,
    /// Where else it was written, highest first: places that this one overrides. Defaults are not named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Origin>,
    /// What it is for.
    pub doc: &'static str,
}

/// Shown instead of a value that came encrypted.
const HIDDEN: &str = "(SecureString, not shown)";

impl Merged {
    /// Lays the fragments over the defaults; later ones win.
    #[must_use]
    pub fn new(role: Role, fragments: impl IntoIterator<Item = Fragment>) -> Self {
        let mut values: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for key in keys::of_role(role) {
            values.insert(key.name, default_of(key).into_iter().collect());
        }
        for written in fragments.into_iter().flat_map(|fragment| fragment.0) {
            values.entry(written.key.name).or_default().push(written);
        }
        Self { role, values }
    }

    /// What holds for a key. An empty text means unset, so that a higher layer can unset a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Written> {
        self.written(key.name).filter(|written| {
            !(matches!(key.default, Preset::Unset(_) | Preset::Required(_))
                && written.value == Value::Text(String::new()))
        })
    }

    fn written(&self, name: &str) -> Option<&Written> {
        self.values.get(name)?.last()
    }

    /// The keys without a value that need one.
    pub fn missing(&self) -> impl Iterator<Item = &'static Key> {
        keys::of_role(self.role)
            .filter(|key| matches!(key.default, Preset::Required(_)) && self.get(key).is_none())
    }

    /// One line for each effective value that its shape refuses.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let check = |key: &'static Key| {
            let written = self.get(key)?;
            let problem = key.shape.check(&written.value).err()?;
            let (at, name) = (&written.origin, key.name);
            Some(if written.secure {
                format!(
                    "{at}: {name} is not what it must be, expected {} (not shown: SecureString)",
                    key.expected()
                )
            } else {
                let unit = key.unit.map(|unit| format!(" ({unit})")).unwrap_or_default();
                format!("{at}: {name} {problem}{unit}")
            })
        };
        keys::of_role(self.role).filter_map(check).collect()
    }

    /// Every key with what holds for it, in the order of the table.
    #[must_use]
    pub fn effective(&self) -> Vec<EffectiveValue> {
        let default = Origin { layer: Layer::Default, place: "built-in".into(), line: None };
        let show = |key: &'static Key| {
            let last = self.written(key.name);
            let written = self.values.get(key.name).map(Vec::as_slice).unwrap_or_default();
            EffectiveValue {
                key: key.name,
                value: self.get(key).map(|written| {
                    if written.secure { Value::Text(HIDDEN.into()) } else { written.value.clone() }
                }),
                unit: key.unit,
                origin: last.map_or_else(|| default.clone(), |written| written.origin.clone()),
                overrides: (written.iter().rev().skip(1))
                    .filter(|written| written.origin.layer != Layer::Default)
                    .map(|written| written.origin.clone())
                    .collect(),
                doc: key.doc,
            }
        };
        keys::of_role(self.role).map(show).collect()
    }

    /// A text, where the key is set.
    pub fn optional_text(&self, name: &'static str) -> Result<Option<String>> {
        let key = keys::find(self.role, name).ok_or_else(|| bug(name, "is not in the table"))?;
        match self.get(key).map(|written| &written.value) {
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            None => Ok(None),
            Some(_) => Err(bug(name, "is not a text")),
        }
    }

    /// A text that is always there.
    pub fn text(&self, name: &'static str) -> Result<String> {
        self.optional_text(name)?.ok_or_else(|| bug(name, "has no value"))
    }

    /// A number that is always there.
    pub fn number<T: TryFrom<i64>>(&self, name: &'static str) -> Result<T> {
        match self.written(name).map(|written| &written.value) {
            Some(Value::Integer(number)) => T::try_from(*number).map_err(|_| bug(name, "is out of range")),
            _ => Err(bug(name, "is not a number")),
        }
    }

    /// A list that is always there.
    pub fn list<T: std::str::FromStr>(&self, name: &'static str) -> Result<Vec<T>> {
        match self.written(name).map(|written| &written.value) {
            Some(Value::List(list)) => {
                list.iter().map(|text| text.parse().map_err(|_| bug(name, "holds something else"))).collect()
            }
            _ => Err(bug(name, "is not a list")),
        }
    }
}

fn default_of(key: &'static Key) -> Option<Written> {
    let value = match key.default {
        Preset::Required(_) | Preset::Unset(_) => return None,
        Preset::Text(text) => Value::Text(text.into()),
        Preset::Integer(number) => Value::Integer(number),
        Preset::List(list) => Value::List(list.iter().map(ToString::to_string).collect()),
    };
    let origin = Origin { layer: Layer::Default, place: "built-in".into(), line: None };
    Some(Written { key, value, origin, secure: false })
}

/// The shapes were checked before; what is left is a table that contradicts the domain types.
fn bug(name: &str, what: &str) -> Error {
    Error::Settings(vec![format!("{name} {what}; report this as a bug of ops-agent")])
}
