//! A list that is read item by item has the same results as the document as a whole, which is how kubectl reads it.

use proptest::prelude::*;

use super::*;
use crate::found::{Found, Parts};
use crate::reader::Reader;
use crate::{list, split, yaml};

const POD: &str = "- {kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, image: 'a:1'}]}}\n";

/// Reads the documents of a text, with or without splitting lists.
fn found(text: &str, is_split: bool) -> Found {
    let (options, file) = (options(), "a.yaml".into());
    let mut parts = Parts::default();
    for document in &split::documents(text) {
        let reader = Reader { text, file: &file, document, number: 1, options: &options, wanted: None };
        match is_split {
            true => reader.read(&mut parts),
            false => parts.add(reader.read_whole_yaml(&text[document.range.clone()], None)),
        }
    }
    parts.sum()
}

/// Returns the names, lines and images of the subjects, the errors with their lines, and the numbers of other objects.
fn facts(found: &Found) -> impl PartialEq + std::fmt::Debug + use<> {
    let subjects: Vec<_> = found
        .subjects
        .iter()
        .map(|subject| {
            let images: Vec<_> = subject.containers.iter().map(|container| container.image.clone()).collect();
            (subject.name.clone(), source(subject).line, line_of(subject, "/spec/containers/0/image"), images)
        })
        .collect();
    let errors: Vec<_> =
        found.errors.iter().map(|error| (error.message.clone(), place(error.source.as_ref()))).collect();
    (subjects, errors, found.ignored.clone(), found.not_evaluated.len())
}

/// Returns a difference between the readings. If kubectl cannot read the document as a whole, any error is correct: valid items
/// are evaluated nevertheless.
fn difference(text: &str) -> Option<String> {
    let (split, whole) = (found(text, true), found(text, false));
    let is_invalid = split::documents(text).iter().any(|document| {
        let text = &text[document.range.clone()];
        list::split(text).is_some() && yaml::parse(text, 1, &Limits::default()).is_err()
    });
    let is_equal = if is_invalid { !split.errors.is_empty() } else { facts(&split) == facts(&whole) };
    (!is_equal).then(|| format!("{text}\nsplit: {:#?}\nwhole: {:#?}", facts(&split), facts(&whole)))
}

fn is_split(text: &str) -> bool {
    list::split(text).is_some()
}

#[test]
fn items_within_a_scalar_are_not_items() {
    let text = "---\n{apiVersion: v1, kind: List, x: \"\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}, d: '\" ,\n  items: [\n   {apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: [{name: a, image: \"nginx:latest\"}]}}\n  ], q: \"' }\n\", y: 1}\n";
    let manifests = read_text(text);
    assert_eq!(manifests.errors, []);
    assert_eq!(names(&manifests), ["bad"]);
    assert_eq!(&*manifests.subjects[0].containers[0].image, "nginx:latest");
}

#[test]
fn lists_of_kubectl_are_split() {
    for before in [
        "",
        "apiVersion: v1\n",
        "---\napiVersion: v1\n",
        "--- # comment\r\n# comment \" with ü\r\n\r\napiVersion: v1 # comment\r\n",
        "metadata:\n  resourceVersion: \"\"\n  selfLink: ''\n  labels: {} # none\n\n  annotations:\n    a.b/c_d: x y\n",
        "metadata:\n",
    ] {
        for items in [POD.to_owned(), format!("  {POD}# comment\n\n  {POD}"), "- a: \"x\n\n    y\"\n".to_owned()] {
            for after in ["", "kind: List\nmetadata:\n  resourceVersion: \"\"\n", "# comment\nkind: List"] {
                let text = format!("{before}items: # comment\n{items}{after}");
                assert!(is_split(&text), "{text}");
            }
        }
    }
}

/// Lines in which something can be open, or that are not certainly entries of the list.
#[rustfmt::skip]
const OPEN: &[&str] = &[
    "a: \"\n", "a: '\n", "a: \"b\\\"\n", "a: 'b''\n", "a: \"b\" c\n", "\"a\": b\n", "'\n", "\"\n", "a: |\n", "a: >-\n", "a: {\n",
    "a: [\n", "a: [b]\n", "{a: b}\n", "a: &b c\n", "a: *b\n", "&a b: c\n", "*a : b\n", "a: !b c\n", "!a b: c\n", "? a\n", ": a\n",
    "<<: {}\n", "a\n", "- a\n", "a: - b\n", "a:b\n", "a:\tb\n", "\ta: b\n", "a: b\n  c\n", "a: b\n  c: d\n", " a: b\n", "a:\n- b\n",
    "a:\n  - b\n", "%YAML 1.1\n", "...\n", "\"items\": []\n", "a: @b\n", "a: \n\t\n", "# a\u{2028}b: \"\n", "# a\u{85}b: \"\n",
    "# a\rb: \"\n", "\u{feff}a: b\n", "ü: b\n",
];

#[test]
fn lists_in_which_the_items_could_be_something_else_are_not_split() {
    let list = |before: &str, after: &str| format!("{before}items:\n{POD}{after}");
    assert!(is_split(&list("a: b\n", "a: b\n")));
    for outside in OPEN {
        assert!(!is_split(&list(outside, "")), "before: {outside}");
        // After the items, these are lines of items.
        if !outside.starts_with([' ', '-']) {
            assert!(!is_split(&list("kind: List\n", outside)), "after: {outside}");
        }
    }
}

#[test]
fn lists_in_another_form_are_not_split() {
    for text in [
        format!("---\n---\nitems:\n{POD}---\n"),
        format!("kind: List\nitems:# a\n{POD}"),
        format!("kind: List\nitems: !!seq\n{POD}"),
        format!("kind: List\nitems: &a\n{POD}"),
        format!("kind: List\nitems :\n{POD}"),
        format!("kind: List\nitems: |\n {POD}"),
        format!("kind: List\nitems:\n  {POD} a: b\n"),
        format!("kind: List\nitems:\n-\t{}", &POD[2..]),
        "kind: List\nitems: []\n".to_owned(),
        "kind: List\nitems:\n".to_owned(),
    ] {
        assert!(!is_split(&text), "{text}");
    }
}

#[test]
fn an_invalid_list_is_an_error_even_if_its_items_are_valid() {
    for (list, message) in [
        ("kind: List\nmetadata: # a\n  name: 5\n", "invalid List: metadata.name: a string is expected"),
        ("kind: List\napiversion: v1\n", "apiVersion is missing: keys are case-sensitive"),
        ("kind: List\nkind: List\n", "duplicate key \"kind\""),
    ] {
        for text in [format!("{list}items:\n{POD}"), format!("items:\n{POD}{list}")] {
            assert!(is_split(&text), "{text}");
            let manifests = read_text(&text);
            let (found, _) = only_error(&manifests);
            assert!(found.contains(message), "{found}");
        }
    }
    let twice = format!("kind: List\nitems:\n{POD}items:\n{POD}");
    assert!(only_error(&read_text(&twice)).0.contains("duplicate key \"items\""));
}

#[test]
fn other_line_breaks_of_yaml_hide_no_items() {
    for line_break in ["\r", "\u{85}", "\u{2028}", "\u{2029}"] {
        let text = format!("kind: List\nitems:\n- {{kind: ConfigMap}}{line_break}{POD}");
        assert_eq!(difference(&text), None);
        assert_eq!(names(&read_text(&text)), ["p"], "{line_break:?}");
    }
}

/// A list of POD in the brackets of an item, if the text before the item is in double quotes.
const HIDDEN: &str =
    "- {kind: A, d: '\" ,\n  items: [\n   {kind: Pod, spec: {containers: [{image: 'a:1'}]}}\n  ], q: \"' }\n";

/// The start and the end of a list. In some of them, the items may be in something that is open.
const FRAMES: [(&str, &str); 9] = [
    ("kind: List\n", ""),
    ("apiVersion: v1\nkind: List\n", ""),
    ("", "kind: List\n"),
    ("---\n", "kind: List\n"),
    ("{kind: List, x: \"\n", "\", y: 1}\n"),
    ("{kind: List, items: ~, x: '\n", "', y: 1}\n"),
    ("kind: List\nx: {y: \"\n", "\"}\n"),
    ("kind: List\nx: \"\n", "\"\n"),
    ("kind: List\n? |\n", ": x\n"),
];

/// Usual lines outside of items.
#[rustfmt::skip]
const USUAL: &[&str] = &[
    "apiVersion: v1\n", "kind: List\n", "kind: PodList\n", "metadata:\n  name: a\n", "x: \"a\" # b\n", "# c \" '\n", "\n", "x:\n",
    "y: b\n",
];

/// Unusual lines outside of items, in which something can be open.
#[rustfmt::skip]
const UNUSUAL: &[&str] = &[
    "x: \"\n", "\"\n", "\": 1\n", "x: '\n", "'\n", "': 1\n", "x: \"a\n  b\"\n", "x: |\n", "x: >-\n  a\n", "x: {\n", "}\n",
    "x: [\n", "]\n", "x: a\n  b\n", "  b\n", "? x\n", ": y\n", "x: &a b\n", "x: &a\n", "y: *a\n", "&b x: y\n", "!!map\n",
    "x: !!str\n", "...\n", "--- # a\n", "%YAML 1.1\n", "<<: {kind: List}\n", "items: []\n", "items:\n", " items:\n",
    "\"items\": [{kind: Pod}]\n", "- a\n", "\r", "x: a\r\n", "\u{2028}", "\t\n", "  # a\n", "\u{feff}", "kind: &a List\n",
];

/// Lines of items, which may begin or end something.
#[rustfmt::skip]
const ITEMS: &[&str] = &[
    POD, POD, HIDDEN, "- {kind: ConfigMap}\n", "- kind: Pod\n  metadata:\n    name: q\n  spec:\n    containers:\n    - image: q:1\n",
    "- kind: A\n  x: \"a\n    b\"\n", "- kind: A\n  x: |\n    - b\n\n", "- kind: A\n  x: |2\n    b\n", "- kind: A\n  x: a\n    b\n",
    "- kind: A\n  x: \"\n", "- \"\n", "\"\n", "- kind: A # '\n", "- {kind: A, x: '\n", "'}\n", "- {kind: A, x: '\" ,\n", "- [\n",
    "  ]\n", "- kind: A\n  x: >\n", "  a: b\n", "    c\n", "- kind: A\n  x: &a {image: 'a:1'}\n",
    "- kind: Pod\n  metadata: {name: r}\n  spec: {containers: [*a]}\n", "- kind: A\n  x: &a {image: 'b:1'}\n", "-\n", "-\n  kind: A\n",
    "- - a\n", "- ? a\n  : b\n", "- !!map\n", "# c \"\n", "\n", "  # d\n", "- kind: A\r\n", "- kind: A\r", "- kind: A\u{2028}",
    "\t\n", "- kind: A\n  kind: B\n", "- kind: List\n  items:\n  - {kind: C}\n",
];

fn outside() -> impl Strategy<Value = String> {
    let line = prop_oneof![4 => prop::sample::select(USUAL), 1 => prop::sample::select(UNUSUAL)];
    let lines = prop::collection::vec(line, 0..4).prop_map(|lines| lines.concat());
    prop_oneof![Just(String::new()), lines]
}

fn items() -> impl Strategy<Value = String> {
    let any = prop::collection::vec(prop::sample::select(ITEMS), 1..6);
    let few = prop::collection::vec(prop::sample::select(&[POD, HIDDEN][..]), 1..3);
    let lines = prop_oneof![3 => any, 1 => few];
    (lines, prop::sample::select(&[0, 0, 0, 2][..])).prop_map(|(lines, indentation)| {
        let blanks = " ".repeat(indentation);
        lines.concat().split_inclusive('\n').map(|line| format!("{blanks}{line}")).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn splitting_does_not_change_the_meaning_of_a_list(
        (start, end) in prop::sample::select(&FRAMES[..]),
        before in outside(),
        items in items(),
        after in outside(),
    ) {
        prop_assert_eq!(difference(&format!("{start}{before}items:\n{items}{after}{end}")), None);
    }
}
