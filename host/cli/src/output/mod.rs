//! How a report is shown: for a person at a terminal, for a program, or for the system that runs the build.
//!
//! ```text
//!   Report --> Shown --> text           violations by workload, then the summary
//!                        json, yaml     the report itself
//!                        sarif          code scanning
//!                        junit          test reports
//!                        github         annotations of a pull request
//! ```
//!
//! Names and messages come from manifests and components that anybody may have written. Each format makes them harmless
//! in its own way: what it writes must not move a cursor, forge a line or end an element.

mod github;
mod json;
mod junit;
mod palette;
mod plain;
mod sarif;
mod table;
mod text;
mod workload;
mod yaml;

#[cfg(test)]
mod fixture;

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use kube_devops_core::report::{NamespaceReport, NotEvaluated, ReportError};
use kube_devops_core::{CheckInfo, Report, Severity, Source, Violation};

use kube_devops_manifests::STANDARD_INPUT;
use palette::Palette;

pub(crate) use plain::number;

/// The form in which a report is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// The report as JSON; its schema is in docs/report.schema.json.
    Json,
    /// The report as YAML.
    Yaml,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit XML, for test reports.
    Junit,
    /// Workflow commands of GitHub Actions.
    Github,
}

/// Writes a table of namespaces for people.
pub(crate) fn write_namespaces(
    namespaces: &[NamespaceReport],
    colours: bool,
    width: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    text::write_namespaces(namespaces, &Palette { colours }, width, out)
}

/// A report and what it takes to show it.
pub struct Shown<'a> {
    /// The report.
    pub report: &'a Report,
    /// What the checks that ran say of themselves.
    pub checks: &'a [CheckInfo],
    /// What was judged, in the words of the person who asked: paths, or the context of a cluster.
    pub target: &'a str,
    /// How the program was called, `kube-devops` or `kubectl devops`: hints name commands to run.
    pub program: &'a str,
    /// Whether text may have colours.
    pub colours: bool,
    /// How many columns there are for text.
    pub width: usize,
}

/// Writes a report in a format.
pub fn write(format: Format, shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    match format {
        Format::Text => text::write(shown, &mut out),
        Format::Json => json::write(shown, &mut out),
        Format::Yaml => yaml::write(shown, &mut out),
        Format::Sarif => sarif::write(shown, &mut out),
        Format::Junit => junit::write(shown, &mut out),
        Format::Github => github::write(shown, &mut out),
    }?;
    out.flush()
}

/// How loud a violation is where there are three volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Note,
    Warning,
    Error,
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Critical | Severity::High => Self::Error,
            Severity::Medium => Self::Warning,
            Severity::Low => Self::Note,
        }
    }
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place<'a> {
    /// The path; none for standard input.
    file: Option<&'a str>,
    line: usize,
}

impl<'a> Place<'a> {
    fn new(source: &'a Source) -> Self {
        Self { file: Some(&*source.file).filter(|file| *file != STANDARD_INPUT), line: source.line }
    }

    fn of_error(error: &'a ReportError) -> Option<Self> {
        error.source.as_ref().map(Self::new)
    }

    /// The path as build systems want it: with forward slashes, relative where it was given so.
    fn path(&self) -> Option<Cow<'a, str>> {
        let file = self.file?;
        let file = if cfg!(windows) { Cow::Owned(file.replace('\\', "/")) } else { Cow::Borrowed(file) };
        match file.strip_prefix("./") {
            Some(rest) => Some(Cow::Owned(rest.to_owned())),
            None => Some(file),
        }
    }

    /// The file, harmless on a terminal.
    fn file(&self) -> String {
        const LONGEST: usize = 400;
        plain::one_line(self.path().as_deref().unwrap_or(STANDARD_INPUT), LONGEST)
    }

    /// `file:line`, harmless on a terminal.
    fn text(&self) -> String {
        format!("{}:{}", self.file(), self.line)
    }
}

/// A violation in one sentence that stands on its own: what, where in it, and what is wrong.
fn sentence(violation: &Violation, longest: usize) -> String {
    let Violation { namespace, kind, name, container, message, .. } = violation;
    let object = format!("{} {}/{}", plain::name(kind), plain::name(namespace), plain::name(name));
    let message = plain::one_line(message, longest);
    match container {
        Some(container) => format!("{object}, container {}: {message}", plain::name(container)),
        None => format!("{object}: {message}"),
    }
}

/// An object of a kind whose pods cannot be found, in one sentence.
fn not_evaluated(object: &NotEvaluated) -> String {
    let NotEvaluated { api_version, kind, namespace, name, .. } = object;
    let (kind, name) = (plain::name(kind), plain::name(name));
    let title = match (namespace.as_str(), name.is_empty()) {
        (_, true) => format!("an object of kind {kind}"),
        ("", false) => format!("{kind} {name}"),
        (namespace, false) => format!("{kind} {}/{name}", plain::name(namespace)),
    };
    let version = if api_version.is_empty() { String::new() } else { format!(" ({})", plain::name(api_version)) };
    format!("{title}{version} has containers, but is of a kind whose pods are not known; it was not evaluated")
}

impl<'a> Shown<'a> {
    /// What a check says of itself.
    fn info(&self, check: &str) -> Option<&'a CheckInfo> {
        self.checks.iter().find(|info| info.id == check)
    }

    /// Where a violation is, when its object came from a file.
    fn place(&self, violation: &'a Violation) -> Option<Place<'a>> {
        violation.source.as_ref().map(Place::new)
    }
}
