//! The pages of `docs/` that are generated from the program: the commands and the checks.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use kube_devops_core::{CheckInfo, Stage};
use kube_devops_engine::{Engine, Limits};

use crate::arguments::Arguments;
use crate::modules;

/// Returns the generated pages by their path below `docs/`.
pub fn pages() -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::from([("cli.md".to_owned(), commands())]);
    let checks = modules::embedded(Engine::new(Limits::default())?)?.infos();
    let mut index = String::from(
        "# Checks\n\nEvery check is a WebAssembly component that describes itself. These pages are generated from the descriptions.\n\n\
         | check | violation | weight | severity | evaluates |\n|---|---|---|---|---|\n",
    );
    for info in checks.values() {
        let _ = writeln!(
            index,
            "| [{0}]({0}.md) | {1} | {2} | {3} | {4} |",
            info.id,
            info.title,
            info.weight,
            info.severity,
            stage(info)
        );
        pages.insert(format!("checks/{}.md", info.id), page(info)?);
    }
    pages.insert("checks/README.md".to_owned(), index);
    Ok(pages)
}

fn commands() -> String {
    let options = clap_markdown::MarkdownOptions::new().title("Commands".to_owned()).show_footer(false);
    let text = clap_markdown::help_markdown_custom::<Arguments>(&options);
    let mut page = String::new();
    let mut is_preformatted = false;
    for line in text.lines().map(str::trim_end) {
        // Examples and variables are indented under their heading; Markdown would join their lines.
        if is_preformatted && !line.starts_with(' ') {
            page.push_str("```\n");
            is_preformatted = false;
        }
        let _ = writeln!(page, "{}", if is_preformatted { line.trim_start() } else { line });
        if matches!(line, "Example:" | "Examples:" | "Environment variables:") {
            page.push_str("\n```text\n");
            is_preformatted = true;
        }
    }
    format!("{}\n", page.trim_end())
}

fn stage(info: &CheckInfo) -> &'static str {
    match info.stage {
        Stage::Spec => "spec",
        Stage::Runtime => "runtime status",
    }
}

fn page(info: &CheckInfo) -> Result<String> {
    let mut text = format!("# {}\n\n{}.\n\n", info.id, info.title);
    let _ = writeln!(text, "## What it finds\n\n{}\n", info.description);
    let _ = writeln!(text, "## Why it matters\n\n{}\n", info.rationale);
    let _ = writeln!(text, "## How to fix it\n\n{}\n", info.remedy);
    let _ = writeln!(text, "## Facts\n\n| | |\n|---|---|");
    let _ = writeln!(text, "| Evaluates | {} |", stage(info));
    let _ = writeln!(text, "| Severity | {}, unless a policy overrides it |", info.severity);
    let _ = writeln!(text, "| Weight | {} |", info.weight);
    let _ = writeln!(text, "| Enforcement | {} |", if info.remediates { "remediates" } else { "reports only" });
    let _ = writeln!(text, "| Default settings | `{}` |", info.default_settings);
    if let Some(url) = &info.url {
        let _ = writeln!(text, "| Documentation | <{url}> |");
    }
    let _ = writeln!(text, "\n## Settings\n\n```json\n{}\n```", serde_json::to_string_pretty(&info.settings_schema)?);
    Ok(text)
}
