//! How fast the data plane may go: bytes read, bytes uploaded, requests made, each with a rate that can change at any
//! moment.

mod bucket;
mod limiter;

use std::num::NonZeroU64;

use async_trait::async_trait;
use repository::store::Pace;
use tracing::info;

pub use self::{
    bucket::{BURST_NANOSECONDS, Bucket},
    limiter::Limiter,
};

/// The limits of a job, or of an agent. Without rates it costs two atomic operations a call.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Bytes read from sources.
    pub read: Limiter,
    /// Bytes sent to stores.
    pub upload: Limiter,
    /// Requests made to stores.
    pub requests: Limiter,
}

impl Throttle {
    /// Changes how many bytes a second may be read; `None` is no limit. Who waits already waits by the new rate.
    pub fn set_read_rate(&self, per_second: Option<NonZeroU64>) {
        set(&self.read, "read", per_second);
    }

    /// Changes how many bytes a second may be sent.
    pub fn set_upload_rate(&self, per_second: Option<NonZeroU64>) {
        set(&self.upload, "upload", per_second);
    }

    /// Changes how many requests a second may be made.
    pub fn set_requests_rate(&self, per_second: Option<NonZeroU64>) {
        set(&self.requests, "requests", per_second);
    }
}

fn set(limiter: &Limiter, limit: &str, per_second: Option<NonZeroU64>) {
    if limiter.rate() != per_second {
        info!(limit, per_second, "rate changed");
    }
    limiter.set_rate(per_second);
}

#[async_trait]
impl Pace for Throttle {
    async fn upload(&self, bytes: u64) {
        self.upload.take(bytes).await;
    }

    async fn request(&self) {
        self.requests.take(1).await;
    }
}
