//! The output formats of a report: for a user at a terminal, for programs, and for CI systems.
//!
//! ```text
//!   Report --> Shown --> text           violations by workload, and a summary
//!                        json, yaml     the report itself
//!                        sarif          code scanning
//!                        junit          test reports
//!                        github         annotations of a pull request
//! ```
//!
//! Names and messages come from untrusted manifests and components. Each format escapes them: its output must not move the
//! cursor, forge a line or end an element.

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

pub(crate) use json::write_value as write_json;
pub(crate) use plain::name;

/// The output format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Human-readable text.
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

/// Returns an object as arguments of kubectl. `namespace` is empty if the reader knows it.
pub(crate) fn arguments_of_kubectl(resource: &str, object: &str, namespace: &str) -> String {
    let object = format!("{resource}/{}", name(object));
    if namespace.is_empty() { object } else { format!("{object} -n {}", name(namespace)) }
}

/// Returns a text as one escaped line of bounded length.
pub(crate) fn one_line(text: &str) -> String {
    const MAX_LENGTH: usize = 1000;
    plain::one_line(text, MAX_LENGTH)
}

/// Writes a human-readable table of namespaces.
pub(crate) fn write_namespaces(
    namespaces: &[NamespaceReport],
    colours: bool,
    width: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    text::write_namespaces(namespaces, &Palette { colours }, width, out)
}

/// A report and the context to write it.
pub struct Shown<'a> {
    /// The report.
    pub report: &'a Report,
    /// The descriptions of the checks that ran.
    pub checks: &'a [CheckInfo],
    /// The origin of the evaluated objects, as specified by the user: paths, or the context of a cluster.
    pub target: &'a str,
    /// The options for the modules of the report, for hints; empty, or with a space before each.
    pub module_arguments: &'a str,
    /// The name of the program in commands, `kube-devops` or `kubectl devops`.
    pub program: &'a str,
    /// Whether text has a table of the clusters.
    pub per_cluster: bool,
    /// Whether text can have colours.
    pub colours: bool,
    /// The width of text in columns.
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

/// The level of a violation in formats with three levels.
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

/// A line in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place<'a> {
    /// The path; `None` for standard input.
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

    /// Returns the path in the form that CI systems expect: with forward slashes, and without a leading `./`.
    fn path(&self) -> Option<Cow<'a, str>> {
        let file = self.file?;
        let file = if cfg!(windows) { Cow::Owned(file.replace('\\', "/")) } else { Cow::Borrowed(file) };
        match file.strip_prefix("./") {
            Some(rest) => Some(Cow::Owned(rest.to_owned())),
            None => Some(file),
        }
    }

    /// Returns the escaped name of the file.
    fn file(&self) -> String {
        const MAX_LENGTH: usize = 400;
        plain::one_line(self.path().as_deref().unwrap_or(STANDARD_INPUT), MAX_LENGTH)
    }

    /// Returns `file:line`, escaped.
    fn text(&self) -> String {
        format!("{}:{}", self.file(), self.line)
    }
}

/// Formats a violation as a self-contained sentence: the object, the container and the message.
fn sentence(violation: &Violation, max_length: usize) -> String {
    let Violation { cluster, namespace, kind, name, container, message, .. } = violation;
    let mut object = format!("{} {}/{}", plain::name(kind), plain::name(namespace), plain::name(name));
    if let Some(cluster) = cluster {
        object.push_str(&format!(" in cluster {}", plain::name(cluster)));
    }
    let message = plain::one_line(message, max_length);
    match container {
        Some(container) => format!("{object}, container {}: {message}", plain::name(container)),
        None => format!("{object}: {message}"),
    }
}

/// Formats an object whose containers were not evaluated as a sentence.
fn not_evaluated(object: &NotEvaluated) -> String {
    let NotEvaluated { api_version, kind, namespace, name, reason, .. } = object;
    let (kind, name) = (plain::name(kind), plain::name(name));
    let title = match (namespace.as_str(), name.is_empty()) {
        (_, true) => format!("an object of kind {kind}"),
        ("", false) => format!("{kind} {name}"),
        (namespace, false) => format!("{kind} {}/{name}", plain::name(namespace)),
    };
    let version = if api_version.is_empty() { String::new() } else { format!(" ({})", plain::name(api_version)) };
    format!("{title}{version} {reason}")
}

impl<'a> Shown<'a> {
    /// Returns the description of a check.
    fn info(&self, check: &str) -> Option<&'a CheckInfo> {
        self.checks.iter().find(|info| info.id == check)
    }

    /// Returns the place of a violation; `None` if its object was not read from a file.
    fn place(&self, violation: &'a Violation) -> Option<Place<'a>> {
        violation.source.as_ref().map(Place::new)
    }
}
