//! The memory for modules that are fetched at the same time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::OciError;

/// The unit in which memory is reserved, in bytes.
const UNIT: u64 = 1024;

/// The memory for all modules that are fetched at the same time.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
}

/// A part of a budget, until it is dropped.
#[derive(Debug)]
pub struct Reserved {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// A budget of `bytes`, which must be at least the size of the largest module.
    pub fn new(bytes: usize) -> Self {
        Self { units: Arc::new(Semaphore::new(bytes / UNIT as usize)) }
    }

    /// Waits until there is memory for `bytes`, but not longer than `limit`.
    pub(crate) async fn reserve(&self, bytes: u64, limit: Duration) -> Result<Reserved, OciError> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        match tokio::time::timeout(limit, self.units.clone().acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(Reserved { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(OciError::Busy { limit }),
        }
    }
}
