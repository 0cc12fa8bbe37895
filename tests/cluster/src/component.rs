//! The components of a control plane and their command lines.

use std::{collections::BTreeSet, fmt};

use crate::real_node;

/// A component of the control plane: one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The data store of the API server.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager: Deployments, Jobs, garbage collection, deletion of namespaces, ServiceAccounts.
    ControllerManager,
    /// kube-scheduler: assigns pods to nodes.
    Scheduler,
    /// kwok: simulates the nodes and the pods on them.
    Kwok,
    /// containerd: runs the containers of a real node.
    Containerd,
    /// The kubelet of a real node.
    Kubelet,
    /// kube-proxy: Service addresses on a real node.
    KubeProxy,
}

impl Component {
    /// All components of a control plane with simulated nodes, in start order.
    pub const ALL: [Component; 5] =
        [Component::Etcd, Component::ApiServer, Component::ControllerManager, Component::Scheduler, Component::Kwok];

    /// The components of a real node.
    pub const NODE: [Component; 3] = [Component::Containerd, Component::Kubelet, Component::KubeProxy];

    /// The name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Component::Etcd => "etcd",
            Component::ApiServer => "kube-apiserver",
            Component::ControllerManager => "kube-controller-manager",
            Component::Scheduler => "kube-scheduler",
            Component::Kwok => "kwok",
            Component::Containerd => "containerd",
            Component::Kubelet => "kubelet",
            Component::KubeProxy => "kube-proxy",
        }
    }

    /// Returns the command-line arguments. The working folder is that of the control plane and paths are relative: socket
    /// paths are limited to about 100 characters, which the name of a temporary folder alone can exceed.
    // One table of arguments.
    #[allow(clippy::too_many_lines)]
    pub(crate) fn arguments(self, port: u16, components: &BTreeSet<Component>) -> Vec<String> {
        let arguments: &[&str] = match self {
            // Sockets rather than ports: no other process can bind them. The peer URLs are unused without peers.
            Component::Etcd => &[
                "--data-dir=etcd",
                "--listen-client-urls=unix://etcd.socket",
                "--advertise-client-urls=unix://etcd.socket",
                "--listen-peer-urls=unix://etcd-peer.socket",
                "--initial-advertise-peer-urls=http://localhost:0",
                "--initial-cluster=default=http://localhost:0",
                "--unsafe-no-fsync",
            ],
            // It shares its port with the socket that reserves it, see `port.rs`.
            Component::ApiServer => &[
                "--etcd-servers=unix://etcd.socket",
                "--permit-port-sharing",
                "--permit-address-sharing",
                "--tls-cert-file=certificates/api-server.crt",
                "--tls-private-key-file=certificates/api-server.key",
                "--client-ca-file=certificates/ca.crt",
                "--service-account-key-file=certificates/service-accounts.pub",
                "--service-account-signing-key-file=certificates/service-accounts.key",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=Node,RBAC",
                "--allow-privileged",
            ],
            // The default request limits protect shared clusters; they would only slow tests down.
            Component::ControllerManager => &[
                "--kubeconfig=kubeconfigs/controller-manager.yaml",
                "--service-account-private-key-file=certificates/service-accounts.key",
                "--root-ca-file=certificates/ca.crt",
                "--cluster-signing-cert-file=certificates/ca.crt",
                "--cluster-signing-key-file=certificates/ca.key",
                // As kubeadm and the managed services do: each controller is a user of its own.
                "--use-service-account-credentials=true",
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
            Component::Containerd => &["--config=containerd.toml"],
            Component::Kubelet => return real_node::kubelet_arguments(),
            Component::KubeProxy => &["--config=kube-proxy.yaml"],
        };
        let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        if self == Component::ApiServer {
            arguments.push(format!("--secure-port={port}"));
            if components.contains(&Component::Kubelet) {
                arguments.push("--bind-address=0.0.0.0".to_string());
                arguments.push(format!("--advertise-address={}", real_node::ADDRESS));
                arguments.push("--kubelet-preferred-address-types=InternalIP".to_string());
            } else {
                // Without a node network no client needs the endpoints of the API server, hence no endpoint reconciler, which
                // would reject a loopback address.
                let own =
                    ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"];
                arguments.extend(own.map(str::to_string));
            }
            if !components.contains(&Component::ControllerManager) {
                // It rejects pods until the ServiceAccount "default" exists, which only the controller manager creates.
                arguments.push("--disable-admission-plugins=ServiceAccount".to_string());
            }
        }
        arguments
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.program())
    }
}
