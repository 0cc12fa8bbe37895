//! Validation of the descriptions of modules, before they are used or shown.

use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::{CheckInfo, Stage};
use serde_json::Value;
use wasmtime::component::Component;

use crate::bindings::check::exports::devops::policy::check;
use crate::convert;
use crate::{Engine, LoadError};

/// The maximum length of the id of a check or the name of a bundle, in bytes: that of a DNS label.
const MAX_NAME: usize = 63;
/// The maximum length of a title, in bytes.
pub const MAX_TITLE: usize = 120;
/// The maximum length of another text, in bytes.
pub const MAX_TEXT: usize = 16 * 1024;
/// The highest weight of a check: the health score cannot express a violation that costs more than 100.
const MAX_WEIGHT: u32 = 100;

/// The maximum length of all texts of a component, in bytes.
const MAX_TEXTS: usize = 1024 * 1024;
/// The maximum length of all schemas and default settings of a component, in bytes. As values, they need up to a hundred times as much
/// memory.
const MAX_JSON: usize = 256 * 1024;
/// The maximum number of checks of a component.
const MAX_CHECKS: usize = 256;
/// The version of the contract that the host implements, without its last number: later ones only add to it.
const VERSION: &str = "0.2";

/// Validates that a component exports an interface of the contract in a version that the host implements.
pub fn version(engine: &Engine, component: &Component, interface: &str) -> Result<(), LoadError> {
    let prefix = format!("devops:policy/{interface}@");
    let shape = component.component_type();
    let found: Vec<String> = shape
        .exports(engine.wasmtime())
        .filter_map(|(name, _)| name.strip_prefix(&prefix).map(|version| escape_controls(&cut(version, MAX_NAME))))
        .collect();
    let is_supported = |version: &String| version.strip_prefix(VERSION).is_some_and(|rest| rest.starts_with('.'));
    match found.first() {
        // The error of the linker names the missing export.
        None => Ok(()),
        Some(_) if found.iter().any(is_supported) => Ok(()),
        Some(version) => Err(LoadError::Version { found: version.clone(), supported: VERSION }),
    }
}

/// Validates the metadata of the checks of a component.
pub fn checks(infos: Vec<check::Info>) -> Result<Vec<CheckInfo>, LoadError> {
    if infos.is_empty() || infos.len() > MAX_CHECKS {
        return invalid(format!("it describes {} checks; 1 to {MAX_CHECKS} are allowed", infos.len()));
    }
    // Before anything is parsed: it needs memory of this process.
    total("texts", &infos, texts, MAX_TEXTS)?;
    total("schemas and default settings", &infos, json, MAX_JSON)?;
    let infos = infos.into_iter().map(check).collect::<Result<Vec<_>, _>>()?;
    let mut ids: Vec<&str> = infos.iter().map(|info| info.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return invalid(format!("it describes check {} twice", pair[0]));
    }
    Ok(infos)
}

/// Validates the length of a part of all descriptions together.
fn total(what: &str, infos: &[check::Info], length: fn(&check::Info) -> usize, max: usize) -> Result<(), LoadError> {
    let total: usize = infos.iter().map(length).sum();
    if total <= max { Ok(()) } else { invalid(format!("its {what} have {total} bytes; at most {max} are allowed")) }
}

fn texts(info: &check::Info) -> usize {
    let texts = [&info.id, &info.title, &info.description, &info.rationale, &info.remedy];
    texts.into_iter().chain(&info.url).map(String::len).sum()
}

fn json(info: &check::Info) -> usize {
    info.settings_schema.len() + info.default_settings.len()
}

/// Validates the metadata of a check.
fn check(info: check::Info) -> Result<CheckInfo, LoadError> {
    name("id", &info.id)?;
    text("title", &info.title, MAX_TITLE, true)?;
    text("description", &info.description, MAX_TEXT, true)?;
    text("rationale", &info.rationale, MAX_TEXT, false)?;
    text("remedy", &info.remedy, MAX_TEXT, false)?;
    if info.weight > MAX_WEIGHT {
        return invalid(format!("weight {} exceeds the maximum of {MAX_WEIGHT}", info.weight));
    }
    if let Some(url) = &info.url {
        text("url", url, MAX_TEXT, true)?;
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return invalid(format!("url {url:?} does not start with https:// or http://"));
        }
    }
    Ok(CheckInfo {
        settings_schema: object("settings schema", &info.settings_schema)?,
        default_settings: object("default settings", &info.default_settings)?,
        id: info.id,
        title: info.title,
        description: info.description,
        rationale: info.rationale,
        remedy: info.remedy,
        stage: match info.stage {
            check::Stage::Spec => Stage::Spec,
            check::Stage::Runtime => Stage::Runtime,
        },
        severity: convert::severity(info.severity),
        weight: info.weight,
        needs_annotations: info.needs_annotations,
        remediates: info.remediates,
        url: info.url,
    })
}

/// Validates a name, which must be usable as the value of a metric label, a file name and a field of a policy.
pub fn name(what: &str, name: &str) -> Result<(), LoadError> {
    let parts_are_valid = name
        .split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    if name.len() <= MAX_NAME && parts_are_valid {
        return Ok(());
    }
    let shown = escape_controls(&cut(name, MAX_NAME));
    invalid(format!(
        "{what} \"{shown}\" must consist of at most {MAX_NAME} lower-case letters, digits and single dashes"
    ))
}

/// Validates a text for people: no control characters, and no line breaks with `one_line`.
pub fn text(what: &str, text: &str, max: usize, one_line: bool) -> Result<(), LoadError> {
    if text.trim().is_empty() {
        return invalid(format!("{what} is empty"));
    }
    if text.len() > max {
        return invalid(format!("{what} has {} bytes; at most {max} are allowed", text.len()));
    }
    let lines = if one_line { text.to_owned() } else { text.replace('\n', " ") };
    if escape_controls(&lines) != lines {
        return invalid(format!("{what} contains control characters"));
    }
    Ok(())
}

/// Parses the JSON text of an object.
pub fn object(what: &str, text: &str) -> Result<Value, LoadError> {
    if text.len() > MAX_TEXT {
        return invalid(format!("{what} has {} bytes; at most {MAX_TEXT} are allowed", text.len()));
    }
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => invalid(format!("{what} must be a JSON object")),
        Err(error) => invalid(format!("{what} is not valid JSON: {error}")),
    }
}

fn invalid<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError::Description(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptions_of_a_component_are_limited_together() {
        let info = |index: usize, text: usize, json: usize| check::Info {
            id: format!("check-{index}"),
            title: "Title".to_owned(),
            description: "x".repeat(text),
            rationale: "Rationale".to_owned(),
            remedy: "Remedy".to_owned(),
            stage: check::Stage::Spec,
            severity: check::Severity::Low,
            weight: 1,
            settings_schema: format!("{{}}{}", " ".repeat(json)),
            default_settings: "{}".to_owned(),
            needs_annotations: false,
            remediates: false,
            url: None,
        };
        let error = |count, text, json| {
            let infos = (0..count).map(|index| info(index, text, json)).collect();
            checks(infos).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(error(MAX_CHECKS, 2000, 900), "", "an ordinary component");
        assert!(error(70, MAX_TEXT, 0).contains("its texts have"), "{}", error(70, MAX_TEXT, 0));
        assert!(error(17, 1, MAX_TEXT - 2).contains("its schemas and default settings have"));
    }
}
