//! `module`: projects of custom checks, and their components.

mod build;
mod cases;
mod inspect;
mod new;
mod registry;
mod store;
mod test;

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use super::{Outcome, print};
use crate::arguments::{ClusterArguments, ModuleCommand};

/// Runs the command.
pub fn run(cluster: &ClusterArguments, command: &ModuleCommand) -> Result<Outcome> {
    // The log lines of a module, which explain its failures.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .without_time()
        .with_target(false)
        .init();
    match command {
        ModuleCommand::New(arguments) => new::run(arguments),
        ModuleCommand::Build(arguments) => build::run(arguments),
        ModuleCommand::Test(arguments) => test::run(cluster, arguments),
        ModuleCommand::Inspect(arguments) => inspect::run(cluster, arguments),
        ModuleCommand::Push(arguments) => registry::push(arguments),
        ModuleCommand::Pull(arguments) => registry::pull(arguments),
        ModuleCommand::List(arguments) => store::list(arguments),
        ModuleCommand::Prune(arguments) => store::prune(arguments),
        ModuleCommand::Sign(arguments) => registry::sign(arguments),
    }
}
