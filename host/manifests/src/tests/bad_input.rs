//! Invalid and malicious input.

use super::*;

#[test]
fn errors_of_invalid_yaml_have_an_explanation() {
    let cases: &[(&str, usize, &[&str])] = &[
        ("kind: Pod\nspec:\n\tcontainers: []\n", 3, &["a tab is used for indentation", "only spaces"]),
        ("kind: Pod\nmetadata:\n  name: a: b\n", 3, &["invalid YAML", "second `: ` in one line"]),
        (
            "kind: Pod\nmetadata:\n    name: a\n  labels: {}\n",
            4,
            &["does not match the lines above", "fix its indentation"],
        ),
        ("kind: Pod\nspec: {a: b\n", 2, &["not closed"]),
        ("kind: Pod\nspec: \"open\nmore\n", 3, &["a quote is not closed"]),
        ("kind: Pod\nspec: @x\n", 2, &["put the value in quotes"]),
        ("kind: Pod\nkind: Pod\nspec: {}\n", 2, &["duplicate key \"kind\" in lines", "`---` between two objects"]),
        (
            "kind: Pod\nspec:\n  containers: []\n  containers: []\n",
            4,
            &["duplicate key \"containers\"", "remove one of them"],
        ),
        ("kind: Pod\nspec: *nowhere\n", 2, &["unknown anchor", "&nowhere"]),
        ("kind: Pod\nspec: \u{1b}x\n", 2, &["the control character U+001B"]),
        ("kind: Pod\nspec: !x!y z\n", 2, &["tag"]),
        (
            "{{ if .Values.x }}\nkind: Pod\n{{ end }}\n",
            1,
            &["looks like a Helm template", "helm template . | kube-devops analyze -f -"],
        ),
        (
            "kind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - image: {{ .Values.image }}\n",
            6,
            &["looks like a Helm template"],
        ),
        ("kind: Pod\nspec:\n  {{- toYaml .Values.spec | nindent 2 }}\n", 3, &["looks like a Helm template"]),
    ];
    for (text, line, parts) in cases {
        assert_error(&read_text(text), (1, *line), parts);
        let between_others = format!("{}---\n{text}---\n{}", pod("a"), pod("b"));
        let manifests = read_text(between_others);
        assert_error(&manifests, (2, line + 7), parts);
        assert_eq!(names(&manifests), ["a", "b"]);
    }
}

#[test]
fn errors_of_invalid_json_have_an_explanation() {
    let valid = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{}]}}"#;
    let cases: &[(&str, usize, &str)] = &[
        ("{\"kind\": \"Pod\",\n\"spec\": {\n", 2, "EOF"),
        ("{\"kind\": \"Pod\",\n\"spec\": {,}}\n", 2, "key must be a string"),
        ("{\"kind\": \"Pod\"\n\"spec\": {}}", 2, "expected `,` or `}`"),
    ];
    for (text, line, part) in cases {
        let manifests = read_named("a.json", format!("{valid}\n{text}"));
        assert_eq!(names(&manifests), ["a"]);
        assert_error(&manifests, (2, line + 1), &["invalid JSON", part]);
    }
}

#[test]
fn errors_of_invalid_encodings_have_an_explanation() {
    assert_error(
        &read_text(b"kind: Pod\nname: \xff\n"),
        (1, 2),
        &["not UTF-8", "invalid byte 0xff at offset 16", "save the file as UTF-8"],
    );
    assert_error(&read_text(b"\x7fELF\x00\x00"), (1, 1), &["binary file"]);
    assert_error(&read_text(b"a: b\n\x00"), (1, 2), &["binary file"]);
    assert_error(&read_text(b"\xff\xfek\x00i"), (1, 1), &["invalid UTF-16", "save the file as UTF-8"]);
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    assert_eq!(names(&read_text(utf_16(&format!("\u{feff}{}", pod("grüße"))))), ["grüße"]);
}

#[test]
fn control_characters_are_escaped_in_messages() {
    let text = format!(
        "kind: Pod\nmetadata:\n  name: \"\\e[31m\\u202e{}\"\nspec:\n  containers:\n  - image: 5\n",
        "long".repeat(100_000)
    );
    let manifests = read_text(text);
    let (message, place) = only_error(&manifests);
    assert!(message.starts_with("invalid Pod \\u{1b}[31m\\u{202e}longlong"), "{message}");
    assert!(message.len() < 700 && message.chars().all(|character| !character.is_control()));
    assert_eq!(place, (1, 6));
}

/// Asserts that there is one error with a message that contains all `parts`, in any line.
#[track_caller]
fn assert_aliases(manifests: &Manifests, parts: &[&str]) {
    let (message, _) = only_error(manifests);
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn exponential_expansion_of_aliases_is_rejected() {
    let laughs: String =
        (1..30).map(|index| format!("l{index}: &l{index} [{}]\n", format!("*l{}, ", index - 1).repeat(9))).collect();
    let manifests = read_text(format!("kind: Pod\nl0: &l0 lol\n{laughs}"));
    assert_aliases(&manifests, &["aliases (*name) of this document expand to more than 16 MiB", "write out"]);

    let aliases = "- *large\n".repeat(5_000);
    let nodes = format!("kind: Pod\nx: &large\n{}y:\n{aliases}", "- {a: b}\n".repeat(10_000));
    assert_aliases(&read_text(nodes), &["aliases"]);
    let long_text = format!("kind: Pod\nx: &large {}\ny:\n{aliases}", "x".repeat(1_000_000));
    assert_aliases(&read_text(long_text), &["aliases"]);
    assert_error(&read_text("kind: Pod\nspec: &a\n  b: *a\n"), (1, 3), &["within its own anchor"]);
}

#[test]
fn an_alias_refers_to_the_last_anchor_before_it() {
    let text = "kind: Pod\na: &x {containers: [{image: 'a:1'}]}\nc: &x {containers: [{image: 'b:2'}]}\nspec: *x\nd: &x {e: f}\n";
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(&*manifests.subjects[0].containers[0].image, "b:2");
    let key = "kind: Pod\nmetadata: {&k name: a}\nx: *k\nspec: {containers: [{*k : c, image: 'a:1'}]}\n";
    let manifests = read_text(key);
    assert_eq!(manifests.errors, []);
    assert_eq!(&*manifests.subjects[0].containers[0].name, "c");
    let script = "kind: Pod\nmetadata: &x {name: a}\ngrüße: \"a &x b &x c\"\nd: &y\n  # &x\n  b: |\n    &x &y\nspec: &z !!map\n  containers: [*x]\n";
    let manifests = read_text(script);
    assert_eq!(manifests.errors, []);
    assert_eq!(&*manifests.subjects[0].containers[0].name, "a");
}

#[test]
fn aliases_and_merge_keys_are_resolved() {
    let text = "\
kind: Deployment
metadata: {name: a}
x-base: &base
  image: base:1
  livenessProbe: {exec: {}}
x-defaults: &defaults
  <<: *base
  image: defaults:1
  resources: {limits: {cpu: 1}}
spec:
  template:
    metadata:
      labels: &labels {app: a, script: \"a && b *c\"}
    spec:
      containers:
      - <<: *defaults
        name: one
      - <<: [{image: first:1}, *defaults]
        name: two
      - name: three
        <<: *defaults
        image: own:1
      - *base
    more: *labels
";
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    let facts: Vec<_> = manifests.subjects[0]
        .containers
        .iter()
        .map(|container| {
            (&*container.name, &*container.image, container.has_liveness_probe, container.has_resource_limits)
        })
        .collect();
    let expected = [
        ("one", "defaults:1", true, true),
        ("two", "first:1", true, true),
        ("three", "own:1", true, true),
        ("", "base:1", true, false),
    ];
    assert_eq!(facts, expected);
    let line = |pointer: &str| line_of(&manifests.subjects[0], pointer);
    assert_eq!(
        (line("/spec/template/spec/containers/0/image"), line("/spec/template/spec/containers/2/image")),
        (16, 22)
    );
}

#[test]
fn errors_of_merge_keys_have_an_explanation() {
    let text = "kind: Pod\nspec:\n  containers:\n  - <<: {image: 5}\n    name: a\n";
    assert_error(
        &read_text(text),
        (1, 4),
        &["invalid Pod: spec.containers[0].image: a string is expected, not the number 5"],
    );
    assert_error(&read_text("kind: Pod\nspec:\n  <<: 5\n"), (1, 3), &["merge key (<<)"]);
    let shell = "kind: Pod\nspec:\n  containers:\n  - args: ['cat <<EOF', '<<: x']\n";
    assert_eq!(read_text(shell).errors, []);
}

#[test]
fn aliases_in_each_other_are_not_nested_deeper() {
    let nested = |value: &str, depth: usize| format!("{}{value}{}", "[".repeat(depth), "]".repeat(depth));
    let chain = |depth: usize, aliases: usize| {
        let mut text = format!("kind: ConfigMap\na0: &a0 {}\n", nested("x", depth));
        for index in 1..=aliases {
            let value = nested(&format!("*a{}", index - 1), depth);
            text += &format!("a{index}: &a{index} {value}\n");
        }
        text
    };
    assert_eq!(read_text(chain(100, 3)).errors, []);
    assert_error(&read_text(chain(480, 60)), (1, 3), &["nested more than 500 deep", "aliases"]);
    let merged = format!("a: &a {{b: {}}}\nkind: ConfigMap\nc: {}\n", nested("x", 300), nested("{<<: *a}", 300));
    assert_error(&read_text(merged), (1, 3), &["nested more than 500 deep"]);
}

#[test]
fn deep_nesting_is_rejected() {
    for (deep, part) in [
        ("[".repeat(100_000), "nested more than 500 deep"),
        ("{a: ".repeat(100_000), "nested more than 500 deep"),
        ("a: [\n".repeat(100_000), "nested more than 500 deep"),
        (format!("kind: Pod\nspec: {}", "[ ']]]]', ".repeat(100_000)), "nested more than 500 deep"),
        (format!("kind: Pod\nspec: {}", "{a: ".repeat(100_000)), "nested more than 500 deep"),
        (format!("kind: Pod\nspec:\n  containers: {}x\n", "- ".repeat(100_000)), "invalid YAML"),
        (format!("kind: Pod\nspec:\n  template:\n  {}x\n", "- ".repeat(100_000)), "nested more than 500 deep"),
        (
            "kind: Pod\n".to_owned()
                + &(0..300)
                    .map(|depth| format!("{}{}:\n", " ".repeat(depth), ["spec", "template"][depth % 2]))
                    .collect::<String>(),
            "no containers",
        ),
        ("%TAG !a! b\n".repeat(100_000) + "---\nkind: ConfigMap\n", "directives"),
    ] {
        let manifests = read_text(&deep);
        assert_eq!(manifests.errors.len(), 1, "{} ...", &deep[..40]);
        let (message, _) = only_error(&manifests);
        assert!(message.contains(part), "{part}: {message}");
    }
    let json = format!(
        "{{\"kind\": \"Pod\", \"spec\": {}1{}}}",
        "{\"template\": {\"spec\": ".repeat(100_000),
        "}}".repeat(100_000)
    );
    assert_error(&read_named("a.json", json), (1, 1), &["nested more than 128 deep"]);
    let ignored = format!(
        "{{\"kind\": \"Pod\", \"x\": {}{}, \"spec\": {{\"containers\": [{{}}]}}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_error(&read_named("a.json", ignored), (1, 1), &["nested more than 128 deep"]);
}

#[test]
fn brackets_in_strings_do_not_count_as_nesting() {
    let brackets = "[{".repeat(3_000);
    let text = format!(
        "kind: Pod\n# {brackets}\nmetadata:\n  name: a\n  annotations:\n    a: '{brackets}'\n    b: \"{brackets}\\\"\"\n    c: x{brackets}\n    d: |\n      {brackets}\n      x\nlist:\n- e: [\"{brackets}\", '{brackets}''' # {brackets}\n      ]\n- |\n  {brackets}\n- >-\n\n   {brackets}\n- k: |\n    {brackets}\nspec:\n  containers:\n  - {{}}\n"
    );
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(names(&manifests), ["a"]);
}

#[test]
fn a_too_large_document_is_rejected() {
    let manifests = read_text("x".repeat(20 << 20));
    assert_error(&manifests, (1, 1), &["20 MiB", "at most 8 MiB are allowed"]);
    assert_error(&read_text("{".repeat(20 << 20)), (1, 1), &["MiB"]);
}

#[test]
fn metadata_of_all_kinds_must_have_the_correct_types() {
    for (metadata, path) in [
        ("{annotations: {a: true}}", "metadata.annotations.a: a string is expected, not true; put the value in quotes"),
        ("{annotations: [a]}", "metadata.annotations: a map of strings is expected, not a list"),
        ("{labels: {a: 5}}", "metadata.labels.a: a string is expected, not the number 5"),
        ("{namespace: n}", "metadata.namespace: a string is expected, not false"),
        ("{uid: 5}", "metadata.uid"),
        ("{generation: '1'}", "metadata.generation: a whole number is expected"),
        ("{deletionTimestamp: x}", "metadata.deletionTimestamp: a time such as"),
        ("{finalizers: [a, 1]}", "metadata.finalizers[1]: a string is expected"),
        (
            "{ownerReferences: [{controller: 'yes'}]}",
            "metadata.ownerReferences[0].controller: true or false is expected",
        ),
        ("{managedFields: [{time: x}]}", "metadata.managedFields[0].time"),
        ("[a]", "metadata: a map is expected, not a list"),
        ("text", "metadata: a map is expected, not the string \"text\""),
    ] {
        for kind in ["Pod", "ConfigMap", "Widget", "List"] {
            let text = format!(
                "apiVersion: v1\nkind: {kind}\nmetadata: {metadata}\nitems: []\nspec: {{containers: [{{}}]}}\n"
            );
            assert_error(&read_text(&text), (1, 3), &[&format!("invalid {kind}"), path]);
        }
    }
    let valid =
        "{name: ~, annotations: {a: ~, b: ''}, labels: ~, finalizers: [x], generation: 1, creationTimestamp: null}";
    assert_eq!(read_text(format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {valid}\n")).errors, []);
}

#[test]
fn syntax_that_the_yaml_library_of_kubectl_rejects_is_an_error() {
    for (value, part) in [
        ("[what?]", "question mark"),
        ("{a: [b, c ? d]}", "question mark"),
        ("\"a\\/b\"", "no escape `\\/`"),
        ("{\"a\": \"b\\\\\\/\"}", "no escape `\\/`"),
        ("!!binary '?'", "!!binary"),
    ] {
        assert_error(&read_text(format!("a: b\nx: {value}\n")), (1, 2), &[part]);
    }
    for value in ["what?", "['what?']", "\"a\\\\/b\"", "'a\\/b'", "!!binary aGVs\n"] {
        assert_eq!(read_text(format!("a: b\nx: {value}\n")).errors, [], "{value}");
    }
    let image = "kind: Pod\nspec: {containers: [{image: !!binary YXBwOjE=}]}\n";
    assert_eq!(&*read_text(image).subjects[0].containers[0].image, "app:1");
}
