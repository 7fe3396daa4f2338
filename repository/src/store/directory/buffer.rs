//! Aligned memory for direct reads and writes, used again.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

/// What direct reads and writes are aligned to: no disk has larger sectors.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Buffers that are kept for later: as many as are in use at once, but no more than a small agent has room for.
const FREE_BUFFERS_MAX: usize = 4;

/// Larger ones are not kept. A restore reads pieces of 4 MiB, and whole blocks around them.
const FREE_BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024 + 16 * BLOCK_BYTES;

/// Buffers that are free. New memory costs as much as reading into it does, since the kernel has to find and clear it.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Takes a buffer of `bytes`, with whatever is in it.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Buffer {
        let needed = bytes + BLOCK_BYTES;
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match free.iter().position(|memory| memory.len() >= needed) {
            Some(fitting) => Some(free.swap_remove(fitting)),
            None => {
                // One that is too small makes room for the larger ones that are wanted now.
                free.pop();
                None
            }
        };
        drop(free);
        let memory = found.unwrap_or_else(|| vec![0; needed]);
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Buffer {
            memory,
            start,
            bytes,
            home: Arc::clone(self),
        }
    }
}

/// A buffer that starts at a multiple of [`BLOCK_BYTES`] and goes home when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < FREE_BUFFERS_MAX && self.memory.len() <= FREE_BUFFER_BYTES_MAX {
            free.push(mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(buffers: &Buffers) -> Vec<usize> {
        buffers
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|memory| memory.len() - BLOCK_BYTES)
            .collect()
    }

    #[test]
    fn buffers_are_aligned_and_used_again() {
        let buffers = Arc::default();
        for bytes in [1, 5_000, 1 << 20, 5_000] {
            let mut buffer = Buffers::take(&buffers, bytes);
            assert_eq!(
                (
                    buffer.as_ref().len(),
                    buffer.as_ref().as_ptr().align_offset(BLOCK_BYTES)
                ),
                (bytes, 0)
            );
            buffer.as_mut().fill(1);
        }
        assert_eq!(free(&buffers), [1 << 20]);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let buffers = Arc::default();
        let taken: Vec<_> = (1..=FREE_BUFFERS_MAX + 3)
            .map(|bytes| Buffers::take(&buffers, bytes))
            .collect();
        drop(taken);
        drop(Buffers::take(&buffers, FREE_BUFFER_BYTES_MAX));
        // The large one took the place of one that was too small, and was not kept.
        assert_eq!(free(&buffers), [1, 2, 3]);
    }
}
