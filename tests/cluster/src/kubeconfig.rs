//! Kubeconfig files, and what one can do with them.

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

/// What the files of one control plane have in common.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) server: String,
    /// PEM text.
    pub(crate) ca: String,
    pub(crate) kubectl: PathBuf,
    /// Where the files and kubectl's cache are put.
    pub(crate) folder: PathBuf,
    pub(crate) files: AtomicU32,
}

/// By what a client proves who it is.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Certificate(Certificate),
    Token(String),
    /// What is proved is to be an administrator, who acts for this user of these groups.
    ActingFor {
        administrator: Certificate,
        user: String,
        groups: Vec<String>,
    },
}

/// A kubeconfig file: one user, one cluster, one context. All certificates are in it, so it can be copied anywhere.
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
    /// `name` is the name of the file, where it matters.
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

    /// Writes a file that has the contexts of both; the one of `self` is the current one. The two need different names, see
    /// [`Kubeconfig::with_context`].
    pub fn merged_with(&self, other: &Kubeconfig) -> Result<PathBuf> {
        ensure!(self.context != other.context, "both kubeconfigs call their context {:?}", self.context);
        let mut merged = self.contents();
        let other = other.contents();
        for list in ["clusters", "users", "contexts"] {
            let more = other[list].as_array().cloned().unwrap_or_default();
            merged[list].as_array_mut().context("a kubeconfig without its lists")?.extend(more);
        }
        let number = self.access.files.fetch_add(1, Ordering::Relaxed);
        let path = self.access.folder.join("kubeconfigs").join(format!("{number}.yaml"));
        write(&path, &merged)?;
        Ok(path)
    }

    /// A new client. It belongs to the tokio runtime that this is called on: another test needs another client.
    pub async fn client(&self) -> Result<Client> {
        let parsed: Parsed = serde_json::from_value(self.contents())?;
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await?;
        Client::try_from(config).with_context(|| format!("cannot make a client for {}", self.path.display()))
    }

    /// Runs kubectl and returns what it printed. When it fails, what it said is in the error.
    pub async fn kubectl(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        self.kubectl_with_input(arguments, "").await
    }

    /// Runs kubectl with a text as its standard input, for example for `apply -f -`; else like [`Kubeconfig::kubectl`].
    pub async fn kubectl_with_input(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &str,
    ) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start kubectl")?;
        let mut pipe = child.stdin.take().context("kubectl has no input")?;
        let writing = async move {
            // When kubectl ends without having read it all, what it says counts.
            let _ = pipe.write_all(input.as_bytes()).await;
        };
        let ((), output) = tokio::join!(writing, child.wait_with_output());
        let output = output.context("cannot wait for kubectl")?;
        ensure!(
            output.status.success(),
            "{:?} failed ({}): {}{}",
            command.as_std().get_args().collect::<Vec<_>>(),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
        String::from_utf8(output.stdout).context("kubectl printed something that is no text")
    }

    /// kubectl, made ready to be run with this file: for warnings, exit codes or what runs on.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.access.kubectl);
        // Nothing that the person has set up for their own kubectl may change what a test sees.
        command
            .env("KUBECONFIG", &self.path)
            .env("KUBECACHEDIR", self.access.folder.join("kubectl-cache"))
            .env("KUBERC", "off")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Applies YAML text of one or more documents by server-side apply, and returns the objects as the API server has them.
    ///
    /// Objects without a namespace go into the default namespace of this file. A document of a kind that the API server
    /// learns in this moment, from a CustomResourceDefinition before it, is waited for.
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
            Credential::ActingFor { administrator: Certificate { certificate, key }, user, groups } => json!({
                "client-certificate-data": data(certificate),
                "client-key-data": data(key),
                "as": user,
                "as-groups": groups,
            }),
        };
        let cluster = json!({ "server": self.access.server, "certificate-authority-data": data(&self.access.ca) });
        // Cluster and user are called like the context, so that files can be merged.
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
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
