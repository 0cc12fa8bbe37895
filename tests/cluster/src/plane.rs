//! The control plane.

use std::os::unix::process::CommandExt;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams, core::DynamicObject};
use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::sync::OnceCell;

use crate::{
    Builder, Component, Kubeconfig, Namespace,
    certificates::Ca,
    kubeconfig::{Access, Credential},
    nodes, pods,
    port::ReservedPort,
    process::{Process, log_file},
    real_node,
    supervisor::Supervisor,
    tools::{KUBECTL, Tools},
};

/// The default context name in kubeconfig files.
const CONTEXT: &str = "test-cluster";
/// Members of this group have all permissions.
const ADMINISTRATORS: &str = "system:masters";

/// A running control plane. Dropping it ends its processes and removes its folder; so does the end of this process, for any
/// reason.
#[derive(Debug)]
pub struct ControlPlane {
    supervisor: Supervisor,
    processes: BTreeMap<Component, Process>,
    ca: Arc<Ca>,
    access: Arc<Access>,
    administrator: Kubeconfig,
    namespaces: AtomicU32,
    _port: ReservedPort,
}

impl ControlPlane {
    /// Returns the shared control plane of this test process with all components, started by the first call.
    ///
    /// It is shared by all tests of the process, so each test uses its own namespace ([`ControlPlane::namespace`]) and breaks
    /// nothing. If it fails to start, every test gets the error.
    pub async fn shared() -> Result<&'static ControlPlane> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        let result = SHARED.get_or_init(|| async { ControlPlane::start().await.map_err(|error| format!("{error:?}")) });
        result.await.as_ref().map_err(|error| anyhow!("failed to start the shared control plane: {error}"))
    }

    /// Starts a separate control plane with all components and two nodes.
    pub async fn start() -> Result<ControlPlane> {
        Builder::everything().start().await
    }

    /// Configures a separate control plane with selected components.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) async fn build(builder: Builder) -> Result<ControlPlane> {
        let components: Vec<Component> = builder.components.iter().copied().collect();
        let tools = tokio::task::spawn_blocking(move || Tools::find(&components)).await??;
        let plane = Self::prepare(&builder, &tools)?;

        plane.process(Component::Etcd)?.start()?;
        plane.wait_for_etcd().await?;
        plane.process(Component::ApiServer)?.start()?;
        plane.wait_for_api_server().await?;
        if let Some(containerd) = plane.processes.get(&Component::Containerd) {
            containerd.start()?;
            let prepared = real_node::prepare_runtime(plane.folder()).await;
            prepared.with_context(|| format!("failed to prepare containerd{}", containerd.log_for_error()))?;
        }
        for process in plane.processes.values() {
            process.start()?;
        }
        if let Some(kubelet) = plane.processes.get(&Component::Kubelet) {
            let ready = real_node::wait_for_node(&plane.client().await?).await;
            ready.with_context(|| format!("the kubelet does not work{}", kubelet.log_for_error()))?;
        }
        if builder.nodes > 0 {
            nodes::create(&plane.client().await?, builder.nodes).await?;
        }
        Ok(plane)
    }

    /// Creates everything the processes need: folder, certificates, port and files.
    fn prepare(builder: &Builder, tools: &Tools) -> Result<ControlPlane> {
        let supervisor = Supervisor::start()?;
        let folder = supervisor.folder().to_path_buf();
        fs::create_dir(folder.join("logs")).with_context(|| format!("failed to write into {}", folder.display()))?;
        let ca = Ca::create(&folder.join("certificates")).context("failed to create certificates")?;
        let port = ReservedPort::new()?;
        let access = Arc::new(Access {
            server: format!("https://127.0.0.1:{}", port.number()),
            ca: ca.certificate().to_string(),
            kubectl: tools.path(KUBECTL)?,
            folder: folder.clone(),
            files: AtomicU32::new(0),
        });
        // One user each, so that audit logs and managed fields name the component.
        let credential = |user: &str| ca.for_client(user, Some(ADMINISTRATORS)).map(Credential::Certificate);
        for name in ["controller-manager", "scheduler", "kwok", "kubelet", "kube-proxy"] {
            Kubeconfig::create(&access, credential(&format!("system:{name}"))?, name, "default", Some(name))?;
        }
        let administrator =
            Kubeconfig::create(&access, credential("administrator")?, CONTEXT, "default", Some("administrator"))?;
        fs::write(folder.join("stages.yaml"), pods::stages()).context("failed to write the stages")?;

        let mut processes = BTreeMap::new();
        if builder.components.contains(&Component::Kubelet) {
            real_node::write_configuration(&folder)?;
        }
        for &component in &builder.components {
            let mut arguments = component.arguments(port.number(), &builder.components);
            if component == Component::Kubelet {
                // It rejects a relative path.
                arguments.push(format!("--root-dir={}", folder.join("kubelet").display()));
            }
            arguments.extend(builder.arguments.get(&component).cloned().unwrap_or_default());
            let process = Process {
                name: component.program(),
                program: tools.path(component.program())?,
                arguments,
                environment: Vec::new(),
                folder: folder.clone(),
                group: supervisor.group(),
                child: Mutex::new(None),
            };
            processes.insert(component, process);
        }
        Ok(Self {
            supervisor,
            processes,
            ca: Arc::new(ca),
            access,
            administrator,
            namespaces: AtomicU32::new(0),
            _port: port,
        })
    }

    /// Returns the folder with all files of this control plane.
    pub fn folder(&self) -> &Path {
        self.supervisor.folder()
    }

    /// Returns the URL of the API server.
    pub fn server(&self) -> &str {
        &self.access.server
    }

    /// Returns the kubeconfig of the administrator, who has all permissions.
    pub fn kubeconfig(&self) -> &Kubeconfig {
        &self.administrator
    }

    /// Creates a kubeconfig for a user with the RBAC permissions of the user and its groups.
    ///
    /// The user authenticates with a client certificate. The certificate library supports a single group, so a user with
    /// several groups is impersonated by an administrator, which makes no difference to RBAC and webhooks.
    pub fn kubeconfig_for_user(&self, user: &str, groups: &[&str]) -> Result<Kubeconfig> {
        let credential = match groups {
            [] => Credential::Certificate(self.ca.for_client(user, None)?),
            [group] => Credential::Certificate(self.ca.for_client(user, Some(group))?),
            groups => Credential::Impersonation {
                administrator: self.ca.for_client("administrator", Some(ADMINISTRATORS))?,
                user: user.to_string(),
                groups: groups.iter().map(ToString::to_string).collect(),
            },
        };
        Kubeconfig::create(&self.access, credential, CONTEXT, "default", None)
    }

    /// Creates a kubeconfig for an existing ServiceAccount, with a token from the API server. Its default namespace is that
    /// of the ServiceAccount.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<Kubeconfig> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("failed to create a token for the ServiceAccount {namespace}/{name}"))?;
        let token = answer.status.context("the API server returned no token")?.token;
        Kubeconfig::create(&self.access, Credential::Token(token), CONTEXT, namespace, None)
    }

    /// Creates a client of the administrator, bound to the current tokio runtime; see [`Kubeconfig::client`].
    pub async fn client(&self) -> Result<Client> {
        self.administrator.client().await
    }

    /// Runs kubectl as the administrator; see [`Kubeconfig::kubectl`].
    pub async fn kubectl(&self, arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Result<String> {
        self.administrator.kubectl(arguments).await
    }

    /// Runs kubectl as the administrator with `input` on its standard input; see [`Kubeconfig::kubectl_with_input`].
    pub async fn kubectl_with_input(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
        input: &str,
    ) -> Result<String> {
        self.administrator.kubectl_with_input(arguments, input).await
    }

    /// Returns a command for a program that is killed together with this control plane at the latest.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command.process_group(self.supervisor.group());
        command
    }

    /// Applies YAML text as the administrator; see [`Kubeconfig::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        self.administrator.apply(yaml).await
    }

    /// Creates a namespace with a unique name that starts with `prefix`. With a controller manager it is ready for pods.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed) + 1);
        let controller_manager = self.processes.get(&Component::ControllerManager);
        Namespace::create(&self.administrator, &name, controller_manager).await
    }

    /// Ensures that at least `count` nodes, named `node-1`, `node-2` and so on, exist and are ready.
    pub async fn nodes(&self, count: usize) -> Result<()> {
        let kwok = self.process(Component::Kwok)?;
        nodes::ensure(&self.client().await?, count, kwok).await
    }

    /// Builds an image with the files of `context` and loads it into the real node. Blocks for seconds.
    pub fn build_image(&self, context: &Path, containerfile: &str, image: &str) -> Result<()> {
        real_node::build_image(self.folder(), context, containerfile, image)
    }

    /// Loads an image with busybox as its only program into the real node. Blocks for seconds.
    pub fn load_busybox(&self, image: &str) -> Result<()> {
        let context = self.folder().join("busybox");
        real_node::copy_busybox(&context, "busybox")?;
        self.build_image(&context, "FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\"]\n", image)
    }

    /// Sends SIGTERM to a component, as a rolling update would, and waits for its exit.
    pub async fn stop(&self, component: Component) -> Result<()> {
        self.process(component)?.stop().await
    }

    /// Kills a component, as a power failure would, and waits for its exit.
    pub async fn kill(&self, component: Component) -> Result<()> {
        self.process(component)?.kill().await
    }

    /// Suspends a component: its connections stay open, but it does not respond.
    pub fn pause(&self, component: Component) -> Result<()> {
        self.process(component)?.send(Signal::STOP)
    }

    /// Resumes a paused component.
    pub fn resume(&self, component: Component) -> Result<()> {
        self.process(component)?.send(Signal::CONT)
    }

    /// Restarts a component, after killing it if it still runs. Data and port stay the same. Waits until the API server is
    /// ready, unless it is stopped.
    pub async fn restart(&self, component: Component) -> Result<()> {
        let process = self.process(component)?;
        process.kill().await?;
        if component == Component::Kwok {
            // The process that was killed holds its nodes for 40 seconds.
            self.kubectl(["delete", "leases", "--all", "--namespace=kube-node-lease"]).await?;
        }
        process.start()?;
        match component {
            Component::Etcd => self.wait_for_etcd().await?,
            Component::ApiServer => self.wait_for_api_server().await?,
            _ => return Ok(()),
        }
        if self.process_id(Component::ApiServer).is_some() { self.wait_for_api_server().await } else { Ok(()) }
    }

    /// Returns the process id of a component, or `None` if it does not run.
    pub fn process_id(&self, component: Component) -> Option<u32> {
        self.processes.get(&component)?.id()
    }

    /// Returns the ids of all running processes of this control plane, including those of its supervisor.
    pub fn process_ids(&self) -> Vec<u32> {
        let components = self.processes.values().filter_map(Process::id);
        components.chain(self.supervisor.process_ids()).collect()
    }

    /// Returns the log of a component.
    pub fn log(&self, component: Component) -> Result<String> {
        let path = self.log_file(component);
        let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the path of the log of a component.
    pub fn log_file(&self, component: Component) -> PathBuf {
        log_file(self.folder(), component.program())
    }

    fn process(&self, component: Component) -> Result<&Process> {
        self.processes.get(&component).with_context(|| {
            format!("this control plane was started without {component}; add it with ControlPlane::builder()")
        })
    }

    /// Waits until etcd accepts connections. If the first attempt of the API server failed, it would retry only after a
    /// second.
    async fn wait_for_etcd(&self) -> Result<()> {
        let socket = self.folder().join("etcd.socket");
        self.process(Component::Etcd)?
            .wait_for(|| async {
                Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(&SockAddr::unix(&socket)?)?;
                Ok(())
            })
            .await
    }

    async fn wait_for_api_server(&self) -> Result<()> {
        let client = self.client().await?;
        self.process(Component::ApiServer)?
            .wait_for(|| async {
                let answer = client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
                ensure!(answer == "ok", "it is not ready: {answer}");
                Ok(())
            })
            .await
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.supervisor.take_down();
        for process in self.processes.values() {
            process.collect();
        }
    }
}
