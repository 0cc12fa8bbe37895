//! `module`: projects of custom checks, and their components.

mod build;
mod cases;
mod inspect;
mod new;
mod test;

use anyhow::Result;

use super::{Outcome, print};
use crate::arguments::ModuleCommand;

/// Runs the command.
pub fn run(command: &ModuleCommand) -> Result<Outcome> {
    match command {
        ModuleCommand::New(arguments) => new::run(arguments),
        ModuleCommand::Build(arguments) => build::run(arguments),
        ModuleCommand::Test(arguments) => test::run(arguments),
        ModuleCommand::Inspect(arguments) => inspect::run(arguments),
    }
}
