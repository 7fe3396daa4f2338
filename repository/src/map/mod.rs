//! The map of a volume: a radix tree from chunk index to where the chunk is.
//!
//! A page holds 256 entries: a leaf those of 256 consecutive chunks, an inner page those of 256 pages below it. A missing
//! entry means zeros. A page that did not change is referred to again, so a map costs what changed and not what exists.

mod builder;
mod diff;
mod page;
mod reader;
mod walk;

use minicbor::{Decode, Encode, decode};

pub use self::builder::{MapBuilder, PageSink};
pub(crate) use self::page::PAGE_BYTES_MAX;
pub use self::walk::walk;
pub use self::{
    diff::diff,
    page::{Entry, Page, PageError},
    reader::{BasePage, MapReader, PageLoader},
};
use crate::{
    format::{CHUNK_LOG2_MAX, CHUNK_LOG2_MIN},
    reference::Reference,
};

/// Entries of a page.
pub const FANOUT: u64 = 256;
/// Bits of an index that one level resolves.
pub const FANOUT_LOG2: u32 = 8;
/// The highest level of a page: six levels of eight bits are 2^48 chunks, more than a 64-bit volume has.
pub const LEVEL_MAX: u8 = 5;

/// Where a volume's map begins. Part of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct MapRoot {
    /// Chunk size, as a power of two.
    #[n(0)]
    pub chunk_log2: u8,
    /// Size of the volume in bytes. The rest of its last chunk is zeros.
    #[n(1)]
    pub volume_bytes: u64,
    /// Level of the root page.
    #[n(2)]
    pub level: u8,
    /// The root page; none when the volume holds only zeros.
    #[n(3)]
    pub page: Option<Reference>,
    /// Chunks that hold data.
    #[n(4)]
    pub chunks: u64,
}

impl MapRoot {
    /// The map of a volume of zeros.
    pub fn empty(chunk_log2: u8, volume_bytes: u64) -> Self {
        let level = level_for(volume_bytes.div_ceil(1 << chunk_log2));
        Self {
            chunk_log2,
            volume_bytes,
            level,
            page: None,
            chunks: 0,
        }
    }

    /// Bytes of a chunk.
    pub fn chunk_bytes(&self) -> u64 {
        1 << self.chunk_log2
    }

    /// Chunks that the volume spans.
    pub fn chunk_count(&self) -> u64 {
        self.volume_bytes.div_ceil(self.chunk_bytes())
    }
}

impl<'b, C> Decode<'b, C> for MapRoot {
    /// Reads a root that a builder can have made. Everything that reads a map relies on that.
    fn decode(d: &mut minicbor::Decoder<'b>, context: &mut C) -> Result<Self, decode::Error> {
        #[derive(Decode)]
        #[cbor(map)]
        struct Stored {
            #[n(0)]
            chunk_log2: u8,
            #[n(1)]
            volume_bytes: u64,
            #[n(2)]
            level: u8,
            #[n(3)]
            page: Option<Reference>,
            #[n(4)]
            chunks: u64,
        }
        let Stored {
            chunk_log2,
            volume_bytes,
            level,
            page,
            chunks,
        } = Stored::decode(d, context)?;
        if !(CHUNK_LOG2_MIN..=CHUNK_LOG2_MAX).contains(&chunk_log2) {
            return Err(decode::Error::message("a chunk size that is not used"));
        }
        let empty = Self::empty(chunk_log2, volume_bytes);
        let page_fits = match page {
            None => chunks == 0,
            Some(page) => {
                (1..=1 << span_log2(empty.level)).contains(&chunks)
                    && page.is_plausible()
                    && page.plain_bytes as usize <= PAGE_BYTES_MAX
            }
        };
        if level != empty.level || !page_fits {
            return Err(decode::Error::message("not the root of a map"));
        }
        Ok(Self {
            page,
            chunks,
            ..empty
        })
    }
}

/// The lowest level whose page spans so many chunks.
pub(crate) fn level_for(chunk_count: u64) -> u8 {
    (0..LEVEL_MAX)
        .find(|level| span_log2(*level) >= 64 || chunk_count <= 1 << span_log2(*level))
        .unwrap_or(LEVEL_MAX)
}

/// Chunks that a page of this level spans, as a power of two.
pub(crate) const fn span_log2(level: u8) -> u32 {
    FANOUT_LOG2 * (level as u32 + 1)
}

#[cfg(test)]
mod tests;
