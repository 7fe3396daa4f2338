//! Sends packs to the store, several at a time, and knows which have arrived.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{StreamExt, stream::FuturesUnordered};
use repository::{PackId, SealedPack, Session};
use tokio::sync::{Notify, mpsc};

use crate::{Control, JobError, progress::Progress};

/// Hands packs to the uploader.
#[derive(Clone, Debug)]
pub(super) struct PackSender {
    packs: mpsc::Sender<SealedPack>,
    arrived: Arc<Arrived>,
}

impl PackSender {
    pub(super) fn send_blocking(&self, pack: SealedPack) -> Result<(), JobError> {
        self.arrived.sent.fetch_add(1, Ordering::Relaxed);
        self.packs
            .blocking_send(pack)
            .map_err(|_| JobError::Stopped)
    }

    pub(super) async fn send(&self, pack: SealedPack) -> Result<(), JobError> {
        self.arrived.sent.fetch_add(1, Ordering::Relaxed);
        self.packs.send(pack).await.map_err(|_| JobError::Stopped)
    }

    /// Waits until every pack sent so far has arrived; `false` when the uploader failed.
    pub(super) async fn all_arrived(&self) -> bool {
        let sent = self.arrived.sent.load(Ordering::Relaxed);
        loop {
            let changed = self.arrived.changed.notified();
            if self.arrived.count.load(Ordering::Acquire) >= sent {
                return true;
            }
            tokio::select! {
                () = changed => {}
                () = self.packs.closed() => return false,
            }
        }
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
    count: AtomicU64,
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
        if id.sequence().is_multiple_of(2) {
            let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            data.beyond.insert(id.sequence());
            while let before = data.before
                && data.beyond.remove(&before)
            {
                data.before += 2;
            }
        }
        self.count.fetch_add(1, Ordering::Release);
        self.changed.notify_waiters();
    }
}

/// The stage that uploads.
#[derive(Debug)]
pub(super) struct Uploader {
    session: Arc<Session>,
    control: Control,
    uploads: usize,
    packs: mpsc::Receiver<SealedPack>,
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

    /// Runs until all senders are gone and everything has arrived.
    pub(super) async fn run(mut self) -> Result<(), JobError> {
        let mut uploads = FuturesUnordered::new();
        let mut open = true;
        while open || !uploads.is_empty() {
            tokio::select! {
                pack = self.packs.recv(), if open && uploads.len() < self.uploads => match pack {
                    Some(pack) => uploads.push(upload(&self.session, pack)),
                    None => open = false,
                },
                Some(uploaded) = uploads.next() => {
                    let (id, bytes) = uploaded?;
                    Progress::add(&self.control.progress.stored_bytes, bytes);
                    self.arrived.add(id);
                }
            }
        }
        Ok(())
    }
}

async fn upload(session: &Session, pack: SealedPack) -> Result<(PackId, u64), JobError> {
    let id = pack.id();
    Ok((id, session.upload(pack).await?))
}
