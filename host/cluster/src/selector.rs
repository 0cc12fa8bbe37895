//! Label selectors in the syntax of kubectl: `app=web,tier!=cache,env in (a,b),!legacy,size>5`.
//!
//! The parser accepts what that of Kubernetes accepts:
//! <https://github.com/kubernetes/apimachinery/blob/v0.37.2/pkg/labels/selector.go>.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

use kube_devops_core::names::is_subdomain;

/// A label selector that is evaluated without a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

/// An invalid selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{selector:?} is not a label selector: {reason}; use key=value, key!=value, key in (a,b), key notin (a,b), key, !key, \
     key>1 or key<1, separated by commas"
)]
pub struct SelectorError {
    selector: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

/// The values that meet a requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Exists,
    DoesNotExist,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Above(i64),
    Below(i64),
}

impl LabelSelector {
    /// Parses a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser(tokens(text).into_iter().peekable());
        parser.selector().map(Self).map_err(|reason| SelectorError { selector: text.to_owned(), reason })
    }

    /// Whether the labels meet every requirement.
    pub fn matches(&self, labels: &[(String, String)]) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.iter().find(|(key, _)| *key == requirement.key).map(|(_, value)| value.as_str());
            requirement.condition.is_met_by(value)
        })
    }
}

impl Condition {
    fn is_met_by(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Above(bound) => number().is_some_and(|number| number > *bound),
            Self::Below(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// A word, or one of the operators `! = == != < > ( ) ,`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Operator(&'t str),
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_blank = |character: char| matches!(character, ' ' | '\t' | '\r' | '\n');
    let is_operator = |character: char| "!=<>(),".contains(character);
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let word = rest.find(|character| is_blank(character) || is_operator(character)).unwrap_or(rest.len());
        let end = match word {
            0 if rest.starts_with("==") || rest.starts_with("!=") => 2,
            0 => 1,
            word => word,
        };
        let (token, after) = rest.split_at(end);
        tokens.push(if word == 0 { Token::Operator(token) } else { Token::Word(token) });
        rest = after.trim_start_matches(is_blank);
    }
    tokens
}

struct Parser<'t>(Peekable<IntoIter<Token<'t>>>);

impl<'t> Parser<'t> {
    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.0.peek().is_none() {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            match self.0.next() {
                None => return Ok(requirements),
                Some(Token::Operator(",")) => {}
                other => return Err(unexpected(other, "a comma or the end")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_negated = self.0.next_if_eq(&Token::Operator("!")).is_some();
        let key = match self.0.next() {
            Some(Token::Word(key)) => key,
            other => return Err(unexpected(other, "a key")),
        };
        if !is_key(key) {
            return Err(format!(
                "{key:?} is not the key of a label: letters, digits, '-', '_' and '.', at most 63, after an optional DNS name \
                 and '/'"
            ));
        }
        let condition = if is_negated { Condition::DoesNotExist } else { self.condition()? };
        Ok(Requirement { key: key.to_owned(), condition })
    }

    fn condition(&mut self) -> Result<Condition, String> {
        if matches!(self.0.peek(), None | Some(Token::Operator(","))) {
            return Ok(Condition::Exists);
        }
        match self.0.next() {
            Some(Token::Operator("=" | "==")) => Ok(Condition::In([self.value()?].into())),
            Some(Token::Operator("!=")) => Ok(Condition::NotIn([self.value()?].into())),
            Some(Token::Operator(">")) => self.number().map(Condition::Above),
            Some(Token::Operator("<")) => self.number().map(Condition::Below),
            Some(Token::Word("in")) => self.values().map(Condition::In),
            Some(Token::Word("notin")) => self.values().map(Condition::NotIn),
            other => Err(unexpected(other, "an operator")),
        }
    }

    /// Returns one value, which is empty at the end of a requirement.
    fn value(&mut self) -> Result<String, String> {
        if matches!(self.0.peek(), None | Some(Token::Operator(","))) {
            return Ok(String::new());
        }
        match self.0.next() {
            Some(Token::Word(value)) => valid(value),
            other => Err(unexpected(other, "a value")),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_| format!("{value:?} is not an integer"))
    }

    /// Returns the values between parentheses, of which each can be empty.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        if self.0.next_if_eq(&Token::Operator("(")).is_none() {
            return Err(unexpected(self.0.next(), "an opening parenthesis"));
        }
        let mut values = BTreeSet::new();
        loop {
            let value = self.0.next_if(|token| matches!(token, Token::Word(_)));
            values.insert(match value {
                Some(Token::Word(value)) => valid(value)?,
                _ => String::new(),
            });
            match self.0.next() {
                Some(Token::Operator(",")) => {}
                Some(Token::Operator(")")) => return Ok(values),
                other => return Err(unexpected(other, "a comma or a closing parenthesis")),
            }
        }
    }
}

fn unexpected(found: Option<Token<'_>>, expected: &str) -> String {
    match found {
        Some(Token::Word(text) | Token::Operator(text)) => format!("{expected} is expected, not {text:?}"),
        None => format!("{expected} is expected at the end"),
    }
}

fn valid(value: &str) -> Result<String, String> {
    if is_value(value) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "{value:?} is not the value of a label: letters, digits, '-', '_' and '.', at most 63, with a letter or digit at the \
         start and at the end"
    ))
}

/// Whether a text can be the key of a label.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_value(name),
        None => is_value(text),
    }
}

/// Whether a text can be the value of a label that is not empty.
fn is_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    text.len() <= 63
        && ends.into_iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requirements_select_as_kubectl_does() {
        let labels = [("app", "web"), ("example.com/tier", "front"), ("size", "10"), ("empty", ""), ("in", "in")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        for (selector, expected) in [
            ("", true),
            (" \t", true),
            ("app=web", true),
            ("app==web", true),
            (" app = web ", true),
            ("app\n==\tweb", true),
            ("app=api", false),
            ("app!=api", true),
            ("app!=web", false),
            ("app != web", false),
            ("missing!=x", true),
            ("app=", false),
            ("empty=", true),
            ("empty=,app=web", true),
            ("app!=", true),
            ("missing!=", true),
            ("app in (web, api)", true),
            ("app in(web)", true),
            ("app in ( web )", true),
            ("app in (api)", false),
            ("app in ()", false),
            ("empty in ()", true),
            ("empty in (,)", true),
            ("empty in (a,)", true),
            ("empty in (,a)", true),
            ("empty in (a,,b)", true),
            ("app in (a,,b)", false),
            ("app notin ()", true),
            ("empty notin ()", false),
            ("missing notin ()", true),
            ("app notin (api),example.com/tier=front", true),
            ("missing notin (x)", true),
            ("app", true),
            ("app,size", true),
            ("missing", false),
            ("!missing", true),
            ("! missing", true),
            ("!app", false),
            ("!missing,app", true),
            ("app=web,example.com/tier=back", false),
            ("size>9", true),
            ("size > 10", false),
            ("size<11", true),
            ("size<10", false),
            ("app>1", false),
            ("missing<1", false),
            ("missing>1", false),
            ("in", true),
            ("in=in", true),
            ("in in (in,notin)", true),
            ("notin notin (in)", true),
            ("!in", false),
        ] {
            let found = LabelSelector::parse(selector).map(|selector| selector.matches(&labels));
            assert_eq!(found, Ok(expected), "{selector:?}");
        }
    }

    #[test]
    fn what_kubectl_rejects_is_an_error() {
        for selector in [
            ",",
            ",app",
            "app,",
            "app,,size",
            "a b",
            "a b c",
            "=web",
            "!",
            "!!a",
            "!a=b",
            "!a!=b",
            "!a in (b)",
            "!=a",
            "a=b=c",
            "a===b",
            "a=!b",
            "a=>b",
            "a>=5",
            "a>b",
            "a>",
            "a<",
            "a>-1",
            "a>+1",
            "a<1.5",
            "a>9223372036854775808",
            "app in web",
            "app in",
            "app in (a",
            "app in a)",
            "app in (a b)",
            "app in (a)(b)",
            "app in (a) b",
            "app in (a=b)",
            "app in ((a))",
            "app within (a)",
            "app IN (a)",
            "(a)",
            "a)",
            "-a=b",
            "a-=b",
            "_a",
            ".a",
            "a/b/c",
            "/a",
            "a/",
            "A.com/a",
            "a..b/c",
            "ä=b",
            "a=ä",
            "a=-b",
            "a=b.",
            "a=b/c",
            "a=\u{1b}[2J",
            "a in (-b)",
        ] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector:?}");
        }
        let long = "a".repeat(64);
        assert!(LabelSelector::parse(&long).is_err() && LabelSelector::parse(&format!("a={long}")).is_err());
    }

    #[test]
    fn an_error_names_the_selector_and_the_reason() {
        let error = |selector: &str| LabelSelector::parse(selector).map_err(|error| error.to_string());
        for (selector, part) in [
            ("a in (b", "\"a in (b\" is not a label selector: a comma or a closing parenthesis is expected at the end"),
            ("a b", "an operator is expected, not \"b\""),
            ("a>b", "\"b\" is not an integer"),
        ] {
            assert!(error(selector).is_err_and(|error| error.contains(part)), "{selector}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_rejected(text in ".*|[ab=!<>(), in]*") {
            let _ = LabelSelector::parse(&text);
        }
    }
}
