//! Label selectors in the syntax of kubectl: `app=web,tier!=cache,env in (a,b),!legacy`.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::{Expression, Selector, SelectorExt};

/// A label selector that is evaluated without a cluster.
#[derive(Debug, Clone)]
pub struct LabelSelector(Selector);

/// An invalid requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{requirement:?} is not a label requirement: use key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
)]
pub struct SelectorError {
    requirement: String,
}

impl LabelSelector {
    /// Parses a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let requirements = split(text);
        requirements.into_iter().map(requirement).collect::<Result<Vec<_>, _>>().map(|expressions| {
            let mut selector = Selector::default();
            selector.extend(expressions);
            Self(selector)
        })
    }

    /// Whether the labels meet every requirement.
    pub fn matches(&self, labels: &[(String, String)]) -> bool {
        let labels: BTreeMap<String, String> = labels.iter().cloned().collect();
        self.0.matches(&labels)
    }
}

/// Returns the requirements of a selector: the parts between commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let parts = text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(text: &str) -> Result<Expression, SelectorError> {
    let error = || SelectorError { requirement: text.to_owned() };
    let name = |name: &str| if is_name(name.trim()) { Ok(name.trim().to_owned()) } else { Err(error()) };
    let value = |value: &str| match value.trim() {
        "" => Ok(String::new()),
        value => name(value),
    };
    if let Some(rest) = text.strip_suffix(')') {
        let (head, values) = rest.split_once('(').ok_or_else(error)?;
        let values = values.split(',').map(value).collect::<Result<BTreeSet<_>, _>>()?;
        return match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => Ok(Expression::In(name(key)?, values)),
            [key, "notin"] => Ok(Expression::NotIn(name(key)?, values)),
            _ => Err(error()),
        };
    }
    if let Some((key, text)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(name(key)?, value(text)?));
    }
    if let Some((key, text)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Expression::Equal(name(key)?, value(text)?));
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Expression::DoesNotExist(name(key)?)),
        None => Ok(Expression::Exists(name(text)?)),
    }
}

/// Whether the text consists of characters of the key or value of a label.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn requirements_select_as_kubectl_does() {
        let web = labels(&[("app", "web"), ("tier", "front")]);
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app=api", false),
            ("app!=api", true),
            ("missing!=x", true),
            ("app in (web, api)", true),
            ("app in (api)", false),
            ("app notin (api),tier=front", true),
            ("missing notin (x)", true),
            ("app", true),
            ("missing", false),
            ("!missing", true),
            ("!app", false),
            ("app=web,tier=back", false),
            ("app=", false),
        ] {
            assert_eq!(
                LabelSelector::parse(selector).map(|selector| selector.matches(&web)),
                Ok(expected),
                "{selector}"
            );
        }
    }

    #[test]
    fn an_invalid_requirement_is_an_error() {
        for selector in
            ["a b", "app in web", "app within (a)", "=web", "app=a=b", "app in (a", "app=\u{1b}[2J", "a,b c"]
        {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_rejected(text in ".*") {
            let _ = LabelSelector::parse(&text);
        }
    }
}
