//! The report as JSON, and the JSON writer of all formats.

use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::{Shown, plain};

/// Writes the report.
pub fn write(shown: &Shown, out: &mut dyn Write) -> io::Result<()> {
    write_value(shown.report, out)
}

/// Writes a value as pretty-printed JSON that is safe to print on a terminal.
pub fn write_value(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    // The serializer writes a few bytes at a time: into a buffer whose type it knows, this takes half the time.
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    value.serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::default()))?;
    writeln!(out)?;
    out.flush()
}

/// The pretty-printed form of `serde_json` with more characters escaped; the decoded values are the same. Unlike that of
/// `serde_json`, it writes the start of a line at once.
#[derive(Default)]
struct PrettyFormatter {
    depth: usize,
    has_value: bool,
}

/// A comma, a line break and the indentation of the first levels.
const LINE_START: &str = ",\n                                ";
/// The indentation of a level.
const INDENTATION: &str = "  ";

impl PrettyFormatter {
    fn begin(&mut self, writer: &mut (impl ?Sized + Write), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(bracket)
    }

    fn end(&mut self, writer: &mut (impl ?Sized + Write), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.line(writer, true)?;
        }
        writer.write_all(bracket)
    }

    /// Starts a line, after a comma unless it is the first in its list or map, or the last.
    fn line(&self, writer: &mut (impl ?Sized + Write), is_first: bool) -> io::Result<()> {
        let start = &LINE_START.as_bytes()[usize::from(is_first)..];
        let width = 2 - usize::from(is_first) + INDENTATION.len() * self.depth;
        writer.write_all(&start[..width.min(start.len())])?;
        for _ in 0..width.saturating_sub(start.len()) / INDENTATION.len() {
            writer.write_all(INDENTATION.as_bytes())?;
        }
        Ok(())
    }
}

impl Formatter for PrettyFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        writer.write_all(plain::escape_beyond_ascii(fragment).as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.line(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.line(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
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
        for report in
            [report(), clean(), clusters(), hostile(), Report::new(&[], Vec::new(), Default::default(), Vec::new())]
        {
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

    #[test]
    fn the_layout_is_that_of_serde_json() {
        let nested =
            (0..40).fold(serde_json::json!({ "a": [], "b": {}, "c": "x" }), |value, _| serde_json::json!([1, value]));
        for value in [nested, serde_json::json!([]), serde_json::json!({ "a": { "b": [1, "é", null] } })] {
            let mut text = Vec::new();
            super::write_value(&value, &mut text).expect("it can be written");
            let expected = serde_json::to_string_pretty(&value).expect("a value is JSON") + "\n";
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }
}
