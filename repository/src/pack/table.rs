//! The slot table: what is where in a pack. It is sealed, and kept twice: in the pack and under `i/`.

use crate::{
    format::{PACK_SLOTS_MAX, TAG_BYTES},
    id::{ChunkId, PackId, RepositoryId},
    key::{KeyNumber, Keyring},
    pack::HEADER_BYTES,
    record::{self, Place, RecordError, RecordKind},
    reference::{Codec, Reference},
};

/// Bytes of the table that one slot takes.
pub(super) const SLOT_BYTES: usize = 48;
/// Bytes of the table before its first slot.
pub(super) const TABLE_HEADER_BYTES: usize = 24;

/// One sealed chunk of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Keyed hash of the plaintext.
    pub id: ChunkId,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// Length of its sealed bytes.
    pub stored_bytes: u32,
    /// Length of its plaintext.
    pub plain_bytes: u32,
    /// How it is stored.
    pub codec: Codec,
}

impl Slot {
    /// The reference to this slot.
    pub fn reference(&self, pack: PackId, key: KeyNumber, slot: u16) -> Reference {
        let Self {
            id,
            offset,
            stored_bytes,
            plain_bytes,
            codec,
        } = *self;
        Reference {
            id,
            pack,
            key,
            slot,
            codec,
            offset,
            stored_bytes,
            plain_bytes,
        }
    }
}

/// A pack's slots, with the key that the pack is sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) pack: PackId,
    pub(crate) key: KeyNumber,
    pub(crate) slots: Vec<Slot>,
}

/// The table's plaintext: pack id, key number, then the slots.
pub(crate) fn encode_table(pack: PackId, key: KeyNumber, slots: &[Slot]) -> Vec<u8> {
    let mut out = Vec::with_capacity(TABLE_HEADER_BYTES + slots.len() * SLOT_BYTES);
    out.extend_from_slice(pack.as_bytes());
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    for slot in slots {
        out.extend_from_slice(slot.id.as_bytes());
        out.extend_from_slice(&slot.offset.to_le_bytes());
        out.extend_from_slice(&slot.stored_bytes.to_le_bytes());
        out.extend_from_slice(&slot.plain_bytes.to_le_bytes());
        out.extend_from_slice(&[slot.codec as u8, 0, 0, 0]);
    }
    out
}

/// Reads a table's plaintext. Slots must follow each other without gaps, from the header on.
pub(crate) fn decode_table(bytes: &[u8]) -> Option<Table> {
    let (header, body) = bytes.split_first_chunk::<TABLE_HEADER_BYTES>()?;
    let pack = PackId::from_bytes(header[..20].try_into().ok()?);
    let key = KeyNumber::from_le_bytes([header[20], header[21]]);
    let count = body.len() / SLOT_BYTES;
    if body.len() % SLOT_BYTES != 0 || count > PACK_SLOTS_MAX || header[22..] != [0; 2] {
        return None;
    }
    let mut next = u32::try_from(HEADER_BYTES).ok()?;
    let mut slots = Vec::with_capacity(count);
    for entry in body.chunks_exact(SLOT_BYTES) {
        let word = |at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        let slot = Slot {
            id: ChunkId::from_bytes(entry[..32].try_into().ok()?),
            offset: word(32),
            stored_bytes: word(36),
            plain_bytes: word(40),
            codec: Codec::from_byte(entry[44])?,
        };
        let tag = u32::try_from(TAG_BYTES).ok()?;
        if slot.offset != next || slot.stored_bytes < tag || entry[45..] != [0; 3] {
            return None;
        }
        next = next.checked_add(slot.stored_bytes)?;
        slots.push(slot);
    }
    Some(Table { pack, key, slots })
}

/// Seals a table for the object called `name`: the pack itself, or the copy under `i/`.
pub(crate) fn seal_table(
    keys: &Keyring,
    repository: RepositoryId,
    name: &str,
    plain: &[u8],
) -> Vec<u8> {
    let place = Place::new(repository, name);
    record::seal(keys.records(), RecordKind::SlotTable, place, plain)
}

/// Opens a table that must be that of `pack`.
pub(crate) fn open_table(
    keys: &Keyring,
    repository: RepositoryId,
    name: &str,
    pack: PackId,
    sealed: &[u8],
) -> Result<Table, RecordError> {
    let place = Place::new(repository, name);
    let plain = record::open_with_any(keys.record_keys(), RecordKind::SlotTable, place, sealed)?;
    let table = decode_table(&plain).ok_or(RecordError::NotARecord)?;
    if table.pack == pack {
        Ok(table)
    } else {
        Err(RecordError::Unauthentic)
    }
}
