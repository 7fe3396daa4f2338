//! Buffers that answers are received in, used again and again: memory that is fresh from the system costs more to touch than
//! to fill.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

/// Smaller ones are kept by the allocator itself.
const KEPT_MIN_BYTES: usize = 128 << 10;
/// Idle buffers hold at most this much together.
const IDLE_MAX_BYTES: usize = 8 << 20;

/// Buffers that nobody uses now.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer on loan: it goes back when this is dropped, also as the owner of [`Bytes`].
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// An empty buffer with room for `bytes`: the smallest idle one that has it, or a new one.
    pub(super) fn take(&self, bytes: usize) -> Buffer {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = (0..idle.len())
            .filter(|at| bytes >= KEPT_MIN_BYTES && idle[*at].capacity() >= bytes)
            .min_by_key(|at| idle[*at].capacity());
        let found = fits.map(|at| idle.swap_remove(at));
        drop(idle);
        Buffer {
            bytes: found.unwrap_or_else(|| Vec::with_capacity(bytes)),
            home: self.clone(),
        }
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        let capacity = bytes.capacity();
        if capacity < KEPT_MIN_BYTES {
            return;
        }
        bytes.clear();
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.iter().map(Vec::capacity).sum::<usize>() + capacity <= IDLE_MAX_BYTES {
            idle.push(bytes);
        }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a piece. Beyond the room that was asked for the buffer grows.
    pub(super) fn extend(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// What was received, to be shared; the buffer goes back when the last share is dropped.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(buffers: &Buffers) -> Vec<usize> {
        let mut idle: Vec<usize> = buffers
            .0
            .lock()
            .unwrap()
            .iter()
            .map(Vec::capacity)
            .collect();
        idle.sort_unstable();
        idle
    }

    #[test]
    fn a_buffer_comes_back_with_the_last_share_of_it_and_is_empty_then() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(1 << 20);
        buffer.extend(b"some bytes");
        let whole = buffer.freeze();
        let part = whole.slice(5..);
        drop(whole);
        assert!(idle(&buffers).is_empty());
        assert_eq!(&part[..], b"bytes");
        drop(part);
        assert_eq!(idle(&buffers), [1 << 20]);
        let again = buffers.take((1 << 20) - 7);
        assert!(idle(&buffers).is_empty());
        assert_eq!((again.len(), again.bytes.capacity()), (0, 1 << 20));
    }

    #[test]
    fn the_smallest_that_fits_is_taken_and_small_ones_are_not_kept() {
        let buffers = Buffers::default();
        let sizes = [4 << 20, 1 << 20, 2 << 20, 100];
        drop(sizes.map(|size| buffers.take(size)));
        assert_eq!(idle(&buffers), [1 << 20, 2 << 20, 4 << 20]);
        let _taken = buffers.take(1 << 20 | 1);
        assert_eq!(idle(&buffers), [1 << 20, 4 << 20]);
        let _small = buffers.take(100);
        assert_eq!(idle(&buffers), [1 << 20, 4 << 20]);
    }

    #[test]
    fn what_is_idle_is_bounded() {
        let buffers = Buffers::default();
        let many: Vec<Buffer> = (0..100).map(|_| buffers.take(1 << 20)).collect();
        drop(many);
        assert_eq!(idle(&buffers).iter().sum::<usize>(), IDLE_MAX_BYTES);
        drop(buffers.take(IDLE_MAX_BYTES + 1));
        assert_eq!(idle(&buffers).iter().sum::<usize>(), IDLE_MAX_BYTES);
    }
}
