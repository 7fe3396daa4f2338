//! Restore: walk the point's map, fetch what the target does not hold already, write it, make the rest zeros.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use repository::{
    MapRoot, Opener, Point, Reference, Repository, RepositoryError,
    fetch::{self, Piece},
    layout::PackKind,
    map::{FANOUT, MapReader},
};
use tokio::{
    sync::{OwnedSemaphorePermit, RwLock, Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};
use tracing::info;

use crate::{
    buffer::Buffer,
    control::Control,
    error::JobError,
    progress::Progress,
    target::{Target, TargetKind},
};

/// Bytes written at once.
const RUN_BYTES: usize = 1 << 20;
/// Bytes of one request to the store, at most.
const PIECE_BYTES: u64 = 4 << 20;
/// Windows that are fetched at the same time, memory permitting.
const WINDOWS: usize = 8;
/// Leaves whose pages are fetched together.
const LEAVES: usize = 16;
/// Zeros made at once: a second or two where they have to be written.
const ZERO_BYTES: u64 = 256 << 20;
/// Permits are handed out for this many bytes.
const PERMIT_BYTES: u64 = 4096;

/// What a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Size of the volume.
    pub volume_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes that the target held already.
    pub equal_bytes: u64,
    /// Bytes that are zeros.
    pub zero_bytes: u64,
    /// Bytes fetched from the store.
    pub fetched_bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// Restores a point to a target. The target is not finished when this fails.
///
/// # Errors
/// When the point is damaged, the store or the target fails, or the job is cancelled.
pub async fn restore(
    repository: &Repository,
    point: &Point,
    target: Arc<dyn Target>,
    control: &Control,
) -> Result<RestoreReport, JobError> {
    let began = Instant::now();
    let root = point.manifest.volume.ok_or_else(|| JobError::NoVolume {
        point: point.id.short(),
    })?;
    Progress::add(&control.progress.total_bytes, root.volume_bytes);
    info!(point = %point.id, volume_bytes = root.volume_bytes, "restore begun");
    let restore = Arc::new(Restore {
        repository: repository.clone(),
        root,
        target,
        control: control.clone(),
        written_bytes: AtomicU64::new(0),
        equal_bytes: AtomicU64::new(0),
        zero_bytes: AtomicU64::new(0),
        fetched_bytes: AtomicU64::new(0),
        at_work: Arc::default(),
    });
    let done = restore.all().await;
    // Nobody writes any more when this returns, and a new file that is not whole is gone. Only whoever reads a stream
    // knows when a write to it ends.
    if restore.target.kind() != TargetKind::Stream {
        drop(restore.at_work.write().await);
    }
    done?;
    let duration = began.elapsed();
    info!(
        point = %point.id,
        volume_bytes = root.volume_bytes,
        written_bytes = restore.written_bytes.load(Relaxed),
        equal_bytes = restore.equal_bytes.load(Relaxed),
        fetched_bytes = restore.fetched_bytes.load(Relaxed),
        duration_ms = duration.as_millis(),
        "recovery point restored"
    );
    Ok(RestoreReport {
        volume_bytes: root.volume_bytes,
        written_bytes: restore.written_bytes.load(Relaxed),
        equal_bytes: restore.equal_bytes.load(Relaxed),
        zero_bytes: restore.zero_bytes.load(Relaxed),
        fetched_bytes: restore.fetched_bytes.load(Relaxed),
        duration,
    })
}

#[derive(Debug)]
struct Restore {
    repository: Repository,
    root: MapRoot,
    target: Arc<dyn Target>,
    control: Control,
    written_bytes: AtomicU64,
    equal_bytes: AtomicU64,
    zero_bytes: AtomicU64,
    fetched_bytes: AtomicU64,
    /// Whoever works on the target holds it for reading: such work goes on when nobody waits for it any more.
    at_work: Arc<RwLock<()>>,
}

/// A run of chunks that is restored as one: chunks without an entry are zeros.
#[derive(Debug)]
struct Window {
    chunks: Range<u64>,
    entries: Vec<(u64, Reference)>,
}

/// Chunks that the target does not hold yet, and those that it does.
type Compared = (Vec<(u64, Reference)>, Vec<u64>);

/// A window with what was fetched for it.
#[derive(Debug)]
struct Fetched {
    chunks: Range<u64>,
    /// For each chunk that has to be written, which piece it is in.
    entries: Vec<(u64, Reference, usize)>,
    /// Chunks that the target holds already.
    equal: Vec<u64>,
    pieces: Vec<(Piece, Bytes)>,
    _memory: OwnedSemaphorePermit,
}

impl Restore {
    async fn all(self: &Arc<Self>) -> Result<(), JobError> {
        let volume_bytes = self.root.volume_bytes;
        self.blocking(move |this| Ok(this.target.prepare(volume_bytes)?))
            .await?;
        self.run().await?;
        self.control.go_on()?;
        self.blocking(|this| Ok(this.target.finish()?)).await
    }

    /// Runs something that computes or blocks beside the runtime.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, JobError> {
        let this = Arc::clone(self);
        let at_work = Arc::clone(&self.at_work).read_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&this);
            // The target goes before whoever waits for that goes on.
            drop(this);
            drop(at_work);
            done
        });
        done.await
            .unwrap_or(Err(JobError::Repository(RepositoryError::Internal)))
    }

    async fn run(self: &Arc<Self>) -> Result<(), JobError> {
        let budget = self.control.memory_bytes / 4;
        let memory = Arc::new(Semaphore::new(permits(budget)));
        let window_chunks = (self.control.memory_bytes / 16).min(16 << 20) >> self.root.chunk_log2;
        let (windows, windows_out) = mpsc::channel(1);
        let mut planner = JoinSet::new();
        let this = Arc::clone(self);
        planner.spawn(async move { this.plan(window_chunks.max(1), windows).await });

        let cores = thread::available_parallelism().map_or(1, usize::from);
        // A stream takes its bytes in order.
        let writers = if self.target.kind() == TargetKind::Stream {
            1
        } else {
            cores
        };
        let windows = stream::unfold(windows_out, |mut windows| async move {
            windows.recv().await.map(|window| (window, windows))
        });
        let written = windows
            .then(|window: Window| {
                let memory = Arc::clone(&memory);
                // Taken in the order of the windows: the first one never waits for a later one.
                async move {
                    let stored = window
                        .entries
                        .iter()
                        .map(|(_, reference)| u64::from(reference.stored_bytes));
                    let wanted = permits(stored.sum::<u64>().min(budget));
                    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
                    let memory = memory.acquire_many_owned(wanted).await;
                    (window, memory.expect("the semaphore is never closed"))
                }
            })
            .map(|(window, memory)| Arc::clone(self).fetch(window, memory))
            .buffered(WINDOWS)
            .try_for_each_concurrent(writers, |fetched| {
                self.blocking(move |this| this.write(&fetched))
            })
            .await;
        // When writing failed, planning is of no interest any more; it holds the target too.
        if let Err(error) = written {
            planner.shutdown().await;
            return Err(error);
        }
        match planner.join_next().await {
            Some(Ok(planned)) => planned,
            _ => Err(RepositoryError::Internal.into()),
        }
    }

    /// Walks the map and cuts it into windows.
    async fn plan(
        &self,
        window_chunks: u64,
        windows: mpsc::Sender<Window>,
    ) -> Result<(), JobError> {
        let mut map = MapReader::new(self.root, self.repository.pages());
        let mut at = 0;
        let mut next = map.next_leaf(0).await?;
        while let Some(number) = next {
            let mut numbers = vec![number];
            while numbers.len() < LEAVES
                && let Some(following) = map.next_leaf(numbers[numbers.len() - 1] + 1).await?
            {
                numbers.push(following);
            }
            next = map.next_leaf(numbers[numbers.len() - 1] + 1).await?;
            let leaves = map.leaves(&numbers).await?;
            for (number, leaf) in numbers.into_iter().zip(leaves) {
                self.control.go_on()?;
                let leaf_chunks =
                    number * FANOUT..((number + 1) * FANOUT).min(self.root.chunk_count());
                if at < leaf_chunks.start {
                    let hole = Window {
                        chunks: at..leaf_chunks.start,
                        entries: Vec::new(),
                    };
                    windows.send(hole).await.map_err(|_| JobError::Stopped)?;
                }
                at = leaf_chunks.end;
                let entries: Vec<(u64, Reference)> = leaf
                    .iter()
                    .flat_map(|leaf| leaf.page.entries())
                    .map(|(index, entry)| (index, entry.reference))
                    .collect();
                for start in leaf_chunks
                    .clone()
                    .step_by(usize::try_from(window_chunks).unwrap_or(usize::MAX))
                {
                    let chunks = start..(start + window_chunks).min(leaf_chunks.end);
                    let entries = entries
                        .iter()
                        .filter(|(index, _)| chunks.contains(index))
                        .copied()
                        .collect();
                    let window = Window { chunks, entries };
                    windows.send(window).await.map_err(|_| JobError::Stopped)?;
                }
            }
        }
        let rest = Window {
            chunks: at..self.root.chunk_count(),
            entries: Vec::new(),
        };
        if rest.chunks.is_empty() {
            Ok(())
        } else {
            windows.send(rest).await.map_err(|_| JobError::Stopped)
        }
    }

    /// Fetches what the target does not hold already.
    async fn fetch(
        self: Arc<Self>,
        window: Window,
        memory: OwnedSemaphorePermit,
    ) -> Result<Fetched, JobError> {
        let Window { chunks, entries } = window;
        let (wanted, equal) = if self.target.kind() == TargetKind::InPlace {
            self.blocking(|this| this.compare(entries)).await?
        } else {
            (entries, Vec::new())
        };
        let references: Vec<Reference> = wanted.iter().map(|(_, reference)| *reference).collect();
        let planned = fetch::plan(&references, PIECE_BYTES);
        let mut pieces = Vec::with_capacity(planned.len());
        let mut piece_of = vec![0; references.len()];
        for (number, piece) in planned.into_iter().enumerate() {
            for member in &piece.members {
                piece_of[*member] = number;
            }
            let wait = self
                .control
                .throttle
                .read
                .take(piece.range.end - piece.range.start);
            self.control.unless_cancelled(wait).await?;
            let read = self.repository.read_piece(PackKind::Data, &piece);
            let bytes = self.control.unless_cancelled(read).await??;
            self.fetched_bytes.fetch_add(bytes.len() as u64, Relaxed);
            Progress::add(&self.control.progress.stored_bytes, bytes.len() as u64);
            pieces.push((piece, bytes));
        }
        let entries = wanted.into_iter().zip(piece_of);
        let entries = entries
            .map(|((index, reference), piece)| (index, reference, piece))
            .collect();
        Ok(Fetched {
            chunks,
            entries,
            equal,
            pieces,
            _memory: memory,
        })
    }

    /// Which chunks the target does not hold yet, and which it does.
    fn compare(&self, entries: Vec<(u64, Reference)>) -> Result<Compared, JobError> {
        let mut buffer = Buffer::new(1 << self.root.chunk_log2);
        let (mut wanted, mut equal) = (Vec::new(), Vec::new());
        for (index, reference) in entries {
            self.control.go_on()?;
            let range = self.bytes_of(&(index..index + 1));
            let length = usize::try_from(range.end - range.start).expect("a chunk is small");
            self.target.read_at(&mut buffer[..length], range.start)?;
            // The rest of the last chunk is zeros in the point, whatever a larger target holds there.
            buffer[length..].fill(0);
            Progress::add(&self.control.progress.read_bytes, length as u64);
            if self.repository.keys().chunk_id(&buffer) == reference.id {
                equal.push(index);
            } else {
                wanted.push((index, reference));
            }
        }
        Ok((wanted, equal))
    }

    /// Opens the chunks of a window and writes them, in order.
    fn write(&self, fetched: &Fetched) -> Result<(), JobError> {
        let mut opener = Opener::default();
        let mut run = Run::new(self, RUN_BYTES.max(1 << self.root.chunk_log2));
        let mut equal = fetched.equal.iter().copied().peekable();
        let mut at = fetched.chunks.start;
        let mut pack = None;
        for (index, reference, piece) in &fetched.entries {
            self.control.go_on()?;
            self.fill(&mut run, at..*index, &mut equal)?;
            let (piece_number, (piece, bytes)) = (*piece, &fetched.pieces[*piece]);
            // Neighbours are mostly in the same piece, and its pack's key is made once.
            if pack
                .as_ref()
                .is_none_or(|(number, _)| *number != piece_number)
            {
                pack = Some((
                    piece_number,
                    self.repository.pack_opener(PackKind::Data, reference)?,
                ));
            }
            let (_, open) = pack.as_ref().expect("set above");
            let sealed = fetch::within(piece, bytes, reference);
            open.open(&mut opener, reference, sealed, run.next_chunk(*index)?)?;
            at = index + 1;
        }
        run.flush()?;
        self.fill(&mut run, at..fetched.chunks.end, &mut equal)?;
        let done = self.bytes_of(&fetched.chunks);
        Progress::add(&self.control.progress.done_bytes, done.end - done.start);
        Ok(())
    }

    /// What lies between two chunks that are written: chunks that are there already, and zeros.
    fn fill(
        &self,
        run: &mut Run<'_>,
        chunks: Range<u64>,
        equal: &mut std::iter::Peekable<impl Iterator<Item = u64>>,
    ) -> Result<(), JobError> {
        if chunks.is_empty() {
            return Ok(());
        }
        run.flush()?;
        let mut at = chunks.start;
        while at < chunks.end {
            let next = equal.peek().copied().filter(|next| *next < chunks.end);
            let zeros = self.bytes_of(&(at..next.unwrap_or(chunks.end)));
            let mut from = zeros.start;
            while from < zeros.end {
                self.control.go_on()?;
                let piece = from..zeros.end.min(from + ZERO_BYTES);
                from = piece.end;
                self.zero_bytes.fetch_add(piece.end - piece.start, Relaxed);
                self.target.zero(piece)?;
            }
            if next.is_some() {
                equal.next();
                let kept = self.bytes_of(&(next.unwrap_or(at)..next.unwrap_or(at) + 1));
                self.equal_bytes.fetch_add(kept.end - kept.start, Relaxed);
            }
            at = next.map_or(chunks.end, |next| next + 1);
        }
        Ok(())
    }

    /// The bytes of the volume that some chunks stand for.
    fn bytes_of(&self, chunks: &Range<u64>) -> Range<u64> {
        let byte = |index: u64| (index << self.root.chunk_log2).min(self.root.volume_bytes);
        byte(chunks.start)..byte(chunks.end)
    }
}

/// Consecutive chunks on their way to the target: opened into one buffer, written at once.
struct Run<'a> {
    restore: &'a Restore,
    buffer: Buffer,
    first: u64,
    count: u64,
    most: u64,
}

impl<'a> Run<'a> {
    fn new(restore: &'a Restore, bytes: usize) -> Self {
        let most = (bytes >> restore.root.chunk_log2) as u64;
        Self {
            restore,
            buffer: Buffer::new(bytes),
            first: 0,
            count: 0,
            most,
        }
    }

    /// Room for the next chunk.
    fn next_chunk(&mut self, index: u64) -> Result<&mut [u8], JobError> {
        if self.count == self.most || (self.count > 0 && self.first + self.count != index) {
            self.flush()?;
        }
        if self.count == 0 {
            self.first = index;
        }
        let chunk = 1 << self.restore.root.chunk_log2;
        let start = usize::try_from(self.count).expect("a run is small") * chunk;
        self.count += 1;
        Ok(&mut self.buffer[start..start + chunk])
    }

    fn flush(&mut self) -> Result<(), JobError> {
        let range = self
            .restore
            .bytes_of(&(self.first..self.first + self.count));
        self.count = 0;
        let length = usize::try_from(range.end - range.start).expect("a run is small");
        if length == 0 {
            return Ok(());
        }
        self.restore
            .target
            .write_at(&self.buffer[..length], range.start)?;
        self.restore.written_bytes.fetch_add(length as u64, Relaxed);
        Progress::add(&self.restore.control.progress.new_bytes, length as u64);
        Ok(())
    }
}

fn permits(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(Semaphore::MAX_PERMITS)
}
