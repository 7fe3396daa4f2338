//! Chunks that this session has sealed or taken over: found again anywhere in the volume, they are not sealed again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use repository::{
    ChunkId, Reference,
    format::{PACK_BYTES_MAX, TAG_BYTES},
};

/// Bytes that one entry takes, with the table's own overhead.
const ENTRY_BYTES: usize = 128;

/// A table of so many chunks and no more. What does not fit is sealed again when it comes again.
#[derive(Debug)]
pub(crate) struct Known {
    entries_max: usize,
    table: Mutex<HashMap<ChunkId, Reference>>,
}

impl Known {
    /// A table that takes a sixteenth of the job's memory.
    pub(crate) fn new(memory_bytes: u64) -> Self {
        let entries_max = usize::try_from(memory_bytes / 16).unwrap_or(usize::MAX) / ENTRY_BYTES;
        // All of it at once: growing would hold the old and the new table at the same time. The kernel gives the
        // memory when it is first touched.
        let table = Mutex::new(HashMap::with_capacity(entries_max));
        Self { entries_max, table }
    }

    /// Where a chunk is, if it is known.
    pub(crate) fn get(&self, id: &ChunkId) -> Option<Reference> {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .copied()
    }

    /// Remembers a chunk that an interrupted run sealed; `false` when the table is full. What no run could have sealed is
    /// passed over: a slot table is authentic, but whoever wrote it may have been wrong, and what a map refers to is for
    /// ever.
    pub(crate) fn adopt(&self, reference: Reference, chunk_log2: u8) -> bool {
        !is_chunk(&reference, chunk_log2) || self.insert(reference)
    }

    /// Remembers a chunk; `false` when the table is full.
    pub(crate) fn insert(&self, reference: Reference) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let room = table.len() < self.entries_max;
        if room {
            table.insert(reference.id, reference);
        }
        room
    }
}

/// Whether a reference is one that a volume's map may hold: of a whole chunk, stored in no more than it takes by itself,
/// within a pack.
fn is_chunk(reference: &Reference, chunk_log2: u8) -> bool {
    let plain_bytes = u64::from(reference.plain_bytes);
    let (stored_bytes, tag_bytes) = (u64::from(reference.stored_bytes), TAG_BYTES as u64);
    plain_bytes == 1 << chunk_log2
        && (tag_bytes..=plain_bytes + tag_bytes).contains(&stored_bytes)
        && reference.range().end <= PACK_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use repository::{Codec, PackId, SessionId};

    use super::*;

    #[test]
    fn only_what_a_map_may_hold_is_adopted() {
        let reference = Reference {
            id: ChunkId::from_bytes([1; 32]),
            pack: PackId::new(SessionId::from_bytes([2; 16]), 0),
            key: 0,
            slot: 0,
            codec: Codec::Stored,
            offset: 100,
            stored_bytes: 65_536 + 16,
            plain_bytes: 65_536,
        };
        let is_adopted = |change: fn(&mut Reference)| {
            let (known, mut reference) = (Known::new(1 << 20), reference);
            change(&mut reference);
            assert!(known.adopt(reference, 16), "there is room");
            known.get(&reference.id) == Some(reference)
        };
        assert!(is_adopted(|_| {}));
        assert!(is_adopted(|reference| reference.stored_bytes = 16));
        let changes: [fn(&mut Reference); 5] = [
            |reference| reference.plain_bytes = 65_535,
            |reference| reference.plain_bytes = 131_072,
            |reference| reference.stored_bytes = 15,
            |reference| reference.stored_bytes = 65_536 + 17,
            |reference| reference.offset = u32::MAX - 1_000_000,
        ];
        for change in changes {
            assert!(!is_adopted(change));
        }
    }
}
