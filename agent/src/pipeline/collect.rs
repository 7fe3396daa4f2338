//! Puts what *seal* found in order, makes the new map of it, and leaves checkpoints on the way.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use repository::{
    Entry, MapRoot, SealedPack,
    map::{FANOUT, MapBuilder, Page},
    session::{Checkpoint, PageWriter},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    Event, Leaf, Shared,
    upload::{PAGES_TIME_MAX, PackSender},
};
use crate::error::JobError;

/// What an interrupted run looks at again, at most: a minute, or a gibibyte.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
const CHECKPOINT_BYTES: u64 = 1 << 30;

/// The stage that makes the map.
#[derive(Debug)]
pub(super) struct Collector {
    shared: Arc<Shared>,
    packs: PackSender,
    pages: PageWriter,
    builder: MapBuilder,
    /// Leaves that wait for blocks, or for leaves before them.
    open: BTreeMap<u64, OpenLeaf>,
    /// Leaves that are in the map, by the end of their chunks, with the highest number of our data packs that anything
    /// up to there refers to.
    done: VecDeque<(u64, u32)>,
    highest_pack: u32,
    /// Chunks before it are done and all they refer to has arrived.
    cursor: u64,
    since_checkpoint: u64,
    last_checkpoint: Instant,
}

#[derive(Debug)]
struct OpenLeaf {
    leaf: Arc<Leaf>,
    page: Page,
    blocks: u64,
}

impl Collector {
    pub(super) fn new(shared: Arc<Shared>, packs: PackSender) -> Self {
        let input = &shared.input;
        let builder = MapBuilder::new(input.chunk_log2, input.volume.bytes(), input.base);
        Self {
            pages: shared.session.page_writer(),
            builder,
            packs,
            open: BTreeMap::new(),
            done: VecDeque::new(),
            highest_pack: 0,
            cursor: 0,
            since_checkpoint: 0,
            last_checkpoint: Instant::now(),
            shared,
        }
    }

    /// Runs until all other stages have ended; returns the map when all of the work is done.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
    ) -> Result<MapRoot, JobError> {
        let mut planned = None;
        while let Some(event) = events.recv().await {
            match event {
                Event::Leaf(leaf) => self.leaf(leaf),
                Event::Sealed { leaf, entries } => self.sealed(leaf, entries),
                Event::Planned { stopped } => planned = Some(stopped),
            }
            self.advance().await?;
        }
        // Without *plan*'s last word it ended with an error, which is reported instead of this one.
        let stopped = planned.ok_or(JobError::Stopped)?;
        if !stopped && let Some(map) = self.finish().await? {
            return Ok(map);
        }
        self.settled().await?;
        // It only saves work, and the store may be the reason why somebody wants to stop.
        match timeout(PAGES_TIME_MAX, self.checkpoint()).await {
            Ok(written) => written?,
            Err(_) => tracing::warn!(session = %self.shared.session.id(), "no checkpoint in time"),
        }
        Err(JobError::Cancelled)
    }

    /// The map, with everything it refers to arrived; `None` when the job is to stop.
    async fn finish(&mut self) -> Result<Option<MapRoot>, JobError> {
        if self.shared.control.cancel.is_cancelled() {
            return Ok(None);
        }
        make_room(&mut self.pages, &self.packs).await?;
        let Ok(map) = self.builder.clone().finish(&mut self.pages);
        let closed = self.pages.close()?;
        self.send(closed).await?;
        self.settled().await?;
        // What was given up since would be missing.
        Ok((!self.shared.control.cancel.is_cancelled()).then_some(map))
    }

    fn leaf(&mut self, leaf: Arc<Leaf>) {
        let chunk_log2 = self.shared.input.chunk_log2;
        let mut page = match &leaf.base {
            Some(base) => Page::clone(&base.page),
            None => Page::empty(0, chunk_log2, leaf.number * FANOUT),
        };
        for index in leaf.zeros.iter().cloned().flatten() {
            page.set(index, None);
        }
        let blocks = leaf.blocks;
        self.open
            .insert(leaf.number, OpenLeaf { leaf, page, blocks });
    }

    fn sealed(&mut self, number: u64, entries: Vec<(u64, Option<Entry>)>) {
        let open = self
            .open
            .get_mut(&number)
            .expect("a leaf is announced before its blocks");
        let bytes = (entries.len() as u64) << self.shared.input.chunk_log2;
        for (index, entry) in entries {
            open.page.set(index, entry);
        }
        open.blocks -= 1;
        self.since_checkpoint += bytes;
    }

    /// Takes leaves that are complete into the map, in order.
    async fn advance(&mut self) -> Result<(), JobError> {
        while let Some(first) = self.open.first_entry() {
            if first.get().blocks > 0 {
                break;
            }
            let OpenLeaf { leaf, page, .. } = first.remove();
            make_room(&mut self.pages, &self.packs).await?;
            let old = leaf.base.as_ref();
            let added: Result<(), Infallible> =
                self.builder
                    .leaf(leaf.number, &leaf.path, old, &page, &mut self.pages);
            let Ok(()) = added;
            let session = self.shared.session.id();
            let ours = page.entries().map(|(_, entry)| entry.reference.pack);
            let highest = ours
                .filter(|pack| pack.session() == session)
                .map(|pack| pack.sequence())
                .max();
            self.highest_pack = self
                .highest_pack
                .max(highest.map_or(0, |highest| highest + 2));
            self.done
                .push_back(((leaf.number + 1) * FANOUT, self.highest_pack));
        }
        self.advance_cursor();
        if self.since_checkpoint >= CHECKPOINT_BYTES
            || self.last_checkpoint.elapsed() >= CHECKPOINT_EVERY
        {
            self.checkpoint().await?;
        }
        Ok(())
    }

    fn advance_cursor(&mut self) {
        let arrived = self.packs.data_packs_before();
        while let Some((end, needed)) = self.done.front().copied()
            && needed <= arrived
        {
            self.cursor = end;
            self.done.pop_front();
        }
    }

    /// Writes down how far we are: the map as it would be if the rest did not change.
    async fn checkpoint(&mut self) -> Result<(), JobError> {
        (self.since_checkpoint, self.last_checkpoint) = (0, Instant::now());
        if !self.builder.holds_base() {
            // Nothing is done yet, and a run that went on from such a map would take the rest for zeros.
            return Ok(());
        }
        self.advance_cursor();
        make_room(&mut self.pages, &self.packs).await?;
        let Ok(map) = self.builder.clone().finish(&mut self.pages);
        // The checkpoint's pages must be there before it is.
        let closed = self.pages.close()?;
        self.send(closed).await?;
        self.settled().await?;
        if self.packs.lacks_pages() {
            return Ok(());
        }
        let checkpoint = Checkpoint {
            map,
            parent: self.shared.session.parent().map(|parent| parent.id),
            cursor: self.cursor,
            packs_before: self.packs.data_packs_before(),
            handle: self.shared.input.handle.clone(),
        };
        self.shared.session.checkpoint(&checkpoint).await?;
        let offset = self.cursor << self.shared.input.chunk_log2;
        tracing::info!(session = %self.shared.session.id(), offset, "checkpoint written");
        Ok(())
    }

    async fn send(&self, pack: Option<SealedPack>) -> Result<(), JobError> {
        match pack {
            Some(pack) => self.packs.send_pages(pack).await,
            None => Ok(()),
        }
    }

    async fn settled(&self) -> Result<(), JobError> {
        if self.packs.all_settled().await {
            Ok(())
        } else {
            Err(JobError::Stopped)
        }
    }
}

/// Pages of one leaf and of all levels above it must fit into the open pack.
async fn make_room(pages: &mut PageWriter, packs: &PackSender) -> Result<(), JobError> {
    // The full pack goes first: there are only two buffers.
    if let Some(full) = pages.close_if_full()? {
        packs.send_pages(full).await?;
    }
    pages.make_room().await;
    Ok(())
}
