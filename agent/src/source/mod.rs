//! What is read: a volume as bytes with holes.

pub(crate) mod error;
mod holes;
mod mounts;
pub(crate) mod usage;
mod file;

#[cfg(test)]
mod tests;

use std::{fmt::Debug, ops::Range};

pub use self::{
    error::SourceError,
    file::{FileSource, OpenSource},
};

pub(crate) use self::holes::{next_data, size};

/// A volume: a fixed number of bytes that any thread can read by position.
pub trait Volume: Debug + Send + Sync {
    /// Size in bytes, taken when it was opened.
    fn bytes(&self) -> u64;

    /// The first range at or after `offset` that may hold data; `None` when only holes follow.
    ///
    /// A source that cannot tell returns everything up to its end.
    ///
    /// # Errors
    /// When the source is gone or fails.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, SourceError>;

    /// Fills `buffer` from `offset`. Bytes beyond the end of the volume (at most the rest of one chunk) are zeros.
    ///
    /// # Errors
    /// Names the range that could not be read, and whether the source shrank, vanished or failed.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), SourceError>;

    /// Checks, after the last read, that what was read still is one state of one volume.
    ///
    /// # Errors
    /// When it was removed, replaced, cut off, or (unless it is live) modified since it was opened.
    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// How this volume is written in a recovery point: path, kind, and whether it was live.
    fn facts(&self) -> VolumeFacts;
}

/// What a recovery point records about its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Path or device.
    pub path: String,
    /// `block-device` or `image-file`.
    pub kind: String,
    /// It was mounted read-write or open for writing while it was read, and the user allowed that.
    pub live: bool,
    /// Why it could not be found out whether others write to it.
    pub unchecked: Option<String>,
}
