//! The commands, one per file.

mod analyze;
mod check;
mod cleanup;
mod completion;
mod controller;
mod crd;
mod deploy;
mod document;
mod evaluate;
mod explain;
mod installation;
mod list;
mod module;
mod multi_cluster;
mod policy;
mod reconcile;
pub mod reference;
mod release;
mod render;
mod report_file;
mod watch;
mod webhook;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use kube_devops_engine::compile_as_child;

use crate::arguments::{Arguments, Command};
use crate::terminal;

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The command succeeded.
    Success,
    /// A gate is not met, a permission is missing, a component does not work, or a case of a module failed.
    GateNotMet,
    /// A document or a policy was not imported or deleted.
    NotImported,
    /// Policies in files differ from those in the cluster.
    Differences,
    /// An operation failed, or the evaluation is incomplete.
    Failure,
    /// The child process that compiles a component has ended with this exit code.
    Child(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        ExitCode::from(match outcome {
            Outcome::Success => 0,
            Outcome::GateNotMet | Outcome::NotImported | Outcome::Differences => 1,
            Outcome::Failure => 2,
            Outcome::Child(code) => code,
        })
    }
}

/// Runs a command.
pub fn run(arguments: Arguments, program: &'static str) -> Result<Outcome> {
    let cluster = arguments.cluster;
    match arguments.command {
        Command::Version => print(&format!("kube-devops version {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Check(arguments) => check::run(&cluster, &arguments),
        Command::List(arguments) => list::run(&cluster, &arguments),
        Command::Analyze(arguments) => analyze::run(&cluster, &arguments, program),
        Command::Explain(arguments) => explain::run(&cluster, &arguments, program),
        Command::Crd(arguments) => crd::run(&cluster, &arguments),
        Command::Module(command) => module::run(&cluster, &command),
        Command::Policy(command) => policy::run(&cluster, &command),
        Command::MultiCluster(command) => multi_cluster::run(&cluster, &command, program),
        Command::Watch(arguments) => watch::run(&cluster, &arguments),
        Command::Reconcile(arguments) => reconcile::run(&cluster, &arguments),
        Command::Release(arguments) => release::run(&cluster, &arguments),
        Command::Webhook(command) => webhook::run(&cluster, command),
        Command::Deploy(command) => deploy::run(&command),
        Command::Observability(command) => deploy::observability(&command),
        Command::Cleanup(arguments) => cleanup::run(&cluster, &arguments),
        Command::Completion { shell } => completion::run(shell, program),
        Command::CompileComponent { memory, cpu_time } => {
            Ok(Outcome::Child(compile_as_child(memory, Duration::from_secs(cpu_time))))
        }
    }
}

/// Prints text to standard output.
fn print(text: &str) -> Result<Outcome> {
    terminal::write_out(|out| out.write_all(text.as_bytes())).context("failed to write to standard output")?;
    Ok(Outcome::Success)
}
