//! The reasons why a configuration cannot be used.

use std::error::Error;

use kube::client::AuthError;
use kube::config::ExecConfig;

/// Only the start of what a plugin prints is shown.
const MAX_OUTPUT_LENGTH: usize = 500;

/// Returns the reason of an error, with the credential plugin that is known.
pub fn reason(error: &(dyn Error + 'static), plugin: Option<&ExecConfig>) -> String {
    plugin_failure(error, plugin).unwrap_or_else(|| error.to_string())
}

/// Returns the reason if a credential plugin failed: the name of the plugin, and what it prints for people. The rest of its output
/// can be a token.
pub fn plugin_failure(error: &(dyn Error + 'static), plugin: Option<&ExecConfig>) -> Option<String> {
    let mut cause = error;
    loop {
        match cause.downcast_ref::<AuthError>() {
            Some(AuthError::AuthExecRun { out, .. }) => {
                let printed = String::from_utf8_lossy(&out.stderr);
                let shown: String = printed.trim().chars().take(MAX_OUTPUT_LENGTH).collect();
                let program = name(plugin);
                return Some(format!("the credential plugin {program} failed with {}: {shown}", out.status));
            }
            Some(AuthError::AuthExecStart(start)) => {
                let program = name(plugin);
                let hint = plugin.and_then(|plugin| plugin.install_hint.as_deref()).map(str::trim).unwrap_or_default();
                let hint = if hint.is_empty() { String::new() } else { format!("\n{hint}") };
                return Some(format!("failed to start the credential plugin {program}: {start}{hint}"));
            }
            _ => cause = cause.source()?,
        }
    }
}

/// The text of the error contains the environment of the command as well, which can be secret.
fn name(plugin: Option<&ExecConfig>) -> &str {
    plugin.and_then(|plugin| plugin.command.as_deref()).unwrap_or("of the user")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Output};

    use super::*;

    #[test]
    fn a_failed_plugin_is_named_without_its_standard_output() {
        let out = Output {
            status: ExitStatus::from_raw(256),
            stdout: b"SECRET-TOKEN".to_vec(),
            stderr: b"  log in first\n".to_vec(),
        };
        let error = kube::Error::Auth(AuthError::AuthExecRun {
            cmd: "env A=SECRET-TOKEN get-token".to_owned(),
            out: out.into(),
        });
        let plugin = ExecConfig { command: Some("get-token".to_owned()), ..exec() };
        assert_eq!(
            reason(&error, Some(&plugin)),
            "the credential plugin get-token failed with exit status: 1: log in first"
        );
        assert_eq!(reason(&error, None), "the credential plugin of the user failed with exit status: 1: log in first");
    }

    #[test]
    fn a_missing_plugin_is_named_with_its_hint() {
        let error = kube::Error::Auth(AuthError::AuthExecStart(std::io::ErrorKind::NotFound.into()));
        let plugin = ExecConfig {
            command: Some("get-token".to_owned()),
            install_hint: Some("Install it.\n".to_owned()),
            ..exec()
        };
        assert_eq!(
            reason(&error, Some(&plugin)),
            "failed to start the credential plugin get-token: entity not found\nInstall it."
        );
    }

    fn exec() -> ExecConfig {
        serde_json::from_value(serde_json::json!({})).expect("all fields are optional")
    }
}
