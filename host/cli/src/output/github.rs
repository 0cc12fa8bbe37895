//! The report as workflow commands of GitHub Actions, which are shown as annotations of the changed files.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::io::{self, Write};

use kube_devops_core::text::{escape_controls, number};

use super::{Level, Place, Shown, not_evaluated, plain, sentence};

const MAX_MESSAGE_LENGTH: usize = 1000;

/// Writes errors, then violations, the most severe first: GitHub shows ten annotations per level and step.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let report = shown.report;
    for error in &report.errors {
        let title = match &error.check {
            Some(check) => format!("{} failed to evaluate", plain::name(check)),
            None => "not evaluated".to_owned(),
        };
        command(
            Level::Error,
            Place::of_error(error),
            &title,
            &plain::one_line(&error.message, MAX_MESSAGE_LENGTH),
            out,
        )?;
    }
    // The places are read in the order of the report, in which the violations of a document are consecutive.
    let mut violations: Vec<_> =
        report.violations.iter().map(|violation| (violation, shown.place(violation))).collect();
    violations.sort_by_key(|(violation, _)| (Reverse(violation.severity), Reverse(violation.penalty())));
    for (violation, place) in violations {
        let title = format!("{} ({})", plain::name(&violation.check), violation.severity);
        command(violation.severity.into(), place, &title, &sentence(violation, MAX_MESSAGE_LENGTH), out)?;
    }
    for object in &report.extent.not_evaluated {
        let place = object.source.as_ref().map(Place::new);
        let message = plain::one_line(&not_evaluated(object), MAX_MESSAGE_LENGTH);
        command(Level::Warning, place, "not evaluated", &message, out)?;
    }
    match (report.score, report.classification, report.compliance, report.grade) {
        (Some(score), Some(classification), Some(compliance), Some(grade)) => {
            write!(out, "Score {score} ({classification}), compliance {compliance:.1} % (grade {grade})")?;
        }
        _ => write!(out, "Nothing was evaluated")?,
    }
    writeln!(out, ", {}, {}", number(report.violations.len(), "violation"), number(report.errors.len(), "error"))
}

fn command(level: Level, place: Option<Place>, title: &str, message: &str, out: &mut dyn Write) -> io::Result<()> {
    let name = match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "notice",
    };
    write!(out, "::{name} ")?;
    if let Some(place) = place
        && let Some(path) = place.path()
    {
        write!(out, "file={},line={},", property(&path), place.line.max(1))?;
    }
    writeln!(out, "title={}::{}", property(title), data(message))
}

/// Escapes the characters that end a message.
fn data(text: &str) -> Cow<'_, str> {
    replace(text, &['%', '\r', '\n'])
}

/// Escapes the characters that end a property, and control characters in the log.
fn property(text: &str) -> String {
    replace(&escape_controls(text), &['%', '\r', '\n', ':', ',']).into_owned()
}

fn replace<'a>(text: &'a str, special: &[char]) -> Cow<'a, str> {
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(&character) {
            escaped.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::fixture::{assert_escaped, clean, hostile, report, show};
    use super::{data, property};

    #[test]
    fn github_commands_contain_the_whole_report() {
        insta::assert_snapshot!(show(Format::Github, &report()));
    }

    #[test]
    fn github_writes_only_the_scores_of_a_report_without_violations() {
        assert_eq!(
            show(Format::Github, &clean()),
            "Score 73 (Stable), compliance 74.3 % (grade C), 0 violations, 0 errors\n"
        );
    }

    #[test]
    fn github_escapes_the_ends_of_messages_and_properties() {
        assert_eq!(data("100% a:b,c\r\nd%0A"), "100%25 a:b,c%0D%0Ad%250A");
        assert_eq!(property("100% a:b,c\u{1b}\n"), "100%25 a%3Ab%2Cc\\u{1b}\\u{a}");
    }

    #[test]
    fn github_escapes_malicious_input() {
        let report = hostile();
        let text = show(Format::Github, &report);
        assert_escaped(&text);
        assert_eq!(
            text.lines().count(),
            report.violations.len() + report.errors.len() + report.extent.not_evaluated.len() + 1
        );
        for line in text.lines().take(report.violations.len() + report.errors.len()) {
            let command = line.strip_prefix("::error ").expect("an error");
            let (properties, message) = command.split_once("::").expect("a message");
            for part in properties.split(',') {
                let (key, value) = part.split_once('=').expect("a property");
                assert!(["file", "line", "title"].contains(&key), "{part}");
                assert!(!value.contains(':'), "{part}");
            }
            assert!(message.len() < 4_000, "{}", message.len());
        }
    }
}
