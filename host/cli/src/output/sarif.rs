//! The report as SARIF 2.1.0, for code scanning.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use kube_devops_core::report::{CheckReport, NotEvaluated, ReportError};
use kube_devops_core::{CheckInfo, Report, Violation};
use kube_devops_files::hexadecimal;
use kube_devops_manifests::STANDARD_INPUT;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_sarif::sarif::{
    ArtifactLocation, Invocation, Location, LogicalLocation, Message, MultiformatMessageString, Notification,
    PhysicalLocation, PropertyBag, Region, ReportingConfiguration, ReportingDescriptor, ReportingDescriptorReference,
    Result, ResultLevel, Tool, ToolComponent,
};
use sha2::{Digest, Sha256};

use super::{Level, Place, Shown, json, plain};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
const MAX_MESSAGE_LENGTH: usize = 1000;
/// The maximum length of a help text on GitHub.
const MAX_HELP_LENGTH: usize = 8000;

/// A SARIF log. Results are created one by one during serialization, because each takes several kilobytes of memory.
#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
struct Run<'a> {
    tool: Tool,
    invocations: [Invocation; 1],
    #[serde(serialize_with = "write_results")]
    results: &'a Shown<'a>,
}

/// Writes the report.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    let run = Run { tool: tool(shown), invocations: [invocation(shown.report)], results: shown };
    json::write_value(&Log { schema: SCHEMA, version: "2.1.0", runs: [run] }, out)
}

fn tool(shown: &Shown) -> Tool {
    let rules: Vec<ReportingDescriptor> =
        shown.report.checks.iter().map(|check| rule(check, shown.info(&check.id))).collect();
    let version = env!("CARGO_PKG_VERSION");
    let driver =
        ToolComponent::builder().name("kube-devops").version(version).semantic_version(version).rules(rules).build();
    Tool::builder().driver(driver).build()
}

fn rule(check: &CheckReport, info: Option<&CheckInfo>) -> ReportingDescriptor {
    let level = Level::from(check.severity);
    let problem_severity = match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "recommendation",
    };
    let properties = PropertyBag::builder()
        .tags(["governance", "kubernetes"].map(String::from).to_vec())
        .additional_properties(BTreeMap::from([("problem.severity".to_owned(), problem_severity.into())]))
        .build();
    let mut rule = ReportingDescriptor::builder()
        .id(plain::name(&check.id))
        .name(pascal_case(&plain::name(&check.id)))
        .short_description(MultiformatMessageString::builder().text(plain_text(&check.title)).build())
        .default_configuration(ReportingConfiguration::builder().level(level.as_str()).build())
        .properties(properties)
        .build();
    if let Some(info) = info {
        let help = format!("{}\n\n{}", info.rationale.trim_end(), info.remedy);
        rule.full_description = Some(multiformat(plain::lines(&info.description, MAX_HELP_LENGTH)));
        rule.help = Some(multiformat(plain::lines(&help, MAX_HELP_LENGTH)));
        rule.help_uri = info.url.clone().filter(|url| is_web_url(url));
    }
    rule
}

fn multiformat(text: String) -> MultiformatMessageString {
    MultiformatMessageString::builder().markdown(text.clone()).text(text).build()
}

fn pascal_case(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for word in id.split('-') {
        let mut characters = word.chars();
        name.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(characters.as_str());
    }
    name
}

fn is_web_url(url: &str) -> bool {
    const NOT_IN_URLS: &[char] = &['"', '<', '>', '\\', '^', '`', '{', '|', '}'];
    (url.starts_with("https://") || url.starts_with("http://"))
        && url.chars().all(|character| character.is_ascii_graphic() && !NOT_IN_URLS.contains(&character))
}

fn invocation(report: &Report) -> Invocation {
    let mut invocation = Invocation::builder().execution_successful(report.errors.is_empty()).build();
    let errors = report.errors.iter().map(|error| notification(error, report));
    let notifications: Vec<_> = errors.chain(report.extent.not_evaluated.iter().map(warning)).collect();
    if !notifications.is_empty() {
        invocation.tool_execution_notifications = Some(notifications);
    }
    invocation
}

fn warning(object: &NotEvaluated) -> Notification {
    let mut notification =
        Notification::builder().level(Level::Warning.as_str()).message(message(&super::not_evaluated(object))).build();
    if let Some(place) = object.source.as_ref().map(Place::new).map(physical_location) {
        notification.locations = Some(vec![Location::builder().physical_location(place).build()]);
    }
    notification
}

fn notification(error: &ReportError, report: &Report) -> Notification {
    let mut notification =
        Notification::builder().level(Level::Error.as_str()).message(message(&error.message)).build();
    if let Some(place) = Place::of_error(error).map(physical_location) {
        notification.locations = Some(vec![Location::builder().physical_location(place).build()]);
    }
    if let Some(index) = error.check.as_ref().and_then(|id| report.checks.iter().position(|check| check.id == *id)) {
        let rule = ReportingDescriptorReference::builder().index(index as i64).build();
        notification.associated_rule = Some(rule);
    }
    notification
}

fn write_results<S: serde::Serializer>(shown: &&Shown, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let checks = &shown.report.checks;
    let indices: HashMap<&str, usize> = checks.iter().enumerate().map(|(index, check)| (&*check.id, index)).collect();
    let mut seen = HashMap::new();
    serializer.collect_seq(shown.report.violations.iter().map(|violation| {
        let mut result = result(violation, shown.place(violation), &mut seen);
        result.rule_index = indices.get(&*violation.check).map(|&index| index as i64);
        result
    }))
}

fn result(violation: &Violation, place: Option<Place>, seen: &mut HashMap<[u8; 32], usize>) -> Result {
    let mut qualified: Vec<&str> = violation.cluster.as_deref().into_iter().collect();
    qualified.extend([&*violation.namespace, &violation.kind, &violation.name]);
    qualified.extend(violation.container.as_deref());
    let logical = LogicalLocation::builder()
        .name(plain::name(violation.container.as_deref().unwrap_or(&violation.name)))
        .fully_qualified_name(qualified.into_iter().map(plain::name).collect::<Vec<_>>().join("/"))
        .kind("resource")
        .build();
    let mut location = Location::builder().logical_locations(vec![logical]).build();
    location.physical_location = place.map(physical_location);
    let mut properties = BTreeMap::from([
        ("severity".to_owned(), violation.severity.as_str().into()),
        ("weight".to_owned(), violation.weight.into()),
        ("magnitude".to_owned(), violation.magnitude.into()),
        ("namespace".to_owned(), plain::name(&violation.namespace).into()),
    ]);
    if let Some(cluster) = &violation.cluster {
        properties.insert("cluster".to_owned(), plain::name(cluster).into());
    }
    let properties = PropertyBag::builder().additional_properties(properties).build();
    Result::builder()
        .rule_id(plain::name(&violation.check))
        .level(match Level::from(violation.severity) {
            Level::Error => ResultLevel::Error,
            Level::Warning => ResultLevel::Warning,
            Level::Note => ResultLevel::Note,
        })
        .message(message(&super::sentence(violation, MAX_MESSAGE_LENGTH)))
        .locations(vec![location])
        .partial_fingerprints(fingerprints(fingerprint(violation, seen)))
        .properties(properties)
        .build()
}

/// Returns the identifiers of a result. GitHub only compares that with the name of its own, which it computes from the text of the line
/// if there is none: <https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning>
fn fingerprints(fingerprint: String) -> BTreeMap<String, String> {
    let names = ["primaryLocationLineHash", "violation/v1"];
    names.map(|name| (name.to_owned(), fingerprint.clone())).into()
}

/// Returns an identifier of the violation that does not depend on line numbers and messages. Violations with equal
/// identifiers are numbered.
fn fingerprint(violation: &Violation, seen: &mut HashMap<[u8; 32], usize>) -> String {
    let Violation { check, cluster, namespace, kind, name, container, field, .. } = violation;
    let mut hasher = Sha256::new();
    // Only if there is one, so that the identifiers of manifests do not depend on the existence of this part.
    let cluster = cluster.as_deref().map(Some);
    let parts = [Some(&**check), Some(namespace), Some(kind), Some(name), container.as_deref(), field.as_deref()];
    for part in parts.into_iter().chain(cluster) {
        // The lengths delimit the parts, regardless of their content.
        hasher.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hasher.update(part.unwrap_or_default());
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let number = seen.entry(digest).and_modify(|number| *number += 1).or_insert(1);
    format!("{}:{number}", hexadecimal(&digest[..16]))
}

fn physical_location(place: Place) -> PhysicalLocation {
    let region = Region::builder().start_line(place.line.max(1) as i64).build();
    // GitHub rejects a whole file with a result that has no physical location.
    let path = place.path().unwrap_or(STANDARD_INPUT.into());
    let artifact = ArtifactLocation::builder().uri(uri(&path)).build();
    PhysicalLocation::builder().artifact_location(artifact).region(region).build()
}

fn uri(path: &str) -> String {
    const IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    format!("{scheme}{}", utf8_percent_encode(path, IN_PATHS))
}

fn message(text: &str) -> Message {
    Message::builder().text(plain_text(text)).build()
}

/// Returns a text without links: viewers render `[text](address)` as a link, even in plain text.
fn plain_text(text: &str) -> String {
    plain::one_line(text, MAX_MESSAGE_LENGTH).replace("](", "] (")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kube_devops_core::Severity;
    use serde_json::Value;

    use super::super::Format;
    use super::super::fixture::{assert_escaped, clean, hostile, report, show, violation};
    use super::*;

    fn log(report: &Report) -> Value {
        serde_json::from_str(&show(Format::Sarif, report)).expect("SARIF is JSON")
    }

    #[test]
    fn sarif_contains_the_whole_report() {
        let text = show(Format::Sarif, &report());
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "[version]"));
    }

    #[test]
    fn sarif_follows_the_schema() {
        let schema = include_str!("../../../../tests/schemas/sarif-2.1.0.json");
        // This pattern is not valid ECMAScript; OASIS fixed it in the errata.
        let schema = schema.replace("^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$", "^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
        let schema: Value = serde_json::from_str(&schema).expect("a schema is JSON");
        let validator =
            jsonschema::options().should_validate_formats(true).build(&schema).expect("the schema is valid");
        for report in [report(), clean(), hostile(), Report::new(&[], Vec::new(), Default::default(), Vec::new())] {
            let log = log(&report);
            let errors: Vec<String> =
                validator.iter_errors(&log).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{errors:#?}");
        }
        assert!(!validator.is_valid(&serde_json::json!({ "version": "2.1.0", "runs": [{ "results": [] }] })));
    }

    #[test]
    fn sarif_results_reference_their_rules() {
        let log = log(&report());
        let run = &log["runs"][0];
        let results = run["results"].as_array().expect("results");
        assert_eq!(results.len(), report().violations.len());
        for result in results {
            let index = result["ruleIndex"].as_u64().expect("an index") as usize;
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
    }

    fn fingerprints(report: &Report) -> Vec<Value> {
        let log = log(report);
        let results = log["runs"][0]["results"].as_array().expect("results");
        results.iter().map(|result| result["partialFingerprints"]["violation/v1"].clone()).collect()
    }

    #[test]
    fn sarif_fingerprints_are_stable_and_unique() {
        let mut report = report();
        let before = fingerprints(&report);
        assert_eq!(before.iter().map(Value::to_string).collect::<HashSet<_>>().len(), report.violations.len());
        for violation in &mut report.violations {
            violation.message = format!("{} now", violation.message).into();
            if let Some(source) = &mut violation.source {
                source.line += 10;
            }
        }
        assert_eq!(fingerprints(&report), before);
        report.violations.push(report.violations[0].clone());
        let twice = fingerprints(&report);
        assert_ne!(twice.first(), twice.last());
    }

    #[test]
    fn the_same_violation_in_another_cluster_has_another_identifier() {
        let here = violation("latest-tag", Severity::High, 5, "no tag");
        let there = Violation { cluster: Some("there".into()), ..here.clone() };
        let elsewhere = Violation { cluster: Some("elsewhere".into()), ..here.clone() };
        let mut seen = HashMap::new();
        let identifiers = [&here, &there, &elsewhere].map(|violation| fingerprint(violation, &mut seen));
        assert!(identifiers.iter().all(|identifier| identifier.ends_with(":1")), "{identifiers:?}");
    }

    #[test]
    fn sarif_encodes_paths_as_uris() {
        assert_eq!(uri("a/größe b/c:d%.yaml"), "a/gr%C3%B6%C3%9Fe%20b/c%3Ad%25.yaml");
        assert_eq!(uri("/a/b.yaml"), "file:///a/b.yaml");
        assert_eq!(pascal_case("latest-tag"), "LatestTag");
        assert!(!is_web_url("javascript:alert(1)") && !is_web_url("https://a b"));
    }

    #[test]
    fn sarif_escapes_malicious_input() {
        let text = show(Format::Sarif, &hostile());
        assert_escaped(&text);
        for line in text.lines().filter(|line| line.trim_start().starts_with("\"text\"")) {
            assert!(!line.contains("](http"), "a link: {line}");
        }
        assert!(text.len() < 100_000, "{}", text.len());
    }
}
