//! Chunks that this session has sealed or taken over: found again anywhere in the volume, they are not sealed again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use repository::{ChunkId, Reference};

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
