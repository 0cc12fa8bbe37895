//! Selects the components of a control plane and their arguments.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::{Component, ControlPlane};

/// Selects the components of a control plane. It starts with etcd and the API server, which are enough to store objects and
/// to call webhooks; [`ControlPlane::start`] has all components.
///
/// Without the controller manager no ServiceAccounts are created, so pods are admitted without one, and deleted namespaces
/// remain.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    pub(crate) components: BTreeSet<Component>,
    pub(crate) arguments: BTreeMap<Component, Vec<String>>,
    pub(crate) nodes: usize,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            components: BTreeSet::from([Component::Etcd, Component::ApiServer]),
            arguments: BTreeMap::new(),
            nodes: 0,
        }
    }

    pub(crate) fn everything() -> Self {
        Self::new().controller_manager().scheduler().nodes(2)
    }

    /// Adds the controller manager.
    pub fn controller_manager(self) -> Self {
        self.with(Component::ControllerManager)
    }

    /// Adds the scheduler.
    pub fn scheduler(self) -> Self {
        self.with(Component::Scheduler)
    }

    /// Adds kwok, which simulates the nodes. Pods are assigned to nodes by the scheduler or by their `nodeName`.
    pub fn kwok(self) -> Self {
        self.with(Component::Kwok)
    }

    /// Adds kwok with `count` simulated nodes from the start. See also [`ControlPlane::nodes`].
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self.kwok()
    }

    /// Adds a real node, `node-1`, with containerd, a kubelet and kube-proxy. Only within
    /// [`real_node::isolated`](crate::real_node::isolated).
    pub fn real_node(self) -> Self {
        Component::NODE.into_iter().fold(self, Self::with)
    }

    /// Adds an argument to the command line of a component, for example `--feature-gates=...`.
    pub fn argument(mut self, component: Component, argument: impl Into<String>) -> Self {
        self.arguments.entry(component).or_default().push(argument.into());
        self
    }

    /// Starts the control plane and waits until its API server is ready. The other components start in the background;
    /// functions that depend on them, such as [`ControlPlane::namespace`] and [`ControlPlane::nodes`], wait for them.
    pub async fn start(self) -> Result<ControlPlane> {
        ControlPlane::build(self).await
    }

    fn with(mut self, component: Component) -> Self {
        self.components.insert(component);
        self
    }
}
