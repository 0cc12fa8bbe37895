//! A control plane is removed completely, for any end of the test process.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use test_cluster::{Component, ControlPlane, DEADLINE, eventually};

/// The environment variable with the way the victim ends.
const END: &str = "TEST_CLUSTER_VICTIM";

/// Not a test: the other tests run it in a separate process of this same program.
#[tokio::test]
#[ignore = "the other tests start it"]
async fn victim() -> Result<()> {
    let Ok(end) = env::var(END) else { return Ok(()) };
    let plane = ControlPlane::shared().await?;
    // Not even a paused process may remain.
    plane.pause(Component::Scheduler)?;
    println!("\nfolder {}", plane.folder().display());
    for id in plane.process_ids() {
        println!("process {id}");
    }
    println!("done");
    match end.as_str() {
        "panic" => panic!("as requested"),
        "abort" => process::abort(),
        "exit" => process::exit(0),
        "return" => Ok(()),
        _ => loop {
            thread::park();
        },
    }
}

/// The folder and the processes of a victim.
struct Remains {
    folder: PathBuf,
    processes: Vec<i32>,
}

fn start_victim(end: &str) -> Result<(Child, Remains)> {
    let mut child = Command::new(env::current_exe()?)
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env(END, end)
        .env_remove("TEST_CLUSTER_KEEP")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut folder = None;
    let mut processes = Vec::new();
    let output = BufReader::new(child.stdout.take().context("it is piped")?);
    for line in output.lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("folder", path)) => folder = Some(PathBuf::from(path)),
            Some(("process", id)) => processes.push(id.parse()?),
            _ if line == "done" => break,
            _ => {}
        }
    }
    let folder = folder.context("the victim did not start a control plane")?;
    Ok((child, Remains { folder, processes }))
}

impl Remains {
    async fn are_gone(&self) -> Result<()> {
        eventually(DEADLINE, "nothing to be left", || async {
            let left: Vec<&i32> = self.processes.iter().filter(|id| runs(**id)).collect();
            ensure!(left.is_empty(), "the processes {left:?} still run");
            ensure!(!self.folder.exists(), "{} still exists", self.folder.display());
            Ok(())
        })
        .await
    }
}

/// Reports whether a process runs. A zombie does not.
fn runs(id: i32) -> bool {
    let exists = Pid::from_raw(id).is_some_and(|id| test_kill_process(id).is_ok());
    let has_ended = fs::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|text| text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')));
    exists && !has_ended
}

async fn nothing_is_left_after(end: &str) -> Result<()> {
    let (mut victim, remains) = start_victim(end)?;
    // Five components and the two processes of the supervisor.
    assert_eq!(remains.processes.len(), 7);
    if end == "kill" {
        assert!(remains.processes.iter().all(|id| runs(*id)), "they run while the victim does");
        assert!(remains.folder.is_dir());
        victim.kill()?;
    }
    victim.wait()?;
    remains.are_gone().await.with_context(|| format!("the victim ended by: {end}"))
}

#[tokio::test]
async fn nothing_is_left_after_the_last_test() -> Result<()> {
    nothing_is_left_after("return").await
}

#[tokio::test]
async fn nothing_is_left_after_an_exit() -> Result<()> {
    nothing_is_left_after("exit").await
}

#[tokio::test]
async fn nothing_is_left_after_a_panic() -> Result<()> {
    nothing_is_left_after("panic").await
}

#[tokio::test]
async fn nothing_is_left_after_an_abort() -> Result<()> {
    nothing_is_left_after("abort").await
}

#[tokio::test]
async fn nothing_is_left_after_a_kill() -> Result<()> {
    nothing_is_left_after("kill").await
}

#[tokio::test]
async fn nothing_is_left_of_the_command_line_program_after_ctrl_c() -> Result<()> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .env_remove("TEST_CLUSTER_KEEP")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("it is piped")?).read_line(&mut line)?;
    let kubeconfig = PathBuf::from(line.trim().strip_prefix("export KUBECONFIG=").context(line.clone())?);
    assert!(kubeconfig.is_file(), "{line}");
    let folder = kubeconfig.ancestors().nth(2).context("it is in the folder of the control plane")?.to_path_buf();

    // A terminal signals the whole process group, which must not contain the components.
    kill_process_group(Pid::from_child(&child), Signal::INT)?;
    let status = child.wait()?;
    assert!(status.success(), "{status}");
    assert!(!folder.exists(), "{} still exists", folder.display());
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_when_a_control_plane_is_dropped() -> Result<()> {
    let plane = ControlPlane::start().await?;
    plane.pause(Component::Etcd)?;
    let folder = plane.folder().to_path_buf();
    let processes = plane.process_ids().into_iter().map(u32::cast_signed).collect();
    drop(plane);
    // Everything is removed when the drop returns, not some time later.
    let remains = Remains { folder, processes };
    assert!(!remains.folder.exists());
    assert!(!remains.processes.iter().any(|id| runs(*id)));
    Ok(())
}
