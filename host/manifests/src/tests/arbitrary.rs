//! No input causes a panic of the reader, and every error has a location in the input.

use proptest::prelude::*;

use super::*;

/// Returns a file with most features of YAML and Kubernetes.
fn valid() -> String {
    let text = "kind: Pod\nmetadata: &m {name: a, labels: {a: \"b\"}}\nx: &d\n  image: a:1\nspec:\n  containers:\n  - <<: *d\n    command: [\"sh\", '-c', |\n      x\n";
    let text = text.replace(", |\n      x\n", "]\n    args:\n    - |\n      a [ b\n    - >-\n      c\n");
    format!(
        "# first\n---\n{text}--- # next\n{}---\n{{\"kind\": \"List\", \"items\": [{{\"kind\": \"Pod\"}}]}}\n---\nkind: List\nitems:\n- {{}}\n- kind: Pod\n  spec: *m\n",
        deployment("b")
    )
}

fn check(bytes: &[u8]) {
    let manifests = read_text(bytes);
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    for error in &manifests.errors {
        let source = error.source.as_ref().unwrap();
        assert!((1..=lines).contains(&source.line), "{error:?} in {:?}", String::from_utf8_lossy(bytes));
        assert!(!error.message.is_empty() && !error.message.chars().any(char::is_control), "{error:?}");
    }
    for subject in &manifests.subjects {
        let line = line_of(subject, "/spec/containers/0/image");
        assert!((1..=lines).contains(&line), "line {line} in {:?}", String::from_utf8_lossy(bytes));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_handled(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn any_text_is_handled(text in "\\PC{0,100}") {
        check(text.as_bytes());
    }

    #[test]
    fn any_combination_of_yaml_tokens_is_handled(parts in prop::collection::vec(prop::sample::select(vec![
        "kind: Pod", "kind: List", "items:", "spec:", "containers:", "- ", "  ", "\n", "\n", "\n  ", "---", "...", "[", "]", "{", "}", ":", ": ", ", ",
        "\"", "'", "|", ">-", "&a ", "*a", "<<: ", "#", " #", "%YAML 1.1\n", "\t", "\r", "\u{feff}", "\u{2028}", "\u{85}", "? ", "!!str ", "!x ", "x", "5", "~",
    ]), 0..40)) {
        check(parts.concat().as_bytes());
    }

    #[test]
    fn truncated_manifests_are_handled(length in 0..valid().len()) {
        check(&valid().as_bytes()[..length]);
    }

    #[test]
    fn mutated_manifests_are_handled(changes in prop::collection::vec((0..valid().len(), any::<u8>()), 1..4)) {
        let mut bytes = valid().into_bytes();
        for (position, byte) in changes {
            bytes[position] = byte;
        }
        check(&bytes);
    }

    #[test]
    fn manifests_with_a_removed_and_a_repeated_line_are_handled(removed in 0..40_usize, repeated in 0..40_usize) {
        let valid = valid();
        let lines = valid.lines().enumerate().filter(|(index, _)| *index != removed);
        let text: String = lines.flat_map(|(index, line)| std::iter::repeat_n(format!("{line}\n"), 1 + usize::from(index == repeated))).collect();
        check(text.as_bytes());
    }
}

#[test]
fn the_example_has_only_a_few_errors() {
    let manifests = read_text(valid());
    assert_eq!(manifests.documents, 4);
    assert_eq!(names(&manifests), ["a", "b"]);
    assert_eq!(manifests.errors.len(), 3, "{:#?}", manifests.errors);
}
