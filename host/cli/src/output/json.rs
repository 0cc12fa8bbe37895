//! The report as JSON, and the JSON writer of all formats.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};

use super::{Shown, plain};

/// Writes the report.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    write_value(shown.report, out)
}

/// Writes a value as pretty-printed JSON that is safe to print on a terminal.
pub fn write_value(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, EscapingFormatter(PrettyFormatter::new())))?;
    writeln!(out)
}

/// The pretty-printed form with more characters escaped; the decoded values are the same.
struct EscapingFormatter(PrettyFormatter<'static>);

impl Formatter for EscapingFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.0.write_string_fragment(writer, &plain::escape_beyond_ascii(fragment))
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use kube_devops_core::Report;
    use serde_json::Value;

    use super::super::Format;
    use super::super::fixture::{MALICIOUS, assert_escaped, clean, clusters, hostile, report, show};

    const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/report.schema.json");

    #[test]
    fn the_report_schema_is_up_to_date() {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Report)).expect("a schema is JSON") + "\n";
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(SCHEMA, schema).expect("docs/ can be written");
        } else {
            let stored = fs::read_to_string(SCHEMA).unwrap_or_default();
            assert!(
                stored == schema,
                "docs/report.schema.json is outdated: run the tests with UPDATE_DOCS=1 and commit the result"
            );
        }
    }

    #[test]
    fn json_and_yaml_reports_follow_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(Report)).expect("a schema is JSON");
        let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
        for report in [report(), clean(), clusters(), hostile(), Report::new(&[], Vec::new(), Default::default())] {
            for format in [Format::Json, Format::Yaml] {
                let text = show(format, &report);
                let value: Value = serde_norway::from_str(&text).expect("JSON is YAML");
                let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{errors:#?}");
            }
        }
        assert!(!validator.is_valid(&serde_json::json!({ "score": 100 })));
    }

    #[test]
    fn json_and_yaml_contain_the_whole_report() {
        for report in [report(), clusters()] {
            for format in [Format::Json, Format::Yaml] {
                let read: Report = serde_norway::from_str(&show(format, &report)).expect("it can be read");
                assert_eq!(read, report, "{format:?}");
            }
        }
    }

    #[test]
    fn a_report_on_one_cluster_does_not_mention_clusters() {
        assert!(!show(Format::Json, &report()).contains("\"cluster"));
        assert!(!show(Format::Sarif, &report()).contains("cluster"));
    }

    #[test]
    fn json_and_yaml_escape_malicious_input_without_changing_it() {
        let report = hostile();
        let text = show(Format::Json, &report);
        assert_escaped(&text);
        let read: Report = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(&*read.violations[0].message, MALICIOUS);
        assert_eq!(read.errors, report.errors);
        assert_escaped(&show(Format::Yaml, &report));
    }
}
