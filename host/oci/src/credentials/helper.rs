//! Credential helpers of docker: programs that know credentials.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::Secret;

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
    let child = Command::new(&name)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("the credential helper {name} is not installed"),
            _ => format!("failed to start {name}: {error}"),
        })?;
    match tokio::time::timeout(LIMIT, ask(child, key)).await {
        Ok(Ok((true, answer))) => read(&answer).ok_or_else(|| format!("{name} printed no credentials")).map(Some),
        // The protocol has no code for it.
        Ok(Ok((false, answer))) if String::from_utf8_lossy(&answer).contains("credentials not found") => Ok(None),
        Ok(Ok((false, answer))) => {
            let text: String = String::from_utf8_lossy(&answer).trim().chars().take(200).collect();
            Err(format!("{name} failed: {text}"))
        }
        Ok(Err(error)) => Err(format!("{name} failed: {error}")),
        Err(_) => Err(format!("{name} did not answer within {LIMIT:?}")),
    }
}

async fn ask(mut child: Child, key: &str) -> std::io::Result<(bool, Vec<u8>)> {
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input may have closed it.
        let _ = input.write_all(key.as_bytes()).await;
    }
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(ANSWER).read_to_end(&mut answer).await?;
    }
    Ok((child.wait().await?.success(), answer))
}

fn read(answer: &[u8]) -> Option<Secret> {
    let Answer { username, secret } = serde_json::from_slice(answer).ok()?;
    Some(if username == TOKEN { Secret::Identity(secret) } else { Secret::Basic { user: username, password: secret } })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_password_or_a_token() {
        let basic = br#"{"ServerURL": "x", "Username": "u", "Secret": "s"}"#;
        assert_eq!(read(basic), Some(Secret::Basic { user: "u".to_owned(), password: "s".to_owned() }));
        let token = br#"{"ServerURL": "x", "Username": "<token>", "Secret": "s"}"#;
        assert_eq!(read(token), Some(Secret::Identity("s".to_owned())));
        assert_eq!(read(b"credentials"), None);
    }

    #[tokio::test]
    async fn a_missing_helper_is_an_error_and_a_path_is_no_name() {
        assert!(get("does-not-exist-here", "host").await.unwrap_err().contains("is not installed"));
        assert!(get("../bin/sh", "host").await.unwrap_err().contains("not the name"));
    }
}
