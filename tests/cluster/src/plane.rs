//! The control plane itself.

use std::os::unix::process::CommandExt;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
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
    Builder, Component, DEADLINE, Kubeconfig, Namespace,
    certificates::Ca,
    eventually::poll,
    kubeconfig::{Access, Credential},
    nodes, pods,
    port::ReservedPort,
    process::Process,
    supervisor::Supervisor,
    tools::{KUBECTL, Tools},
};

/// The name of the context in kubeconfig files where none is chosen.
const CONTEXT: &str = "test-cluster";
/// Members of this group may do everything.
const ADMINISTRATORS: &str = "system:masters";

/// A running control plane. Dropping it ends its processes and removes its folder; so does the end of this process, however
/// that comes about.
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
    /// The control plane of this test process, with everything, started by whoever asks first.
    ///
    /// It is shared by all tests of the process, so a test keeps to a namespace of its own ([`ControlPlane::namespace`]) and
    /// breaks nothing. When it does not start, every test gets to know why.
    pub async fn shared() -> Result<&'static ControlPlane> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        let result = SHARED.get_or_init(|| async { ControlPlane::start().await.map_err(|error| format!("{error:?}")) });
        result.await.as_ref().map_err(|error| anyhow!("the shared control plane did not start: {error}"))
    }

    /// A control plane of one's own with all components and two nodes.
    pub async fn start() -> Result<ControlPlane> {
        Builder::everything().start().await
    }

    /// A control plane of one's own with chosen components.
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
        for process in plane.processes.values() {
            process.start()?;
        }
        if builder.nodes > 0 {
            nodes::create(&plane.client().await?, builder.nodes).await?;
        }
        Ok(plane)
    }

    /// Everything that comes before the first process: folder, certificates, port and files.
    fn prepare(builder: &Builder, tools: &Tools) -> Result<ControlPlane> {
        let supervisor = Supervisor::start()?;
        let folder = supervisor.folder().to_path_buf();
        fs::create_dir(folder.join("logs")).with_context(|| format!("cannot write into {}", folder.display()))?;
        let ca = Ca::create(&folder.join("certificates")).context("cannot make certificates")?;
        let port = ReservedPort::new()?;
        let access = Arc::new(Access {
            server: format!("https://127.0.0.1:{}", port.number()),
            ca: ca.certificate().to_string(),
            kubectl: tools.path(KUBECTL)?,
            folder: folder.clone(),
            files: AtomicU32::new(0),
        });
        // One file each, so that audit logs and managed fields tell who did what.
        let credential = |user: &str| ca.for_client(user, Some(ADMINISTRATORS)).map(Credential::Certificate);
        for name in ["controller-manager", "scheduler", "kwok"] {
            Kubeconfig::create(&access, credential(&format!("system:{name}"))?, name, "default", Some(name))?;
        }
        let administrator =
            Kubeconfig::create(&access, credential("administrator")?, CONTEXT, "default", Some("administrator"))?;
        fs::write(folder.join("stages.yaml"), pods::stages()).context("cannot write the stages")?;

        let mut processes = BTreeMap::new();
        let has_controller_manager = builder.components.contains(&Component::ControllerManager);
        for &component in &builder.components {
            let mut arguments = component.arguments(port.number(), has_controller_manager);
            arguments.extend(builder.arguments.get(&component).cloned().unwrap_or_default());
            let process = Process {
                component,
                program: tools.path(component.program())?,
                arguments,
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

    /// The folder with everything this control plane writes.
    pub fn folder(&self) -> &Path {
        self.supervisor.folder()
    }

    /// The address of the API server.
    pub fn server(&self) -> &str {
        &self.access.server
    }

    /// The kubeconfig of somebody who may do everything.
    pub fn kubeconfig(&self) -> &Kubeconfig {
        &self.administrator
    }

    /// A kubeconfig of a user who may do what RBAC allows them or the groups they belong to.
    ///
    /// They prove who they are by a client certificate. The library that makes those can put one group into them, so a user
    /// of more groups is impersonated by an administrator, which makes no difference to RBAC and to webhooks.
    pub fn kubeconfig_for_user(&self, user: &str, groups: &[&str]) -> Result<Kubeconfig> {
        let credential = match groups {
            [] => Credential::Certificate(self.ca.for_client(user, None)?),
            [group] => Credential::Certificate(self.ca.for_client(user, Some(group))?),
            groups => Credential::ActingFor {
                administrator: self.ca.for_client("administrator", Some(ADMINISTRATORS))?,
                user: user.to_string(),
                groups: groups.iter().map(ToString::to_string).collect(),
            },
        };
        Kubeconfig::create(&self.access, credential, CONTEXT, "default", None)
    }

    /// A kubeconfig of a ServiceAccount that exists, with a token from the API server. Its default namespace is that of the
    /// ServiceAccount.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<Kubeconfig> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("cannot get a token for the ServiceAccount {namespace}/{name}"))?;
        let token = answer.status.context("the API server answered without a token")?.token;
        Kubeconfig::create(&self.access, Credential::Token(token), CONTEXT, namespace, None)
    }

    /// A new client of the administrator, for the tokio runtime this is called on; see [`Kubeconfig::client`].
    pub async fn client(&self) -> Result<Client> {
        self.administrator.client().await
    }

    /// Runs kubectl as the administrator; see [`Kubeconfig::kubectl`].
    pub async fn kubectl(&self, arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Result<String> {
        self.administrator.kubectl(arguments).await
    }

    /// Runs kubectl as the administrator with a text as its input; see [`Kubeconfig::kubectl_with_input`].
    pub async fn kubectl_with_input(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
        input: &str,
    ) -> Result<String> {
        self.administrator.kubectl_with_input(arguments, input).await
    }

    /// A command for a program that is to end with this control plane at the latest, however that ends.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command.process_group(self.supervisor.group());
        command
    }

    /// Applies YAML text as the administrator; see [`Kubeconfig::apply`].
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        self.administrator.apply(yaml).await
    }

    /// A new namespace whose name begins with `prefix`. With a controller manager it is ready for pods.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed) + 1);
        let controller_manager = self.processes.get(&Component::ControllerManager);
        Namespace::create(&self.administrator, &name, controller_manager).await
    }

    /// Sees to it that there are at least `count` nodes, called `node-1`, `node-2` and so on, and that they are ready.
    pub async fn nodes(&self, count: usize) -> Result<()> {
        let kwok = self.process(Component::Kwok)?;
        nodes::ensure(&self.client().await?, count, kwok).await
    }

    /// Asks a component to stop, as a rolling update would, and waits until it has.
    pub async fn stop(&self, component: Component) -> Result<()> {
        self.process(component)?.stop().await
    }

    /// Ends a component on the spot, as a power cut would, and waits until it is gone.
    pub async fn kill(&self, component: Component) -> Result<()> {
        self.process(component)?.kill().await
    }

    /// Stops a component in its tracks: its connections stay open and nothing is answered.
    pub fn pause(&self, component: Component) -> Result<()> {
        self.process(component)?.send(Signal::STOP)
    }

    /// Lets a paused component go on.
    pub fn resume(&self, component: Component) -> Result<()> {
        self.process(component)?.send(Signal::CONT)
    }

    /// Starts a component again, after killing it where it still runs. Data and port stay the same. Waits until the API
    /// server is ready, if it is to run.
    pub async fn restart(&self, component: Component) -> Result<()> {
        let process = self.process(component)?;
        process.kill().await?;
        process.start()?;
        match component {
            Component::Etcd => self.wait_for_etcd().await?,
            Component::ApiServer => self.wait_for_api_server().await?,
            _ => return Ok(()),
        }
        if self.process_id(Component::ApiServer).is_some() { self.wait_for_api_server().await } else { Ok(()) }
    }

    /// The id of a component's process, while it runs.
    pub fn process_id(&self, component: Component) -> Option<u32> {
        self.processes.get(&component)?.id()
    }

    /// The ids of all processes that belong to this control plane and run, those that watch over it among them.
    pub fn process_ids(&self) -> Vec<u32> {
        let components = self.processes.values().filter_map(Process::id);
        components.chain(self.supervisor.process_ids()).collect()
    }

    /// What a component has logged so far.
    pub fn log(&self, component: Component) -> Result<String> {
        let path = self.log_file(component);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file a component logs to.
    pub fn log_file(&self, component: Component) -> PathBuf {
        component.log_file(self.folder())
    }

    fn process(&self, component: Component) -> Result<&Process> {
        self.processes.get(&component).with_context(|| {
            format!("this control plane was started without {component}; add it with ControlPlane::builder()")
        })
    }

    /// The API server would try again only after a second when its first attempt to reach etcd failed.
    async fn wait_for_etcd(&self) -> Result<()> {
        let socket = self.folder().join("etcd.socket");
        wait_for(self.process(Component::Etcd)?, || async {
            Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(&SockAddr::unix(&socket)?)?;
            Ok(())
        })
        .await
    }

    async fn wait_for_api_server(&self) -> Result<()> {
        let client = self.client().await?;
        wait_for(self.process(Component::ApiServer)?, || async {
            let answer = client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
            ensure!(answer == "ok", "it is not ready: {answer}");
            Ok(())
        })
        .await
    }
}

/// Waits until a component answers, but no longer than it runs.
async fn wait_for<Answer: Future<Output = Result<()>>>(
    process: &Process,
    mut answers: impl FnMut() -> Answer,
) -> Result<()> {
    let outcome = poll(DEADLINE, Duration::from_millis(20), "an answer", || {
        let running = process.ensure_running();
        let answer = answers();
        async {
            match running {
                Ok(()) => answer.await.map(Ok),
                Err(error) => Ok(Err(error)),
            }
        }
    });
    outcome.await.with_context(|| format!("{} does not answer{}", process.component, process.log_for_error()))?
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.supervisor.take_down();
        for process in self.processes.values() {
            process.collect();
        }
    }
}
