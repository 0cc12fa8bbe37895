//! The commands that need neither manifests nor a cluster, and the help.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::os::unix::fs::symlink;
use std::process::Command;

use end_to_end::{Folder, Ran, kube_devops, program, run};

fn call(arguments: &[&str]) -> Ran {
    run(kube_devops().args(arguments))
}

const CHECKS: [&str; 5] = ["high-restarts", "latest-tag", "missing-liveness", "missing-readiness", "pending"];

/// All commands that are not groups.
const COMMANDS: [&[&str]; 34] = [
    &["module", "new"],
    &["module", "build"],
    &["module", "test"],
    &["module", "inspect"],
    &["deploy", "generate-all"],
    &["deploy", "generate-rbac"],
    &["deploy", "generate-deployments"],
    &["observability", "generate-all"],
    &["observability", "generate-service-monitors"],
    &["observability", "generate-alerts"],
    &["observability", "generate-dashboard"],
    &["cleanup"],
    &["webhook", "serve"],
    &["webhook", "cert-generate"],
    &["webhook", "install-config"],
    &["watch"],
    &["reconcile"],
    &["release"],
    &["version"],
    &["check"],
    &["list", "pods"],
    &["analyze"],
    &["explain"],
    &["crd", "generate"],
    &["crd", "install"],
    &["policy", "bundle-list"],
    &["policy", "bundle-show"],
    &["policy", "bundle-apply"],
    &["policy", "export"],
    &["policy", "import"],
    &["policy", "diff"],
    &["multi-cluster", "list-contexts"],
    &["multi-cluster", "analyze"],
    &["completion"],
];

#[test]
fn the_version_is_printed() {
    let expected = format!("kube-devops version {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(call(&["version"]).exits(0).is_quiet().stdout, expected);
    assert_eq!(call(&["--version"]).exits(0).stdout, format!("kube-devops {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_help_of_every_command_has_an_example() {
    for command in COMMANDS {
        let ran = run(kube_devops().args(command).arg("--help")).exits(0).is_quiet();
        let example = format!("kube-devops {}", command.join(" "));
        let (_, examples) = ran.stdout.split_once("Example").unwrap_or_else(|| panic!("{command:?}: {}", ran.stdout));
        assert!(examples.contains(&example), "{command:?}: {}", ran.stdout);
    }
    for group in ["list", "crd", "policy", "multi-cluster", "webhook"] {
        call(&[group, "--help"]).exits(0).is_quiet();
    }
}

#[test]
fn the_help_lists_every_command() {
    let help = call(&["--help"]).exits(0).stdout;
    for command in COMMANDS {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command[0])), "{command:?}: {help}");
    }
}

#[test]
fn without_arguments_the_help_is_shown() {
    call(&[]).exits(2).complains(&["Usage:", "analyze"]);
}

#[test]
fn usage_errors_include_a_suggestion() {
    call(&["analyse"]).exits(2).complains(&["analyse", "'analyze'"]);
    call(&["analyze", "--min-scor", "3"]).exits(2).complains(&["--min-score"]);
}

#[test]
fn checks_are_listed_and_explained() {
    let list = call(&["explain"]).exits(0).is_quiet().stdout;
    for check in CHECKS {
        assert!(list.contains(check), "{list}");
        let text = call(&["explain", check]).exits(0).is_quiet().stdout;
        for part in [&format!("{check}: "), "WHAT IT FINDS", "WHY IT MATTERS", "HOW TO FIX IT", "Weight", "Severity"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.lines().all(|line| line.contains("https://") || line.chars().count() <= 100), "{text}");
    }
    insta::assert_snapshot!(call(&["explain", "high-restarts"]).stdout);
}

#[test]
fn an_unknown_check_is_rejected_with_the_available_checks() {
    let ran = call(&["explain", "latest"]).exits(2);
    let expected = format!(
        "error: unknown check \"latest\"; available checks: {}; specify the module of another one with --module\n",
        CHECKS.join(", ")
    );
    assert_eq!(ran.stderr, expected);
}

#[test]
fn completions_are_generated_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = call(&["completion", shell]).exits(0).is_quiet().stdout;
        for word in ["bundle-apply", "fail-on", "kubeconfig"] {
            assert!(text.contains(word), "{shell}: missing {word}");
        }
    }
    call(&["completion", "tcsh"]).exits(2).complains(&["tcsh", "bash"]);
}

#[test]
fn bash_completes_commands_and_values() {
    let complete = |words: &[&str]| {
        let (last, before) = (words.len() - 1, words[words.len() - 2]);
        let script = format!(
            "source <(\"$0\" completion bash); set -- $(complete -p kube-devops); \
             until [ \"$1\" = -F ]; do shift; done; COMP_WORDS=({}); COMP_CWORD={last}; \
             \"$2\" kube-devops '{}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words[last]
        );
        run(Command::new("bash").arg("-c").arg(script).arg(program())).exits(0).is_quiet().stdout
    };
    assert_eq!(complete(&["kube-devops", "expl"]), "explain\n");
    assert_eq!(complete(&["kube-devops", "policy", "bundle-s"]), "bundle-show\n");
    assert_eq!(complete(&["kube-devops", "policy", "bundle-apply", "--pol"]), "--policy-name\n");
    let severities = complete(&["kube-devops", "analyze", "--fail-on", ""]);
    assert_eq!(severities.lines().collect::<Vec<_>>(), ["low", "medium", "high", "critical"]);
}

#[test]
fn as_a_kubectl_plugin_the_program_is_named_kubectl_devops() {
    let folder = Folder::new();
    let plugin = folder.path().join("kubectl-devops");
    symlink(program(), &plugin).unwrap();
    let call = |arguments: &[&str]| {
        let mut command = Command::new(&plugin);
        command.current_dir(end_to_end::root()).env("COLUMNS", "100").args(arguments);
        run(&mut command)
    };
    assert!(call(&["--help"]).exits(0).stdout.contains("Usage: kubectl devops "));
    assert!(call(&["explain"]).exits(0).stdout.contains("`kubectl devops explain CHECK`"));
    assert!(call(&["analyze", "-f", "examples/"]).exits(0).stdout.contains("kubectl devops explain high-restarts"));
    assert!(call(&["completion", "bash"]).exits(0).stdout.contains("kubectl-devops"));
}

#[test]
fn a_failed_write_of_the_output_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = kube_devops();
    command.args(["analyze", "-f", "examples/"]).stdout(full).stderr(std::process::Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("error: failed to write the report"), "{stderr}");
}

#[test]
fn the_exit_code_does_not_depend_on_the_reader_of_the_output() {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let gate = ["analyze", "-f", "examples/", "--min-score", "100"];
    for (arguments, code) in [(&gate[..], 1), (&["explain", "latest-tag"], 0), (&["explain", "no-such"], 2)] {
        let mut command = kube_devops();
        let output = command.args(arguments).stdout(closed()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for (arguments, code) in [(&gate[..], 1), (&["analyze", "-f", "no-such"], 2), (&["explain", "no-such"], 2)] {
        let mut command = kube_devops();
        let output = command.args(arguments).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn an_empty_variable_selects_no_folder_for_modules() {
    let mut command = kube_devops();
    run(command.args(["analyze", "-f", "examples/"]).env("KUBE_DEVOPS_CACHE_DIR", "")).exits(0).is_quiet();
    let mut command = kube_devops();
    let ran = run(command.args(["module", "list"]).env("KUBE_DEVOPS_CACHE_DIR", "").env_remove("XDG_CACHE_HOME"));
    ran.exits(2).complains(&["no-such-home in HOME does not exist"]);
}
