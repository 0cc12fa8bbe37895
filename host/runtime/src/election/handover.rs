//! The handover of the leadership: the lease is released only when nothing acts in its name any longer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// An action of the leader. The lease is not released while it exists.
pub type Action = TaskTrackerToken;

/// What the election and those who act as the leader have to agree on.
#[derive(Debug)]
pub struct Handover {
    step_down: Notify,
    actions: TaskTracker,
}

impl Default for Handover {
    fn default() -> Self {
        let actions = TaskTracker::new();
        // A closed tracker can be waited for. It still counts new actions.
        actions.close();
        Self { step_down: Notify::new(), actions }
    }
}

impl Handover {
    /// Makes this replica step down, so that another one can become the leader. The caller must have stopped acting.
    pub fn step_down(&self) {
        self.step_down.notify_one();
    }

    /// Waits until this replica should step down.
    pub async fn is_wanted(&self) {
        self.step_down.notified().await;
    }

    /// Waits for the end of all actions. Returns whether they have ended within `time`.
    pub(super) async fn is_complete(&self, time: Duration) -> bool {
        timeout(time, self.actions.wait()).await.is_ok()
    }
}

/// The leadership of this replica.
#[derive(Debug, Clone)]
pub struct Leadership {
    is_leader: watch::Receiver<bool>,
    handover: Arc<Handover>,
}

impl Leadership {
    /// The leadership that `is_leader` reports.
    pub fn new(is_leader: watch::Receiver<bool>, handover: Arc<Handover>) -> Self {
        Self { is_leader, handover }
    }

    /// Whether this replica is the leader.
    pub fn is_held(&self) -> bool {
        *self.is_leader.borrow()
    }

    /// Begins an action, if this replica is the leader.
    pub fn act(&self) -> Option<Action> {
        // The election reports the end of the leadership before it waits for actions. In this order, it waits for each one that begins.
        let action = self.handover.actions.token();
        self.is_held().then_some(action)
    }

    /// Waits for a change, and returns whether this replica is the leader.
    pub async fn changed(&mut self) -> bool {
        match self.is_leader.changed().await {
            Ok(()) => *self.is_leader.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_lease_is_released_after_the_last_action() {
        let (leads, is_leader) = watch::channel(true);
        let handover = Arc::new(Handover::default());
        let leadership = Leadership::new(is_leader, handover.clone());
        let is_complete = || handover.actions.wait().now_or_never().is_some();
        assert!(is_complete());
        let actions = (leadership.act(), leadership.act());
        leads.send_replace(false);
        assert!(actions.0.is_some() && actions.1.is_some() && leadership.act().is_none());
        assert!(!is_complete());
        drop(actions.0);
        assert!(!is_complete());
        drop(actions.1);
        assert!(is_complete());
    }
}
