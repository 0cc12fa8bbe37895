//! The documentation matches the program: generated pages are up to date, links are valid, quoted output is current, and
//! the documented commands exist.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

mod contract;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use end_to_end::{kube_devops, root, run};
use serde_json::Value;

/// Returns the paths of all documentation pages.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md"), root().join("examples/README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn generated_pages_are_up_to_date() {
    let docs = root().join("docs");
    let mut generated = kube_devops::reference::pages().unwrap();
    generated.insert("contract.md".to_owned(), contract::page(&root()));
    if env::var_os("UPDATE_DOCS").is_some() {
        for (name, text) in &generated {
            let path = docs.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    for (name, text) in &generated {
        let stored = fs::read_to_string(docs.join(name)).unwrap_or_default();
        assert!(&stored == text, "docs/{name} is outdated: run the tests with UPDATE_DOCS=1");
    }
    let stored: BTreeSet<String> = fs::read_dir(docs.join("checks"))
        .unwrap()
        .map(|entry| format!("checks/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    let expected: BTreeSet<String> = generated.into_keys().filter(|name| name.starts_with("checks/")).collect();
    assert_eq!(stored, expected, "docs/checks has pages of checks that do not exist");
}

/// Returns the targets of the links of a page, in the form `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// Returns the anchor that GitHub generates for a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'));
    kept.map(|character| if character == ' ' { '-' } else { character }).collect()
}

#[test]
fn links_point_to_existing_files_and_headings() {
    let mut seen = 0;
    for page in pages() {
        for link in links(&read(&page)) {
            if link.starts_with("http://") || link.starts_with("https://") {
                continue;
            }
            seen += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} does not exist", page.display());
            let headings =
                || read(&target).lines().filter(|line| line.starts_with('#')).map(anchor).collect::<Vec<_>>();
            let is_there = heading.is_empty() || headings().iter().any(|anchor| anchor == heading);
            assert!(is_there, "{}: {link} names no heading of that page: {:?}", page.display(), headings());
        }
    }
    assert!(seen > 20, "{seen} links");
}

/// Returns the fenced code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block.to_owned()).collect()
}

#[test]
fn the_report_in_the_readme_matches_the_examples() {
    let shown = blocks(&read(&root().join("README.md")), "text").into_iter().next().unwrap();
    let printed = run(kube_devops().args(["analyze", "-f", "examples/"])).exits(0).stdout;
    let (start, end) = shown.split_once("\n...\n").unwrap();
    assert!(printed.starts_with(start), "{printed}");
    assert!(printed.ends_with(end.trim_start()), "{printed}");
}

#[test]
fn the_documented_json_report_matches_the_examples() {
    let shown = blocks(&read(&root().join("docs/output-formats.md")), "json").into_iter().next().unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let mut report = run(kube_devops().args(["analyze", "-f", "examples/", "-o", "json"])).exits(0).json();
    for list in report.as_object_mut().unwrap().values_mut().filter_map(Value::as_array_mut) {
        list.truncate(1);
    }
    assert_eq!(shown, report);
}

/// Returns the arguments of each call of the program in a shell line; quotes and variables are not interpreted.
fn calls(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    line.split(['|', '&', ';', '>', '(', ')'])
        .filter_map(|part| part.trim().strip_prefix("kube-devops "))
        .map(|arguments| arguments.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()).collect())
        .collect()
}

/// Returns the documented commands that start with `command`, with their pages. Continued lines are one line.
fn documented(command: &str) -> Vec<(PathBuf, String)> {
    let in_page = |page: PathBuf| {
        let text = read(&page).replace("\\\n", " ");
        let commands = text.match_indices(command).filter_map(|(at, _)| text[at..].lines().next().map(str::to_owned));
        commands.map(|command| (page.clone(), command)).collect::<Vec<_>>()
    };
    pages().into_iter().flat_map(in_page).collect()
}

#[test]
fn documented_upgrades_keep_values_and_take_the_defaults_of_new_ones() {
    let upgrades = documented("helm upgrade ");
    assert!(upgrades.len() >= 2, "{upgrades:?}");
    for (page, line) in upgrades {
        // The values of version 0.2 have other meanings.
        let option = if page.ends_with("from-0.2.md") { " --reset-values" } else { " --reset-then-reuse-values" };
        assert!(line.contains(option), "{}: {line}", page.display());
    }
}

#[test]
fn examples_create_the_namespace_of_their_policy() {
    let mut seen = 0;
    // The reference of the commands shows each of them alone.
    for page in pages().into_iter().filter(|page| !page.ends_with("cli.md")) {
        let text = read(&page);
        if let Some((before, _)) = text.split_once("--namespace production | kubectl apply") {
            seen += 1;
            assert!(before.contains("kubectl create namespace production\n"), "{}", page.display());
        }
    }
    assert!(seen >= 4, "{seen} pages");
}

#[test]
fn documented_installations_take_over_the_definitions_of_other_field_managers() {
    let installations = documented("deploy generate-all | kubectl apply");
    assert!(installations.len() >= 4, "{installations:?}");
    for (page, line) in installations {
        assert!(line.contains(" --server-side --force-conflicts -f -"), "{}: {line}", page.display());
    }
}

#[test]
fn the_tables_of_exit_codes_name_every_command_that_exits_with_1() {
    let commands = ["analyze", "check", "module test", "policy diff", "policy import"];
    for page in ["README.md", "docs/concepts.md"] {
        let text = read(&root().join(page));
        let row = text.lines().find(|line| line.starts_with("| 1 |")).unwrap();
        for command in commands {
            assert!(row.contains(&format!("`{command}`")), "{page}: {command}");
        }
    }
    for command in commands {
        let help = run(kube_devops().args(command.split(' ')).arg("--help")).exits(0).stdout;
        assert!(help.contains("Exit code 1 means") || help.contains("Exit codes: 0 "), "{command}: {help}");
    }
}

#[test]
fn documented_commands_exist() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for block in ["sh", "bash", "yaml"].iter().flat_map(|language| blocks(&text, language)) {
            for line in block.replace("\\\n", " ").lines() {
                let line = line.trim().trim_start_matches("$ ").trim_start_matches("run: ").trim_start_matches("- ");
                // A placeholder for the name of a namespace, which is in upper case in text, is not a valid one.
                for arguments in calls(&line.replace(" -n NAMESPACE", " -n namespace")) {
                    seen += 1;
                    // Invalid arguments before --help are an error; otherwise only the help is printed.
                    let ran = run(kube_devops().args(&arguments).arg("--help"));
                    assert_eq!(ran.code, Some(0), "{}: {line}: {}", page.display(), ran.stderr);
                }
            }
        }
    }
    assert!(seen > 20, "{seen} commands");
}
