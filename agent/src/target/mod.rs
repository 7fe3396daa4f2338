//! Where a restore writes: a new file, an existing file or device, or a stream.

mod error;
mod fresh;
mod handles;
mod in_place;
mod stream;

#[cfg(test)]
mod tests;

use std::{fmt::Debug, ops::Range};

pub use self::{
    error::TargetError,
    fresh::{FileTarget, PARTIAL_SUFFIX},
    handles::DIRECT_WRITE_BYTES_MIN,
    in_place::InPlaceTarget,
    stream::StreamTarget,
};

/// What a restore can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// It is new: what is not written reads as zeros, and there is nothing to compare with.
    Fresh,
    /// It holds something: a restore compares, and writes only what differs.
    InPlace,
    /// It takes bytes in order, every one of them, and cannot be read.
    Stream,
}

/// A place that a volume is restored to.
///
/// The order of calls is `prepare`, then any number of reads, writes and zeroings from any thread (of ranges that do
/// not overlap), then `finish`. A target that is dropped without it leaves nothing under the final name.
pub trait Target: Debug + Send + Sync {
    /// What this is, as a user wrote it.
    fn location(&self) -> String;

    /// What a restore can rely on.
    fn kind(&self) -> TargetKind;

    /// The size that it has now; `None` for a stream.
    fn bytes(&self) -> Option<u64>;

    /// Makes room for a volume of this size.
    ///
    /// # Errors
    /// When what is there is smaller.
    fn prepare(&self, volume_bytes: u64) -> Result<(), TargetError>;

    /// Writes at a position. Large aligned [buffers](crate::buffer::Buffer) cost least: see
    /// [`DIRECT_WRITE_BYTES_MIN`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), TargetError>;

    /// Fills `buffer` with what is there now.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), TargetError>;

    /// The first range at or after `offset` that may hold something else than zeros; `None` when none follows.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, TargetError>;

    /// Makes a range read as zeros, without taking space where that is possible.
    fn zero(&self, range: Range<u64>) -> Result<(), TargetError>;

    /// Makes everything durable, and gives it its final name.
    fn finish(&self) -> Result<(), TargetError>;
}
