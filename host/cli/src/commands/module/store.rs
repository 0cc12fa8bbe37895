//! `module list` and `module prune`: the store of pulled modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Result;
use chrono::DateTime;
use kube_devops_engine::{Engine, Limits};
use kube_devops_oci::Digest;
use kube_devops_oci::store::Record;
use serde_json::json;

use super::super::{Outcome, print};
use crate::arguments::{InspectFormat, ModuleListArguments, ModulePruneArguments};
use crate::modules::registry;
use crate::output::number;

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
    let reference = |record: &Record| {
        let tag = record.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        format!("oci://{}{tag}", record.repository)
    };
    let width = records.iter().map(|record| reference(record).len()).max().unwrap_or_default();
    let mut text = format!("{:width$}  {:19}  {:>10}  {:16}  SIGNED\n", "MODULE", "MANIFEST", "BYTES", "PULLED");
    for record in records {
        let manifest: String = record.manifest.as_str().chars().take(19).collect();
        let pulled = DateTime::from_timestamp(record.pulled, 0).map(|time| time.format("%Y-%m-%d %H:%M").to_string());
        let signed = if record.signers.is_empty() { "no" } else { "yes" };
        let (name, pulled) = (reference(record), pulled.unwrap_or_default());
        let _ = writeln!(text, "{name:width$}  {manifest}  {:>10}  {pulled:16}  {signed}", record.size);
    }
    text
}

/// Removes what is not used.
pub fn prune(arguments: &ModulePruneArguments) -> Result<Outcome> {
    let folder = arguments.cache.folder()?;
    let store = registry::store(&folder);
    let kept = if arguments.all { BTreeSet::new() } else { current(&store.list()?) };
    let removed = store.retain(|record| kept.contains(&record.manifest))?;
    let components = store.list()?.iter().map(|record| record.component.to_string()).collect();
    Engine::with_cache(Limits::default(), Some(&folder))?.retain_compiled(&components);
    let bytes: u64 = removed.iter().map(|record| record.size).sum();
    print(&format!("{} removed, {bytes} bytes\n", number(removed.len(), "module")))
}

/// Returns the manifests of the newest version of each tag, and of all versions that were pulled by digest.
fn current(records: &[Record]) -> BTreeSet<Digest> {
    let mut newest: BTreeMap<(&str, &str), &Record> = BTreeMap::new();
    let mut kept = BTreeSet::new();
    for record in records {
        match &record.tag {
            None => {
                kept.insert(record.manifest.clone());
            }
            Some(tag) => {
                let known = newest.entry((&record.repository, tag)).or_insert(record);
                if record.pulled >= known.pulled {
                    *known = record;
                }
            }
        }
    }
    kept.extend(newest.values().map(|record| record.manifest.clone()));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tag: Option<&str>, content: &str, pulled: i64) -> Record {
        Record {
            repository: "host.example/checks".to_owned(),
            tag: tag.map(str::to_owned),
            manifest: Digest::of(content.as_bytes()),
            component: Digest::of(content.as_bytes()),
            size: 1,
            signers: BTreeSet::new(),
            pulled,
        }
    }

    #[test]
    fn the_newest_version_of_a_tag_and_versions_without_tag_are_current() {
        let records = [
            record(Some("1"), "old", 1),
            record(Some("1"), "new", 2),
            record(Some("2"), "other", 1),
            record(None, "pinned", 1),
        ];
        let expected = ["new", "other", "pinned"].map(|content| Digest::of(content.as_bytes()));
        assert_eq!(current(&records), BTreeSet::from(expected));
    }

    #[test]
    fn the_list_aligns_columns() {
        let listed = text(&[record(Some("1"), "a", 0), record(None, "b", 0)]);
        let lines: Vec<&str> = listed.lines().collect();
        assert!(lines[1].starts_with("oci://host.example/checks:1  sha256:"), "{listed}");
        assert_eq!(lines[0].find("PULLED"), lines[1].find("1970-01-01 00:00"), "{listed}");
    }
}
