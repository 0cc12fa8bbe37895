//! Waiting for a condition instead of for a time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

/// How long a test waits for something that is sure to happen. Generous, because a busy machine is slow but not wrong.
pub const DEADLINE: Duration = Duration::from_secs(90);

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Repeats `attempt` until it succeeds and returns what it returned.
///
/// After the deadline the error of the last attempt is the answer, together with how often was tried. An attempt that hangs
/// is given up at the deadline too.
pub async fn eventually<T, F, Attempt>(deadline: Duration, attempt: F) -> Result<T>
where
    F: FnMut() -> Attempt,
    Attempt: Future<Output = Result<T>>,
{
    poll(deadline, LONGEST_PAUSE, attempt).await
}

/// Like [`eventually`], with a choice of how long it waits between attempts at most.
pub(crate) async fn poll<T, F, Attempt>(deadline: Duration, longest_pause: Duration, mut attempt: F) -> Result<T>
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
            return Err(error.context(format!("not so within {deadline:?}, tried {attempts} times; in the end")));
        }
        last_error = Some(error);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest_pause);
    }
}
