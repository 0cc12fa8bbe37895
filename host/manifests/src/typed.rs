//! Files with one document that is not an object, as typed values.

use std::path::Path;
use std::sync::Arc;

use kube_devops_core::Source;
use kube_devops_core::report::ReportError;
use serde::de::DeserializeOwned;

use crate::input::{self, Input};
use crate::options::Limits;
use crate::problem::Problem;
use crate::{document, paths, split, values};

/// Reads the only document of a file, with the same meaning of its text as a manifest. Returns `None` if there is no
/// document, or only one that is null.
///
/// # Errors
///
/// The error, with the line if it is in the content, if the file cannot be read, is not YAML or JSON, contains several
/// documents, or does not have the type.
pub fn read_document<T: DeserializeOwned>(path: &Path, limits: &Limits) -> Result<Option<T>, ReportError> {
    let name = paths::name(path);
    let input = Input { name: name.clone(), path: Some(path.to_owned()) };
    let text = input::text(&input, limits).map_err(|problem| error(&name, 1, problem))?;
    parse_document(&text, &name, limits)
}

/// Reads the only document of a text. `name` is the name of its file in errors.
///
/// # Errors
///
/// As [`read_document`], apart from those of the file.
pub fn parse_document<T: DeserializeOwned>(
    text: &str,
    name: &Arc<str>,
    limits: &Limits,
) -> Result<Option<T>, ReportError> {
    let mut found = None;
    for (index, document) in split::documents(text).iter().enumerate() {
        let number = index + 1;
        let tree = document::parse(text, document, limits).map_err(|problem| error(name, number, problem))?;
        let Some(root) = tree.root().filter(|root| !root.is_null()) else { continue };
        if found.is_some() {
            let message = "more than one document: the file contains a single one; remove the others";
            return Err(error(name, number, Problem::at(document.content_line, message)));
        }
        let value = values::read(root)
            .map_err(|invalid| error(name, number, Problem::at(invalid.line(), invalid.message(""))))?;
        found = Some(value);
    }
    Ok(found)
}

fn error(file: &Arc<str>, document: usize, problem: Problem) -> ReportError {
    let source = Source { file: file.clone(), document, line: problem.line, object_line: problem.line };
    ReportError { source: Some(source), ..ReportError::new(problem.message) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    fn parse<T: DeserializeOwned>(text: &str) -> Result<Option<T>, (usize, String)> {
        parse_document(text, &"a.yaml".into(), &Limits::default())
            .map_err(|error| (error.source.unwrap().line, error.message))
    }

    fn value(text: &str) -> Value {
        parse(text).unwrap().unwrap()
    }

    #[test]
    fn scalars_and_keys_have_the_types_of_kubectl() {
        for (text, expected) in [
            ("[y, n, yes, no, on, off]", json!([true, false, true, false, true, false])),
            ("['y', \"no\", Y, nginx]", json!(["y", "no", true, "nginx"])),
            ("{n: 1, on: 2, 0x10: 3, 'y': 4}", json!({ "false": 1, "true": 2, "16": 3, "y": 4 })),
            (
                "[0777, 1_000, 0b11, 0o17, 1e3, 12:30, 2026-01-31]",
                json!([511, 1000, 3, 15, 1000.0, "12:30", "2026-01-31"]),
            ),
            ("[~, null, Null, '']", json!([null, null, null, ""])),
            ("{a: &a {b: y}, c: *a}", json!({ "a": { "b": true }, "c": { "b": true } })),
            ("{a: &a {b: 1, c: 2}, d: {<<: *a, c: 3}}", json!({ "a": { "b": 1, "c": 2 }, "d": { "b": 1, "c": 3 } })),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
        // Only YAML has such words.
        assert_eq!(value("{\"a\": \"y\", \"n\": 5.0}"), json!({ "a": "y", "n": 5.0 }));
    }

    #[test]
    fn a_file_in_utf_16_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let bytes: Vec<u8> = "\u{feff}a: \u{e4}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(&file, bytes).unwrap();
        assert_eq!(read_document::<Value>(&file, &Limits::default()).unwrap(), Some(json!({ "a": "\u{e4}" })));
        let error = read_document::<Value>(&folder.path().join("b.yaml"), &Limits::default()).unwrap_err();
        assert!(error.message.contains("does not exist"), "{}", error.message);
    }

    #[test]
    fn there_is_one_document_regardless_of_comments_and_empty_documents() {
        assert_eq!(value("# first\n---\na: 1\n---\n# nothing\n---\nnull\n"), json!({ "a": 1 }));
        assert_eq!(parse::<Value>(""), Ok(None));
        assert_eq!(parse::<Value>("---\nnull\n"), Ok(None));
        let (line, message) = parse::<Value>("a: 1\n---\nb: 2\n").unwrap_err();
        assert!(line == 3 && message.starts_with("more than one document"), "{line}: {message}");
    }

    #[test]
    fn errors_have_the_line_and_the_field() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Typed {
            #[allow(dead_code)]
            names: Vec<String>,
        }
        for (text, expected, part) in [
            ("names:\n- a\n- y\n", 3, "names[1]: a string is expected, not true; put the value in quotes"),
            ("names: []\nname: a\n", 2, "unknown field `name`"),
            ("names: []\nnames: []\n", 2, "duplicate"),
            ("names: [\n", 1, "invalid YAML"),
            ("names: *a\n", 1, "unknown anchor"),
        ] {
            let (line, message) = parse::<Typed>(text).unwrap_err();
            assert!(line == expected && message.contains(part), "{text:?}: {line}: {message}");
        }
    }
}
