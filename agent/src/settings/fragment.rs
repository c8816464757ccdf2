//! First stage: what was written in one layer. Every key is optional; an unknown key or a value of
//! the wrong type is a problem, which names its place and does not stop the search for others.

use std::fmt;

use serde::Serialize;
use toml_edit::{Document as Toml, Item, TableLike};

use super::keys::{self, Key};
use super::{Role, nearest};
use crate::inputs::{Document, Parameter};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A list of texts.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::List(list) => write!(f, "{list:?}"),
        }
    }
}

/// The layers, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Built in.
    Default,
    /// `config/ROLE.toml` of the artifact bucket.
    Document,
    /// SSM parameters.
    Parameter,
    /// `/etc/ops-agent/config.d`.
    Local,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The layer.
    pub layer: Layer,
    /// The object, parameter or file.
    pub place: String,
    /// Line in it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.layer, self.line) {
            (Layer::Default, _) => f.write_str("built-in default"),
            (Layer::Parameter, _) => write!(f, "parameter {}", self.place),
            (_, Some(line)) => write!(f, "{} line {line}", self.place),
            (_, None) => f.write_str(&self.place),
        }
    }
}

/// One key that a layer sets.
#[derive(Clone)]
pub struct Written {
    /// The key.
    pub key: &'static Key,
    /// Its value, of the right type.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
    /// Whether it came encrypted: it is then not shown.
    pub secure: bool,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.secure { "(SecureString)".into() } else { self.value.to_string() };
        write!(f, "{} = {value} ({})", self.key.name, self.origin)
    }
}

/// What one layer says.
#[derive(Debug, Clone, Default)]
pub struct Fragment(pub Vec<Written>);

impl Fragment {
    /// Reads a TOML document, adding one line to `problems` for each key that cannot be used.
    pub fn from_document(role: Role, layer: Layer, document: &Document, problems: &mut Vec<String>) -> Self {
        let mut reader = Reader { role, layer, document, problems, found: Self::default() };
        match Toml::parse(document.text.as_str()) {
            Ok(toml) => reader.table("", toml.as_table()),
            Err(error) => {
                let at = reader.origin(error.span());
                // The parser's words can span lines; a problem is one.
                let words = error.message().split('\n').collect::<Vec<_>>().join(", ");
                reader.problems.push(format!("{at}: not TOML: {words}"));
            }
        }
        reader.found
    }

    /// Reads parameters below `prefix` (which ends with `/`): `-` in a name is `_` in the key, and
    /// `/` is the dot.
    pub fn from_parameters(
        role: Role,
        prefix: &str,
        parameters: &[Parameter],
        problems: &mut Vec<String>,
    ) -> Self {
        let mut found: Vec<Written> = Vec::new();
        for parameter in parameters {
            let origin = Origin { layer: Layer::Parameter, place: parameter.name.clone(), line: None };
            let path = parameter.name.strip_prefix(prefix).unwrap_or(&parameter.name);
            let name = path.replace('-', "_").replace('/', ".");
            let Some(key) = keys::find(role, &name) else {
                problems.push(format!("{origin}: {}", nearest::unknown_key(role, &name)));
                continue;
            };
            if let Some(other) = found.iter().find(|other| other.key == key) {
                problems.push(format!(
                    "{origin}: {} is also set by {}; delete one of the two",
                    key.name, other.origin
                ));
                continue;
            }
            match key.shape.parse(&parameter.value) {
                Ok(value) => found.push(Written { key, value, origin, secure: parameter.secure }),
                Err(what) => {
                    let what = if parameter.secure {
                        "something else (not shown: SecureString)".into()
                    } else {
                        what
                    };
                    problems.push(format!("{origin}: {} is {what}, expected {}", key.name, key.expected()));
                }
            }
        }
        Self(found)
    }
}

struct Reader<'a> {
    role: Role,
    layer: Layer,
    document: &'a Document,
    problems: &'a mut Vec<String>,
    found: Fragment,
}

impl Reader<'_> {
    fn origin(&self, span: Option<std::ops::Range<usize>>) -> Origin {
        let line = span.map(|span| {
            let before = self.document.text.as_bytes().get(..span.start).unwrap_or_default();
            before.iter().filter(|byte| **byte == b'\n').count() + 1
        });
        Origin { layer: self.layer, place: self.document.place.clone(), line }
    }

    fn table(&mut self, prefix: &str, table: &dyn TableLike) {
        for (leaf, item) in table.iter() {
            let name = if prefix.is_empty() { leaf.to_owned() } else { format!("{prefix}.{leaf}") };
            let span = table.get_key_value(leaf).and_then(|(key, item)| key.span().or_else(|| item.span()));
            let origin = self.origin(span);
            if let Some(key) = keys::find(self.role, &name) {
                self.value(key, item, origin);
            } else if let Some(inner) = item.as_table_like() {
                if inner.is_empty() && !keys::SECTIONS.iter().any(|(section, _)| *section == name) {
                    self.problems.push(format!("{origin}: {}", nearest::unknown_section(self.role, &name)));
                }
                self.table(&name, inner);
            } else if keys::of_role(self.role).any(|key| key.section() == name) {
                self.problems.push(format!(
                    "{origin}: {name} is {}, expected a table; write [{name}] and its keys below",
                    type_name(item)
                ));
            } else {
                self.problems.push(format!("{origin}: {}", nearest::unknown_key(self.role, &name)));
            }
        }
    }

    fn value(&mut self, key: &'static Key, item: &Item, origin: Origin) {
        match read(item) {
            Some(value) if key.shape.fits(&value) => {
                self.found.0.push(Written { key, value, origin, secure: false });
            }
            _ => self.problems.push(format!(
                "{origin}: {} is {}, expected {}",
                key.name,
                type_name(item),
                key.expected()
            )),
        }
    }
}

fn read(item: &Item) -> Option<Value> {
    let value = item.as_value()?;
    if let Some(text) = value.as_str() {
        return Some(Value::Text(text.to_owned()));
    }
    if let Some(number) = value.as_integer() {
        return Some(Value::Integer(number));
    }
    let texts = value.as_array()?.iter().map(|element| element.as_str().map(str::to_owned));
    texts.collect::<Option<Vec<_>>>().map(Value::List)
}

fn type_name(item: &Item) -> &'static str {
    match item.type_name() {
        "string" => "a string",
        "integer" => "an integer",
        "float" => "a float",
        "boolean" => "a boolean",
        "datetime" => "a date",
        "array" => "an array",
        "inline table" | "table" => "a table",
        "array of tables" => "an array of tables",
        _ => "nothing",
    }
}

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
