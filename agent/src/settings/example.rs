//! The annotated example: every key at its default, with what it is for.

use super::Role;
use super::keys::{self, Key, Preset, SECTIONS};

/// Width at which comments are folded.
const WIDTH: usize = 98;

/// The example for a role, as TOML.
#[must_use]
pub fn render(role: Role) -> String {
    let mut text = format!(
        "# Settings of the role {role}: every key, at its default. What has no default is commented out.\n\
         # Layers, lowest first: these defaults, s3://BUCKET/config/{role}.toml, parameters\n\
         # /ops-vpc/{role}/SECTION/KEY, /etc/ops-agent/config.d/*.toml. An empty text unsets a key.\n\
         # `ops-agent config check FILE` checks a file like this one; secrets do not belong in it.\n"
    );
    for (section, about) in SECTIONS {
        let keys: Vec<_> = keys::of_role(role).filter(|key| key.section() == *section).collect();
        if keys.is_empty() {
            continue;
        }
        text.push('\n');
        comment(&mut text, about);
        text.push_str(&format!("[{section}]\n"));
        for key in keys {
            entry(&mut text, key);
        }
    }
    text
}

fn entry(text: &mut String, key: &Key) {
    text.push('\n');
    comment(text, key.doc);
    let expected = format!("{}.", key.expected());
    let required = if matches!(key.default, Preset::Required(_)) { " Required." } else { "" };
    comment(text, &format!("{}{required}", capital(&expected)));
    let line = match key.default {
        Preset::Required(example) | Preset::Unset(example) => format!("# {} = {example:?}\n", key.leaf()),
        Preset::Text(value) => format!("{} = {value:?}\n", key.leaf()),
        Preset::Integer(value) => format!("{} = {value}\n", key.leaf()),
        Preset::List(list) => format!("{} = {list:?}\n", key.leaf()),
    };
    text.push_str(&line);
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + word.len() + 1 > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{Document, Inputs};
    use crate::settings::{self, fragment::Layer};

    fn path(role: Role) -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/{role}.example.toml"))
    }

    #[test]
    fn the_file_in_the_tree_is_the_rendered_one() {
        for role in Role::ALL {
            let rendered = render(role);
            if std::env::var_os("UPDATE_EXAMPLE").is_some() {
                std::fs::write(path(role), &rendered).unwrap();
            }
            let file = std::fs::read_to_string(path(role)).unwrap();
            assert_eq!(file, rendered, "run this test with UPDATE_EXAMPLE=1 and commit the file");
        }
    }

    #[test]
    fn it_sets_every_key_that_has_a_default_to_its_default() {
        for role in Role::ALL {
            // With the examples of what has no default, so that every key is read.
            let text = render(role).replace("# reference =", "reference =");
            let document = Document { place: "example".into(), text, etag: None };
            let inputs = Inputs { document: Some(document), ..Inputs::default() };
            let (_, values) = settings::resolve(role, &inputs).unwrap();
            let (default, set): (Vec<_>, Vec<_>) =
                values.iter().partition(|value| value.origin.layer == Layer::Default);
            assert!(default.iter().all(|value| value.value.is_none()), "{default:?}");
            assert!(set.iter().all(|value| value.origin.line.is_some()));
            assert_eq!(values.len(), keys::of_role(role).count());
        }
    }

    #[test]
    fn what_is_commented_out_is_legal_too() {
        let role = Role::SqlmeshServer;
        let text = render(role)
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") => rest.to_owned(),
                _ => line.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("\n");
        let document = Document { place: "example".into(), text, etag: None };
        let inputs = Inputs { document: Some(document), ..Inputs::default() };
        let (_, values) = settings::resolve(role, &inputs).unwrap();
        assert!(values.iter().all(|value| value.value.is_some()));
    }
}
