//! Arguments of the commands for modules.

use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use kube_devops_oci::Reference;

use super::ModuleReference;

/// Further modules.
#[derive(Debug, Args)]
pub struct ModuleArguments {
    /// Module with further checks or a bundle: file:PATH, oci://HOST/REPOSITORY:TAG or configmap:NAMESPACE/NAME/KEY; can be
    /// specified multiple times
    #[arg(long = "module", value_name = "REF", help_heading = "Modules")]
    pub modules: Vec<ModuleReference>,
    #[command(flatten)]
    pub source: ModuleSourceArguments,
    #[command(flatten)]
    pub compile: CompileArguments,
}

impl ModuleArguments {
    /// The files that are read for the modules.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let modules = self.modules.iter().filter_map(|module| match module {
            ModuleReference::File(file) => Some(file.as_path()),
            _ => None,
        });
        let ModuleSourceArguments { verification, registry, .. } = &self.source;
        let files = verification.module_keys.iter().chain(&registry.registry_config).chain(&registry.registry_ca_file);
        modules.chain(files.map(PathBuf::as_path))
    }
}

/// How modules are read.
#[derive(Debug, Args)]
pub struct ModuleSourceArguments {
    #[command(flatten)]
    pub verification: VerificationArguments,
    #[command(flatten)]
    pub registry: RegistryArguments,
    #[command(flatten)]
    pub cache: CacheArguments,
}

/// How modules are compiled.
#[derive(Debug, Args)]
pub struct CompileArguments {
    /// Most memory for compiling a module, in MiB; in a container, what its limit leaves is not exceeded either
    #[arg(
        long,
        env = "KUBE_DEVOPS_COMPILE_MEMORY",
        default_value_t = 1024,
        value_name = "MIB",
        help_heading = "Modules",
        value_parser = clap::value_parser!(u32).range(32..=65_536)
    )]
    pub compile_memory: u32,
}

/// How registries are reached.
#[derive(Debug, Args)]
pub struct RegistryArguments {
    /// Credentials for registries; defaults to the files of docker and podman
    #[arg(long, value_name = "FILE", help_heading = "Modules")]
    pub registry_config: Option<PathBuf>,
    /// CA bundle that is trusted for registries, in addition to that of the system
    #[arg(long, value_name = "FILE", help_heading = "Modules")]
    pub registry_ca_file: Option<PathBuf>,
    /// Connect to registries without TLS; registries on this machine are tried without it anyway
    #[arg(long, help_heading = "Modules")]
    pub registry_plain_http: bool,
}

/// Who must have signed modules.
#[derive(Debug, Args)]
pub struct VerificationArguments {
    /// Public key of which there must be a signature of each module; can be specified multiple times, and one of them suffices
    #[arg(long = "module-key", value_name = "FILE", help_heading = "Modules")]
    pub module_keys: Vec<PathBuf>,
}

/// Where modules are kept.
#[derive(Debug, Args)]
pub struct CacheArguments {
    /// Folder for pulled modules and compiled code; defaults to ~/.cache/kube-devops
    #[arg(
        long,
        env = "KUBE_DEVOPS_CACHE_DIR",
        value_name = "DIR",
        help_heading = "Modules",
        // An empty variable is one that is not set, as for a shell.
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub cache_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ModuleCommand {
    /// Create a project for a check
    #[command(after_help = "\
Examples:
  kube-devops module new required-labels
  kube-devops module new required-labels --language javascript
  kube-devops module new required-labels --language python

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
    /// Push a component to a registry
    #[command(after_help = "\
Examples:
  kube-devops module push labels.wasm oci://registry.example.com/checks/labels:1.0
  kube-devops module push labels.wasm oci://registry.example.com/checks/labels:1.0 --sign-key key.pem

Prints the digest, with which a PolicyModule identifies this version forever.")]
    Push(ModulePushArguments),
    /// Pull a module from a registry into the store
    #[command(after_help = "\
Examples:
  kube-devops module pull oci://registry.example.com/checks/labels:1.0 --module-key cosign.pub
  kube-devops module pull oci://registry.example.com/checks/labels:1.0 -o labels.wasm")]
    Pull(ModulePullArguments),
    /// List the modules in the store
    #[command(after_help = "Example:\n  kube-devops module list")]
    List(ModuleListArguments),
    /// Remove modules from the store that no tag refers to, and compiled code that is not used
    #[command(after_help = "\
Examples:
  kube-devops module prune
  kube-devops module prune --all       remove everything

Keeps the newest version of each tag, and versions that were pulled by digest.")]
    Prune(ModulePruneArguments),
    /// Sign a module in a registry
    #[command(after_help = "\
Examples:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
  openssl pkey -in key.pem -pubout -out key.pub
  kube-devops module sign oci://registry.example.com/checks/labels:1.0 --key key.pem

The signature is in no transparency log: cosign verifies it with `cosign verify --key key.pub --insecure-ignore-tlog=true`.
Modules can be signed with cosign as well.")]
    Sign(ModuleSignArguments),
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
    /// Python; needs Python 3.9 or later with venv and pip
    Python,
}

#[derive(Debug, Args)]
pub struct ModuleBuildArguments {
    /// Folder of the project
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// File of the component; defaults to NAME.wasm in the folder
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub compile: CompileArguments,
}

#[derive(Debug, Args)]
pub struct ModuleTestArguments {
    /// Folder of the project
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Component to test instead of building the project
    #[arg(long = "module", value_name = "REF")]
    pub module: Option<ModuleReference>,
    #[command(flatten)]
    pub source: ModuleSourceArguments,
    #[command(flatten)]
    pub compile: CompileArguments,
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
    /// Module: file:PATH, oci://HOST/REPOSITORY:TAG or configmap:NAMESPACE/NAME/KEY
    pub module: ModuleReference,
    #[command(flatten)]
    pub source: ModuleSourceArguments,
    #[command(flatten)]
    pub compile: CompileArguments,
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: InspectFormat,
}

/// The output format of `module inspect` and `module list`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum InspectFormat {
    /// Human-readable
    #[default]
    Text,
    /// JSON
    Json,
}

#[derive(Debug, Args)]
pub struct ModulePushArguments {
    /// File of the component
    pub file: PathBuf,
    /// Repository and tag, such as oci://registry.example.com/checks/labels:1.0
    pub reference: Reference,
    /// Private key to sign the module with, in PEM format
    #[arg(long, value_name = "FILE")]
    pub sign_key: Option<PathBuf>,
    #[command(flatten)]
    pub registry: RegistryArguments,
    #[command(flatten)]
    pub compile: CompileArguments,
}

#[derive(Debug, Args)]
pub struct ModulePullArguments {
    /// Repository with a tag or a digest, such as oci://registry.example.com/checks/labels:1.0
    pub reference: Reference,
    /// File to write the component to as well
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub source: ModuleSourceArguments,
}

#[derive(Debug, Args)]
pub struct ModuleListArguments {
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: InspectFormat,
    #[command(flatten)]
    pub cache: CacheArguments,
}

#[derive(Debug, Args)]
pub struct ModulePruneArguments {
    /// Remove all modules and all compiled code
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub cache: CacheArguments,
}

#[derive(Debug, Args)]
pub struct ModuleSignArguments {
    /// Repository with a tag or a digest, such as oci://registry.example.com/checks/labels:1.0
    pub reference: Reference,
    /// Private key in PEM format: PKCS#8 without a password, ECDSA with P-256
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    #[command(flatten)]
    pub registry: RegistryArguments,
}
