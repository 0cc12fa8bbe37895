//! Waiting for a condition instead of for a time.

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

/// How long a test waits for something that is sure to happen. Generous, because a busy machine is slow but not wrong.
pub const DEADLINE: Duration = Duration::from_secs(90);

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Repeats `attempt` until it succeeds and returns what it returned. `what` says in the error what was waited for, for
/// example "the Deployment web to be available".
///
/// After the deadline the error of the last attempt is the answer. An attempt that hangs is given up at the deadline too; then
/// the error of the one before it is the answer.
pub async fn eventually<T, F, Attempt>(deadline: Duration, what: impl Display, attempt: F) -> Result<T>
where
    F: FnMut() -> Attempt,
    Attempt: Future<Output = Result<T>>,
{
    poll(deadline, LONGEST_PAUSE, what, attempt).await
}

/// Like [`eventually`], with a choice of how long it waits between attempts at most.
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
            // What the attempt before this one said is worth more than that this one took too long.
            Err(_) => last_error.unwrap_or_else(|| anyhow!("the only attempt did not come to an end")),
        };
        if Instant::now() + pause >= end {
            return Err(anyhow!(
                "waited for {what}, {attempts} times within {deadline:?}, in vain; at last: {error:#}"
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
    async fn it_returns_what_the_first_attempt_that_succeeds_returns() {
        let attempts = Cell::new(0);
        let value = eventually(DEADLINE, "the third attempt", || async {
            attempts.set(attempts.get() + 1);
            ensure!(attempts.get() == 3, "too early");
            Ok(attempts.get())
        });
        assert_eq!(value.await.expect("it succeeds"), 3);
    }

    #[tokio::test]
    async fn the_last_error_is_the_message() {
        let attempt = || async { Err::<(), _>(anyhow!("cause")).context("what failed") };
        let error = eventually(Duration::ZERO, "a wonder", attempt).await.expect_err("it cannot succeed");
        assert_eq!(error.to_string(), "waited for a wonder, 1 times within 0ns, in vain; at last: what failed: cause");
    }

    #[tokio::test]
    async fn an_attempt_that_hangs_is_given_up() {
        let error = eventually(Duration::from_millis(1), "the end of time", std::future::pending::<Result<()>>).await;
        let error = error.expect_err("it cannot succeed").to_string();
        assert!(error.ends_with("the only attempt did not come to an end"), "{error}");
    }
}
