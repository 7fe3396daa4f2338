//! Says, leaf by leaf, what to read. Holes of the source and parts that are known to be unchanged are not read.

use std::{collections::BTreeSet, iter, ops::Range, sync::Arc};

use crossbeam_channel::Sender;
use repository::map::{BasePage, MapReader};
use tokio::sync::mpsc;

use super::{Block, Event, Leaf, Shared};
use crate::{error::JobError, progress::Progress};

/// Leaves whose pages are fetched together.
const LEAVES: usize = 32;
/// Chunks of a leaf.
const LEAF_CHUNKS: u64 = repository::map::FANOUT;
/// Leaves, beyond those in which something changed, that are looked at by spot checks.
const SPOT_CHECK_LEAVES: u64 = 16;

pub(super) fn run(
    shared: &Shared,
    block_chunks: u64,
    blocks: &Sender<Block>,
    events: &mpsc::Sender<Event>,
) -> Result<(), JobError> {
    let mut planner = Planner {
        shared,
        block_chunks,
        blocks,
        events,
        base: shared.input.base.map(|root| shared.map_reader(root)),
        hint: shared.input.hint.map(|root| shared.map_reader(root)),
        touched: Vec::new(),
        spot_checks: SpotChecks::new(shared),
    };
    let stopped = match planner.run() {
        Ok(()) => false,
        Err(JobError::Cancelled) => true,
        Err(error) => return Err(error),
    };
    send(events, Event::Planned { stopped })
}

/// What is to be done in one leaf.
#[derive(Debug, Default)]
struct Touched {
    number: u64,
    reads: Vec<Range<u64>>,
    zeros: Vec<Range<u64>>,
    spot_checks: Vec<u64>,
}

struct Planner<'a> {
    shared: &'a Shared,
    block_chunks: u64,
    blocks: &'a Sender<Block>,
    events: &'a mpsc::Sender<Event>,
    base: Option<MapReader>,
    hint: Option<MapReader>,
    /// Leaves that were found and not sent yet, in ascending order.
    touched: Vec<Touched>,
    spot_checks: SpotChecks,
}

impl Planner<'_> {
    /// Fails with [`JobError::Cancelled`] when it was asked to stop; a leaf that was sent by then has all of its blocks.
    fn run(&mut self) -> Result<(), JobError> {
        let chunk_count = self.shared.chunk_count();
        // A resized volume has other pages above its first leaf, and less or more after its last.
        let volume_bytes = self.shared.input.volume.bytes();
        let resized = self
            .shared
            .input
            .base
            .is_some_and(|base| base.volume_bytes != volume_bytes);
        let edges = resized && chunk_count > 0;
        if edges {
            self.touch(0)?;
        }
        let mut end = 0;
        for range in &self.shared.input.work {
            self.pass_over(end..range.start)?;
            self.look_at(range.clone())?;
            end = range.end;
        }
        self.pass_over(end..chunk_count)?;
        if edges {
            self.touch((chunk_count - 1) / LEAF_CHUNKS)?;
        }
        self.flush()
    }

    /// Counts what is known to be unchanged, and looks at some of it all the same.
    fn pass_over(&mut self, range: Range<u64>) -> Result<(), JobError> {
        if range.is_empty() {
            return Ok(());
        }
        self.count_done(&range);
        for leaf in self.spot_checks.leaves_within(&range) {
            self.touch(leaf)?;
        }
        Ok(())
    }

    /// Goes through a range of the source.
    fn look_at(&mut self, range: Range<u64>) -> Result<(), JobError> {
        let chunk_bytes = self.shared.chunk_bytes() as u64;
        let mut at = range.start;
        while at < range.end {
            self.shared.control.go_on()?;
            let data = self.shared.input.volume.next_data(at * chunk_bytes)?;
            let data = data.map_or(range.end..range.end, |data| {
                (data.start / chunk_bytes).clamp(at, range.end)
                    ..data.end.div_ceil(chunk_bytes).clamp(at, range.end)
            });
            self.zeros(at..data.start)?;
            self.reads(data.clone())?;
            at = data.end.max(data.start);
        }
        Ok(())
    }

    /// A hole: whatever the base has there is gone.
    fn zeros(&mut self, range: Range<u64>) -> Result<(), JobError> {
        self.count_done(&range);
        let mut at = range.start;
        while at < range.end {
            let Some(base) = &mut self.base else {
                return Ok(());
            };
            let next = self.shared.wait(base.next_leaf(at / LEAF_CHUNKS))??;
            let Some(number) = next.filter(|number| number * LEAF_CHUNKS < range.end) else {
                return Ok(());
            };
            let leaf_end = (number + 1) * LEAF_CHUNKS;
            let zeros = at.max(number * LEAF_CHUNKS)..leaf_end.min(range.end);
            self.touch(number)?.zeros.push(zeros);
            at = leaf_end;
        }
        Ok(())
    }

    fn reads(&mut self, range: Range<u64>) -> Result<(), JobError> {
        let mut at = range.start;
        while at < range.end {
            let end = ((at / LEAF_CHUNKS + 1) * LEAF_CHUNKS).min(range.end);
            self.touch(at / LEAF_CHUNKS)?.reads.push(at..end);
            at = end;
        }
        Ok(())
    }

    fn count_done(&self, range: &Range<u64>) {
        let bytes = (range.end - range.start) << self.shared.input.chunk_log2;
        Progress::add(&self.shared.control.progress.done_bytes, bytes);
    }

    /// The leaf with this number, which is the last one or comes after it.
    fn touch(&mut self, number: u64) -> Result<&mut Touched, JobError> {
        if self.touched.last().is_none_or(|last| last.number != number) {
            if self.touched.len() >= LEAVES {
                self.flush()?;
            }
            let spot_checks = self.spot_checks.take(number);
            self.touched.push(Touched {
                number,
                spot_checks,
                ..Touched::default()
            });
        }
        Ok(self.touched.last_mut().expect("pushed above"))
    }

    /// Fetches the pages of the leaves found so far and sends them on their way.
    fn flush(&mut self) -> Result<(), JobError> {
        let touched = std::mem::take(&mut self.touched);
        let numbers: Vec<u64> = touched.iter().map(|touched| touched.number).collect();
        let base = self.leaves(true, &numbers)?;
        let hint = self.leaves(false, &numbers)?;
        for ((touched, base), hint) in touched.into_iter().zip(base).zip(hint) {
            // A device is one range from its beginning to its end.
            self.shared.control.go_on()?;
            let path = match &mut self.base {
                Some(reader) => self.shared.wait(reader.path(touched.number))??,
                None => Vec::new(),
            };
            let blocks = self.split(&touched);
            let leaf = Arc::new(Leaf {
                number: touched.number,
                path,
                base,
                hint: hint.map(|hint| hint.page),
                zeros: touched.zeros,
                blocks: blocks.len() as u64,
            });
            send(self.events, Event::Leaf(Arc::clone(&leaf)))?;
            for (runs, spot_check) in blocks {
                let block = Block {
                    leaf: Arc::clone(&leaf),
                    runs,
                    spot_check,
                };
                self.blocks.send(block).map_err(|_| JobError::Stopped)?;
            }
        }
        Ok(())
    }

    fn leaves(&mut self, base: bool, numbers: &[u64]) -> Result<Vec<Option<BasePage>>, JobError> {
        let reader = if base { &mut self.base } else { &mut self.hint };
        match reader {
            Some(reader) => Ok(self.shared.wait(reader.leaves(numbers))??),
            None => Ok(vec![None; numbers.len()]),
        }
    }

    /// The blocks of a leaf: what to read, and which unchanged chunks to look at all the same.
    fn split(&self, touched: &Touched) -> Vec<(Vec<Range<u64>>, bool)> {
        let mut runs = Vec::new();
        for range in &touched.reads {
            let mut at = range.start;
            while at < range.end {
                // Runs end where a multiple of a block's size does, so that they are the same each time.
                let end = ((at / self.block_chunks + 1) * self.block_chunks).min(range.end);
                runs.push(at..end);
                at = end;
            }
        }
        let planned = |index: u64| {
            touched
                .reads
                .iter()
                .chain(&touched.zeros)
                .any(|range| range.contains(&index))
        };
        let unplanned = touched
            .spot_checks
            .iter()
            .copied()
            .filter(|index| !planned(*index));
        let unplanned = unplanned.map(|index| index..index + 1).collect();
        let reads = together(runs, self.block_chunks).map(|runs| (runs, false));
        reads
            .chain(together(unplanned, self.block_chunks).map(|runs| (runs, true)))
            .collect()
    }
}

/// Puts runs that come one after the other into blocks of at most so many chunks.
fn together(runs: Vec<Range<u64>>, block_chunks: u64) -> impl Iterator<Item = Vec<Range<u64>>> {
    let mut runs = runs.into_iter().peekable();
    iter::from_fn(move || {
        let first = runs.next()?;
        let mut free = block_chunks.saturating_sub(first.end - first.start);
        let mut block = Vec::from([first]);
        while let Some(run) = runs.next_if(|run| run.end - run.start <= free) {
            free -= run.end - run.start;
            block.push(run);
        }
        Some(block)
    })
}

/// Which unchanged chunks are looked at: some in leaves that are read anyway, some in others.
struct SpotChecks {
    /// How many are looked at in each leaf, in thousandths: less than one when there are more leaves than checks.
    each_permille: u64,
    chunk_count: u64,
    others: BTreeSet<u64>,
    seed: u64,
}

impl SpotChecks {
    fn new(shared: &Shared) -> Self {
        let (count, chunk_count) = (shared.input.spot_checks, shared.chunk_count());
        let seed = u64::from_le_bytes(
            shared.session.id().as_bytes()[..8]
                .try_into()
                .expect("eight bytes"),
        );
        let mut checks = Self {
            each_permille: 0,
            chunk_count,
            others: BTreeSet::new(),
            seed,
        };
        if count == 0 || chunk_count == 0 {
            return checks;
        }
        let leaves = chunk_count.div_ceil(LEAF_CHUNKS);
        for _ in 0..SPOT_CHECK_LEAVES {
            let leaf = checks.draw(leaves);
            checks.others.insert(leaf);
        }
        let touched: BTreeSet<u64> = shared
            .input
            .work
            .iter()
            .flat_map(|range| [range.start, range.end - 1])
            .map(|index| index / LEAF_CHUNKS)
            .collect();
        let leaves = (touched.len() + checks.others.len()) as u64;
        checks.each_permille = (count * 1000).div_ceil(leaves).min(LEAF_CHUNKS * 1000);
        checks
    }

    /// The other leaves within a range of chunks, to be touched.
    fn leaves_within(&self, range: &Range<u64>) -> Vec<u64> {
        let leaves = range.start / LEAF_CHUNKS..range.end.div_ceil(LEAF_CHUNKS);
        self.others.range(leaves).copied().collect()
    }

    /// Chunks of a leaf to look at.
    fn take(&mut self, leaf: u64) -> Vec<u64> {
        self.others.remove(&leaf);
        let span = LEAF_CHUNKS.min(self.chunk_count - leaf * LEAF_CHUNKS);
        let (sure, perhaps) = (self.each_permille / 1000, self.each_permille % 1000);
        let each = sure + u64::from(self.draw(1000) < perhaps);
        let drawn: BTreeSet<u64> = (0..each)
            .map(|_| leaf * LEAF_CHUNKS + self.draw(span))
            .collect();
        drawn.into_iter().collect()
    }

    /// `SplitMix64`: which chunks are looked at must be hard to foresee, not hard to compute.
    fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

fn send(events: &mpsc::Sender<Event>, event: Event) -> Result<(), JobError> {
    events.blocking_send(event).map_err(|_| JobError::Stopped)
}

#[cfg(test)]
mod tests {
    use super::together;

    #[test]
    fn small_runs_travel_together_and_large_ones_alone() {
        let runs = vec![0..1, 4..6, 16..32, 40..48, 50..58, 60..61];
        let blocks: Vec<_> = together(runs, 16).collect();
        let starts: Vec<Vec<u64>> = blocks
            .iter()
            .map(|block| block.iter().map(|run| run.start).collect())
            .collect();
        assert_eq!(starts, [vec![0, 4], vec![16], vec![40, 50], vec![60]]);
    }
}
