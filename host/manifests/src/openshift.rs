//! OpenShift templates: objects with parameters, which are replaced with their default values.
//!
//! <https://docs.openshift.com/container-platform/latest/openshift_images/using-templates.html>

use std::collections::HashMap;

use crate::problem::Problem;
use crate::scalar;
use crate::tree::{Item, Replacement, Scalar, Tree};

/// The default values of the parameters of a template.
type Parameters<'t> = HashMap<&'t str, &'t str>;

/// The values of the parameters exceed the limit.
struct TooLarge;

/// Returns the `objects` of a template, with the default values of its parameters. `budget` is the maximum size of the
/// values in all places, in bytes, and is reduced by their size; `limit` is the maximum of the document, for the message.
pub(crate) fn objects(
    template: Item<'_>,
    objects: Item<'_>,
    budget: &mut usize,
    limit: usize,
) -> Result<Tree, Problem> {
    let parameters = parameters(template);
    objects.copy(|text| process(text, &parameters, budget)).map_err(|(line, TooLarge)| {
        let message = format!(
            "the parameters (${{NAME}}) of this document expand to more than {} MiB; write out the values, or use fewer \
             parameters",
            limit >> 20
        );
        Problem::at(line, message)
    })
}

fn parameters(template: Item<'_>) -> Parameters<'_> {
    let parameters = template.get("parameters").into_iter().flat_map(Item::items);
    parameters.filter_map(|parameter| Some((parameter.text_of("name"), parameter.get("value")?.text()?))).collect()
}

/// Replaces the parameters in a string with their values, or returns `None` if it has no parameters. `${NAME}` is a
/// string, and `${{NAME}}`, if it is the whole string, a value of any type.
fn process(text: &str, parameters: &Parameters<'_>, budget: &mut usize) -> Result<Option<Replacement>, TooLarge> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut spend = |value: &str| {
        *budget = budget.checked_sub(value.len()).ok_or(TooLarge)?;
        Ok(())
    };
    let whole = text.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    if let Some(value) = whole.and_then(|name| parameters.get(name)) {
        spend(value)?;
        return Ok(Some(match scalar::resolve(value, None, true) {
            Ok(Scalar::Integer(number)) => Replacement::Integer(number),
            Ok(Scalar::Bool(value)) => Replacement::Bool(value),
            _ => Replacement::Text((*value).to_owned()),
        }));
    }
    let mut processed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        processed.push_str(before);
        // A search for the brace instead would read the rest of the text again for each `${` without one.
        let length = after.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (name, end) = after.split_at(length);
        let value = end.strip_prefix('}').and_then(|after| Some((parameters.get(name)?, after)));
        rest = match value {
            Some((value, after)) => {
                spend(value)?;
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
    Ok(Some(Replacement::Text(processed)))
}
