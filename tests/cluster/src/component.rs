//! The parts of a control plane and how each of them is started.

use std::{fmt, path::Path};

/// A part of the control plane: one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The store behind the API server.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager: Deployments, Jobs, garbage collection, deletion of namespaces, ServiceAccounts.
    ControllerManager,
    /// kube-scheduler: gives pods to nodes.
    Scheduler,
    /// kwok: plays the nodes and what runs on them.
    Kwok,
}

impl Component {
    /// Every component, in the order in which they are started.
    pub const ALL: [Component; 5] =
        [Component::Etcd, Component::ApiServer, Component::ControllerManager, Component::Scheduler, Component::Kwok];

    /// The name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Component::Etcd => "etcd",
            Component::ApiServer => "kube-apiserver",
            Component::ControllerManager => "kube-controller-manager",
            Component::Scheduler => "kube-scheduler",
            Component::Kwok => "kwok",
        }
    }

    /// What it is started with. Its working folder is that of the plane, so paths are relative: the paths of sockets may
    /// not be longer than about 100 characters, which the name of a temporary folder can use up by itself.
    pub(crate) fn arguments(self, port: u16, has_controller_manager: bool) -> Vec<String> {
        let arguments: &[&str] = match self {
            // Sockets rather than ports: nobody else can take them. What etcd tells its peers is of no use without peers.
            Component::Etcd => &[
                "--data-dir=etcd",
                "--listen-client-urls=unix://etcd.socket",
                "--advertise-client-urls=unix://etcd.socket",
                "--listen-peer-urls=unix://etcd-peer.socket",
                "--initial-advertise-peer-urls=http://localhost:0",
                "--initial-cluster=default=http://localhost:0",
                "--unsafe-no-fsync",
            ],
            // It shares its port with the socket that reserves it, see `port.rs`. Without a network of nodes there is
            // nobody to tell the address of the API server, hence no endpoint reconciler, which would refuse a loopback address.
            Component::ApiServer => &[
                "--etcd-servers=unix://etcd.socket",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--permit-port-sharing",
                "--permit-address-sharing",
                "--endpoint-reconciler-type=none",
                "--tls-cert-file=certificates/api-server.crt",
                "--tls-private-key-file=certificates/api-server.key",
                "--client-ca-file=certificates/authority.crt",
                "--service-account-key-file=certificates/service-accounts.pub",
                "--service-account-signing-key-file=certificates/service-accounts.key",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=Node,RBAC",
                "--allow-privileged",
            ],
            // The limits on requests a second are for clusters that are shared with others; a test would only wait for them.
            Component::ControllerManager => &[
                "--kubeconfig=kubeconfigs/controller-manager.yaml",
                "--service-account-private-key-file=certificates/service-accounts.key",
                "--root-ca-file=certificates/authority.crt",
                "--cluster-signing-cert-file=certificates/authority.crt",
                "--cluster-signing-key-file=certificates/authority.key",
                "--leader-elect=false",
                "--kube-api-qps=1000",
                "--kube-api-burst=2000",
                "--secure-port=0",
            ],
            Component::Scheduler => &[
                "--kubeconfig=kubeconfigs/scheduler.yaml",
                "--leader-elect=false",
                "--kube-api-qps=1000",
                "--kube-api-burst=2000",
                "--secure-port=0",
            ],
            Component::Kwok => &[
                "--kubeconfig=kubeconfigs/kwok.yaml",
                "--config=stages.yaml",
                "--manage-all-nodes",
                "--node-lease-duration-seconds=40",
                "--cidr=10.128.0.0/9",
            ],
        };
        let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        if self == Component::ApiServer {
            arguments.push(format!("--secure-port={port}"));
            if !has_controller_manager {
                // It refuses pods until somebody has created the ServiceAccount "default", which nobody does here.
                arguments.push("--disable-admission-plugins=ServiceAccount".to_string());
            }
        }
        arguments
    }

    pub(crate) fn log_file(self, folder: &Path) -> std::path::PathBuf {
        folder.join("logs").join(format!("{}.log", self.program()))
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.program())
    }
}
