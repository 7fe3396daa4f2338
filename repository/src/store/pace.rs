//! How fast a store may be used: asked before bytes and requests go out.

use std::fmt::Debug;

use async_trait::async_trait;

/// Bytes a store asks for at a time while it sends a body, so that one pack is no burst.
pub const PACE_FRAME_BYTES: usize = 64 * 1024;

/// Says when bytes and requests may go to a store.
///
/// A store asks for each frame of a body as it sends it, and for each request before it starts.
#[async_trait]
pub trait Pace: Debug + Send + Sync {
    /// Returns when `bytes` more may be sent.
    async fn upload(&self, bytes: u64);

    /// Returns when one more request may be made.
    async fn request(&self);
}

/// No limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpaced;

#[async_trait]
impl Pace for Unpaced {
    async fn upload(&self, _bytes: u64) {}

    async fn request(&self) {}
}
