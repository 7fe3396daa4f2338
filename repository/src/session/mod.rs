//! One run of one writer: it says what it is about to do, uploads packs, and commits by writing its register.
//!
//! The order of steps is the safety argument (`FORMAT.md`, "Sessions"): the intent is written before anything is
//! referred to, and the register is written last, once. Until then nothing is visible, so a crash at any moment leaves
//! every older point as it was.

pub(crate) mod records;
mod adopt;
mod begin;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::Mutex, task::JoinSet};

pub(crate) use self::records::{Heartbeat, Intent};
pub use self::{adopt::Adopted, begin::SessionRequest, records::Checkpoint};
use crate::{
    clock,
    error::RepositoryError,
    format::TAG_BYTES,
    id::{Nonce, PackId, SessionId},
    layout::{self, PackKind},
    map::{LEVEL_MAX, PAGE_BYTES_MAX, Page, PageSink},
    pack::{PackBuffer, PackBuffers, PackBuilder, SealedPack},
    point::{Manifest, Point, Register, RegisterKind, Stats},
    record::RecordKind,
    reference::Reference,
    repository::{Repository, VERSION},
    seal::{Compression, Compressor, Pressure},
    store::{ErrorKind, StoreError},
};

type Result<T> = std::result::Result<T, RepositoryError>;

/// A writer that is silent for longer may be taken over by one on another host, so signs of life come at less than half
/// of that.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(240);
/// How long a writer may be silent before it counts as gone: two of its signs of life may be lost, or late by the time that a
/// store takes to be reached again.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Time for the last words of a session that failed, most likely because of the store.
const ABANDON_TIME_MAX: Duration = Duration::from_secs(10);

/// A session that has begun.
#[derive(Debug)]
pub struct Session {
    repository: Repository,
    id: SessionId,
    request: SessionRequest,
    parent: Option<Parent>,
    passed_over: Option<String>,
    adopted: Adopted,
    started_ms: u64,
    next_data_pack: Arc<AtomicU32>,
    next_page_pack: Arc<AtomicU32>,
    next_checkpoint: AtomicU32,
    uploaded_bytes: AtomicU64,
    uploaded_packs: AtomicU64,
    /// Heartbeats; ends with the session.
    tasks: Mutex<JoinSet<()>>,
}

/// The point that a session is based on, with the digest of its register.
#[derive(Clone, Debug)]
struct Parent {
    point: Point,
    digest: [u8; 32],
}

impl Session {
    /// Begins a session.
    ///
    /// # Errors
    /// When another writer is at work on the series, or the repository does not allow writing.
    pub async fn begin(repository: &Repository, request: SessionRequest) -> Result<Self> {
        begin::begin(repository, request).await
    }

    /// Its id: the name of the point that it will commit.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The repository it writes to.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The point that it is based on.
    pub fn parent(&self) -> Option<&Point> {
        self.parent.as_ref().map(|parent| &parent.point)
    }

    /// Why it is not based on the newest point of its series.
    pub fn passed_over(&self) -> Option<&str> {
        self.passed_over.as_deref()
    }

    /// What it took over from writers that ended before they committed.
    pub fn adopted(&self) -> &Adopted {
        &self.adopted
    }

    /// Bytes of objects uploaded so far.
    pub fn uploaded_bytes(&self) -> u64 {
        self.uploaded_bytes.load(Relaxed)
    }

    /// Starts a writer of data packs; each thread has its own.
    pub fn data_writer(&self, compression: Compression) -> DataWriter {
        DataWriter {
            repository: self.repository.clone(),
            packs: PackIds {
                session: self.id,
                next: Arc::clone(&self.next_data_pack),
            },
            open: None,
            compressor: Compressor::new(),
            compression,
        }
    }

    /// Starts the writer of metadata packs.
    pub fn page_writer(&self) -> PageWriter {
        PageWriter {
            repository: self.repository.clone(),
            packs: PackIds {
                session: self.id,
                next: Arc::clone(&self.next_page_pack),
            },
            buffers: PackBuffers::new(PAGE_PACKS, PAGE_PACK_BYTES),
            open: None,
            compressor: Compressor::new(),
        }
    }

    /// Uploads a pack, then the copy of its slot table.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn upload(&self, pack: SealedPack) -> Result<u64> {
        let bytes = pack.bytes() + pack.table.len() as u64;
        self.repository
            .store()
            .put_new(&layout::pack(pack.kind, pack.id), pack.body)
            .await?;
        self.repository
            .store()
            .put_new(&layout::slot_table(pack.id), pack.table)
            .await?;
        self.uploaded_bytes.fetch_add(bytes, Relaxed);
        self.uploaded_packs.fetch_add(1, Relaxed);
        Ok(bytes)
    }

    /// Records how far the session has come, so that the next one can go on from here.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let name = layout::checkpoint(self.id, self.next_checkpoint.fetch_add(1, Relaxed));
        Ok(self
            .repository
            .put_record(&name, RecordKind::Checkpoint, checkpoint)
            .await?)
    }

    /// Commits: from here on the point exists. All packs must have been uploaded.
    ///
    /// # Errors
    /// [`RepositoryError::Fenced`] when another writer took over; nothing is visible then.
    pub async fn commit(self, mut manifest: Manifest) -> Result<Point> {
        manifest.series.clone_from(&self.request.series);
        manifest.parent = self.parent.as_ref().map(|parent| parent.point.id);
        manifest.parent_digest = self.parent.as_ref().map(|parent| parent.digest);
        manifest.started_ms = self.started_ms;
        manifest.finished_ms = self.finish_time(clock::now_ms());
        manifest.run.clone_from(&self.request.run);
        (manifest.attempt, manifest.fence) = (self.request.attempt, self.request.fence);
        VERSION.clone_into(&mut manifest.tool);
        manifest.stats = Stats {
            uploaded_bytes: self.uploaded_bytes(),
            packs: self.uploaded_packs.load(Relaxed),
            ..manifest.stats
        };
        self.write_register(&manifest).await?;
        let point = Point {
            id: self.id,
            manifest,
            bad: false,
            sibling: false,
        };
        index_point(&self.repository, &point).await;
        self.clean_up().await;
        Ok(point)
    }

    /// When the point is said to have been committed: after its parent, even if that was made by a clock ahead of ours,
    /// since these times order the points of a series. Otherwise `latest` would go on naming the parent.
    fn finish_time(&self, now_ms: u64) -> u64 {
        let after_parent = self.parent.as_ref().map_or(0, |parent| {
            parent.point.manifest.finished_ms.saturating_add(1)
        });
        if after_parent > now_ms {
            tracing::warn!(
                series = self.request.series,
                ahead_seconds = (after_parent - now_ms) / 1000,
                "the point before this one was made by a clock that is ahead of this machine's"
            );
        }
        after_parent.max(now_ms)
    }

    /// Ends without a point and says so in its register, so that nobody waits for this session. What was uploaded stays
    /// for the next one to take over. A store that does not answer is not waited for: the next one finds out otherwise.
    pub async fn abandon(self) {
        self.tasks.lock().await.shutdown().await;
        give_up(&self.repository, self.id).await;
    }

    async fn write_register(&self, manifest: &Manifest) -> Result<()> {
        let nonce = Nonce::draw();
        let manifest = Some(manifest.clone());
        let register = Register {
            kind: RegisterKind::Backup,
            nonce,
            manifest,
            by: None,
        };
        let name = layout::register(self.id);
        match self
            .repository
            .put_record(&name, RecordKind::Manifest, &register)
            .await
        {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Exists => {}
            Err(error) => return Err(error.into()),
        }
        // Whoever's bytes are read back won, whatever the store said.
        match self.repository.register(self.id).await? {
            Some(found) if found.nonce == nonce => Ok(()),
            Some(_) => Err(RepositoryError::Fenced {
                series: self.request.series.clone(),
            }),
            None => Err(RepositoryError::Unkept { object: name }),
        }
    }

    /// Removes what only mattered while the session, and those it took over, had not ended.
    async fn clean_up(self) {
        self.tasks.lock().await.shutdown().await;
        for session in self.adopted.sessions().iter().copied().chain([self.id]) {
            remove_session_objects(&self.repository, session).await;
        }
    }
}

/// Says in the register of a session of ours that it will never commit.
pub(crate) async fn give_up(repository: &Repository, session: SessionId) {
    let tombstone = Register {
        kind: RegisterKind::Tombstone,
        nonce: Nonce::draw(),
        manifest: None,
        by: Some(session),
    };
    let name = layout::register(session);
    let written = repository.put_record(&name, RecordKind::Manifest, &tombstone);
    match tokio::time::timeout(ABANDON_TIME_MAX, written).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%session, %error, "its end was not recorded"),
        Err(_) => tracing::debug!(%session, "its end was not recorded in time"),
    }
}

/// Removes a session's heartbeats and checkpoints, and last its intent. Returns whether that is gone.
pub(crate) async fn remove_session_objects(repository: &Repository, session: SessionId) -> bool {
    let intent = layout::intent(session);
    match crate::store::list_all(&**repository.store(), &format!("{intent}.")).await {
        Ok(entries) => {
            for entry in entries {
                repository.delete_quietly(&entry.name).await;
            }
            repository.delete_quietly(&intent).await
        }
        Err(error) => {
            tracing::debug!(%session, %error, "left for prune");
            false
        }
    }
}

/// Adds a point to the advisory index of its series.
pub(crate) async fn index_point(repository: &Repository, point: &Point) {
    let hash = repository.keys().series_hash(&point.manifest.series);
    let name = layout::series_point(&hash, point.manifest.finished_ms, point.id);
    match repository
        .put_record(&name, RecordKind::SeriesPoint, &point.id)
        .await
    {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Exists => {}
        // The point exists; finding it as the newest takes one listing more.
        Err(error) => {
            tracing::warn!(point = %point.id, %error, "the index of points was not updated");
        }
    }
}

/// Writes a heartbeat every few minutes.
pub(crate) async fn beat(repository: Repository, session: SessionId) {
    for number in 0.. {
        tokio::time::sleep(HEARTBEAT_EVERY).await;
        let name = layout::heartbeat(session, number);
        let heartbeat = Heartbeat {
            at_ms: clock::now_ms(),
        };
        let result: std::result::Result<(), StoreError> = repository
            .put_record(&name, RecordKind::Heartbeat, &heartbeat)
            .await;
        if let Err(error) = result {
            tracing::warn!(%session, %error, "a sign of life was not written");
        }
    }
}

/// Hands out the session's numbers for packs of one kind, each once: even ones for data, odd ones for pages.
#[derive(Clone, Debug)]
struct PackIds {
    session: SessionId,
    next: Arc<AtomicU32>,
}

impl PackIds {
    fn draw(&self) -> PackId {
        PackId::new(self.session, self.next.fetch_add(2, Relaxed))
    }
}

/// Seals chunks into data packs, on one thread.
#[derive(Debug)]
pub struct DataWriter {
    repository: Repository,
    packs: PackIds,
    open: Option<PackBuilder>,
    compressor: Compressor,
    compression: Compression,
}

impl DataWriter {
    /// Whether [`add`](Self::add) needs a buffer for a chunk of this length.
    pub fn needs_buffer(&self, plain_bytes: usize) -> bool {
        self.open
            .as_ref()
            .is_none_or(|open| !open.fits(plain_bytes))
    }

    /// Starts a pack in `buffer`. The one before it has been [closed](Self::close).
    pub fn start_pack(&mut self, buffer: PackBuffer) {
        debug_assert!(
            self.open.is_none(),
            "a pack is closed before the next one is started"
        );
        let id = self.packs.draw();
        self.open = Some(PackBuilder::new(
            PackKind::Data,
            id,
            self.repository.keys(),
            buffer,
        ));
    }

    /// Seals a chunk into the open pack, which must have room for it.
    pub fn add(&mut self, id: crate::id::ChunkId, plain: &[u8], pressure: Pressure) -> Reference {
        let open = self
            .open
            .as_mut()
            .expect("`needs_buffer` says when a pack has to be started");
        open.append(id, plain, &mut self.compressor, self.compression, pressure)
    }

    /// Closes the pack being filled, if it holds anything.
    ///
    /// # Errors
    /// When what was sealed does not open again.
    pub fn close(&mut self) -> Result<Option<SealedPack>> {
        close(&self.repository, self.open.take())
    }
}

/// Buffers for metadata packs: one is filled while the other is uploaded.
const PAGE_PACKS: usize = 2;
/// Bytes of a metadata pack.
const PAGE_PACK_BYTES: usize = 2 << 20;
/// Bytes that a page on each level takes at most, with its seal and its slot.
const PAGES_BYTES: usize = (LEVEL_MAX as usize + 1) * (PAGE_BYTES_MAX + TAG_BYTES + 64);

/// Seals pages into metadata packs.
#[derive(Debug)]
pub struct PageWriter {
    repository: Repository,
    packs: PackIds,
    buffers: PackBuffers,
    open: Option<PackBuilder>,
    compressor: Compressor,
}

impl PageWriter {
    /// Closes the pack being filled when it has no room for the pages of one leaf and all levels above it.
    ///
    /// # Errors
    /// When what was sealed does not open again.
    pub fn close_if_full(&mut self) -> Result<Option<SealedPack>> {
        if self
            .open
            .as_ref()
            .is_some_and(|open| !open.fits(PAGES_BYTES))
        {
            self.close()
        } else {
            Ok(None)
        }
    }

    /// Makes room for the pages of one leaf and all levels above it; needed before a leaf is given to a map builder.
    pub async fn make_room(&mut self) {
        if self.open.is_none() {
            let buffer = self.buffers.take().await;
            let id = self.packs.draw();
            self.open = Some(PackBuilder::new(
                PackKind::Meta,
                id,
                self.repository.keys(),
                buffer,
            ));
        }
    }

    /// Closes the pack being filled, if it holds anything.
    ///
    /// # Errors
    /// When what was sealed does not open again.
    pub fn close(&mut self) -> Result<Option<SealedPack>> {
        close(&self.repository, self.open.take())
    }
}

impl PageSink for PageWriter {
    type Error = std::convert::Infallible;

    fn store(&mut self, page: &Page) -> std::result::Result<Reference, Self::Error> {
        let plain = page.encode();
        let id = self.repository.keys().page_id(&plain);
        let open = self
            .open
            .as_mut()
            .expect("`make_room` is called before pages are stored");
        let compression = Compression::Auto;
        Ok(open.append(
            id,
            &plain,
            &mut self.compressor,
            compression,
            Pressure::None,
        ))
    }
}

fn close(repository: &Repository, open: Option<PackBuilder>) -> Result<Option<SealedPack>> {
    match open.filter(|open| !open.is_empty()) {
        Some(open) => open.finish(repository.keys(), repository.id()).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateOptions, Secret, Selector, map::MapRoot, store::MemoryStore};

    #[tokio::test]
    async fn a_point_comes_after_its_parent_whatever_the_clocks_say() {
        let store = Arc::new(MemoryStore::new());
        let options = CreateOptions::default();
        let repository = Repository::create(store, &Secret::draw_key_file(), &options)
            .await
            .unwrap();
        let begin = || Session::begin(&repository, SessionRequest::default());
        let manifest = Manifest {
            volume: Some(MapRoot::empty(16, 1 << 16)),
            ..Manifest::default()
        };
        let ahead = Manifest {
            finished_ms: clock::now_ms() + 400 * 24 * 3600 * 1000,
            ..manifest.clone()
        };
        let first = begin().await.unwrap();
        first.write_register(&ahead).await.unwrap();
        drop(first);
        let second = begin().await.unwrap().commit(manifest).await.unwrap();
        let points = repository.points().await.unwrap();
        let latest = points.find(&Selector::default()).unwrap();
        assert_eq!(latest.id, second.id);
        assert_eq!(latest.manifest.finished_ms, ahead.finished_ms + 1);
    }
}
