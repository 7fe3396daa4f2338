//! What a running job has done so far, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one job, which may be read at any moment from any thread. They only grow, but for what is under way.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the volume (or of packs, for verify) that the job will have to look at, 0 until known.
    pub total_bytes: AtomicU64,
    /// Bytes done so far: carried over, known to be holes, found again, or new and arrived in the store.
    pub done_bytes: AtomicU64,
    /// Bytes read from the source (or, on restore, from the target to compare).
    pub read_bytes: AtomicU64,
    /// Plain bytes that were new and arrived in the store, or on restore were written.
    pub new_bytes: AtomicU64,
    /// Bytes that arrived in the store (or came from it).
    pub stored_bytes: AtomicU64,
    /// Plain bytes of the packs that are being uploaded,
    pub uploading_plain_bytes: AtomicU64,
    /// and the bytes of those packs.
    pub uploading_bytes: AtomicU64,
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

    /// Bytes done so far, with the share of the packs under way that was sent, when the job sent `sent_bytes` in all.
    /// Packs are large: without it a slow upload would seem to stand still between them.
    pub fn done_with_uploads(&self, sent_bytes: u64) -> u64 {
        let under_way = Self::get(&self.uploading_bytes);
        let sent = sent_bytes.saturating_sub(Self::get(&self.stored_bytes));
        let plain = u128::from(Self::get(&self.uploading_plain_bytes));
        let share = (plain * u128::from(sent.min(under_way))).checked_div(u128::from(under_way));
        let share = share.and_then(|share| u64::try_from(share).ok());
        Self::get(&self.done_bytes).saturating_add(share.unwrap_or(0))
    }

    /// A pack goes on its way.
    pub(crate) fn begin_upload(&self, plain_bytes: u64, bytes: u64) {
        Self::add(&self.uploading_plain_bytes, plain_bytes);
        Self::add(&self.uploading_bytes, bytes);
    }

    /// A pack that [began](Self::begin_upload) has arrived.
    pub(crate) fn end_upload(&self, plain_bytes: u64, bytes: u64) {
        self.uploading_plain_bytes.fetch_sub(plain_bytes, Relaxed);
        self.uploading_bytes.fetch_sub(bytes, Relaxed);
        Self::add(&self.stored_bytes, bytes);
        Self::add(&self.new_bytes, plain_bytes);
        Self::add(&self.done_bytes, plain_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_under_way_count_by_what_was_sent_of_them() {
        let progress = Progress::default();
        Progress::add(&progress.done_bytes, 100);
        assert_eq!(progress.done_with_uploads(0), 100);
        progress.begin_upload(4000, 1000);
        progress.begin_upload(4000, 1000);
        assert_eq!(progress.done_with_uploads(0), 100);
        assert_eq!(progress.done_with_uploads(500), 2100);
        assert_eq!(
            progress.done_with_uploads(9999),
            8100,
            "what is sent again does not count"
        );
        progress.end_upload(4000, 1000);
        assert_eq!(progress.done_with_uploads(1000), 4100);
        assert_eq!(progress.done_with_uploads(1500), 6100);
        progress.end_upload(4000, 1000);
        assert_eq!(progress.done_with_uploads(2000), 8100);
    }
}
