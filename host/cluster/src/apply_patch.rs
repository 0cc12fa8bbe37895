//! The body of a server-side apply.

use kube::Error;
use kube::api::Patch;
use serde::Serialize;
use serde_json::value::RawValue;

/// Returns the patch that applies an object.
///
/// API servers read the body of an apply as YAML, even if it is JSON. Its strings are written such that YAML reads the same: without
/// escapes, YAML rejects control characters that JSON allows, such as U+0081, and folds spaces before the line separators U+0085,
/// U+2028 and U+2029.
///
/// # Errors
///
/// If the object cannot be serialized.
pub fn apply_patch(object: &impl Serialize) -> Result<Patch<Box<RawValue>>, Error> {
    let json = serde_json::to_string(object).map_err(Error::SerdeError)?;
    let json = RawValue::from_string(escaped(json)).map_err(Error::SerdeError)?;
    Ok(Patch::Apply(json))
}

/// Escapes the characters that are not ASCII, which are only within strings, except for those that YAML cannot escape: it has no
/// surrogate pairs.
fn escaped(json: String) -> String {
    let must_escape = |character: &char| ('\u{7f}'..='\u{ffff}').contains(character);
    if !json.chars().any(|character| must_escape(&character)) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if must_escape(&character) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn body(object: &Value) -> String {
        let Patch::Apply(body) = apply_patch(object).unwrap() else { panic!() };
        serde_json::to_string(&body).unwrap()
    }

    #[test]
    fn characters_that_yaml_reads_in_another_way_are_escaped() {
        let object = json!({ "a": "x \u{2028} y\u{81}\u{7f}\u{fffe}é\u{1f600}", "ü": 1 });
        assert_eq!(body(&object), "{\"a\":\"x \\u2028 y\\u0081\\u007f\\ufffe\\u00e9\u{1f600}\",\"\\u00fc\":1}");
    }

    proptest! {
        #[test]
        fn the_body_is_the_same_object_in_json_and_yaml(text in any::<String>()) {
            let object = json!({ "key": text });
            let body = body(&object);
            prop_assert_eq!(&serde_json::from_str::<Value>(&body).unwrap(), &object);
            prop_assert_eq!(&serde_norway::from_str::<Value>(&body).unwrap(), &object);
        }
    }
}
