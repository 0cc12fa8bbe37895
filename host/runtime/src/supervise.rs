//! The supervision of background tasks: a process that lost one of them ends, so that it is restarted with all of them.

use std::pin::pin;

use kube_devops_cluster::ClusterError;
use tokio_util::sync::CancellationToken;

/// Runs a controller until it ends. `ended` returns the name of a background task that has ended.
///
/// # Errors
///
/// If a background task ends before `stop`. `stop` is cancelled then, and the controller ends regularly.
pub async fn supervise(
    controller: impl Future<Output = ()>,
    ended: impl Future<Output = &'static str>,
    stop: &CancellationToken,
) -> Result<(), ClusterError> {
    let mut controller = pin!(controller);
    let ended = tokio::select! {
        () = &mut controller => None,
        ended = ended => Some(ended),
    };
    let is_stopping = stop.is_cancelled();
    if ended.is_some() {
        stop.cancel();
        controller.await;
    }
    match ended {
        // When the program stops, its tasks end in any order.
        _ if is_stopping => Ok(()),
        Some(task) => Err(ClusterError::TaskEnded(task)),
        None => Err(ClusterError::TaskEnded("the controller")),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::FutureExt;

    use super::*;

    /// The error, if there is one.
    fn message(result: Option<Result<(), ClusterError>>) -> Option<String> {
        let result = result.unwrap_or_else(|| panic!("it still runs"));
        result.err().map(|error| error.to_string())
    }

    #[test]
    fn a_background_task_that_ends_early_stops_the_controller_and_is_an_error() {
        let stop = CancellationToken::new();
        let result = supervise(stop.cancelled(), ready("the modules"), &stop).now_or_never();
        assert!(message(result).is_some_and(|message| message.starts_with("the modules ended unexpectedly")));
        assert!(stop.is_cancelled());
    }

    #[test]
    fn a_controller_that_ends_early_is_an_error() {
        let stop = CancellationToken::new();
        let result = supervise(ready(()), pending(), &stop).now_or_never();
        assert!(message(result).is_some_and(|message| message.starts_with("the controller ended unexpectedly")));
    }

    #[test]
    fn a_stop_is_no_error_and_waits_for_the_controller() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(message(supervise(stop.cancelled(), ready("the modules"), &stop).now_or_never()), None);
        assert_eq!(message(supervise(stop.cancelled(), pending(), &stop).now_or_never()), None);
        assert!(supervise(pending(), ready("the modules"), &stop).now_or_never().is_none());
    }
}
