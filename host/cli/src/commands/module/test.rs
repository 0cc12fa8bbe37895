//! `module test`: the cases of a project.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Result, ensure};
use kube_devops_core::text::number;
use kube_devops_engine::{Catalog, Checks};
use quick_xml::escape::escape;

use super::super::document::{ordered_document, unified_diff};
use super::super::report_file;
use super::cases::{self, Case};
use super::{Outcome, build, print};
use crate::arguments::{ClusterArguments, ModuleReference, ModuleTestArguments, TestFormat};
use crate::modules;

/// The result of a case: `None`, or the reason why it failed.
type CaseResult = (String, Option<String>);

/// Runs the command.
pub fn run(cluster: &ClusterArguments, arguments: &ModuleTestArguments) -> Result<Outcome> {
    let reference = match &arguments.module {
        Some(reference) => reference.clone(),
        None => ModuleReference::File(build::build(&arguments.folder, None)?),
    };
    let engine = modules::engine(&arguments.source, &arguments.compile)?;
    let module = modules::load(&engine, &reference, &arguments.source, cluster)?;
    ensure!(!module.checks.is_empty(), "{reference} contains no check");
    let mut catalog = Catalog::new(engine, BTreeMap::new(), []);
    catalog.add(&module)?;
    let checks = catalog.checks();
    let mut results = Vec::new();
    for case in cases::of(&arguments.folder)? {
        let failure = match result(&case, &checks, arguments.update) {
            Ok(failure) => failure,
            Err(error) => Some(format!("{error:#}")),
        };
        results.push((case.name, failure));
    }
    print(&match arguments.output {
        TestFormat::Text => text(&results, arguments.update),
        TestFormat::Junit => junit(&results),
    })?;
    let has_failed = results.iter().any(|(_, failure)| failure.is_some());
    Ok(if has_failed { Outcome::GateNotMet } else { Outcome::Success })
}

/// Returns the differences between the findings and the expected ones, or updates them.
fn result(case: &Case, checks: &Checks, update: bool) -> Result<Option<String>> {
    let expected = case.expected()?;
    let found = case.evaluate(checks, expected.settings.clone())?;
    if found == expected && (!update || case.expected_file.exists()) {
        return Ok(None);
    }
    if update {
        report_file::write_bytes(&case.expected_file, ordered_document(&found)?.as_bytes())?;
        return Ok(None);
    }
    let (expected, found) = (ordered_document(&expected)?, ordered_document(&found)?);
    Ok(Some(unified_diff(("expected".to_owned(), &expected), ("found".to_owned(), &found))))
}

fn text(results: &[CaseResult], update: bool) -> String {
    let mut text = String::new();
    for (name, failure) in results {
        match failure {
            None => drop(writeln!(text, "{name}: ok")),
            Some(reason) => drop(writeln!(text, "{name}: FAILED\n{}\n", reason.trim_end())),
        }
    }
    let failed = results.iter().filter(|(_, failure)| failure.is_some()).count();
    let _ = writeln!(text, "{}, {failed} failed", number(results.len(), "case"));
    let has_differences =
        results.iter().any(|(_, failure)| failure.as_ref().is_some_and(|text| text.starts_with("--- expected")));
    if has_differences && !update {
        text.push_str("If the findings are correct, accept them with --update.\n");
    }
    text
}

fn junit(results: &[CaseResult]) -> String {
    let failed = results.iter().filter(|(_, failure)| failure.is_some()).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"module\" tests=\"{}\" failures=\"{failed}\">\n",
        results.len()
    );
    for (name, failure) in results {
        let name = escape(name.as_str());
        match failure {
            None => drop(writeln!(text, "  <testcase classname=\"module\" name=\"{name}\"/>")),
            Some(reason) => drop(writeln!(
                text,
                "  <testcase classname=\"module\" name=\"{name}\"><failure>{}</failure></testcase>",
                escape(reason.as_str())
            )),
        }
    }
    text.push_str("</testsuite>\n");
    text
}
