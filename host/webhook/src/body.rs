//! Reading the bodies of requests within a budget, so that many large reviews cannot exhaust the memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The largest body that counts as small, in bytes. Reviews are mostly smaller than that.
const SMALL: usize = 256 * 1024;
/// The budget of small bodies, in bytes. Large ones have a budget of their own, so that they cannot block small ones.
const SMALL_BUDGET: usize = 16 * 1024 * 1024;
/// The bytes per permit: permits are counted in 32 bits.
const UNIT: usize = 1024;
/// The first bytes of a body, which contain the id of the request.
const HEAD: usize = 4096;

/// The budgets of bodies that are being read and evaluated.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    largest: usize,
}

/// A body within the budget. The budget is released when it is dropped.
#[derive(Debug)]
pub struct BudgetedBody {
    /// The bytes.
    pub bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// The reason why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// It is larger than the limit.
    TooLarge {
        /// Its first bytes.
        head: Vec<u8>,
    },
    /// Too many large bodies are being read.
    Busy {
        /// Its first bytes.
        head: Vec<u8>,
    },
    /// It did not arrive before the deadline.
    Late,
    /// The connection failed.
    Broken(String),
}

impl BodyBudget {
    /// A budget for bodies of at most `largest` bytes: two of them, in addition to small ones.
    pub fn new(largest: usize) -> Self {
        let permits = |bytes: usize| Arc::new(Semaphore::new(bytes.div_ceil(UNIT)));
        Self { small: permits(SMALL_BUDGET), large: permits(2 * largest), largest }
    }

    /// Reads a body before `deadline`.
    ///
    /// # Errors
    ///
    /// If it is too large, late or broken, or the budget is exhausted.
    pub async fn read(&self, body: &mut Body, deadline: Instant) -> Result<BudgetedBody, BodyError> {
        let declared = usize::try_from(body.size_hint().exact().unwrap_or(SMALL as u64)).unwrap_or(usize::MAX);
        if declared > self.largest {
            return Err(BodyError::TooLarge { head: head(body, deadline).await });
        }
        let mut permit = match self.reserve(declared, deadline).await {
            Some(permit) => permit,
            None => return Err(BodyError::Busy { head: head(body, deadline).await }),
        };
        let mut bytes = Vec::with_capacity(declared);
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::Late)?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            // Only a body without a declared size can be larger.
            if bytes.len() + data.len() > declared.max(SMALL) {
                if bytes.len() + data.len() > self.largest {
                    bytes.truncate(HEAD);
                    return Err(BodyError::TooLarge { head: bytes });
                }
                drop(permit);
                match self.reserve(self.largest, deadline).await {
                    Some(larger) => permit = larger,
                    None => {
                        bytes.truncate(HEAD);
                        return Err(BodyError::Busy { head: bytes });
                    }
                }
                bytes.extend_from_slice(data);
                return self.rest(body, bytes, permit, deadline).await;
            }
            bytes.extend_from_slice(data);
        }
        Ok(BudgetedBody { bytes: bytes.into(), _permit: permit })
    }

    /// Reads the rest of a body without a declared size.
    async fn rest(
        &self,
        body: &mut Body,
        mut bytes: Vec<u8>,
        permit: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<BudgetedBody, BodyError> {
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::Late)?;
            let Some(frame) = frame else { return Ok(BudgetedBody { bytes: bytes.into(), _permit: permit }) };
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > self.largest {
                bytes.truncate(HEAD);
                return Err(BodyError::TooLarge { head: bytes });
            }
            bytes.extend_from_slice(data);
        }
    }

    async fn reserve(&self, bytes: usize, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let semaphore = if bytes <= SMALL { &self.small } else { &self.large };
        let permits = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = timeout_at(deadline, semaphore.clone().acquire_many_owned(permits)).await;
        // The semaphore is never closed.
        permit.ok()?.ok()
    }
}

/// Reads the first bytes of a body that is not read as a whole.
async fn head(body: &mut Body, deadline: Instant) -> Vec<u8> {
    // The head arrives with the request, even if the deadline has passed in the meantime.
    let deadline = deadline.max(Instant::now() + Duration::from_millis(100));
    let mut head = Vec::new();
    while head.len() < HEAD {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    head.extend_from_slice(data);
                }
            }
            _ => break,
        }
    }
    head.truncate(HEAD);
    head
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::stream;

    use super::*;

    const LARGEST: usize = 1024 * 1024;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    /// A body without a declared size.
    fn chunked(bytes: usize) -> Body {
        let chunks = (0..bytes.div_ceil(10_000)).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 10_000]));
        Body::from_stream(stream::iter(chunks.collect::<Vec<_>>()))
    }

    async fn length(budget: &BodyBudget, mut body: Body) -> Result<usize, BodyError> {
        budget.read(&mut body, soon()).await.map(|read| read.bytes.len())
    }

    #[tokio::test]
    async fn bodies_up_to_the_limit_are_read_with_and_without_a_declared_size() {
        let budget = BodyBudget::new(LARGEST);
        for size in [0, 10, SMALL, SMALL + 1, LARGEST] {
            assert!(matches!(length(&budget, Body::from(vec![b'x'; size])).await, Ok(read) if read == size), "{size}");
        }
        assert!(matches!(length(&budget, chunked(1_000_000)).await, Ok(1_000_000)));
        assert_eq!(budget.large.available_permits(), 2 * LARGEST / UNIT);
        assert_eq!(budget.small.available_permits(), SMALL_BUDGET / UNIT);
    }

    #[tokio::test]
    async fn larger_bodies_are_rejected_with_their_first_bytes() {
        let budget = BodyBudget::new(LARGEST);
        for body in [Body::from(vec![b'x'; LARGEST + 1]), chunked(LARGEST + 20_000)] {
            let error = length(&budget, body).await;
            assert!(matches!(&error, Err(BodyError::TooLarge { head }) if head.len() == HEAD), "{error:?}");
        }
    }

    #[tokio::test]
    async fn large_bodies_wait_for_the_budget_and_never_block_small_ones() {
        let budget = BodyBudget::new(LARGEST);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(budget.read(&mut Body::from(vec![b'x'; LARGEST]), soon()).await);
        }
        assert!(held.iter().all(Result::is_ok));
        assert!(matches!(length(&budget, Body::from(vec![b'x'; SMALL])).await, Ok(SMALL)));
        let now = Instant::now();
        let busy = budget.read(&mut Body::from(vec![b'x'; LARGEST]), now).await;
        assert!(matches!(&busy, Err(BodyError::Busy { head }) if head.len() == HEAD), "{busy:?}");
        held.clear();
        assert!(matches!(length(&budget, Body::from(vec![b'x'; LARGEST])).await, Ok(LARGEST)));
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_or_breaks_is_an_error() {
        let budget = BodyBudget::new(LARGEST);
        let mut never = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
        assert!(matches!(budget.read(&mut never, Instant::now()).await, Err(BodyError::Late)));
        let broken = stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("reset"))]);
        assert!(matches!(length(&budget, Body::from_stream(broken)).await, Err(BodyError::Broken(_))));
    }
}
