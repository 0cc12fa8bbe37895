//! Work that would hold up the other tasks of a runtime: files, and digests of modules.

use crate::OciError;

/// Runs an action on a thread for blocking work.
pub(crate) async fn run<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> Result<T, OciError> {
    let ended = tokio::task::spawn_blocking(action).await;
    ended.map_err(|error| OciError::Configuration(format!("a thread ended early: {error}")))
}
