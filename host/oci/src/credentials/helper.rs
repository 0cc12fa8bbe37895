//! Credential helpers of docker: programs that know credentials.

use std::ffi::OsStr;
use std::io::{ErrorKind, IsTerminal};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::Secret;
use crate::text::printable;

/// The time limit. A helper may ask a cloud, but there is no user who could answer a question.
const LIMIT: Duration = Duration::from_secs(20);
/// The most bytes that are read of an answer.
const ANSWER: u64 = 64 * 1024;
/// The user that marks an identity token.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-PROGRAM` for the credentials of `key`; `None` if it has none.
pub(super) async fn get(program: &str, key: &str) -> Result<Option<Secret>, String> {
    if program.is_empty()
        || !program.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        return Err(format!("{program:?} is not the name of a credential helper"));
    }
    let name = format!("docker-credential-{program}");
    // In a terminal, Ctrl+C has to end the helper together with this program.
    let has_group = !std::io::stdin().is_terminal();
    run(&name, &name, key, LIMIT, has_group).await
}

/// Asks a program, whose name in messages is `name`. `has_group`: whether it gets a process group.
async fn run(
    program: impl AsRef<OsStr>,
    name: &str,
    key: &str,
    limit: Duration,
    has_group: bool,
) -> Result<Option<Secret>, String> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    if has_group {
        command.process_group(0);
    }
    let child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("the credential helper {name} is not installed"),
        _ => format!("failed to start {name}: {error}"),
    })?;
    match tokio::time::timeout(limit, Helper { child, has_group }.ask(key)).await {
        Ok(Ok((true, answer))) => read(&answer).ok_or_else(|| format!("{name} printed no credentials")).map(Some),
        // The protocol has no code for it.
        Ok(Ok((false, answer))) if String::from_utf8_lossy(&answer).contains("credentials not found") => Ok(None),
        Ok(Ok((false, answer))) => Err(format!("{name} failed{}", shown(&answer))),
        Ok(Err(error)) => Err(format!("{name} failed: {error}")),
        Err(_) => Err(format!("{name} did not answer within {limit:?}")),
    }
}

/// A running helper. If it is dropped before it has ended, it is killed together with the programs that it has started.
struct Helper {
    child: Child,
    /// Whether it is the leader of a process group.
    has_group: bool,
}

impl Helper {
    async fn ask(mut self, key: &str) -> std::io::Result<(bool, Vec<u8>)> {
        if let Some(mut input) = self.child.stdin.take() {
            // A helper that does not read its input may have closed it.
            let _ = input.write_all(key.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(output) = self.child.stdout.take() {
            output.take(ANSWER).read_to_end(&mut answer).await?;
        }
        Ok((self.child.wait().await?.success(), answer))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // The id is known until the helper has ended. An agent that it has left running is not ours.
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = id.filter(|_| self.has_group) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Returns what a helper that failed has printed, as the end of an error. It may have printed credentials nevertheless.
fn shown(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let text = text.trim();
    match text {
        "" => ", and printed nothing".to_owned(),
        _ if text.starts_with('{') || text.to_ascii_lowercase().contains("secret") => {
            "; what it printed is not shown, because it may contain credentials".to_owned()
        }
        _ => format!(": {}", printable(text, 200)),
    }
}

fn read(answer: &[u8]) -> Option<Secret> {
    let Answer { username, secret } = serde_json::from_slice(answer).ok()?;
    Some(if username == TOKEN { Secret::Identity(secret) } else { Secret::Basic { user: username, password: secret } })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read};
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn an_answer_is_a_password_or_a_token() {
        let basic = br#"{"ServerURL": "x", "Username": "u", "Secret": "s"}"#;
        assert_eq!(read(basic), Some(Secret::Basic { user: "u".to_owned(), password: "s".to_owned() }));
        let token = br#"{"ServerURL": "x", "Username": "<token>", "Secret": "s"}"#;
        assert_eq!(read(token), Some(Secret::Identity("s".to_owned())));
        assert_eq!(read(b"credentials"), None);
    }

    #[test]
    fn credentials_of_a_helper_that_failed_are_not_shown() {
        for answer in [r#"{"Username": "u", "Secret": "s3cret"}"#, "{\"a", "warning: x\n{\"Secret\": \"s3cret\"}"] {
            assert_eq!(shown(answer.as_bytes()), "; what it printed is not shown, because it may contain credentials");
        }
        assert_eq!(shown(b"no \x1b[31msuch host\n"), ": no [31msuch host");
        assert_eq!(shown(b"\n"), ", and printed nothing");
    }

    #[tokio::test]
    async fn a_missing_helper_is_an_error_and_a_path_is_no_name() {
        assert!(get("does-not-exist-here", "host").await.unwrap_err().contains("is not installed"));
        assert!(get("../bin/sh", "host").await.unwrap_err().contains("not the name"));
    }

    /// Writes an executable script, and a named pipe for its output.
    fn script(folder: &Path, text: &str) -> (PathBuf, PathBuf) {
        let (script, pipe) = (folder.join("helper"), folder.join("pipe"));
        // Another process writes it: a file that a thread has open for writing while another one forks cannot be executed.
        let write = r#"mkfifo "$1" && printf '#!/bin/sh\nexec >"%s"\n%s' "$1" "$2" >"$0" && chmod +x "$0""#;
        let mut shell = std::process::Command::new("sh");
        assert!(shell.arg("-c").arg(write).arg(&script).arg(&pipe).arg(text).status().unwrap().success());
        (script, pipe)
    }

    #[tokio::test]
    async fn a_helper_that_does_not_answer_is_killed_with_the_programs_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let (helper, pipe) = script(folder.path(), "sleep 600 &\necho started\nwait\n");
        let asked = tokio::spawn(async move { run(&helper, "helper", "host", LIMIT, true).await });
        let open = move || {
            let (mut output, mut line) = (BufReader::new(File::open(pipe)?), String::new());
            output.read_line(&mut line)?;
            std::io::Result::Ok((output, line))
        };
        let (mut output, line) = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
        assert_eq!(line, "started\n");
        // It is dropped, as after its time limit.
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        // The output ends when the last program ends that can write to it.
        let read = tokio::task::spawn_blocking(move || output.read_to_end(&mut Vec::new()));
        assert_eq!(tokio::time::timeout(LIMIT, read).await.unwrap().unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_helper_has_a_time_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (helper, _) = script(folder.path(), "");
        let error = run(&helper, "helper", "host", Duration::ZERO, true).await.unwrap_err();
        assert!(error.contains("did not answer"), "{error}");
    }
}
