//! Where a sealed chunk or page is, and everything that opening it needs.

use minicbor::{Decode, Encode};

use crate::{
    format::{PACK_BYTES_MAX, TAG_BYTES},
    id::{ChunkId, PackId},
    key::KeyNumber,
};

/// How a chunk's contents are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    #[n(0)]
    Stored = 0,
    /// One zstd frame.
    #[n(1)]
    Zstd = 1,
}

impl Codec {
    /// Reads the byte that stands for a codec.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Stored),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A chunk or page inside a pack. Maps are made of these, so that restoring needs no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Reference {
    /// Keyed hash of the plaintext.
    #[n(0)]
    pub id: ChunkId,
    /// The pack it is in.
    #[n(1)]
    pub pack: PackId,
    /// The key the pack is sealed with.
    #[n(2)]
    pub key: KeyNumber,
    /// Its number within the pack.
    #[n(3)]
    pub slot: u16,
    /// How it is stored.
    #[n(4)]
    pub codec: Codec,
    /// Where its sealed bytes begin in the pack.
    #[n(5)]
    pub offset: u32,
    /// Length of its sealed bytes, tag included.
    #[n(6)]
    pub stored_bytes: u32,
    /// Length of its plaintext.
    #[n(7)]
    pub plain_bytes: u32,
}

impl Reference {
    /// The sealed bytes' place in the pack.
    pub fn range(&self) -> std::ops::Range<u64> {
        let start = u64::from(self.offset);
        start..start + u64::from(self.stored_bytes)
    }
    /// Whether a pack can hold this. What is stored is never longer than what it stands for, which bounds what a reader
    /// allocates.
    pub(crate) fn is_plausible(&self) -> bool {
        let (tag, plain) = (TAG_BYTES as u64, u64::from(self.plain_bytes));
        (tag..=plain + tag).contains(&u64::from(self.stored_bytes))
            && self.range().end <= PACK_BYTES_MAX
    }
}
