//! The handover of the leadership: the lease is released only when nothing acts in its name any longer.

use std::time::Duration;

use tokio::sync::Notify;
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

    /// An action that begins.
    pub(super) fn action(&self) -> Action {
        self.actions.token()
    }

    /// Waits for the end of all actions. Returns whether they have ended within `time`.
    pub(super) async fn is_complete(&self, time: Duration) -> bool {
        timeout(time, self.actions.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::*;
    use crate::election::{Leadership, Term};

    #[test]
    fn the_lease_is_released_after_the_last_action() {
        let now = Instant::now();
        let (sender, terms) = watch::channel(Some(Term { since: now, until: now + Duration::from_secs(3600) }));
        let handover = Arc::new(Handover::default());
        let leadership = Leadership::new(terms, handover.clone());
        let is_complete = || handover.actions.wait().now_or_never().is_some();
        assert!(is_complete());
        let actions = (leadership.act(), leadership.act());
        sender.send_replace(None);
        assert!(actions.0.is_some() && actions.1.is_some() && leadership.act().is_none());
        assert!(!is_complete());
        drop(actions.0);
        assert!(!is_complete());
        drop(actions.1);
        assert!(is_complete());
    }
}
