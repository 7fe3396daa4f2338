//! What a running job has done so far, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one job. They only grow, and may be read at any moment from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the volume (or of packs, for verify) that the job will have to look at, 0 until known.
    pub total_bytes: AtomicU64,
    /// Bytes looked at so far: read, carried over, or known to be holes.
    pub done_bytes: AtomicU64,
    /// Bytes read from the source (or, on restore, from the target to compare).
    pub read_bytes: AtomicU64,
    /// Plain bytes that were new and had to be sealed, or on restore had to be written.
    pub new_bytes: AtomicU64,
    /// Bytes sent to the store (or received from it).
    pub stored_bytes: AtomicU64,
}

impl Progress {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, bytes: u64) {
        counter.fetch_add(bytes, Relaxed);
    }

    /// Reads a counter.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Relaxed)
    }
}
