//! A controller that runs while a test looks at what it does.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use kube_devops_cluster::permissions::{Component, rules};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Kubeconfig, Namespace, eventually};

use crate::http::{Http, Trust};
use crate::{Folder, program, root};

/// A controller that runs. It ends when this is dropped, and at the latest together with the control plane.
#[derive(Debug)]
pub struct Controller {
    child: Child,
    http: Http,
    folder: Folder,
}

impl Controller {
    /// Starts the program with these arguments and a free port, and waits until it listens.
    pub async fn start(plane: &ControlPlane, kubeconfig: &Path, arguments: &[&str]) -> Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(plane, kubeconfig, any, Trust::Plain, arguments).await
    }

    /// The same at an address. `trust` says how its endpoints are spoken to.
    pub async fn start_at(
        plane: &ControlPlane,
        kubeconfig: &Path,
        address: SocketAddr,
        trust: Trust,
        arguments: &[&str],
    ) -> Result<Self> {
        let folder = Folder::new();
        let log = File::create(folder.path().join("log"))?;
        let child = plane
            .command(program())
            .current_dir(root())
            .args(arguments)
            .args(["--addr", &address.to_string(), "--kubeconfig"])
            .arg(kubeconfig)
            .env_remove("RUST_LOG")
            .env_remove("POD_NAMESPACE")
            .env_remove("POD_NAME")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the program cannot be started")?;
        let mut controller = Self { child, http: Http { address, trust }, folder };
        controller.http.address = eventually(DEADLINE, "the controller to listen", async || {
            let line = controller.lines("listening").into_iter().next().context("it does not listen")?;
            Ok(line["address"].as_str().unwrap_or_default().parse()?)
        })
        .await
        .with_context(|| controller.log())?;
        Ok(controller)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The log lines with this message.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>();
        lines.into_iter().filter(|line| line["message"] == message).collect()
    }

    /// The status and the body that an endpoint answers with.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.http.get(path)
    }

    /// How its endpoints are spoken to.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The value of a series, which is written as in the answer of `/metrics`, labels in their order. None where it is not
    /// there.
    pub fn metric(&self, series: &str) -> Result<Option<f64>> {
        let (code, text) = self.get("/metrics")?;
        ensure!(code == 200, "/metrics answers {code}");
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        Ok(text.lines().find_map(value))
    }

    /// The sum of all series of a metric.
    pub fn sum(&self, metric: &str) -> Result<f64> {
        let (code, text) = self.get("/metrics")?;
        ensure!(code == 200, "/metrics answers {code}");
        let of_metric = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        Ok(text.lines().filter(of_metric).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until it says that it can do its work.
    pub async fn ready(&self) -> Result<()> {
        eventually(DEADLINE, "the controller to be ready", async || {
            let (code, text) = self.get("/readyz")?;
            ensure!(code == 200, "/readyz answers {code}: {text}");
            Ok(())
        })
        .await
        .with_context(|| self.log())
    }

    /// Waits until a series has a value.
    pub async fn expect_metric(&self, series: &str, expected: Option<f64>) -> Result<()> {
        eventually(DEADLINE, format!("{series} to be {expected:?}"), async || {
            let value = self.metric(series)?;
            ensure!(value == expected, "it is {value:?}");
            Ok(())
        })
        .await
        .with_context(|| self.log())
    }

    /// A figure of its memory in KB, as `/proc/PID/status` calls it: `VmRSS` for now, `VmHWM` for the highest so far.
    pub fn memory(&self, figure: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(figure)).context("there is such a figure")?;
        let number = line.split_whitespace().nth(1).context("it is a number")?;
        Ok(number.parse()?)
    }

    /// Stops it in its tracks.
    pub fn pause(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// Ends it on the spot.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop.
    pub fn terminate(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Asks it to stop, and waits until it has. An end that is not orderly is an error.
    pub async fn stop(&mut self) -> Result<()> {
        self.terminate()?;
        eventually(DEADLINE, "the controller to stop", async || {
            ensure!(is_zombie(self.child.id()), "it still runs");
            Ok(())
        })
        .await?;
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}: {}", self.log());
        ensure!(!self.log().contains("panicked"), "{}", self.log());
        Ok(())
    }
}

/// Whether the process has ended, and nobody has asked how.
fn is_zombie(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A ServiceAccount in the namespace with exactly the permissions of the component, and a kubeconfig for it.
pub async fn service_account(plane: &ControlPlane, namespace: &Namespace, component: Component) -> Result<Kubeconfig> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let name = format!("{}-{}", namespace.name(), component.as_str());
    let subject = json!([{ "kind": "ServiceAccount", "name": name, "namespace": namespace.name() }]);
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": namespace.name() } },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": { "name": name },
            "rules": rules(component, false),
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": name }, "subjects": subject,
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "Role",
            "metadata": { "name": name, "namespace": namespace.name() }, "rules": rules(component, true),
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding",
            "metadata": { "name": name, "namespace": namespace.name() },
            "roleRef": { "apiGroup": RBAC, "kind": "Role", "name": name }, "subjects": subject,
        },
    ] });
    plane.kubectl_with_input(["apply", "-f", "-"], &objects.to_string()).await?;
    plane.kubeconfig_for_service_account(namespace.name(), &name).await
}
