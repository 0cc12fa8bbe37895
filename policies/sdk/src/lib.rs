//! Write kube-devops checks and bundles in Rust and ship them as WebAssembly components.
//!
//! A check implements [`Check`] and exports itself with [`export_check!`]; a bundle implements [`Bundle`] and exports
//! itself with [`export_bundle!`]. Both compile for the host too, so `cargo test` runs their unit tests natively, with
//! the builders of [`testing`].
//!
//! ```text
//!   settings (JSON) --> Check::Settings --> Check::new
//!   subjects (typed facts) --> Check::evaluate --> Findings
//! ```
//!
//! What flows in: facts about pods and pod templates. What flows out: findings and edits. A component must not expect a
//! clock, randomness, files, a network or an environment: the host gives it none.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bundle;
mod check;
mod findings;
pub mod image;
pub mod testing;

#[doc(hidden)]
pub mod bindings;

pub use bindings::check::devops::policy::log;
#[cfg(feature = "object")]
pub use bindings::object::devops::policy::object;
pub use bundle::{Bundle, BundleInfo, DefaultProbe, DefaultResources, Enforcement, Selection};
pub use check::{Check, Info, NoSettings, Stage};
pub use findings::Findings;

/// The facts that the host shows a check.
pub use bindings::check::devops::policy::types::{
    Container, ContainerKind, Controller, Edit, Finding, Phase, RestartPolicy, Severity, Status, Subject,
};

#[doc(hidden)]
pub use bundle::BundleAdapter;
#[doc(hidden)]
pub use check::Adapter;

/// Containers that run for as long as the pod does and are expected to answer probes: the app containers of a subject
/// that is not meant to run to completion.
///
/// Pods that belong to a Job or a CronJob, or that are not always restarted, run to completion; nobody sends them
/// traffic and nobody restarts them for not answering.
pub fn probed_containers(subject: &Subject) -> impl Iterator<Item = (usize, &Container)> {
    let completes = subject.restart_policy != RestartPolicy::Always
        || is_batch(&subject.kind)
        || subject.controller.as_ref().is_some_and(|controller| is_batch(&controller.kind));
    subject
        .containers
        .iter()
        .enumerate()
        .filter(move |(_, container)| !completes && container.kind == ContainerKind::App)
}

fn is_batch(kind: &str) -> bool {
    matches!(kind, "Job" | "CronJob")
}

/// The edit that gives a container a TCP probe on its first port, or on 8080 where it declares none.
///
/// The delay of 5 and the period of 10 seconds are what a policy's `defaultProbe` has where it does not say otherwise.
pub fn tcp_probe(container: &Container, field: &str) -> Edit {
    let port = container.ports.first().copied().unwrap_or(8080);
    Edit {
        container: Some(container.name.clone()),
        field: field.to_owned(),
        value: format!(r#"{{"tcpSocket":{{"port":{port}}},"initialDelaySeconds":5,"periodSeconds":10}}"#),
    }
}
