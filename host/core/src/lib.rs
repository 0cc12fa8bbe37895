//! The governance model: what is judged, what a judgement is, and what it amounts to.
//!
//! ```text
//!   API object (serde) --> object --> subject --.
//!                                               |--> (engine) --> outcome --> report
//!                      policy (rules, settings) '                    '--> ledger  score, compliance
//! ```
//!
//! In come API objects, as any serde format gives them, and the outcomes of checks. Out come subjects for the engine and
//! reports for people and machines. This crate must not know where objects come from (no Kubernetes client), how checks
//! run (no wasmtime) or when (no async runtime); the time of day is handed in.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod check_info;
mod evaluation;
pub mod ledger;
pub mod lines;
pub mod namespaces;
pub mod object;
pub mod outcome;
pub mod policy;
pub mod policy_fields;
pub mod report;
pub mod score;
mod severity;
pub mod subject;
pub mod text;
pub mod totals;
mod violation;
pub mod workload;

pub use check_info::{CheckInfo, Stage};
pub use evaluation::{Evaluation, evaluations};
pub use ledger::Ledger;
pub use namespaces::SystemNamespaces;
pub use outcome::{CheckOutcome, CheckResult, Edit, EvaluationError, Finding};
pub use policy::{Bundle, DefaultProbe, DefaultResources, Enforcement, Policy, RuleConfig};
pub use report::Report;
pub use severity::Severity;
pub use subject::{Container, ContainerKind, Controller, Phase, Place, RestartPolicy, Source, Status, Subject};
pub use totals::Totals;
pub use violation::Violation;
