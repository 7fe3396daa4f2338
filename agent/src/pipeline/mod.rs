//! The pipeline of a backup: bounded stages, one direction.
//!
//! ```text
//! plan -> read -> seal -> upload
//!   \              \-> collect -> (pages) upload
//!    \-------------->/
//! ```
//!
//! *plan* says, leaf by leaf of the map, which chunks to read and which are zeros. *read* fills buffers. *seal* hashes
//! each chunk, finds out whether it is known, and seals it if it is not. *collect* puts the results in order and makes
//! the new map. *upload* sends packs. Memory is bounded by the buffers that reading and sealing take from their pools;
//! every queue between stages is shorter than the pool that fills it.
//!
//! Asked to stop, *plan*, *read* and *seal* drop what they have not finished, *upload* gives up what takes long, and
//! *collect* leaves a checkpoint of the leaves that are whole.

mod budget;
mod known;
mod plan;
mod read;
mod upload;
mod seal;
mod collect;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use repository::{
    Compression, Entry, MapRoot, PackBuffers, Repository, RepositoryError, Session,
    map::{BasePage, MapReader, Page},
};
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use self::known::Known;
use self::{budget::Budget, collect::Collector, upload::Uploader};
use crate::{Control, JobError, buffer::BufferPool, source::Volume};

/// What to back up, and what it is based on.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) volume: Arc<dyn Volume>,
    pub(crate) chunk_log2: u8,
    /// The map that unchanged parts are taken from.
    pub(crate) base: Option<MapRoot>,
    /// Another map whose chunks are likely to be found again.
    pub(crate) hint: Option<MapRoot>,
    /// Ranges of chunk indexes to look at, in ascending order; the rest is taken from `base`.
    pub(crate) work: Vec<Range<u64>>,
    /// Chunks outside `work` to read all the same, to see whether they really are unchanged.
    pub(crate) spot_checks: u64,
    pub(crate) compression: Compression,
    /// Handle of the immutable snapshot being read, for checkpoints.
    pub(crate) handle: Option<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) map: MapRoot,
    pub(crate) counts: Counts,
}

/// Plain bytes, by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) read_bytes: u64,
    pub(crate) new_bytes: u64,
    pub(crate) adopted_bytes: u64,
}

/// One leaf of the map in which something has to be looked at.
#[derive(Debug)]
struct Leaf {
    number: u64,
    /// Inner pages above it, as they were, lowest first.
    path: Vec<Option<BasePage>>,
    /// The leaf as it was.
    base: Option<BasePage>,
    hint: Option<Arc<Page>>,
    /// Ranges that are holes of the source.
    zeros: Vec<Range<u64>>,
    /// Blocks of it that are being read.
    blocks: u64,
}

/// Chunks of one leaf that fill one buffer. Small runs travel together: handing a block on costs more than its reading.
#[derive(Debug)]
struct Block {
    leaf: Arc<Leaf>,
    /// Runs of chunks, in ascending order, each read at once.
    runs: Vec<Range<u64>>,
    /// Read only to see that nothing changed.
    spot_check: bool,
}

/// What *collect* is told.
#[derive(Debug)]
enum Event {
    /// The next leaf, in ascending order.
    Leaf(Arc<Leaf>),
    /// A block of a leaf is done: its chunks by index, with their entries.
    Sealed {
        leaf: u64,
        entries: Vec<(u64, Option<Entry>)>,
    },
    /// *plan* has nothing more, or was asked to stop.
    Planned { stopped: bool },
}

/// What all stages share.
#[derive(Debug)]
struct Shared {
    session: Arc<Session>,
    repository: Repository,
    input: Input,
    control: Control,
    known: Arc<Known>,
    runtime: Handle,
    /// Cancelled when a stage fails, so that the others stop waiting.
    failed: CancellationToken,
    read_bytes: AtomicU64,
    new_bytes: AtomicU64,
    adopted_bytes: AtomicU64,
}

impl Shared {
    fn chunk_bytes(&self) -> usize {
        1 << self.input.chunk_log2
    }

    fn chunk_count(&self) -> u64 {
        self.input
            .volume
            .bytes()
            .div_ceil(1 << self.input.chunk_log2)
    }

    /// Waits on a thread of ours for something of the runtime's, unless another stage fails or the job is to stop first.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, JobError> {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.failed.cancelled() => Err(JobError::Stopped),
                value = self.control.unless_cancelled(future) => value,
            }
        })
    }

    fn map_reader(&self, root: MapRoot) -> MapReader {
        MapReader::resized(root, self.repository.pages(), self.chunk_count())
    }
}

/// Runs the pipeline to its end, or to the checkpoint that a cancelled one leaves.
///
/// # Errors
/// The first error of any stage. [`JobError::Cancelled`] after a checkpoint.
pub(crate) async fn run(
    session: Arc<Session>,
    input: Input,
    known: Arc<Known>,
    control: &Control,
) -> Result<Output, JobError> {
    let budget = Budget::new(control.memory_bytes, 1 << input.chunk_log2);
    let shared = Arc::new(Shared {
        repository: session.repository().clone(),
        session,
        input,
        control: control.clone(),
        known,
        runtime: Handle::current(),
        failed: CancellationToken::new(),
        read_bytes: AtomicU64::new(0),
        new_bytes: AtomicU64::new(0),
        adopted_bytes: AtomicU64::new(0),
    });
    let result = stages(&shared, budget).await;
    let counts = Counts {
        read_bytes: shared.read_bytes.load(Relaxed),
        new_bytes: shared.new_bytes.load(Relaxed),
        adopted_bytes: shared.adopted_bytes.load(Relaxed),
    };
    result.map(|map| Output { map, counts })
}

async fn stages(shared: &Arc<Shared>, budget: Budget) -> Result<MapRoot, JobError> {
    let read_buffers = BufferPool::new(budget.read_buffers, budget.block_bytes);
    let pack_buffers = PackBuffers::new(budget.pack_buffers, budget.pack_bytes);
    let (blocks, blocks_out) = crossbeam_channel::bounded::<Block>(budget.read_buffers);
    let (filled, filled_out) = crossbeam_channel::bounded(budget.read_buffers);
    let (events, events_out) = mpsc::channel(4 * budget.read_buffers);
    let (uploader, packs) =
        Uploader::new(Arc::clone(&shared.session), budget.uploads, &shared.control);

    let mut stages: JoinSet<Result<Option<MapRoot>, JobError>> = JoinSet::new();
    {
        let (shared, events) = (Arc::clone(shared), events.clone());
        let block_chunks = (budget.block_bytes >> shared.input.chunk_log2) as u64;
        stages.spawn_blocking(move || {
            plan::run(&shared, block_chunks, &blocks, &events).map(|()| None)
        });
    }
    for _ in 0..budget.readers {
        let (shared, pool) = (Arc::clone(shared), read_buffers.clone());
        let (blocks, filled) = (blocks_out.clone(), filled.clone());
        stages.spawn_blocking(move || read::run(&shared, &pool, &blocks, &filled).map(|()| None));
    }
    for _ in 0..budget.sealers {
        let (shared, buffers) = (Arc::clone(shared), pack_buffers.clone());
        let (filled, events, packs) = (filled_out.clone(), events.clone(), packs.clone());
        stages.spawn_blocking(move || {
            seal::run(&shared, &buffers, &filled, &events, &packs).map(|()| None)
        });
    }
    drop((blocks_out, filled, filled_out, events));
    let collector = Collector::new(Arc::clone(shared), packs);
    stages.spawn(async move { collector.run(events_out).await.map(Some) });
    stages.spawn(async move { uploader.run().await.map(|()| None) });
    finish(shared, stages).await
}

/// Waits for all stages; the first real error ends the others.
async fn finish(
    shared: &Shared,
    mut stages: JoinSet<Result<Option<MapRoot>, JobError>>,
) -> Result<MapRoot, JobError> {
    let mut map = Ok(None);
    while let Some(stage) = stages.join_next().await {
        let result = stage.unwrap_or(Err(JobError::Repository(RepositoryError::Internal)));
        match result {
            Ok(found) => {
                if let (Ok(map @ None), Some(_)) = (&mut map, found) {
                    *map = found;
                }
            }
            Err(error) => {
                shared.failed.cancel();
                let keep = matches!(&map, Err(kept) if !matches!(kept, JobError::Stopped));
                if !keep {
                    map = Err(error);
                }
            }
        }
    }
    map?.ok_or(JobError::Repository(RepositoryError::Internal))
}
