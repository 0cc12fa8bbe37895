//! The severities of options.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kube_devops_core::Severity;

/// The value with which nothing is denied.
const NONE: &str = "none";

/// Parses a severity.
pub fn severity() -> impl TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(Severity::ALL.map(Severity::as_str)).try_map(|text| text.parse())
}

/// The lowest severity of violations that deny a request, if any do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenySeverity(pub Option<Severity>);

/// Parses a severity or `none`.
pub fn deny_severity() -> impl TypedValueParser<Value = DenySeverity> {
    let names = Severity::ALL.map(Severity::as_str).into_iter().chain([NONE]);
    PossibleValuesParser::new(names).try_map(|text| match text.as_str() {
        NONE => Ok(DenySeverity(None)),
        text => text.parse().map(|severity| DenySeverity(Some(severity))),
    })
}
