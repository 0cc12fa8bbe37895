//! Templates of OpenShift: objects with parameters, of which the default values count.
//!
//! <https://docs.openshift.com/container-platform/latest/openshift_images/using-templates.html>

use std::collections::HashMap;

use crate::scalar;
use crate::tree::{Item, Replacement, Scalar};

/// The default values of the parameters of a template.
pub(crate) fn parameters(template: Item<'_>) -> HashMap<String, String> {
    let parameters = template.get("parameters").into_iter().flat_map(Item::items);
    let default = |parameter: Item<'_>| {
        let name = parameter.text_of("name");
        let value = parameter.get("value").and_then(Item::text);
        value.map(|value| (name.to_owned(), value.to_owned()))
    };
    parameters.filter_map(default).collect()
}

/// A text with the values of its parameters; none where it has no parameter with a value. `${NAME}` stands for text, and a
/// text that is nothing but `${{NAME}}` for a value of any type.
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
    while let Some((before, behind)) = rest.split_once("${") {
        processed.push_str(before);
        let value = behind.split_once('}').and_then(|(name, behind)| Some((parameters.get(name)?, behind)));
        rest = match value {
            Some((value, behind)) => {
                processed.push_str(value);
                behind
            }
            None => {
                processed.push_str("${");
                behind
            }
        };
    }
    processed.push_str(rest);
    Some(Replacement::Text(processed))
}
