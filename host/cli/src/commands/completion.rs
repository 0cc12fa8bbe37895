//! `completion`: completions for shells.

use anyhow::Result;
use clap_complete::Shell;

use super::{Outcome, print};

/// Carries out the command.
pub fn run(shell: Shell, program: &'static str) -> Result<Outcome> {
    let mut script = Vec::new();
    // Shells complete words, and a plugin is called by two: kubectl completes those of its plugins itself.
    let name = if program == "kubectl devops" { "kubectl-devops" } else { program };
    clap_complete::generate(shell, &mut crate::command(name), name, &mut script);
    let mut script = String::from_utf8(script)?;
    if shell == Shell::Bash {
        // clap_complete spells a name with a dash in two ways, and completes nothing behind the first word:
        // https://github.com/clap-rs/clap/issues/6421
        script = script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
    }
    print(&script)
}
