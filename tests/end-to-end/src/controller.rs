//! A running controller and its observable state.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube_devops_cluster::permissions::{Component, ObjectNames, rules};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use test_cluster::{ControlPlane, DEADLINE, Kubeconfig, Namespace, eventually};

use crate::http::{Http, Trust};
use crate::{Folder, program, root};

/// A running controller. It ends when this is dropped, and at the latest together with the control plane.
#[derive(Debug)]
pub struct Controller {
    child: Child,
    http: Http,
    folder: Folder,
}

impl Controller {
    /// Starts the program with `arguments` on a free port and waits until it listens.
    pub async fn start(plane: &ControlPlane, kubeconfig: &Path, arguments: &[&str]) -> Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(plane, kubeconfig, any, Trust::Plain, arguments).await
    }

    /// Like [`Controller::start`], at an address. `trust` selects the transport security of its endpoints.
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
            .context("failed to start the program")?;
        let mut controller = Self { child, http: Http { address, trust }, folder };
        controller.http.address = eventually(DEADLINE, "the controller to listen", async || {
            let line = controller.lines("listening").into_iter().next().context("it does not listen yet")?;
            Ok(line["address"].as_str().unwrap_or_default().parse()?)
        })
        .await
        .with_context(|| controller.log())?;
        Ok(controller)
    }

    /// Returns its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Returns the log lines with this message.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>();
        lines.into_iter().filter(|line| line["message"] == message).collect()
    }

    /// Sends a GET and returns the status and the body of the response.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.http.get(path)
    }

    /// Returns the HTTP client for its endpoints.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Returns the value of a series, given as in the response of `/metrics` with the labels in their order, or `None` if it
    /// does not exist.
    pub fn metric(&self, series: &str) -> Result<Option<f64>> {
        let (code, text) = self.get("/metrics")?;
        ensure!(code == 200, "/metrics answers {code}");
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        Ok(text.lines().find_map(value))
    }

    /// Returns the sum of all series of a metric.
    pub fn sum(&self, metric: &str) -> Result<f64> {
        let (code, text) = self.get("/metrics")?;
        ensure!(code == 200, "/metrics answers {code}");
        let of_metric = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        Ok(text.lines().filter(of_metric).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until its readiness endpoint succeeds.
    pub async fn ready(&self) -> Result<()> {
        eventually(DEADLINE, "the controller to be ready", async || {
            let (code, text) = self.get("/readyz")?;
            ensure!(code == 200, "/readyz answers {code}: {text}");
            Ok(())
        })
        .await
        .with_context(|| self.log())
    }

    /// Waits until a series has this value.
    pub async fn expect_metric(&self, series: &str, expected: Option<f64>) -> Result<()> {
        eventually(DEADLINE, format!("{series} to be {expected:?}"), async || {
            let value = self.metric(series)?;
            ensure!(value == expected, "it is {value:?}");
            Ok(())
        })
        .await
        .with_context(|| self.log())
    }

    /// Waits until the log contains a text.
    pub async fn expect_log(&self, text: &str) -> Result<()> {
        eventually(DEADLINE, format!("{text:?} in the log"), async || {
            let log = self.log();
            ensure!(log.contains(text), "{log}");
            Ok(())
        })
        .await
    }

    /// Returns a memory figure of `/proc/PID/status` in KB: `VmRSS` for the current, `VmHWM` for the peak resident size.
    pub fn memory(&self, figure: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(figure)).context("the figure exists")?;
        let number = line.split_whitespace().nth(1).context("it is a number")?;
        Ok(number.parse()?)
    }

    /// Suspends the process.
    pub fn pause(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    /// Resumes the process.
    pub fn resume(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// Returns the processes that it has started, and that still run.
    pub fn children(&self) -> Result<Vec<Pid>> {
        let mut children = Vec::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may have ended in between.
            let ids = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            children.extend(ids.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)));
        }
        Ok(children)
    }

    /// Kills the process.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Sends SIGTERM and waits for the exit. A failure exit status or a panic is an error.
    pub async fn stop(&mut self) -> Result<()> {
        self.terminate()?;
        eventually(DEADLINE, "the controller to stop", async || {
            ensure!(is_zombie(self.child.id()), "it still runs");
            Ok(())
        })
        .await?;
        let status = self.child.wait()?;
        ensure!(status.success(), "it exited with {status}: {}", self.log());
        ensure!(!self.log().contains("panicked"), "{}", self.log());
        Ok(())
    }
}

/// Reports whether the process has exited but has not been reaped.
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

/// Creates a ServiceAccount with exactly the permissions of the components, named by the first of them, and returns a kubeconfig for it.
pub async fn service_account(
    plane: &ControlPlane,
    namespace: &Namespace,
    components: &[Component],
) -> Result<Kubeconfig> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let first = components.first().context("no component")?;
    let name = format!("{}-{}", namespace.name(), first.as_str());
    let rules = |own_namespace: bool| -> Vec<PolicyRule> {
        components.iter().flat_map(|component| rules(*component, own_namespace, &ObjectNames::default())).collect()
    };
    let subject = json!([{ "kind": "ServiceAccount", "name": name, "namespace": namespace.name() }]);
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": namespace.name() } },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": { "name": name },
            "rules": rules(false),
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": name }, "subjects": subject,
        },
        {
            "apiVersion": format!("{RBAC}/v1"), "kind": "Role",
            "metadata": { "name": name, "namespace": namespace.name() }, "rules": rules(true),
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
