//! `completion`: completions for shells.

use anyhow::Result;
use clap_complete::Shell;

use super::{Outcome, print};

/// Carries out the command.
pub fn run(shell: Shell, program: &'static str) -> Result<Outcome> {
    let mut script = Vec::new();
    // Shells complete words, and a plugin is called by two: kubectl completes those of its plugins itself.
    let name = if program == "kubectl devops" { "kubectl-devops" } else { program };
    clap_complete::generate(shell, &mut crate::command(program), name, &mut script);
    print(&String::from_utf8(script)?)
}
