//! `explain`: what a check finds, why it matters and how to fix it, as described by the component.

use std::fmt::Write;

use anyhow::{Result, bail};
use kube_devops_core::{CheckInfo, Stage};

use super::{Outcome, print};
use crate::arguments::{ClusterArguments, ExplainArguments};
use crate::modules;

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &ExplainArguments, program: &str) -> Result<Outcome> {
    let checks = modules::catalog(&arguments.modules, cluster)?.infos();
    let Some(id) = &arguments.check else {
        let mut text = String::from("Checks:\n");
        for info in checks.values() {
            let _ = writeln!(text, "  {:<18} {}", info.id, info.title);
        }
        let _ = writeln!(text, "\nRun `{program} explain CHECK` for the details of a check.");
        return print(&text);
    };
    match checks.get(id) {
        Some(info) => print(&text(info)),
        None => {
            let known: Vec<_> = checks.keys().map(String::as_str).collect();
            bail!(
                "unknown check {id:?}; available checks: {}; specify the module of another one with --module",
                known.join(", ")
            )
        }
    }
}

/// Formats a check for a terminal.
fn text(info: &CheckInfo) -> String {
    let stage = match info.stage {
        Stage::Spec => "the spec of manifests, admission requests and pods",
        Stage::Runtime => "the runtime status of pods that have one",
    };
    let mut text = format!("{}: {}\n\n", info.id, info.title);
    let _ = writeln!(text, "WHAT IT FINDS\n{}\n", indent(&info.description));
    let _ = writeln!(text, "WHY IT MATTERS\n{}\n", indent(&info.rationale));
    let _ = writeln!(text, "HOW TO FIX IT\n{}\n", indent(&info.remedy));
    let _ = writeln!(text, "FACTS");
    let _ = writeln!(text, "  Evaluates           {stage}");
    let _ = writeln!(text, "  Severity            {}, unless a policy overrides it", info.severity);
    let _ = writeln!(text, "  Weight              {}", info.weight);
    let _ = writeln!(text, "  Default settings    {}", info.default_settings);
    let _ = writeln!(text, "  Enforcement         {}", if info.remediates { "remediates" } else { "reports only" });
    if let Some(url) = &info.url {
        let _ = writeln!(text, "  Documentation       {url}");
    }
    text
}

/// Wraps paragraphs to a readable width; the lines of code blocks are not changed.
fn indent(text: &str) -> String {
    const WIDTH: usize = 92;
    let mut lines: Vec<String> = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
            continue;
        }
        if code {
            lines.push(format!("    {line}"));
            continue;
        }
        let mut current = String::new();
        for word in line.split_whitespace() {
            if !current.is_empty() && current.len() + word.len() >= WIDTH {
                lines.push(format!("  {current}"));
                current.clear();
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(if current.is_empty() { String::new() } else { format!("  {current}") });
    }
    lines.join("\n")
}
