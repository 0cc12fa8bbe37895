//! The governance model: subjects, outcomes and violations, scores and reports.
//!
//! ```text
//!   API object (serde) --> object --> subject --.
//!                                               |--> (engine) --> outcome --> report
//!                      policy (rules, settings) '                    '--> ledger  score, compliance
//! ```
//!
//! The input is API objects, in any serde format, and the outcomes of checks. The output is subjects for the engine and
//! reports for people and machines. This crate must not depend on the source of objects (no Kubernetes client), on the
//! execution of checks (no wasmtime) or on its schedule (no async runtime); the current time is a parameter.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod check_info;
mod clusters;
mod compact;
mod evaluation;
pub mod ledger;
pub mod lines;
pub mod names;
pub mod namespaces;
pub mod object;
pub mod outcome;
pub mod pointer;
pub mod policy;
pub mod policy_fields;
pub mod quantity;
pub mod report;
mod report_error;
pub mod score;
mod severity;
pub mod subject;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod totals;
mod violation;
pub mod workload;

pub use check_info::{CheckInfo, Stage};
pub use clusters::ClusterOutcome;
pub use evaluation::{Evaluation, evaluations};
pub use ledger::Ledger;
pub use namespaces::SystemNamespaces;
pub use outcome::{CheckOutcome, CheckResult, Edit, EvaluationError, Finding};
pub use policy::{Bundle, DefaultProbe, DefaultResources, Enforcement, Policy, RuleConfig};
pub use report::Report;
pub use severity::Severity;
pub use subject::{
    Container, ContainerKind, Controller, Needs, Phase, Place, Quantities, RestartPolicy, SecurityContext, Source,
    Status, Subject, Unreadable, complete_object,
};
pub use totals::Totals;
pub use violation::Violation;
