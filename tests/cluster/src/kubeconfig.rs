//! Kubeconfig files and the clients that use them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig as Parsed},
    core::DynamicObject,
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{apply, certificates::Certificate};

/// The data shared by all kubeconfig files of one control plane.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) server: String,
    /// PEM text.
    pub(crate) ca: String,
    pub(crate) kubectl: PathBuf,
    /// The folder of the files and of kubectl's cache.
    pub(crate) folder: PathBuf,
    pub(crate) files: AtomicU32,
}

/// The credential of a client.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Certificate(Certificate),
    Token(String),
    /// An administrator who impersonates this user with these groups.
    Impersonation {
        administrator: Certificate,
        user: String,
        groups: Vec<String>,
    },
}

/// A kubeconfig file: one user, one cluster, one context. All certificates are embedded, so it can be copied anywhere.
///
/// The file is removed together with the control plane.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    path: PathBuf,
    access: Arc<Access>,
    credential: Credential,
    context: String,
    namespace: String,
}

impl Kubeconfig {
    /// Writes a kubeconfig file. `name` is the name of the file, or `None` for any.
    pub(crate) fn create(
        access: &Arc<Access>,
        credential: Credential,
        context: &str,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<Self> {
        let number = access.files.fetch_add(1, Ordering::Relaxed);
        let name = name.map_or_else(|| format!("{number}.yaml"), |name| format!("{name}.yaml"));
        let kubeconfig = Self {
            path: access.folder.join("kubeconfigs").join(name),
            access: Arc::clone(access),
            credential,
            context: context.to_string(),
            namespace: namespace.to_string(),
        };
        write(&kubeconfig.path, &kubeconfig.contents())?;
        Ok(kubeconfig)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of its context.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The same user in another file, with another name for the context.
    pub fn with_context(&self, context: &str) -> Result<Self> {
        Self::create(&self.access, self.credential.clone(), context, &self.namespace, None)
    }

    /// The same user in another file, with another default namespace.
    pub fn with_namespace(&self, namespace: &str) -> Result<Self> {
        Self::create(&self.access, self.credential.clone(), &self.context, namespace, None)
    }

    /// Writes a file with the contexts of both; the context of `self` is the current one. The two contexts need different
    /// names, see [`Kubeconfig::with_context`].
    pub fn merged_with(&self, other: &Kubeconfig) -> Result<PathBuf> {
        ensure!(self.context != other.context, "both kubeconfigs have a context named {:?}", self.context);
        let mut merged = self.contents();
        let other = other.contents();
        for list in ["clusters", "users", "contexts"] {
            let more = other[list].as_array().cloned().unwrap_or_default();
            merged[list].as_array_mut().context("kubeconfig without clusters, users or contexts")?.extend(more);
        }
        let number = self.access.files.fetch_add(1, Ordering::Relaxed);
        let path = self.access.folder.join("kubeconfigs").join(format!("{number}.yaml"));
        write(&path, &merged)?;
        Ok(path)
    }

    /// Creates a client. It is bound to the current tokio runtime: each test needs its own client.
    pub async fn client(&self) -> Result<Client> {
        let parsed: Parsed = serde_json::from_value(self.contents())?;
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await?;
        Client::try_from(config).with_context(|| format!("failed to create a client for {}", self.path.display()))
    }

    /// Runs kubectl and returns its output. If it fails, the error contains its output.
    pub async fn kubectl(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.kubectl_with_input(arguments, "").await
    }

    /// Runs kubectl with `input` on its standard input, for example for `apply -f -`; otherwise like
    /// [`Kubeconfig::kubectl`].
    pub async fn kubectl_with_input(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &str,
    ) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("failed to start kubectl")?;
        let mut pipe = child.stdin.take().context("kubectl has no input")?;
        let writing = async move {
            // If kubectl exits before it has read everything, its own error matters.
            let _ = pipe.write_all(input.as_bytes()).await;
        };
        let ((), output) = tokio::join!(writing, child.wait_with_output());
        let output = output.context("failed to wait for kubectl")?;
        ensure!(
            output.status.success(),
            "{:?} failed ({}): {}{}",
            command.as_std().get_args().collect::<Vec<_>>(),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
        String::from_utf8(output.stdout).context("kubectl printed invalid UTF-8")
    }

    /// Returns a kubectl command that uses this file, for tests of warnings, exit codes or long-running commands.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.access.kubectl);
        // The kubectl configuration of the user must not affect tests.
        command
            .env("KUBECONFIG", &self.path)
            .env("KUBECACHEDIR", self.access.folder.join("kubectl-cache"))
            .env("KUBERC", "off")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Applies one or more YAML documents by server-side apply and returns the stored objects.
    ///
    /// Objects without a namespace go into the default namespace of this file. Waits for the API server to serve the kind of
    /// a document if a preceding document is its CustomResourceDefinition.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        apply::apply(&self.client().await?, &self.namespace, yaml).await
    }

    fn contents(&self) -> Value {
        let name = &self.context;
        let data = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
        let user = match &self.credential {
            Credential::Token(token) => json!({ "token": token }),
            Credential::Certificate(Certificate { certificate, key }) => {
                json!({ "client-certificate-data": data(certificate), "client-key-data": data(key) })
            }
            Credential::Impersonation { administrator: Certificate { certificate, key }, user, groups } => json!({
                "client-certificate-data": data(certificate),
                "client-key-data": data(key),
                "as": user,
                "as-groups": groups,
            }),
        };
        let cluster = json!({ "server": self.access.server, "certificate-authority-data": data(&self.access.ca) });
        // Cluster and user have the name of the context, so that files can be merged.
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": name, "cluster": cluster }],
            "users": [{ "name": name, "user": user }],
            "contexts": [{ "name": name, "context": { "cluster": name, "user": name, "namespace": self.namespace } }],
            "current-context": name,
        })
    }
}

fn write(path: &Path, contents: &Value) -> Result<()> {
    let text = serde_norway::to_string(contents)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
