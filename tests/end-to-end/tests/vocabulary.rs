//! The vocabulary of Kubernetes' own documentation: words that users would not search for are found in no text of the project.
//! The glossary is in docs/concepts.md.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;

use end_to_end::{kube_devops, run};
use regex::Regex;
use walkdir::WalkDir;

/// A pattern of discouraged words, and the words to use instead.
const DISCOURAGED: [(&str, &str); 18] = [
    (r"\b(un)?judg(e|es|ed|ing|ement)\b", "evaluate, evaluation, not evaluated"),
    (r"\bmend(s|ed|ing)?\b", "remediate, fix"),
    (r"\bbreach(es)?\b", "violation"),
    (r"\bheal(s|ed|ing)?\b", "remediate"),
    (r"\blet(s|ting)? (in|it in|them in|through)\b", "admit, fail open"),
    (r"\b(take|takes|taken|took|taking) back\b", "revert"),
    (r"\b(leave|leaves|left|leaving) alone\b", "exclude, skip"),
    (r"\bbelongs? to the system\b", "system namespace, exclude"),
    (r"\bwhom to trust\b", "CA bundle"),
    (r"(^|[^-])\b(the|an|its|which|of|each|our) authorit(y|ies)\b", "CA"),
    (r"\bwho leads\b|\btaken for alive\b", "leader, lease duration"),
    (r"\b(tell|tells|told)\b", "report, notify, log"),
    (r"\bhappenings?\b|\bnews\b", "event"),
    (r"\bpatience\b", "deadline, retry budget"),
    (r"\bmanner\b", "response policy"),
    (r"\bfirst moments\b", "bootstrap"),
    (r"\bstands? twice\b", "duplicate"),
    (r"\b(somebody|nobody|whoever|anew)\b", "name the actor; again"),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The discouraged words in a text, as `place:line: word (instead)`.
fn discouraged(place: &str, text: &str, patterns: &[(Regex, &str)]) -> Vec<String> {
    let in_line = |(index, line): (usize, &str)| {
        let found = patterns.iter().filter_map(move |(pattern, instead)| {
            let word = pattern.find(line)?.as_str();
            Some(format!("{place}:{}: {word:?}; write: {instead}", index + 1))
        });
        found.collect::<Vec<_>>()
    };
    text.lines().enumerate().flat_map(in_line).collect()
}

fn patterns() -> Vec<(Regex, &'static str)> {
    DISCOURAGED.iter().map(|(pattern, instead)| (Regex::new(&format!("(?i){pattern}")).unwrap(), *instead)).collect()
}

#[test]
fn documentation_contract_and_code_use_standard_words() {
    let patterns = patterns();
    let mut found = Vec::new();
    let mut files = 0;
    for top in ["README.md", "CONTRIBUTING.md", "docs", "examples", "wit", "policies", "bundles", "host", "tests"] {
        for entry in WalkDir::new(root().join(top)).into_iter().map(Result::unwrap) {
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            let is_this_list = path.file_name().is_some_and(|name| name == "vocabulary.rs");
            if !matches!(extension, "md" | "rs" | "wit" | "json" | "yaml" | "snap" | "toml") || is_this_list {
                continue;
            }
            files += 1;
            let place = path.strip_prefix(root()).unwrap().display().to_string();
            found.extend(discouraged(&place, &fs::read_to_string(path).unwrap_or_default(), &patterns));
        }
    }
    assert!(files > 300, "only {files} files were found");
    assert!(found.is_empty(), "discouraged words:\n{}", found.join("\n"));
}

#[test]
fn help_texts_and_custom_resources_use_standard_words() {
    let patterns = patterns();
    for arguments in [
        &["--help"][..],
        &["analyze", "--help"],
        &["watch", "--help"],
        &["release", "--help"],
        &["reconcile", "--help"],
        &["check", "--help"],
        &["webhook", "serve", "--help"],
        &["webhook", "cert-generate", "--help"],
        &["webhook", "install-config", "--help"],
        &["policy", "--help"],
        &["policy", "export", "--help"],
        &["policy", "import", "--help"],
        &["policy", "diff", "--help"],
        &["multi-cluster", "list-contexts", "--help"],
        &["multi-cluster", "analyze", "--help"],
        &["crd", "generate"],
    ] {
        let ran = run(kube_devops().args(arguments)).exits(0);
        assert!(ran.stdout.lines().count() > 3, "{ran:?}");
        let found = discouraged(&arguments.join(" "), &ran.stdout, &patterns);
        assert!(found.is_empty(), "discouraged words:\n{}", found.join("\n"));
    }
}

#[test]
fn discouraged_words_are_found_whatever_their_case() {
    let found = discouraged("a.md", "fine\nJudged, and then taken back", &patterns());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("a.md:2: \"Judged\""), "{found:?}");
    assert!(discouraged("a.md", "remaining amendments and storytelling", &patterns()).is_empty());
}
