//! Arguments of the commands for modules.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::modules::ModuleReference;

/// Further modules.
#[derive(Debug, Args)]
pub struct ModuleArguments {
    /// Module with further checks or a bundle, such as file:checks.wasm; can be specified multiple times
    #[arg(long = "module", value_name = "REF")]
    pub modules: Vec<ModuleReference>,
}

#[derive(Debug, Subcommand)]
pub enum ModuleCommand {
    /// Create a project for a check
    #[command(after_help = "\
Examples:
  kube-devops module new required-labels
  kube-devops module new required-labels --language javascript

The folder contains everything but the packages of the language, so it can be moved anywhere.")]
    New(ModuleNewArguments),
    /// Build the component of a project
    #[command(after_help = "Example:\n  kube-devops module build required-labels")]
    Build(ModuleBuildArguments),
    /// Run the cases of a project
    #[command(after_help = "\
Examples:
  kube-devops module test required-labels
  kube-devops module test required-labels --update      accept the findings as expected

Evaluates cases/NAME.yaml with all checks of the component, and compares the findings with cases/NAME.expected.yaml.
Exit code 1 means that a case failed.")]
    Test(ModuleTestArguments),
    /// Show what a module contains and imports
    #[command(after_help = "Example:\n  kube-devops module inspect required-labels/required-labels.wasm")]
    Inspect(ModuleInspectArguments),
}

#[derive(Debug, Args)]
pub struct ModuleNewArguments {
    /// Name of the check: lowercase letters, digits and dashes; also the name of the folder
    pub name: String,
    /// Language of the check
    #[arg(long, value_enum, default_value_t, value_name = "LANGUAGE")]
    pub language: Language,
}

/// The language of a project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust, with the SDK; needs rustup
    #[default]
    Rust,
    /// JavaScript; needs Node.js and npm
    Javascript,
}

#[derive(Debug, Args)]
pub struct ModuleBuildArguments {
    /// Folder of the project
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// File of the component; defaults to NAME.wasm in the folder
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ModuleTestArguments {
    /// Folder of the project
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Component to test instead of building the project
    #[arg(long = "module", value_name = "REF")]
    pub module: Option<ModuleReference>,
    /// Write the findings as the expected ones
    #[arg(long)]
    pub update: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: TestFormat,
}

/// The output format of `module test`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TestFormat {
    /// One line per case, with the differences
    #[default]
    Text,
    /// JUnit XML
    Junit,
}

#[derive(Debug, Args)]
pub struct ModuleInspectArguments {
    /// Module, such as file:checks.wasm
    pub module: ModuleReference,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: InspectFormat,
}

/// The output format of `module inspect`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum InspectFormat {
    /// Human-readable
    #[default]
    Text,
    /// JSON
    Json,
}
