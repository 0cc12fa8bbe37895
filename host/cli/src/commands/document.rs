//! An object as a YAML document.
//!
//! Every string that is not obviously one is in double quotes, so that all readers of YAML 1.1 and 1.2 agree: `on`, `0777`,
//! `1_000`, `12:30` and `2026-01-01` are other types for some of them. Characters that control a terminal are escaped. The
//! keys are sorted, and there are no block scalars, so that the same object is always the same text.

use std::fmt::Write;

use anyhow::Result;
use diffy::DiffOptions;
use kube_devops_manifests::{Limits, parse_document};
use serde::Serialize;
use serde_json::Value;

/// Words that are no strings for some readers.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Returns an object as a YAML document without a separator, with its fields in their order unless kubectl would read other values: the
/// serializer does not quote strings such as `y` and `1_000`, which are strings in YAML 1.2 only.
pub fn ordered_document(object: &impl Serialize) -> Result<String> {
    let (text, value) = (serde_norway::to_string(object)?, serde_json::to_value(object)?);
    let read: Option<Value> = parse_document(&text, &"".into(), &Limits::default()).ok().flatten();
    if read.as_ref() == Some(&value) { Ok(text) } else { Ok(document(&value)) }
}

/// Returns an object as a YAML document, without a separator.
pub fn document(object: &Value) -> String {
    let mut text = String::new();
    write(object, 0, &mut text);
    text
}

/// Returns the unified diff of two documents, each with its name and text.
pub fn unified_diff(before: (String, &str), after: (String, &str)) -> String {
    let mut options = DiffOptions::new();
    options.set_original_filename(before.0).set_modified_filename(after.0);
    options.create_patch(before.1, after.1).to_string()
}

/// Writes a value on separate lines.
fn write(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let _ = write!(text, "{:indent$}{}:", "", string(key));
                write_below(value, indent + 2, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let start = text.len();
                write(item, indent + 2, text);
                text.replace_range(start + indent..start + indent + 2, "- ");
            }
        }
        value => drop(writeln!(text, "{:indent$}{}", "", scalar(value))),
    }
}

/// Writes the value of a key after its colon. As kubectl does, the dashes of a list are below the key.
fn write_below(value: &Value, indent: usize, of_list: usize, text: &mut String) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            text.push('\n');
            write(value, indent, text);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            write(value, of_list, text);
        }
        value => drop(writeln!(text, " {}", scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        // An empty list or map, too.
        value => value.to_string(),
    }
}

fn string(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            ' '..='~' => quoted.push(character),
            _ if character.is_alphanumeric() => quoted.push(character),
            _ if u32::from(character) <= 0xffff => drop(write!(quoted, "\\u{:04x}", u32::from(character))),
            _ => drop(write!(quoted, "\\U{:08x}", u32::from(character))),
        }
    }
    quoted.push('"');
    quoted
}

/// Reports whether a text is a string for every reader without quotes.
fn is_plain(text: &str) -> bool {
    let is_first = |first: char| first.is_ascii_alphabetic() || first == '/';
    let is_inner = |inner: char| inner.is_ascii_alphanumeric() || "-_./@+,()".contains(inner);
    let is_word = |word: &str| !word.is_empty() && word.chars().all(is_inner);
    text.starts_with(is_first)
        && text.split(' ').all(is_word)
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use kube_devops_manifests::{ReadOptions, read_objects};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_stay_in_order_unless_kubectl_would_read_other_values() {
        #[derive(Serialize)]
        struct Rule<'a> {
            name: &'a str,
            check: &'a str,
        }
        let text = |name| ordered_document(&Rule { name, check: "a" }).unwrap();
        assert_eq!(text("team"), "name: team\ncheck: a\n");
        for name in ["y", "off", "1_000"] {
            assert_eq!(text(name), format!("check: a\nname: \"{name}\"\n"));
        }
    }

    #[test]
    fn a_policy_is_readable_yaml() {
        let policy = json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "name": "strict", "labels": {}, "annotations": { "note": "on\nb", "owner": "a team" } },
            "spec": { "forbidLatestTag": true, "maxRestartCount": 3, "list": [{ "a": "1_0", "b": [] }, [1, "x"]] },
        });
        let expected = "\
apiVersion: devops.stochastic.io/v1
kind: DevOpsPolicy
metadata:
  annotations:
    note: \"on\\nb\"
    owner: a team
  labels: {}
  name: strict
spec:
  forbidLatestTag: true
  list:
  - a: \"1_0\"
    b: []
  - - 1
    - x
  maxRestartCount: 3
";
        assert_eq!(document(&policy), expected);
    }

    #[test]
    fn strings_that_some_readers_take_for_other_types_are_quoted() {
        for text in [
            "",
            "on",
            "Yes",
            "NULL",
            "n",
            "~",
            "0777",
            "1_000",
            "0x1f",
            "1e3",
            "12:30",
            "2026-01-01",
            "-",
            "a: b",
            "a #b",
            "#a",
            "'a",
            "*a",
            "&a",
            "!a",
            "{a",
            "[a",
            "a:",
            " a",
            "a ",
            "a  b",
            "\u{1b}[31m",
            "\u{202e}",
            "=",
            "<<",
            "@a",
            "ä",
        ] {
            assert!(string(text).starts_with('"'), "{text:?}");
        }
        for text in ["a", "restricted", "kube-devops/production", "Team A, (second)", "registry.example.com/a@b"] {
            assert_eq!(string(text), text);
        }
        assert_eq!(string("\u{1b}ä\u{2028}\u{1f600}"), "\"\\u001bä\\u2028\\U0001f600\"");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text =
            prop_oneof![any::<String>(), "[a-zA-Z0-9_.:~#-]{0,8}", "\\PC{0,10}", "(on|no|null|0x1|1_0|1e5| a|a |a\nb)"];
        let number =
            prop_oneof![any::<i64>().prop_map(Value::from), (-1000i32..1000).prop_map(|n| json!(f64::from(n) / 8.0))];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number,
            text.clone().prop_map(Value::from)
        ];
        // The reader takes a key with two braces for a template that was not rendered.
        let key = text.clone().prop_map(|text| text.replace('{', ""));
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_object_is_read_back_unchanged(spec in any_json()) {
            let object = json!({ "apiVersion": "example.com/v1", "kind": "Policy", "metadata": { "name": "a" }, "spec": spec });
            let text = document(&object);
            let folder = tempfile::tempdir().expect("a temporary folder");
            let file = folder.path().join("policy.yaml");
            fs::write(&file, &text).expect("a file can be written");
            let options = ReadOptions::new(chrono::DateTime::UNIX_EPOCH);
            let read = read_objects(&[file], &[("example.com", "Policy")], &options);
            prop_assert!(read.errors.is_empty(), "{:?} in {text}", read.errors);
            // A number without a fraction has no separate type in YAML.
            prop_assert_eq!(&document(&read.objects[0].value), &text);
            let by_other: Value = serde_norway::from_str(&text).expect("valid YAML");
            prop_assert_eq!(&document(&by_other), &text);
        }
    }
}
