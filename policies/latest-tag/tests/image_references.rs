//! Properties of all image references.
#![forbid(unsafe_code)]

use check_latest_tag::LatestTag;
use kube_devops_sdk::ContainerKind;
use kube_devops_sdk::image::Reference;
use kube_devops_sdk::testing::{container, findings_of, pod};
use proptest::option;
use proptest::prelude::*;
use proptest::string::string_regex;

/// Generates a valid name, tag and digest.
fn parts() -> impl Strategy<Value = (String, Option<String>, Option<String>)> {
    let label = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?";
    let registry = format!(
        r"((localhost|{label}(\.{label}){{1,3}}|[A-Z][a-zA-Z0-9]{{0,8}}|\[[0-9a-fA-F]{{0,4}}:[0-9a-fA-F:]{{0,34}}\])(:[0-9]{{1,5}})?|{label}:[0-9]{{1,5}})/"
    );
    // At most 4 components of at most 53 characters, and their slashes.
    let component = "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,12}){0,3}";
    let name = string_regex(&format!("({registry})?{component}(/{component}){{0,3}}")).expect("a pattern");
    let tag = "latest|[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}";
    let digest = "sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}";
    (name, option::of(tag), option::of(digest)).prop_filter("an image ID is not a name", |(name, tag, digest)| {
        tag.is_some() || digest.is_some() || name.len() != 64 || name.contains(|c: char| !c.is_ascii_hexdigit())
    })
}

fn joined(name: &str, tag: Option<&str>, digest: Option<&str>) -> String {
    let after = |separator: &str, part: Option<&str>| part.map(|part| format!("{separator}{part}")).unwrap_or_default();
    format!("{name}{}{}", after(":", tag), after("@", digest))
}

fn is_violation(image: &str) -> bool {
    !findings_of(&LatestTag::default(), &pod(vec![container(ContainerKind::App, image)])).is_empty()
}

/// Generates texts of tokens of the grammar and of placeholders, in any order.
fn tokens() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "B",
        "0",
        ".",
        "_",
        "__",
        "-",
        "/",
        ":",
        "@",
        "[",
        "]",
        "::1",
        "latest",
        "localhost",
        "docker.io/",
        "sha256:",
        "sha512:",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "://",
        " ",
        "\n",
        "%",
        "$",
        "${",
        "}",
        "{{",
        "}}",
        "$(",
        ")",
        "<no value>",
        "é",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Generates a valid reference with one character replaced.
fn mutated() -> impl Strategy<Value = String> {
    let character = prop_oneof!["[ -~]", any::<char>().prop_map(String::from)];
    (parts(), any::<prop::sample::Index>(), character).prop_map(|((name, tag, digest), index, character)| {
        let mut reference = joined(&name, tag.as_deref(), digest.as_deref());
        let index = index.index(reference.len());
        reference.replace_range(index..=index, &character);
        reference
    })
}

proptest! {
    #[test]
    fn a_valid_reference_is_parsed_to_its_parts((name, tag, digest) in parts()) {
        let (tag, digest) = (tag.as_deref(), digest.as_deref());
        let reference = joined(&name, tag, digest);
        prop_assert_eq!(Reference::parse(&reference), Ok(Reference { name: &name, tag, digest }));
        prop_assert_eq!(is_violation(&reference), digest.is_none() && tag.is_none_or(|tag| tag == "latest"));
    }

    #[test]
    fn any_text_is_either_a_reference_with_its_parts_or_a_violation(
        text in prop_oneof![tokens(), mutated(), any::<String>()]
    ) {
        match Reference::parse(&text) {
            Ok(Reference { name, tag, digest }) => prop_assert_eq!(joined(name, tag, digest), text),
            Err(invalid) => {
                prop_assert!(!invalid.to_string().is_empty());
                prop_assert!(is_violation(&text));
            }
        }
    }
}
