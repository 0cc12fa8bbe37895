//! Runs a program and captures its output.

use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// The time after which a program is considered hung. No tested command takes a hundredth of it.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The result of a program.
#[derive(Debug)]
pub struct Ran {
    /// The exit code, or `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program and waits for its exit.
pub fn run(command: &mut Command) -> Ran {
    run_with_input(command, [])
}

/// Runs a program with `input` on its standard input and waits for its exit.
///
/// # Panics
/// If it cannot be started, hangs, panics, or writes invalid UTF-8.
pub fn run_with_input(command: &mut Command, input: impl Into<Vec<u8>>) -> Ran {
    let input = input.into();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // A program that does not read all of its input closes the pipe.
    let writer = thread::spawn(move || match stdin.write_all(&input) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("failed to write the input: {error}"),
        _ => {}
    });
    let stdout = read(child.stdout.take().expect("it is piped"));
    let stderr = read(child.stderr.take().expect("it is piped"));
    let [stdout, stderr] = [stdout, stderr].map(|stream| {
        stream.recv_timeout(TIMEOUT).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("{command:?} hangs");
        })
    });
    let status = child.wait().expect("a child can be waited for");
    writer.join().expect("the input was written");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    let ran = Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) };
    assert!(!ran.stderr.contains("panicked at"), "{command:?}: {ran:?}");
    ran
}

fn read(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if stream.read_to_end(&mut bytes).is_ok() {
            let _ = sender.send(bytes);
        }
    });
    receiver
}

impl Ran {
    /// Requires an exit code.
    ///
    /// # Panics
    /// If it is another one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Requires that standard error contains all of these texts.
    ///
    /// # Panics
    /// If one is missing.
    #[track_caller]
    pub fn complains(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is missing in {}", self.stderr);
        }
        self
    }

    /// Requires an empty standard error.
    ///
    /// # Panics
    /// If it is not empty.
    #[track_caller]
    pub fn is_quiet(self) -> Self {
        assert_eq!(self.stderr, "");
        self
    }

    /// Parses standard output as JSON.
    ///
    /// # Panics
    /// If it is invalid.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("invalid JSON ({error}): {self:#?}"))
    }

    /// Returns the violations of a JSON report, each as `check kind/name container`; missing names are omitted.
    #[track_caller]
    pub fn violations(&self) -> Vec<String> {
        let report = self.json();
        let violations = report["violations"].as_array().expect("a report lists violations");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let line = |violation: &Value| {
            let line = format!(
                "{} {}/{} {}",
                text(&violation["check"]),
                text(&violation["kind"]),
                text(&violation["name"]),
                text(&violation["container"])
            );
            line.trim_end().to_owned()
        };
        violations.iter().map(line).collect()
    }

    /// Returns the errors of a JSON report, each as `file:document:line: message`; the file without its folder.
    #[track_caller]
    pub fn errors(&self) -> Vec<String> {
        let report = self.json();
        let errors = report["errors"].as_array().expect("a report lists errors");
        let line = |error: &Value| {
            let source = &error["source"];
            let file = source["file"].as_str().unwrap_or_default();
            let name = file.rsplit('/').next().unwrap_or_default();
            format!(
                "{name}:{}:{}: {}",
                source["document"],
                source["line"],
                error["message"].as_str().unwrap_or_default()
            )
        };
        errors.iter().map(line).collect()
    }
}
