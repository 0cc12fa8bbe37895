//! The report as JUnit XML, for the test reports of CI systems.
//!
//! The suite of a namespace contains a failed case for each violation and shows how to fix it. A separate suite contains
//! the checks without violations, and the objects that were not evaluated. Passed objects are not listed.
//!
//! The elements and attributes are those of junit-10.xsd of the Jenkins xUnit plugin, and the attribute `file` of a case,
//! which GitLab links to. A case has the time 0, which some readers require: the evaluation of an object takes
//! microseconds.

use std::collections::HashMap;
use std::io::{self, Write};

use kube_devops_core::report::CheckReport;
use kube_devops_core::{CheckInfo, Report, Violation};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::plain::{self, name};
use super::{Place, Shown};

const MAX_MESSAGE_LENGTH: usize = 1000;

/// Writes the report.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let report = shown.report;
    let suite = |violation: &Violation| (violation.cluster.clone(), violation.namespace.clone());
    let suites: Vec<&[Violation]> = report.violations.chunk_by(|one, other| suite(one) == suite(other)).collect();
    let clean_checks: Vec<&CheckReport> =
        report.checks.iter().filter(|check| check.failed == 0 && check.not_evaluated == 0).collect();
    let counts = Counts {
        tests: report.violations.len() + clean_checks.len() + report.errors.len() + report.extent.not_evaluated.len(),
        failures: report.violations.len(),
        errors: report.errors.len(),
        skipped: None,
    };
    let mut xml = Writer::new_with_indent(out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    counts.open("testsuites", "kube-devops", &mut xml)?;
    write_checks(&clean_checks, report, &mut xml)?;
    for violations in suites {
        let counts = Counts { tests: violations.len(), failures: violations.len(), errors: 0, skipped: Some(0) };
        counts.open("testsuite", &with_cluster(&violations[0], "/", name(&violations[0].namespace)), &mut xml)?;
        let mut names = Names::default();
        for violation in violations {
            write_violation(violation, shown, &mut names, &mut xml)?;
        }
        close("testsuite", &mut xml)?;
    }
    close("testsuites", &mut xml)?;
    writeln!(xml.into_inner())
}

type Xml<'a> = Writer<&'a mut dyn Write>;

struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    /// `None` for the root element, for which the schema does not allow it.
    skipped: Option<usize>,
}

impl Counts {
    fn open(&self, element: &str, name: &str, xml: &mut Xml) -> io::Result<()> {
        let mut start = BytesStart::new(element);
        start.push_attribute(("name", name));
        let counts = [("tests", Some(self.tests)), ("failures", Some(self.failures)), ("errors", Some(self.errors))];
        for (attribute, count) in counts.into_iter().chain([("skipped", self.skipped)]) {
            if let Some(count) = count {
                start.push_attribute((attribute, count.to_string().as_str()));
            }
        }
        xml.write_event(Event::Start(start))
    }
}

/// The names of the cases of a suite. Readers merge cases with the same name.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn unique(&mut self, name: String) -> String {
        let number = self.0.entry(name.clone()).and_modify(|number| *number += 1).or_insert(1);
        if *number == 1 { name } else { format!("{name} ({number})") }
    }
}

fn write_checks(checks: &[&CheckReport], report: &Report, xml: &mut Xml) -> io::Result<()> {
    let (errors, not_evaluated) = (&report.errors, &report.extent.not_evaluated);
    let tests = checks.len() + errors.len() + not_evaluated.len();
    if tests == 0 {
        return Ok(());
    }
    let skipped = checks.iter().filter(|check| check.passed == 0).count() + not_evaluated.len();
    let counts = Counts { tests, failures: 0, errors: errors.len(), skipped: Some(skipped) };
    counts.open("testsuite", "kube-devops", xml)?;
    let mut names = Names::default();
    for check in checks {
        let case = case("kube-devops.check", &names.unique(name(&check.id)), None);
        if check.passed > 0 {
            xml.write_event(Event::Empty(case))?;
        } else {
            let skipped = BytesStart::new("skipped").with_attributes([("message", "nothing to evaluate")]);
            write_case(case, skipped, None, xml)?;
        }
    }
    for object in not_evaluated {
        let place = object.source.as_ref().map(Place::new);
        let file = place.as_ref().map(Place::file);
        let place = place.map(|place| place.text());
        let title = format!("{} {}", name(&object.kind), name(&object.name));
        let case_name = place.map_or_else(|| title.clone(), |place| format!("{title}: {place}"));
        let message = text(&super::not_evaluated(object));
        let skipped = BytesStart::new("skipped").with_attributes([("message", message.as_str())]);
        write_case(case("kube-devops.not-evaluated", &names.unique(case_name), file), skipped, None, xml)?;
    }
    for error in errors {
        let place = Place::of_error(error);
        let file = place.as_ref().map(Place::file);
        let place = place.map(|place| place.text());
        let origin = error.check.as_deref().map_or_else(|| "input".to_owned(), name);
        let case_name = place.as_ref().map_or_else(|| origin.clone(), |place| format!("{origin}: {place}"));
        let message = text(&error.message);
        let element = BytesStart::new("error").with_attributes([("type", "not-evaluated"), ("message", &message)]);
        let body = place.map_or_else(|| message.clone(), |place| format!("{message}\nWhere: {place}"));
        write_case(case("kube-devops.error", &names.unique(case_name), file), element, Some(&body), xml)?;
    }
    close("testsuite", xml)
}

fn write_violation(violation: &Violation, shown: &Shown, names: &mut Names, xml: &mut Xml) -> io::Result<()> {
    let Violation { check, severity, namespace, kind, name: object, container, field, .. } = violation;
    let mut case_name = format!("{}: {}/{}", name(check), name(kind), name(object));
    if let Some(container) = container {
        case_name.push_str(&format!("/{}", name(container)));
    }
    let class = format!("{}.{}.{}", name(namespace), name(kind), name(object));
    let class = with_cluster(violation, ".", class);
    let message = text(&violation.message);
    let mut body = text(&super::sentence(violation, MAX_MESSAGE_LENGTH));
    let place = shown.place(violation);
    let file = place.as_ref().map(Place::file);
    if let Some(place) = place {
        body.push_str(&format!("\nWhere: {}", place.text()));
    }
    if let Some(field) = field {
        body.push_str(&format!("\nField: {}", text(field)));
    }
    if let Some(remedy) = shown.info(check).map(remedy).filter(|remedy| !remedy.is_empty()) {
        body.push_str(&format!("\nFix: {remedy}"));
    }
    let element = BytesStart::new("failure").with_attributes([("type", severity.as_str()), ("message", &message)]);
    write_case(case(&class, &names.unique(case_name), file), element, Some(&body), xml)
}

/// Adds the cluster of a violation, if there is one, before a name.
fn with_cluster(violation: &Violation, separator: &str, rest: String) -> String {
    match &violation.cluster {
        Some(cluster) => format!("{}{separator}{rest}", name(cluster)),
        None => rest,
    }
}

/// Returns the first paragraph of the remedy: the examples that follow are too long to repeat for each violation.
fn remedy(info: &CheckInfo) -> String {
    let first = info.remedy.trim_start().split("\n\n").next().unwrap_or_default();
    text(first.trim_end().trim_end_matches(':'))
}

fn case(class: &str, name: &str, file: Option<String>) -> BytesStart<'static> {
    let mut case = BytesStart::new("testcase").with_attributes([("name", name), ("classname", class), ("time", "0")]);
    if let Some(file) = &file {
        case.push_attribute(("file", file.as_str()));
    }
    case.into_owned()
}

fn write_case(case: BytesStart, element: BytesStart, body: Option<&str>, xml: &mut Xml) -> io::Result<()> {
    xml.write_event(Event::Start(case))?;
    match body {
        Some(body) => {
            let end = element.to_end().into_owned();
            xml.write_event(Event::Start(element.borrow()))?;
            xml.write_event(Event::Text(BytesText::new(body)))?;
            xml.write_event(Event::End(end))?;
        }
        None => xml.write_event(Event::Empty(element))?,
    }
    close("testcase", xml)
}

fn close(element: &str, xml: &mut Xml) -> io::Result<()> {
    xml.write_event(Event::End(BytesEnd::new(element)))
}

fn text(text: &str) -> String {
    plain::one_line(text, MAX_MESSAGE_LENGTH)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kube_devops_core::Report;
    use roxmltree::{Document, Node};

    use super::super::Format;
    use super::super::fixture::{assert_escaped, clean, hostile, report, show};

    #[test]
    fn junit_contains_the_whole_report() {
        insta::assert_snapshot!(show(Format::Junit, &report()));
    }

    /// The rule of junit-10.xsd for an element: the required attributes, the optional attributes, the children, and whether
    /// text is allowed.
    type Rule = (&'static [&'static str], &'static [&'static str], &'static [&'static str], bool);

    fn rule(element: &str) -> Rule {
        const RESULT: &[&str] = &["type", "message"];
        match element {
            "testsuites" => (&[], &["name", "time", "tests", "failures", "errors"], &["testsuite"], false),
            "testsuite" => (
                &["name", "tests", "failures", "errors"],
                &[
                    "group",
                    "time",
                    "skipped",
                    "timestamp",
                    "hostname",
                    "id",
                    "package",
                    "file",
                    "log",
                    "url",
                    "version",
                ],
                &["testsuite", "properties", "testcase", "system-out", "system-err"],
                false,
            ),
            "testcase" => (
                &["name"],
                &["time", "classname", "group", "file"],
                &["skipped", "error", "failure", "system-out", "system-err"],
                false,
            ),
            "failure" | "error" | "skipped" => (&[], RESULT, &[], true),
            other => panic!("{other} is not in the schema, or not expected"),
        }
    }

    fn follow_schema(node: Node) {
        let (required, optional, children, text) = rule(node.tag_name().name());
        for attribute in required {
            assert!(node.has_attribute(*attribute), "missing {attribute} in {node:?}");
        }
        for attribute in node.attributes() {
            assert!(required.contains(&attribute.name()) || optional.contains(&attribute.name()), "{attribute:?}");
        }
        for child in node.children() {
            if child.is_element() {
                assert!(children.contains(&child.tag_name().name()), "{child:?} in {node:?}");
                follow_schema(child);
            } else {
                assert!(child.is_text(), "{child:?}");
                assert!(text || child.text().is_some_and(|text| text.trim().is_empty()), "{child:?} in {node:?}");
            }
        }
    }

    fn count(node: Node, element: &str) -> usize {
        node.descendants().filter(|node| node.has_tag_name(element)).count()
    }

    #[test]
    fn junit_follows_the_schema_with_correct_counts() {
        for report in [report(), clean(), hostile(), Report::new(&[], Vec::new(), Default::default(), Vec::new())] {
            let text = show(Format::Junit, &report);
            let document = Document::parse(&text).expect("it is XML");
            let root = document.root_element();
            assert_eq!(root.tag_name().name(), "testsuites");
            follow_schema(root);
            for node in root.descendants().filter(|node| node.has_attribute("tests")) {
                for (attribute, element) in
                    [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]
                {
                    let Some(stated) = node.attribute(attribute) else { continue };
                    assert_eq!(stated, count(node, element).to_string(), "{attribute} of {node:?}");
                }
                let cases = node.children().filter(|child| child.has_tag_name("testcase"));
                let names: HashSet<_> =
                    cases.map(|case| (case.attribute("classname"), case.attribute("name"))).collect();
                let children = node.children().filter(|child| child.has_tag_name("testcase")).count();
                assert_eq!(names.len(), children, "duplicate case names");
            }
            assert_eq!(count(root, "failure"), report.violations.len());
            assert_eq!(count(root, "error"), report.errors.len());
        }
    }

    #[test]
    fn junit_escapes_malicious_input() {
        let text = show(Format::Junit, &hostile());
        assert_escaped(&text);
        assert!(!text.contains(['\u{fffe}', '\u{ffff}']));
        assert!(text.len() < 100_000, "{}", text.len());
    }
}
