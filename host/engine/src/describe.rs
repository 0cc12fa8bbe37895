//! What modules say of themselves is checked before anybody sees it.

use kube_devops_core::text::{cut, escape_controls};
use kube_devops_core::{CheckInfo, Stage};
use serde_json::Value;

use crate::LoadError;
use crate::bindings::check::exports::devops::policy::check;
use crate::convert;

/// The longest id of a check or name of a bundle, in bytes: that of a DNS label.
const LONGEST_NAME: usize = 63;
/// The longest title, in bytes.
const LONGEST_TITLE: usize = 120;
/// The longest other text, in bytes.
const LONGEST_TEXT: usize = 16 * 1024;
/// The highest weight of a check; a single violation that costs more than 100 could not show.
const HIGHEST_WEIGHT: u32 = 100;

/// The description of a check, or what is wrong with it.
pub fn check(info: check::Info) -> Result<CheckInfo, LoadError> {
    name("id", &info.id)?;
    text("title", &info.title, LONGEST_TITLE, true)?;
    text("description", &info.description, LONGEST_TEXT, true)?;
    text("rationale", &info.rationale, LONGEST_TEXT, false)?;
    text("remedy", &info.remedy, LONGEST_TEXT, false)?;
    if info.weight > HIGHEST_WEIGHT {
        return refuse(format!("the weight {} is over {HIGHEST_WEIGHT}", info.weight));
    }
    if let Some(url) = &info.url {
        text("url", url, LONGEST_TEXT, true)?;
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return refuse(format!("the url {url:?} does not start with https://"));
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
        remediates: info.remediates,
        url: info.url,
    })
}

/// A name that can stand in a metric's label, a file name and a field of a policy.
pub fn name(what: &str, name: &str) -> Result<(), LoadError> {
    let parts_are_fine = name
        .split('-')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    if name.len() <= LONGEST_NAME && parts_are_fine {
        return Ok(());
    }
    let shown = escape_controls(&cut(name, LONGEST_NAME));
    refuse(format!(
        "the {what} \"{shown}\" must be lower case letters, digits and single dashes, at most {LONGEST_NAME} of them"
    ))
}

/// A text for people. Those of one line must not break it; no text may control a terminal.
pub fn text(what: &str, text: &str, longest: usize, one_line: bool) -> Result<(), LoadError> {
    if text.trim().is_empty() {
        return refuse(format!("the {what} is empty"));
    }
    if text.len() > longest {
        return refuse(format!("the {what} is {} bytes long; at most {longest} are allowed", text.len()));
    }
    let lines = if one_line { text.to_owned() } else { text.replace('\n', " ") };
    if escape_controls(&lines) != lines {
        return refuse(format!("the {what} contains control characters"));
    }
    Ok(())
}

/// JSON text of an object.
pub fn object(what: &str, text: &str) -> Result<Value, LoadError> {
    if text.len() > LONGEST_TEXT {
        return refuse(format!("the {what} is {} bytes long; at most {LONGEST_TEXT} are allowed", text.len()));
    }
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => refuse(format!("the {what} is not a JSON object")),
        Err(error) => refuse(format!("the {what} is not JSON: {error}")),
    }
}

fn refuse<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError::Description(reason))
}
