//! Waits for a condition instead of a fixed time.

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

/// The time a test waits for an expected condition. Generous, because a busy machine is slow.
pub const DEADLINE: Duration = Duration::from_secs(90);

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Repeats `attempt` until it succeeds and returns its value. `what` names the condition in the error, for example "the
/// Deployment web to be available".
///
/// After the deadline the error of the last attempt is returned. An attempt that hangs is cancelled at the deadline; then
/// the error of the previous attempt is returned.
pub async fn eventually<T, F, Attempt>(deadline: Duration, what: impl Display, attempt: F) -> Result<T>
where
    F: FnMut() -> Attempt,
    Attempt: Future<Output = Result<T>>,
{
    poll(deadline, MAX_PAUSE, what, attempt).await
}

/// Like [`eventually`], with a maximum pause between attempts.
pub(crate) async fn poll<T, F, Attempt>(
    deadline: Duration,
    longest_pause: Duration,
    what: impl Display,
    mut attempt: F,
) -> Result<T>
where
    F: FnMut() -> Attempt,
    Attempt: Future<Output = Result<T>>,
{
    let end = Instant::now() + deadline;
    let mut attempts = 0_u32;
    let mut pause = SHORTEST_PAUSE;
    let mut last_error = None;
    loop {
        attempts += 1;
        let error = match tokio::time::timeout(end.saturating_duration_since(Instant::now()), attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            // The error of the previous attempt says more than the timeout of this one.
            Err(_) => last_error.unwrap_or_else(|| anyhow!("the only attempt timed out")),
        };
        if Instant::now() + pause >= end {
            return Err(anyhow!(
                "timed out waiting for {what} after {attempts} attempts in {deadline:?}; last error: {error:#}"
            ));
        }
        last_error = Some(error);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest_pause);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::{Context, ensure};

    use super::*;

    #[tokio::test]
    async fn the_value_of_the_first_successful_attempt_is_returned() {
        let attempts = Cell::new(0);
        let value = eventually(DEADLINE, "the third attempt", || async {
            attempts.set(attempts.get() + 1);
            ensure!(attempts.get() == 3, "too early");
            Ok(attempts.get())
        });
        assert_eq!(value.await.expect("it succeeds"), 3);
    }

    #[tokio::test]
    async fn a_timeout_reports_the_last_error() {
        let attempt = || async { Err::<(), _>(anyhow!("cause")).context("what failed") };
        let error = eventually(Duration::ZERO, "the Pod", attempt).await.expect_err("it cannot succeed");
        assert_eq!(
            error.to_string(),
            "timed out waiting for the Pod after 1 attempts in 0ns; last error: what failed: cause"
        );
    }

    #[tokio::test]
    async fn a_hanging_attempt_is_cancelled_at_the_deadline() {
        let error = eventually(Duration::from_millis(1), "the end of time", std::future::pending::<Result<()>>).await;
        let error = error.expect_err("it cannot succeed").to_string();
        assert!(error.ends_with("the only attempt timed out"), "{error}");
    }
}
