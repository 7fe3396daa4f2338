//! What series take, and where two points differ.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use crate::{
    error::RepositoryError,
    id::{ChunkId, PackId},
    map::{self, MapReader, MapRoot},
    point::Point,
    reference::Reference,
    repository::Repository,
};

/// What one series takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesStats {
    /// The series.
    pub series: String,
    /// Its points.
    pub points: u64,
    /// Size of the volume at its newest point.
    pub volume_bytes: u64,
    /// Stored bytes of all chunks that its points refer to.
    pub stored_bytes: u64,
    /// Stored bytes of chunks that no other series refers to: what would come back without it.
    pub unique_bytes: u64,
}

/// Which series refers to a chunk: none yet, one, or several.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    None,
    One(u32),
    Several,
}

impl Repository {
    /// What each series takes, in the order of their names. Holds eight bytes for each chunk that is referred to.
    ///
    /// # Errors
    /// When the store fails or a map is damaged.
    pub async fn stats(&self, points: &[Point]) -> Result<Vec<SeriesStats>, RepositoryError> {
        let mut by_series: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
        for point in points {
            by_series
                .entry(&point.manifest.series)
                .or_default()
                .push(point);
        }
        let loader = self.pages();
        let mut owners: HashMap<PackId, Vec<Owner>> = HashMap::new();
        let mut stats: Vec<SeriesStats> = Vec::new();
        for (series, points) in by_series {
            let number = u32::try_from(stats.len()).map_err(|_| RepositoryError::Internal)?;
            let newest = points.last().map_or(0, |point| point.volume_bytes());
            stats.push(SeriesStats {
                series: series.to_owned(),
                points: points.len() as u64,
                volume_bytes: newest,
                ..SeriesStats::default()
            });
            let mut pages: HashSet<ChunkId> = HashSet::new();
            // Chunks of several series are marked as such, so what this one has counted is kept apart.
            let mut counted: HashSet<(PackId, u16)> = HashSet::new();
            for map in points.iter().filter_map(|point| point.manifest.volume) {
                let page = |page: &Reference| pages.insert(page.id);
                map::walk(&loader, map, page, |entry| {
                    count(
                        &mut owners,
                        &mut counted,
                        &mut stats,
                        number,
                        &entry.reference,
                    );
                })
                .await?;
            }
        }
        Ok(stats)
    }

    /// Calls `found` with the byte ranges in which two points differ, in ascending order.
    ///
    /// # Errors
    /// When a point holds no volume, their chunks differ in size, or the store fails.
    pub async fn diff(
        &self,
        left: &Point,
        right: &Point,
        mut found: impl FnMut(Range<u64>),
    ) -> Result<(), RepositoryError> {
        let map = |point: &Point| {
            let what = "it holds no volume".to_owned();
            let object = point.id.short();
            point
                .manifest
                .volume
                .ok_or(RepositoryError::Damaged { object, what })
        };
        let (left, right): (MapRoot, MapRoot) = (map(left)?, map(right)?);
        if left.chunk_log2 != right.chunk_log2 {
            return Err(RepositoryError::ChunkSizes {
                left: left.chunk_bytes() >> 10,
                right: right.chunk_bytes() >> 10,
            });
        }
        let chunks = left.chunk_count().max(right.chunk_count());
        let end = left.volume_bytes.max(right.volume_bytes);
        let reader = |root| MapReader::resized(root, Arc::clone(&self.pages()), chunks);
        let shift = left.chunk_log2;
        map::diff(&mut reader(left), &mut reader(right), |range| {
            found(range.start << shift..(range.end << shift).min(end));
        })
        .await
    }
}

fn count(
    owners: &mut HashMap<PackId, Vec<Owner>>,
    counted: &mut HashSet<(PackId, u16)>,
    stats: &mut [SeriesStats],
    number: u32,
    reference: &Reference,
) {
    let slots = owners.entry(reference.pack).or_default();
    let slot = usize::from(reference.slot);
    if slots.len() <= slot {
        slots.resize(slot + 1, Owner::None);
    }
    let stored = u64::from(reference.stored_bytes);
    let ours = usize::try_from(number).expect("a count of series");
    match slots[slot] {
        Owner::One(owner) if owner == number => {}
        Owner::None => {
            slots[slot] = Owner::One(number);
            stats[ours].stored_bytes += stored;
            stats[ours].unique_bytes += stored;
        }
        Owner::One(owner) => {
            slots[slot] = Owner::Several;
            counted.insert((reference.pack, reference.slot));
            stats[usize::try_from(owner).expect("a count of series")].unique_bytes -= stored;
            stats[ours].stored_bytes += stored;
        }
        Owner::Several => {
            if counted.insert((reference.pack, reference.slot)) {
                stats[ours].stored_bytes += stored;
            }
        }
    }
}
