//! OpenShift templates: objects with parameters, which are replaced with their default values.
//!
//! <https://docs.openshift.com/container-platform/latest/openshift_images/using-templates.html>

use std::collections::HashMap;

use crate::scalar;
use crate::tree::{Item, Replacement, Scalar};

/// Returns the default values of the parameters of a template.
pub(crate) fn parameters(template: Item<'_>) -> HashMap<String, String> {
    let parameters = template.get("parameters").into_iter().flat_map(Item::items);
    let default = |parameter: Item<'_>| {
        let name = parameter.text_of("name");
        let value = parameter.get("value").and_then(Item::text);
        value.map(|value| (name.to_owned(), value.to_owned()))
    };
    parameters.filter_map(default).collect()
}

/// Replaces the parameters in a string with their values, or returns `None` if it has no parameters. `${NAME}` is a
/// string, and `${{NAME}}`, if it is the whole string, a value of any type.
pub(crate) fn process(text: &str, parameters: &HashMap<String, String>) -> Option<Replacement> {
    if !text.contains("${") {
        return None;
    }
    let whole = text.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    if let Some(value) = whole.and_then(|name| parameters.get(name)) {
        return Some(match scalar::resolve(value, None, true) {
            Ok(Scalar::Integer(number)) => Replacement::Integer(number),
            Ok(Scalar::Bool(value)) => Replacement::Bool(value),
            _ => Replacement::Text(value.clone()),
        });
    }
    let mut processed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        processed.push_str(before);
        let value = after.split_once('}').and_then(|(name, after)| Some((parameters.get(name)?, after)));
        rest = match value {
            Some((value, after)) => {
                processed.push_str(value);
                after
            }
            None => {
                processed.push_str("${");
                after
            }
        };
    }
    processed.push_str(rest);
    Some(Replacement::Text(processed))
}
