//! The clear parts of a pack: a header and a trailer that say nothing that its name and size do not say.

use crate::{
    format::{PACK_BYTES_MAX, PACK_SLOTS_MAX, SLOT_TABLE_BYTES_MAX, SUITE_BLAKE3_AES256GCM},
    id::PackId,
    key::KeyNumber,
    layout::PackKind,
};

/// Bytes before the first sealed chunk.
pub(crate) const HEADER_BYTES: usize = 48;
/// Bytes after the slot table.
pub(crate) const TRAILER_BYTES: usize = 32;

const HEADER_MAGIC: &[u8; 8] = b"SLUICEPK";
const TRAILER_MAGIC: &[u8; 8] = b"SLUICEPT";
const VERSION: u8 = 1;

/// The header. All of it follows from the pack's id, kind and key, so that a reader compares instead of parsing.
pub(crate) fn encode_header(kind: PackKind, id: PackId, key: KeyNumber) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(HEADER_MAGIC);
    header[8] = VERSION;
    header[9] = match kind {
        PackKind::Data => 1,
        PackKind::Meta => 2,
    };
    header[10] = SUITE_BLAKE3_AES256GCM;
    header[12..14].copy_from_slice(&key.to_le_bytes());
    header[16..36].copy_from_slice(id.as_bytes());
    header
}

/// Where the slot table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) table_offset: u32,
    pub(crate) table_bytes: u32,
    pub(crate) slots: u16,
}

impl Trailer {
    pub(crate) fn encode(self) -> [u8; TRAILER_BYTES] {
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..4].copy_from_slice(&self.table_offset.to_le_bytes());
        trailer[4..8].copy_from_slice(&self.table_bytes.to_le_bytes());
        trailer[8..10].copy_from_slice(&self.slots.to_le_bytes());
        trailer[10] = VERSION;
        trailer[24..].copy_from_slice(TRAILER_MAGIC);
        trailer
    }
}

/// Reads a trailer, which must be that of a pack of `pack_bytes`.
pub(crate) fn decode_trailer(trailer: &[u8], pack_bytes: u64) -> Option<Trailer> {
    let bytes: &[u8; TRAILER_BYTES] = trailer.try_into().ok()?;
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let found = Trailer {
        table_offset: word(0),
        table_bytes: word(4),
        slots: u16::from_le_bytes([bytes[8], bytes[9]]),
    };
    let end = u64::from(found.table_offset) + u64::from(found.table_bytes) + TRAILER_BYTES as u64;
    let plausible = pack_bytes <= PACK_BYTES_MAX
        && end == pack_bytes
        && u64::from(found.table_bytes) <= SLOT_TABLE_BYTES_MAX
        && usize::from(found.slots) <= PACK_SLOTS_MAX
        && u64::from(found.table_offset) >= HEADER_BYTES as u64;
    (plausible && found.encode() == *bytes).then_some(found)
}
