//! `completion`: shell completions.

use anyhow::Result;
use clap_complete::Shell;

use super::{Outcome, print};
use crate::arguments;

/// Runs the command.
pub fn run(shell: Shell, program: &'static str) -> Result<Outcome> {
    let mut script = Vec::new();
    // Shells complete single words, but a plugin is called with two: kubectl completes the arguments of its plugins itself.
    let name = if program == "kubectl devops" { "kubectl-devops" } else { program };
    clap_complete::generate(shell, &mut arguments::command(name), name, &mut script);
    let mut script = String::from_utf8(script)?;
    if shell == Shell::Bash {
        // clap_complete writes a name with a dash in two forms, and completes nothing after the first word:
        // https://github.com/clap-rs/clap/issues/6421
        script = script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
    }
    print(&script)
}
