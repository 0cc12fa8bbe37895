//! `module list` and `module prune`: the store of pulled modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Result;
use chrono::DateTime;
use kube_devops_core::text::number;
use kube_devops_engine::{Compiler, Engine, Limits};
use kube_devops_oci::Digest;
use kube_devops_oci::store::Record;
use serde_json::json;

use super::super::{Outcome, print};
use crate::arguments::{InspectFormat, ModuleListArguments, ModulePruneArguments};
use crate::modules::registry;

/// Lists the modules.
pub fn list(arguments: &ModuleListArguments) -> Result<Outcome> {
    let records = arguments.cache.store()?.list()?;
    print(&match arguments.output {
        InspectFormat::Text => text(&records),
        InspectFormat::Json => format!("{:#}\n", json!(records)),
    })
}

fn text(records: &[Record]) -> String {
    if records.is_empty() {
        return "The store contains no modules.\n".to_owned();
    }
    let rows: Vec<(String, &Record)> = records.iter().flat_map(rows).collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = format!("{:width$}  {:19}  {:>10}  {:16}  SIGNED\n", "MODULE", "MANIFEST", "BYTES", "PULLED");
    for (name, record) in rows {
        let manifest: String = record.manifest.as_str().chars().take(19).collect();
        let pulled = DateTime::from_timestamp(record.pulled, 0).map(|time| time.format("%Y-%m-%d %H:%M").to_string());
        let signed = if record.signers.is_empty() { "no" } else { "yes" };
        let pulled = pulled.unwrap_or_default();
        let _ = writeln!(text, "{name:width$}  {manifest}  {:>10}  {pulled:16}  {signed}", record.size);
    }
    text
}

/// Returns one row for each tag, or one without a tag.
fn rows(record: &Record) -> Vec<(String, &Record)> {
    let name = |tag: &str| format!("oci://{}{tag}", record.repository);
    if record.tags.is_empty() {
        return vec![(name(""), record)];
    }
    record.tags.iter().map(|tag| (name(&format!(":{tag}")), record)).collect()
}

/// Removes what is not used.
pub fn prune(arguments: &ModulePruneArguments) -> Result<Outcome> {
    let folder = arguments.cache.folder()?;
    let store = registry::store(&folder);
    let kept = if arguments.all { BTreeSet::new() } else { current(&store.list()?) };
    let removed = store.retain(|record| kept.contains(&identity(record)))?;
    let components = store.list()?.iter().map(|record| record.component.to_string()).collect();
    Engine::with(Limits::default(), Some(&folder), Compiler::Here)?.retain_compiled(&components);
    print(&format!("{} removed, {} bytes\n", number(removed.records.len(), "module"), removed.bytes))
}

/// What identifies a module in the store.
fn identity(record: &Record) -> (String, Digest) {
    (record.repository.clone(), record.manifest.clone())
}

/// Returns the newest version of each tag, and all versions that were pulled by digest.
fn current(records: &[Record]) -> BTreeSet<(String, Digest)> {
    // Records of earlier versions of the program can have the same tag.
    let mut newest: BTreeMap<(&str, &str), &Record> = BTreeMap::new();
    for record in records {
        for tag in &record.tags {
            let known = newest.entry((&record.repository, tag)).or_insert(record);
            if record.pulled >= known.pulled {
                *known = record;
            }
        }
    }
    let pinned = records.iter().filter(|record| record.by_digest);
    newest.into_values().chain(pinned).map(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tags: &[&str], content: &str, pulled: i64) -> Record {
        Record {
            repository: "host.example/checks".to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            by_digest: false,
            manifest: Digest::of(content.as_bytes()),
            component: Digest::of(content.as_bytes()),
            size: 1,
            signers: BTreeSet::new(),
            pulled,
        }
    }

    #[test]
    fn the_newest_version_of_a_tag_and_versions_pulled_by_digest_are_current() {
        let elsewhere = |record| Record { repository: "host.example/other".to_owned(), ..record };
        let records = [
            record(&["1"], "old", 1),
            record(&["1"], "new", 2),
            record(&["2", "3"], "other", 1),
            record(&["3"], "newest", 2),
            record(&[], "moved", 3),
            Record { by_digest: true, ..record(&[], "pinned", 1) },
            Record { by_digest: true, ..record(&["1"], "both", 1) },
            elsewhere(record(&[], "new", 2)),
        ];
        let expected = ["new", "other", "newest", "pinned", "both"];
        let expected = expected.map(|content| ("host.example/checks".to_owned(), Digest::of(content.as_bytes())));
        assert_eq!(current(&records), BTreeSet::from(expected));
    }

    #[test]
    fn the_list_aligns_columns() {
        let listed = text(&[record(&["1", "2"], "a", 0), record(&[], "b", 0)]);
        let lines: Vec<&str> = listed.lines().collect();
        assert!(lines[1].starts_with("oci://host.example/checks:1  sha256:"), "{listed}");
        assert!(lines[2].starts_with("oci://host.example/checks:2  sha256:"), "{listed}");
        assert_eq!(lines[0].find("PULLED"), lines[3].find("1970-01-01 00:00"), "{listed}");
    }
}
