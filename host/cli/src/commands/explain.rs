//! `explain`: what a check looks for, why it matters and how to mend it, all from the component's own words.

use std::fmt::Write;

use anyhow::{Result, bail};
use kube_devops_core::{CheckInfo, Stage};
use kube_devops_engine::{Engine, Limits};

use super::{Outcome, print};
use crate::arguments::ExplainArguments;

/// Carries out the command.
pub fn run(arguments: &ExplainArguments, program: &str) -> Result<Outcome> {
    let engine = Engine::new(Limits::default())?;
    let checks = kube_devops_modules::checks(&engine)?;
    let Some(id) = &arguments.check else {
        let mut text = String::from("Checks:\n");
        for check in checks.values() {
            let info = check.info();
            let _ = writeln!(text, "  {:<18} {}", info.id, info.title);
        }
        let _ = writeln!(text, "\n`{program} explain CHECK` says more about one of them.");
        return print(&text);
    };
    match checks.get(id) {
        Some(check) => print(&text(check.info())),
        None => {
            let known: Vec<_> = checks.keys().map(String::as_str).collect();
            bail!("there is no check {id:?}; there are: {}", known.join(", "))
        }
    }
}

/// A check, for a terminal.
fn text(info: &CheckInfo) -> String {
    let stage = match info.stage {
        Stage::Spec => "what was asked for: manifests, admission requests and pods",
        Stage::Runtime => "how pods run: those that have a status",
    };
    let mut text = format!("{}: {}\n\n", info.id, info.title);
    let _ = writeln!(text, "WHAT IT FINDS\n{}\n", indent(&info.description));
    let _ = writeln!(text, "WHY IT MATTERS\n{}\n", indent(&info.rationale));
    let _ = writeln!(text, "HOW TO MEND IT\n{}\n", indent(&info.remedy));
    let _ = writeln!(text, "FACTS");
    let _ = writeln!(text, "  Looks at            {stage}");
    let _ = writeln!(text, "  Severity            {}, where a policy does not say otherwise", info.severity);
    let _ = writeln!(text, "  Weight              {}", info.weight);
    let _ = writeln!(text, "  Default settings    {}", info.default_settings);
    let _ = writeln!(text, "  Enforcement         {}", if info.remediates { "can mend it" } else { "only reports it" });
    if let Some(url) = &info.url {
        let _ = writeln!(text, "  More                {url}");
    }
    text
}

/// Wraps paragraphs to a readable width; the lines of code blocks stay as they are.
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
