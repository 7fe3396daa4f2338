//! Sends packs to the store, several at a time, and knows which have arrived.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use repository::{PackId, SealedPack, Session};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{Control, JobError};

/// How long packs of data may still take when the job is to stop: some that are nearly there are worth it, and nobody
/// waits longer after an interrupt.
const DATA_TIME_MAX: Duration = Duration::from_secs(4);
/// How long pages, and the checkpoint that refers to them, may take after that.
pub(super) const PAGES_TIME_MAX: Duration = Duration::from_secs(4);

/// Hands packs to the uploader.
#[derive(Clone, Debug)]
pub(super) struct PackSender {
    packs: mpsc::Sender<Full>,
    arrived: Arc<Arrived>,
}

/// A pack and how many bytes of the volume are in it; none are in pages.
#[derive(Debug)]
struct Full {
    pack: SealedPack,
    plain_bytes: u64,
}

impl PackSender {
    pub(super) fn send_data(&self, pack: SealedPack, plain_bytes: u64) -> Result<(), JobError> {
        self.arrived.sent.fetch_add(1, Ordering::Relaxed);
        let full = Full { pack, plain_bytes };
        self.packs
            .blocking_send(full)
            .map_err(|_| JobError::Stopped)
    }

    pub(super) async fn send_pages(&self, pack: SealedPack) -> Result<(), JobError> {
        self.arrived.sent.fetch_add(1, Ordering::Relaxed);
        let plain_bytes = 0;
        let full = Full { pack, plain_bytes };
        self.packs.send(full).await.map_err(|_| JobError::Stopped)
    }

    /// Waits until every pack sent so far has arrived or was given up; `false` when the uploader failed.
    pub(super) async fn all_settled(&self) -> bool {
        let sent = self.arrived.sent.load(Ordering::Relaxed);
        loop {
            let changed = self.arrived.changed.notified();
            if self.arrived.settled.load(Ordering::Acquire) >= sent {
                return true;
            }
            tokio::select! {
                () = changed => {}
                () = self.packs.closed() => return false,
            }
        }
    }

    /// Some pages were given up: no checkpoint may refer to them.
    pub(super) fn lacks_pages(&self) -> bool {
        self.arrived.lacks_pages.load(Ordering::Acquire)
    }

    /// Every data pack with a lower number has arrived.
    pub(super) fn data_packs_before(&self) -> u32 {
        self.arrived
            .data
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .before
    }
}

#[derive(Debug, Default)]
struct Arrived {
    sent: AtomicU64,
    /// Packs that arrived, or were given up because the job is to stop.
    settled: AtomicU64,
    lacks_pages: AtomicBool,
    changed: Notify,
    data: Mutex<DataPacks>,
}

/// Data packs have even numbers and arrive in any order.
#[derive(Debug, Default)]
struct DataPacks {
    before: u32,
    beyond: BTreeSet<u32>,
}

impl Arrived {
    fn add(&self, id: PackId) {
        if is_data(id) {
            let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            data.beyond.insert(id.sequence());
            while let before = data.before
                && data.beyond.remove(&before)
            {
                data.before += 2;
            }
        }
        self.settle(1);
    }

    fn settle(&self, packs: usize) {
        self.settled.fetch_add(packs as u64, Ordering::Release);
        self.changed.notify_waiters();
    }
}

fn is_data(id: PackId) -> bool {
    id.sequence().is_multiple_of(2)
}

/// How long a pack may take beside others. On a slow line many at once would all arrive late, and all be lost with the job.
const PACK_TIME: Duration = Duration::from_secs(10);

/// How many packs are sent at once: as many as the line has shown that it takes, one at first.
#[derive(Debug)]
struct Window {
    packs: usize,
    packs_max: usize,
    began: Instant,
    arrived_bytes: u64,
}

impl Window {
    fn new(packs_max: usize) -> Self {
        Self {
            packs: 1,
            packs_max,
            began: Instant::now(),
            arrived_bytes: 0,
        }
    }

    fn arrived(&mut self, pack_bytes: u64) {
        self.arrived_bytes += pack_bytes;
        let elapsed = self.began.elapsed().as_millis().max(1);
        let meanwhile = u128::from(self.arrived_bytes) * PACK_TIME.as_millis() / elapsed;
        let packs = meanwhile / u128::from(pack_bytes.max(1));
        self.packs =
            usize::try_from(packs).map_or(self.packs_max, |packs| packs.clamp(1, self.packs_max));
    }
}

/// The stage that uploads.
#[derive(Debug)]
pub(super) struct Uploader {
    session: Arc<Session>,
    control: Control,
    uploads: usize,
    packs: mpsc::Receiver<Full>,
    arrived: Arc<Arrived>,
}

impl Uploader {
    /// Makes the stage and the way to it. Packs wait in the buffers that they were filled in, so the queue between is
    /// short.
    pub(super) fn new(
        session: Arc<Session>,
        uploads: usize,
        control: &Control,
    ) -> (Self, PackSender) {
        let (packs, packs_out) = mpsc::channel(1);
        let arrived = Arc::new(Arrived::default());
        let sender = PackSender {
            packs,
            arrived: Arc::clone(&arrived),
        };
        (
            Self {
                session,
                control: control.clone(),
                uploads,
                packs: packs_out,
                arrived,
            },
            sender,
        )
    }

    /// Runs until all senders are gone and everything has arrived. When the job is to stop, packs that take long are
    /// given up: of data first, since a checkpoint is worth more than they are.
    pub(super) async fn run(mut self) -> Result<(), JobError> {
        let (mut data, mut pages) = (FuturesUnordered::new(), FuturesUnordered::new());
        let (mut takes_data, mut takes_pages, mut open) = (true, true, true);
        let mut window = Window::new(self.uploads);
        let mut data_end = pin!(after(&self.control.cancel, DATA_TIME_MAX));
        let mut pages_end = pin!(after(&self.control.cancel, DATA_TIME_MAX + PAGES_TIME_MAX));
        while open || !data.is_empty() || !pages.is_empty() {
            tokio::select! {
                pack = self.packs.recv(), if open && data.len() + pages.len() < window.packs => match pack {
                    None => open = false,
                    Some(full) => match is_data(full.pack.id()) {
                        true if takes_data => data.push(self.upload(full)),
                        false if takes_pages => pages.push(self.upload(full)),
                        data => self.give_up(data, 1),
                    }
                },
                Some(uploaded) = data.next() => window.arrived(uploaded?),
                Some(uploaded) = pages.next() => window.arrived(uploaded?),
                () = &mut data_end, if takes_data => {
                    takes_data = false;
                    self.give_up(true, data.len());
                    data.clear();
                }
                () = &mut pages_end, if takes_pages => {
                    takes_pages = false;
                    self.give_up(false, pages.len());
                    pages.clear();
                }
            }
        }
        Ok(())
    }

    /// Uploads a pack; returns how long it was.
    fn upload(&self, full: Full) -> impl Future<Output = Result<u64, JobError>> + use<> {
        let Full { pack, plain_bytes } = full;
        let (session, arrived) = (Arc::clone(&self.session), Arc::clone(&self.arrived));
        let progress = Arc::clone(&self.control.progress);
        async move {
            let (id, bytes) = (pack.id(), pack.bytes());
            progress.begin_upload(plain_bytes, bytes);
            session.upload(pack).await?;
            progress.end_upload(plain_bytes, bytes);
            arrived.add(id);
            Ok(bytes)
        }
    }

    fn give_up(&self, data: bool, packs: usize) {
        if packs > 0 && !data {
            self.arrived.lacks_pages.store(true, Ordering::Release);
        }
        self.arrived.settle(packs);
    }
}

async fn after(cancel: &CancellationToken, time: Duration) {
    cancel.cancelled().await;
    sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn as_many_packs_are_sent_at_once_as_arrive_in_time() {
        for (seconds, packs) in [(1, 5), (3, 3), (8, 1), (60, 1)] {
            let mut window = Window::new(5);
            assert_eq!(window.packs, 1);
            tokio::time::advance(Duration::from_secs(seconds)).await;
            window.arrived(16 * MIB);
            assert_eq!(window.packs, packs, "{seconds} s for a pack");
        }
    }
}
