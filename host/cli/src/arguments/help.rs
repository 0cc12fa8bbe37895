//! The texts below the options of a command.

use clap::Command;

use crate::PROGRAM;

/// Returns a command and its subcommands with help for a program with this name, and without the line breaks that paragraphs have in
/// the source: the help is wrapped at the width of the terminal.
pub fn adapted(command: Command, program: &str) -> Command {
    let help = command.get_after_help().map(|help| adapted_text(&help.to_string(), program));
    let command = match help {
        Some(help) => command.after_help(help),
        None => command,
    };
    command.mut_subcommands(|subcommand| adapted(subcommand, program))
}

fn adapted_text(help: &str, program: &str) -> String {
    let paragraphs = help.split("\n\n").map(|paragraph| {
        // Examples are indented.
        let is_prose = paragraph.lines().all(|line| !line.starts_with(' ') && !line.ends_with(':'));
        if is_prose { paragraph.replace('\n', " ") } else { paragraph.to_owned() }
    });
    paragraphs.collect::<Vec<_>>().join("\n\n").replace(&format!("{PROGRAM} "), &format!("{program} "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_one_line_and_examples_have_the_name_of_the_program() {
        let help =
            "Examples:\n  kube-devops check   some\n  kube-devops version\n\nOne\nparagraph of kube-devops.\n\nOther.";
        let adapted = "Examples:\n  kubectl devops check   some\n  kubectl devops version\n\nOne paragraph of kube-devops.\n\nOther.";
        assert_eq!(adapted_text(help, "kubectl devops"), adapted);
    }
}
