//! Reading the bodies of requests within a budget, so that many large reviews cannot exhaust the memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The largest body that counts as small, in bytes. Reviews are mostly smaller than that.
const SMALL: usize = 256 * 1024;
/// The memory that small bodies share, in bytes. Large ones have a budget of their own, so that they cannot block small ones.
const SHARED_BY_SMALL: usize = 14 * 1024 * 1024;
/// The number of small bodies that are read to the end although the shared memory is used up.
const SMALL_PLACES: usize = 8;
/// The first bytes of each body, which are free: the number of connections limits them.
const FREE: usize = 8 * 1024;
/// The bytes per permit: permits are counted in 32 bits.
const UNIT: usize = 1024;
/// The first bytes of a body, which contain the id of the request. They are free, so that they are known of every rejected body.
const HEAD: usize = 4096;

/// The budgets of bodies that are being read and evaluated.
#[derive(Debug, Clone)]
pub struct BodyBudget {
    small: Pool,
    large: Pool,
    largest: usize,
}

/// A body within the budget. The budget is released when it is dropped.
#[derive(Debug)]
pub struct BudgetedBody {
    /// The bytes.
    pub bytes: Bytes,
    _held: Held,
}

/// The reason why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// It is larger than the limit.
    TooLarge {
        /// Its first bytes.
        head: Vec<u8>,
    },
    /// The memory for bodies of its size is used up.
    Busy(Busy),
    /// It did not arrive before the deadline.
    Late,
    /// The connection failed.
    Broken(String),
}

/// The size of a body for which there was no memory.
#[derive(Debug)]
pub enum Busy {
    /// That of most reviews.
    Small,
    /// More than that.
    Large {
        /// Its first bytes.
        head: Vec<u8>,
    },
}

/// The memory for bodies of one size.
///
/// A body holds memory for the bytes that have arrived, and not for those that its sender only announces. Bodies that have arrived
/// in part could therefore all wait for each other: a few of them get a place, with memory for the rest.
#[derive(Debug, Clone)]
struct Pool {
    /// In units.
    shared: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// The part of a pool that a body holds, until it is dropped.
#[derive(Debug, Default)]
struct Held {
    shared: Option<OwnedSemaphorePermit>,
    place: Option<OwnedSemaphorePermit>,
}

impl Pool {
    fn new(shared: usize, places: usize) -> Self {
        Self { shared: Arc::new(Semaphore::new(shared.div_ceil(UNIT))), places: Arc::new(Semaphore::new(places)) }
    }

    /// Waits until `held` is enough for a body of this size. Returns false if it is not before `deadline`.
    async fn grow(&self, held: &mut Held, bytes: usize, deadline: Instant) -> bool {
        let needed = bytes.saturating_sub(FREE).div_ceil(UNIT);
        let missing = needed.saturating_sub(held.shared.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 || held.place.is_some() {
            return true;
        }
        let permits = u32::try_from(missing).unwrap_or(u32::MAX);
        let (shared, places) = (self.shared.clone(), self.places.clone());
        let acquired = async {
            // The semaphores are never closed.
            tokio::select! {
                biased;
                Ok(permit) = shared.acquire_many_owned(permits) => match &mut held.shared {
                    Some(known) => known.merge(permit),
                    None => held.shared = Some(permit),
                },
                Ok(place) = places.acquire_owned() => held.place = Some(place),
                else => {}
            }
        };
        timeout_at(deadline, acquired).await.is_ok()
    }
}

impl BodyBudget {
    /// A budget for bodies of at most `largest` bytes: two of them, in addition to small ones.
    pub fn new(largest: usize) -> Self {
        Self { small: Pool::new(SHARED_BY_SMALL, SMALL_PLACES), large: Pool::new(largest, 1), largest }
    }

    /// Reads a body before `deadline`.
    ///
    /// # Errors
    ///
    /// If it is too large, late or broken, or the budget is exhausted.
    pub async fn read(&self, body: &mut Body, deadline: Instant) -> Result<BudgetedBody, BodyError> {
        let declared = body.size_hint().exact().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        if declared.is_some_and(|declared| declared > self.largest) {
            return Err(BodyError::TooLarge { head: head(body, deadline).await });
        }
        // API servers declare the size. A body without one can become large.
        let is_large = declared.is_none_or(|declared| declared > SMALL);
        let (mut held, mut bytes) = (Held::default(), Vec::new());
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::Late)?;
            let Some(frame) = frame else { return Ok(BudgetedBody { bytes: bytes.into(), _held: held }) };
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            let size = bytes.len() + data.len();
            // Only a body without a declared size can be larger.
            if size > self.largest {
                return Err(BodyError::TooLarge { head: first(&bytes, data) });
            }
            let pool = if is_large { &self.large } else { &self.small };
            if !pool.grow(&mut held, size, deadline).await {
                let busy = if is_large { Busy::Large { head: first(&bytes, data) } } else { Busy::Small };
                return Err(BodyError::Busy(busy));
            }
            reserve(&mut bytes, size, declared.unwrap_or(self.largest));
            bytes.extend_from_slice(data);
        }
    }
}

/// Makes room for `size` bytes of a body: at least twice as much as before, but not more than `most`.
fn reserve(bytes: &mut Vec<u8>, size: usize, most: usize) {
    if bytes.capacity() < size {
        let wanted = (2 * bytes.capacity()).min(most).max(size);
        bytes.reserve_exact(wanted - bytes.len());
    }
}

/// The first bytes of a body, of which `bytes` and then `data` have arrived.
fn first(bytes: &[u8], data: &[u8]) -> Vec<u8> {
    bytes.iter().chain(data).copied().take(HEAD).collect()
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
pub mod testing {
    //! Bodies of slow senders.

    use std::pin::Pin;
    use std::task::{Context, Poll};

    use axum::body::{Body, Bytes, HttpBody};
    use http_body::{Frame, SizeHint};

    struct Incomplete {
        sent: Body,
        declared: usize,
    }

    impl HttpBody for Incomplete {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            match Pin::new(&mut self.sent).poll_frame(context) {
                Poll::Ready(None) => Poll::Pending,
                other => other,
            }
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.declared as u64)
        }
    }

    /// A body of `declared` bytes of which only `sent` arrive.
    pub fn incomplete(sent: usize, declared: usize) -> Body {
        Body::new(Incomplete { sent: Body::from(vec![b'x'; sent]), declared })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::{StreamExt, stream};

    use super::testing::incomplete;
    use super::*;

    const MAX_SIZE: usize = 1024 * 1024;

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
        let budget = BodyBudget::new(MAX_SIZE);
        for size in [0, 10, SMALL, SMALL + 1, MAX_SIZE] {
            assert!(matches!(length(&budget, Body::from(vec![b'x'; size])).await, Ok(read) if read == size), "{size}");
        }
        assert!(matches!(length(&budget, chunked(1_000_000)).await, Ok(1_000_000)));
        let available = |pool: &Pool| (pool.shared.available_permits() * UNIT, pool.places.available_permits());
        assert_eq!(available(&budget.large), (MAX_SIZE, 1));
        assert_eq!(available(&budget.small), (SHARED_BY_SMALL, SMALL_PLACES));
    }

    #[tokio::test]
    async fn larger_bodies_are_rejected_with_their_first_bytes() {
        let budget = BodyBudget::new(MAX_SIZE);
        for body in [Body::from(vec![b'x'; MAX_SIZE + 1]), chunked(MAX_SIZE + 20_000)] {
            let error = length(&budget, body).await;
            assert!(matches!(&error, Err(BodyError::TooLarge { head }) if head.len() == HEAD), "{error:?}");
        }
    }

    #[tokio::test]
    async fn large_bodies_wait_for_the_budget_and_never_block_small_ones() {
        let budget = BodyBudget::new(MAX_SIZE);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(budget.read(&mut Body::from(vec![b'x'; MAX_SIZE]), soon()).await);
        }
        assert!(held.iter().all(Result::is_ok));
        assert!(matches!(length(&budget, Body::from(vec![b'x'; SMALL])).await, Ok(SMALL)));
        let now = Instant::now();
        let busy = budget.read(&mut Body::from(vec![b'x'; MAX_SIZE]), now).await;
        assert!(matches!(&busy, Err(BodyError::Busy(Busy::Large { head })) if head.len() == HEAD), "{busy:?}");
        held.clear();
        assert!(matches!(length(&budget, Body::from(vec![b'x'; MAX_SIZE])).await, Ok(MAX_SIZE)));
    }

    /// Reads bodies until all of them wait for more bytes, or for memory.
    async fn begin<'a>(
        budget: &'a BodyBudget,
        bodies: &'a mut [Body],
    ) -> Vec<impl Future<Output = Result<BudgetedBody, BodyError>> + 'a> {
        let mut begun: Vec<_> = bodies.iter_mut().map(|body| Box::pin(budget.read(body, soon()))).collect();
        for read in &mut begun {
            assert!(futures::poll!(read).is_pending());
        }
        begun
    }

    #[tokio::test]
    async fn announced_bytes_and_the_first_bytes_of_a_body_take_no_memory() {
        let budget = BodyBudget::new(MAX_SIZE);
        let mut announced: Vec<Body> =
            [SMALL, MAX_SIZE].iter().flat_map(|size| (0..1000).map(|_| incomplete(FREE, *size))).collect();
        let _begun = begin(&budget, &mut announced).await;
        let now = Instant::now();
        for size in [SMALL, MAX_SIZE] {
            let read = budget.read(&mut Body::from(vec![b'x'; size]), now).await;
            assert!(read.is_ok_and(|read| read.bytes.len() == size), "{size}");
        }
    }

    #[tokio::test]
    async fn small_bodies_without_memory_are_rejected_as_small_unless_their_bytes_are_free() {
        let budget = BodyBudget::new(MAX_SIZE);
        let count = SHARED_BY_SMALL / (SMALL - FREE) + 1 + SMALL_PLACES;
        let mut sent: Vec<Body> = (0..count).map(|_| incomplete(SMALL - 1, SMALL)).collect();
        let _begun = begin(&budget, &mut sent).await;
        let now = Instant::now();
        let busy = budget.read(&mut Body::from(vec![b'x'; SMALL]), now).await;
        assert!(matches!(busy, Err(BodyError::Busy(Busy::Small))), "{busy:?}");
        assert!(budget.read(&mut Body::from(vec![b'x'; FREE]), now).await.is_ok());
        assert!(budget.read(&mut Body::from(vec![b'x'; MAX_SIZE]), now).await.is_ok(), "large bodies have their own");
    }

    #[tokio::test]
    async fn bodies_that_have_arrived_in_part_do_not_wait_for_each_other() {
        let budget = BodyBudget::new(MAX_SIZE);
        for (size, count) in [(SMALL, 4 * SHARED_BY_SMALL / SMALL), (MAX_SIZE, 8)] {
            let (open, gate) = tokio::sync::watch::channel(false);
            let halves = |_| {
                let mut gate = gate.clone();
                let second = async move {
                    let _ = gate.wait_for(|is_open| *is_open).await;
                    vec![b'x'; size / 2]
                };
                let halves = stream::once(async move { vec![b'x'; size / 2] }).chain(stream::once(second));
                Body::from_stream(halves.map(Ok::<_, std::io::Error>))
            };
            let mut bodies: Vec<Body> = (0..count).map(halves).collect();
            let begun = begin(&budget, &mut bodies).await;
            open.send_replace(true);
            let lengths = begun.into_iter().map(async |read| read.await.map(|read| read.bytes.len()));
            let lengths = futures::future::join_all(lengths).await;
            assert!(lengths.iter().all(|length| matches!(length, Ok(length) if *length == size)), "{lengths:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_or_breaks_is_an_error() {
        let budget = BodyBudget::new(MAX_SIZE);
        let mut never = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
        assert!(matches!(budget.read(&mut never, Instant::now()).await, Err(BodyError::Late)));
        let broken = stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("reset"))]);
        assert!(matches!(length(&budget, Body::from_stream(broken)).await, Err(BodyError::Broken(_))));
    }
}
