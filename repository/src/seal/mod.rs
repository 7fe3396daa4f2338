//! A chunk becomes a sealed chunk and back: compress, encrypt; decrypt, decompress, hash.
//!
//! Each chunk has a key of its own, made from the pack, the slot and *the chunk's id*. So the pair of key and nonce is
//! never used for two plaintexts, not even by a cloned machine that repeats names; and that a chunk opened at all is
//! confirmed by hashing it again.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use minicbor::{Decode, Encode};
use zstd::{bulk, zstd_safe};

use crate::{
    format::{DOMAIN, SUITE_BLAKE3_AES256GCM, TAG_BYTES},
    id::{ChunkId, PackId},
    key::Key,
    reference::{Codec, Reference},
};

/// What a zstd frame begins with. There are others that hold nothing, and decoders skip them.
const FRAME_MAGIC: &[u8; 4] = &[0x28, 0xb5, 0x2f, 0xfd];

/// How hard to compress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Compression {
    /// Not at all.
    #[n(0)]
    Off,
    /// zstd level 2: costs what level 1 does and stores less. Higher while the store is slower than the processor.
    #[default]
    #[n(1)]
    Auto,
    /// zstd level 6.
    #[n(2)]
    Better,
    /// zstd level 12.
    #[n(3)]
    Best,
}

/// How far behind the store is: the only reason to compress more than asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// The store takes packs as fast as they come.
    #[default]
    None,
    /// Packs wait for the store.
    Some,
    /// Sealing waits for the store.
    Full,
}

impl Compression {
    fn level(self, pressure: Pressure) -> Option<i32> {
        match (self, pressure) {
            (Self::Off, _) => None,
            (Self::Auto, Pressure::None) => Some(2),
            (Self::Auto, Pressure::Some) => Some(3),
            (Self::Auto, Pressure::Full) | (Self::Better, _) => Some(6),
            (Self::Best, _) => Some(12),
        }
    }
}

/// Bytes of a chunk that are tried first when the one before it did not compress.
const SAMPLE_BYTES: usize = 4096;
/// Pieces that the sample is made of, spread over the chunk.
const SAMPLE_PIECES: usize = 4;

/// Compresses chunks; one for each thread, since its tables are reused.
pub(crate) struct Compressor {
    context: Option<(i32, bulk::Compressor<'static>)>,
    sampler: bulk::Compressor<'static>,
    /// The last chunk was stored as it is, so that the next one is sampled before it is tried. Volumes hold
    /// incompressible data in runs: this way neither kind of run pays for the other.
    sample_first: bool,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor(..)")
    }
}

impl Compressor {
    pub(crate) fn new() -> Self {
        let sampler = compressor(1);
        Self {
            context: None,
            sampler,
            sample_first: false,
        }
    }

    /// Compresses `plain` into the start of `out`, whose length is at least that of `plain`. Returns the length, or
    /// `None` when it should be stored as it is.
    pub(crate) fn compress(&mut self, plain: &[u8], level: i32, out: &mut [u8]) -> Option<usize> {
        if self.sample_first && plain.len() > 2 * SAMPLE_BYTES && !self.sample_compresses(plain) {
            return None;
        }
        if self
            .context
            .as_ref()
            .is_none_or(|(current, _)| *current != level)
        {
            self.context = Some((level, compressor(level)));
        }
        let (_, context) = self.context.as_mut().expect("made above");
        // What saves less than a sixteenth is not worth decompressing. Too little room is how zstd says so early.
        let room = plain.len() - plain.len() / 16;
        let length = context.compress_to_buffer(plain, &mut out[..room]).ok();
        self.sample_first = length.is_none();
        length
    }

    fn sample_compresses(&mut self, plain: &[u8]) -> bool {
        let mut sample = [0; SAMPLE_BYTES];
        let piece = SAMPLE_BYTES / SAMPLE_PIECES;
        for (number, part) in sample.chunks_exact_mut(piece).enumerate() {
            let start = number * (plain.len() - piece) / (SAMPLE_PIECES - 1);
            part.copy_from_slice(&plain[start..start + piece]);
        }
        let mut out = [0; SAMPLE_BYTES - SAMPLE_BYTES / 20];
        self.sampler
            .compress_to_buffer(&sample, &mut out[..])
            .is_ok()
    }
}

fn compressor(level: i32) -> bulk::Compressor<'static> {
    bulk::Compressor::new(level).expect("levels are constants that zstd knows")
}

/// The level for a chunk, or `None` to store it.
pub(crate) fn level(compression: Compression, pressure: Pressure) -> Option<i32> {
    compression.level(pressure)
}

/// Encrypts `bytes` in place and returns the tag.
pub(crate) fn encrypt(key: &Key, reference: &Reference, bytes: &mut [u8]) -> [u8; TAG_BYTES] {
    let tag = cipher(key, reference)
        .seal_in_place_separate_tag(nonce(reference.slot), associated(reference), bytes)
        .expect("a chunk is far below the limit of AES-GCM");
    tag.as_ref()
        .try_into()
        .expect("a tag of AES-GCM has 16 bytes")
}

/// Why a sealed chunk does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The sealed bytes are not what was sealed there.
    #[error("the sealed bytes do not match their seal")]
    Unauthentic,
    /// The compressed bytes are not what was compressed.
    #[error("the contents do not decompress")]
    Decompress,
    /// The plaintext is not the one that the id names.
    #[error("the contents do not match their id")]
    WrongContents,
    /// The key of the pack is not in the keyring.
    #[error("sealed with a key that the keyring does not have")]
    NoKey,
}

/// Opens sealed chunks; one for each thread.
pub struct Opener {
    context: bulk::Decompressor<'static>,
    scratch: Vec<u8>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(..)")
    }
}

impl Default for Opener {
    fn default() -> Self {
        let context = bulk::Decompressor::new().expect("zstd has memory for a context");
        Self {
            context,
            scratch: Vec::new(),
        }
    }
}

impl Opener {
    /// Opens `sealed` into `plain`, whose length is that of the plaintext. `hash` gives the id that the plaintext
    /// must have.
    pub(crate) fn open(
        &mut self,
        key: &Key,
        reference: &Reference,
        sealed: &[u8],
        plain: &mut [u8],
        hash: impl Fn(&[u8]) -> ChunkId,
    ) -> Result<(), OpenError> {
        let (body, tag) = sealed
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(OpenError::Unauthentic)?;
        let cipher = cipher(key, reference);
        let (nonce, aad) = (nonce(reference.slot), associated(reference));
        match reference.codec {
            Codec::Stored => {
                if body.len() != plain.len() {
                    return Err(OpenError::Unauthentic);
                }
                cipher
                    .open_separate_gather(nonce, aad, body, tag, plain)
                    .map_err(|_| OpenError::Unauthentic)?;
            }
            Codec::Zstd => {
                self.scratch.resize(body.len(), 0);
                cipher
                    .open_separate_gather(nonce, aad, body, tag, &mut self.scratch)
                    .map_err(|_| OpenError::Unauthentic)?;
                // One frame and nothing else, so that contents have one form for every reader.
                let frame = zstd_safe::find_frame_compressed_size(&self.scratch);
                if frame != Ok(self.scratch.len()) || !self.scratch.starts_with(FRAME_MAGIC) {
                    return Err(OpenError::Decompress);
                }
                let length = self
                    .context
                    .decompress_to_buffer(&self.scratch, plain)
                    .map_err(|_| OpenError::Decompress)?;
                if length != plain.len() {
                    return Err(OpenError::Decompress);
                }
            }
        }
        if hash(plain) == reference.id {
            Ok(())
        } else {
            Err(OpenError::WrongContents)
        }
    }
}

/// The key of all chunks of a pack, made once for each pack.
pub(crate) fn pack_key(key: &Key, pack: PackId) -> Key {
    key.derive("pack", pack.as_bytes())
}

fn cipher(pack_key: &Key, reference: &Reference) -> LessSafeKey {
    let mut context = [0; 43];
    context[..32].copy_from_slice(reference.id.as_bytes());
    context[32..34].copy_from_slice(&reference.slot.to_le_bytes());
    context[34..38].copy_from_slice(&reference.plain_bytes.to_le_bytes());
    context[38..42].copy_from_slice(&reference.stored_bytes.to_le_bytes());
    context[42] = reference.codec as u8;
    let key = pack_key.derive("chunk", &context);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_bytes()).expect("32 bytes are a key"))
}

fn nonce(slot: u16) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..2].copy_from_slice(&slot.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn associated(reference: &Reference) -> Aad<[u8; 30]> {
    let mut aad = [0; 30];
    aad[0] = SUITE_BLAKE3_AES256GCM;
    aad[1..8].copy_from_slice(DOMAIN.as_bytes());
    aad[8..28].copy_from_slice(reference.pack.as_bytes());
    aad[28..].copy_from_slice(&reference.slot.to_le_bytes());
    Aad::from(aad)
}

#[cfg(test)]
mod tests;
