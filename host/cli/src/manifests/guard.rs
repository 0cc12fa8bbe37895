//! Turns down YAML that is made to exhaust whoever parses it, before it is parsed in earnest.
//!
//! Three things cost a parser more than the length of the text: aliases, which repeat what they stand for, deep nesting
//! of flow collections, and long lists of directives. Text without them pays for a few searches of bytes only.

use std::fmt;

use memchr::memmem;
use serde::de::{DeserializeSeed, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserializer, de};

use super::problem::Problem;
use super::{Limits, anchors, explain, nesting};

/// The deepest nesting of brackets.
const DEEPEST: usize = 500;

/// The most lines that start with `%`.
const MOST_DIRECTIVES: usize = 20;

/// What one node counts for beside its text.
const NODE: usize = 16;

/// Checks a text that a YAML parser is to read as one document.
pub(super) fn check(text: &str, limits: &Limits) -> Result<(), Problem> {
    if text.len() > limits.document_bytes {
        return Err(Problem::new(format!(
            "the document has {} MiB, and at most {} MiB are read as one; split it with `---`, or, if it is a list, write \
             it as `kubectl get -o yaml` or `-o json` does",
            text.len() >> 20,
            limits.document_bytes >> 20
        )));
    }
    if text.starts_with('%') {
        let directives = text.lines().take_while(|line| line.starts_with(['%', '#']) || line.trim().is_empty());
        if directives.filter(|line| line.starts_with('%')).count() > MOST_DIRECTIVES {
            return Err(Problem::new(format!(
                "more than {MOST_DIRECTIVES} directives (lines that start with %) before a document; remove them, Kubernetes \
                 needs none"
            )));
        }
    }
    if nesting::may_be_deeper_than(text, DEEPEST)
        && let Some(line) = nesting::deeper_than(text, DEEPEST)
    {
        return Err(Problem::at(
            line,
            format!(
                "brackets are nested more than {DEEPEST} deep; no object of Kubernetes is, so look for one that is not closed"
            ),
        ));
    }
    if anchors::may_hold(text, b'*') && anchors::may_hold(text, b'&') {
        check_aliases(text, limits)?;
    }
    Ok(())
}

/// Whether a merge key `<<:` may stand in the text.
pub(super) fn may_merge(text: &str) -> bool {
    memmem::find_iter(text.as_bytes(), "<<").any(|position| {
        let rest = text[position + 2..].trim_start_matches([' ', '\t', '"', '\'']);
        rest.starts_with(':')
    })
}

/// Walks through the document as a reader that follows aliases would, with a budget: what exceeds it is never expanded.
fn check_aliases(text: &str, limits: &Limits) -> Result<(), Problem> {
    if let Some((line, name)) = anchors::defined_twice(text) {
        return Err(Problem::at(
            line,
            format!(
                "the anchor &{name} is defined twice in one document, and so *{name} is ambiguous; give the second one another name"
            ),
        ));
    }
    let mut budget = Budget { left: text.len() * (NODE + 1) + limits.expansion_bytes, is_exhausted: false };
    match budget.deserialize(serde_norway::Deserializer::from_str(text)) {
        // The parser has a limit of its own for the number of aliases it follows.
        Err(error) if budget.is_exhausted || error.to_string().contains("repetition limit") => {
            Err(Problem::new(format!(
                "the aliases (*name) of this document stand for more than {} MiB; write out what is needed, or use fewer of them",
                limits.expansion_bytes >> 20
            )))
        }
        // An alias within its own anchor has no end, and no other document that is read is nested as deep.
        Err(error) if error.to_string().contains("recursion limit") => Err(explain::yaml(&error, text)),
        // Whoever reads the document in earnest meets the error again, and knows more about what to say.
        _ => Ok(()),
    }
}

/// How much may still be read.
struct Budget {
    left: usize,
    is_exhausted: bool,
}

impl Budget {
    fn spend<E: de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        match self.left.checked_sub(NODE + bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.is_exhausted = true;
                Err(E::custom("the budget is exhausted"))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Budget {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Budget {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a document")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.spend(0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.spend(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.spend(0)?;
        while list.next_element_seed(&mut *self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.spend(0)?;
        while map.next_key_seed(&mut *self)?.is_some() {
            map.next_value_seed(&mut *self)?;
        }
        Ok(())
    }

    /// A value with a tag of its own.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<(), A::Error> {
        let (IgnoredAny, value) = data.variant()?;
        value.newtype_variant_seed(self)
    }
}
