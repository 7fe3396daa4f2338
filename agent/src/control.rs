//! How a job is held.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{error::JobError, progress::Progress, throttle::Throttle};

/// How a job is held: how fast, how big, shown to whom, stopped by whom.
#[derive(Clone, Debug)]
pub struct Control {
    /// Rates, changeable while the job runs.
    pub throttle: Arc<Throttle>,
    /// Bytes of memory that all buffers of the job together may take.
    pub memory_bytes: u64,
    /// Where the job counts.
    pub progress: Arc<Progress>,
    /// Asks the job to stop within seconds. A backup then writes a checkpoint first, so that the next run goes on from it.
    pub cancel: CancellationToken,
}

/// Memory a job gets when nobody says otherwise.
pub const MEMORY_BYTES_DEFAULT: u64 = 128 << 20;

/// The least memory a job works with.
pub const MEMORY_BYTES_MIN: u64 = 48 << 20;

impl Default for Control {
    fn default() -> Self {
        Self {
            throttle: Arc::default(),
            memory_bytes: MEMORY_BYTES_DEFAULT,
            progress: Arc::default(),
            cancel: CancellationToken::new(),
        }
    }
}

impl Control {
    /// Fails once the job was asked to stop.
    pub(crate) fn go_on(&self) -> Result<(), JobError> {
        if self.cancel.is_cancelled() {
            Err(JobError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Does something that is given up when the job is asked to stop.
    pub(crate) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, JobError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(JobError::Cancelled),
            done = work => Ok(done),
        }
    }
}
