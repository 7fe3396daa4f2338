//! Divides one number of bytes among the stages.

use std::thread;

use repository::format::{PACK_BYTES, PACK_BYTES_SMALL};

/// Below this a job makes smaller packs.
const SMALL_MEMORY_BYTES: u64 = 128 << 20;
/// Bytes read at once: direct reads of 1 MiB cost a quarter of the processor time of small ones.
const BLOCK_BYTES: usize = 1 << 20;

/// What each stage may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) block_bytes: usize,
    pub(super) read_buffers: usize,
    pub(super) pack_bytes: usize,
    pub(super) pack_buffers: usize,
    pub(super) readers: usize,
    pub(super) sealers: usize,
    pub(super) uploads: usize,
}

impl Budget {
    /// Five eighths for packs, an eighth for reading; the rest is for maps, the table of known chunks (a sixteenth) and
    /// what the runtime and the connections hold.
    pub(super) fn new(memory_bytes: u64, chunk_bytes: usize) -> Self {
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let pack_bytes = if memory_bytes < SMALL_MEMORY_BYTES {
            PACK_BYTES_SMALL
        } else {
            PACK_BYTES
        };
        let block_bytes = BLOCK_BYTES.max(chunk_bytes);
        let pack_buffers = (memory / 8 * 5 / pack_bytes).clamp(2, 64);
        let sealers = cores.min(pack_buffers - 1);
        Self {
            block_bytes,
            read_buffers: (memory / 8 / block_bytes).clamp(2, 64),
            pack_bytes,
            pack_buffers,
            // Two keep a device busy while one of them hands over what it read.
            readers: 2,
            sealers,
            uploads: pack_buffers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_fit_into_the_memory_given() {
        for memory_bytes in [48 << 20, 64 << 20, 128 << 20, 256 << 20, 4 << 30] {
            let budget = Budget::new(memory_bytes, 64 << 10);
            let held =
                budget.pack_buffers * budget.pack_bytes + budget.read_buffers * budget.block_bytes;
            assert!(
                held as u64 <= memory_bytes / 4 * 3,
                "{memory_bytes}: {budget:?}"
            );
            assert!(budget.sealers >= 1 && budget.pack_buffers > budget.sealers);
        }
    }
}
