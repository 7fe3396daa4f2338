//! Walks maps: every page is opened, every reference is held against the slot table of its pack.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{
    Result,
    damage::{BadSlots, Damage, damage_of},
};
use crate::{
    error::RepositoryError,
    id::{PackId, SessionId},
    layout::{self, PackKind},
    map::{MapRoot, Page, PageLoader, span_log2},
    pack::Slot,
    point::Point,
    reference::Reference,
    repository::Repository,
};

/// Pages that are loaded together.
const PAGES: usize = 64;
/// Bytes that one remembered page takes.
const VISITED_BYTES: u64 = 64;

/// Walks the structure of points, and remembers what it saw so that shared parts are walked once.
#[derive(Debug)]
pub struct Structure {
    repository: Repository,
    loader: Arc<dyn PageLoader>,
    /// Lengths of the packs of each session that something refers to.
    sessions: BTreeMap<(PackKind, SessionId), BTreeMap<u32, u64>>,
    tables: HashMap<PackId, Option<Arc<[Slot]>>>,
    tables_max: usize,
    /// Pages below which everything is as it must be, by where they are: equal pages in two places are two things that
    /// can be damaged.
    visited: HashSet<(PackId, u16)>,
    visited_max: usize,
    bad: BadSlots,
    damage: BTreeSet<Damage>,
    pages: u64,
}

impl Structure {
    /// Prepares a walk that remembers no more than `memory_bytes` of what it saw.
    pub fn new(repository: &Repository, memory_bytes: u64) -> Self {
        let entries = |each: u64| usize::try_from(memory_bytes / 2 / each).unwrap_or(usize::MAX);
        Self {
            repository: repository.clone(),
            loader: repository.pages(),
            sessions: BTreeMap::new(),
            tables: HashMap::new(),
            tables_max: entries(32 << 10).max(16),
            visited: HashSet::new(),
            visited_max: entries(VISITED_BYTES).max(1024),
            bad: BadSlots::new(),
            damage: BTreeSet::new(),
            pages: 0,
        }
    }

    /// Starts over, counting these chunks as damaged: which points refer to them?
    pub fn again(&mut self, bad: BadSlots) {
        self.visited.clear();
        self.bad = bad;
    }

    /// What was found so far.
    pub fn damage(&self) -> impl Iterator<Item = &Damage> {
        self.damage.iter()
    }

    /// Pages walked so far.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Sessions whose packs are referred to.
    pub fn sessions(&self) -> impl Iterator<Item = (PackKind, SessionId)> + '_ {
        self.sessions.keys().copied()
    }

    /// Walks a point; says whether all of it is there and as it must be.
    ///
    /// # Errors
    /// When the store fails. Damage is no error: it is remembered.
    pub async fn point(&mut self, point: &Point) -> Result<bool> {
        match point.manifest.volume {
            Some(
                root @ MapRoot {
                    page: Some(page),
                    level,
                    chunk_log2,
                    chunks,
                    ..
                },
            ) => {
                let place = Place {
                    level,
                    chunk_log2,
                    first: 0,
                    chunks,
                    end: root.chunk_count(),
                };
                let pages = self.load(&[(place, page)]).await?;
                match &pages[0] {
                    Some(root) => Box::pin(self.page(place, page, root)).await,
                    None => Ok(false),
                }
            }
            Some(_) | None => Ok(true),
        }
    }

    async fn page(&mut self, place: Place, reference: Reference, page: &Page) -> Result<bool> {
        let mut whole = self.reference(PackKind::Meta, &reference).await?;
        self.pages += 1;
        if place.level == 0 {
            for (_, entry) in page.entries() {
                whole &= self.reference(PackKind::Data, &entry.reference).await?;
            }
        } else {
            let below: Vec<(Place, Reference)> = page
                .entries()
                .filter(|(_, entry)| !self.visited.contains(&place_of(&entry.reference)))
                .map(|(first, entry)| {
                    (
                        Place {
                            level: place.level - 1,
                            first,
                            chunks: entry.chunks,
                            ..place
                        },
                        entry.reference,
                    )
                })
                .collect();
            for batch in below.chunks(PAGES) {
                let pages = self.load(batch).await?;
                for ((place, reference), page) in batch.iter().zip(pages) {
                    whole &= match page {
                        Some(page) => Box::pin(self.page(*place, *reference, &page)).await?,
                        None => false,
                    };
                }
            }
        }
        if whole {
            if self.visited.len() >= self.visited_max {
                self.visited.clear();
            }
            self.visited.insert(place_of(&reference));
        }
        Ok(whole)
    }

    /// Loads pages together, and one by one when that fails, so that one damaged page hides no other.
    async fn load(&mut self, wanted: &[(Place, Reference)]) -> Result<Vec<Option<Arc<Page>>>> {
        let references: Vec<Reference> = wanted.iter().map(|(_, reference)| *reference).collect();
        let loaded = match self.loader.load(&references).await {
            Ok(pages) => pages.into_iter().map(Some).collect(),
            Err(error) if error.is_damage() => {
                let mut pages = Vec::with_capacity(references.len());
                for reference in &references {
                    pages.push(match self.loader.load(&[*reference]).await {
                        Ok(mut page) => page.pop(),
                        Err(error) => {
                            self.note(layout::pack(PackKind::Meta, reference.pack), error)?;
                            None
                        }
                    });
                }
                pages
            }
            Err(error) => return Err(error),
        };
        let mut pages = Vec::with_capacity(loaded.len());
        for ((place, reference), page) in wanted.iter().zip(loaded) {
            let fits = |page: &Arc<Page>| {
                let first = place.first >> span_log2(place.level) << span_log2(place.level);
                page.level() == place.level
                    && page.first() == first
                    && page.chunk_log2() == place.chunk_log2
                    && page.chunks() == place.chunks
                    && page.entries().all(|(first, _)| first < place.end)
            };
            if page.as_ref().is_some_and(|page| !fits(page)) {
                let object = layout::pack(PackKind::Meta, reference.pack);
                self.damage.insert(Damage {
                    object,
                    what: "a page does not fit the place that it is reached from".to_owned(),
                });
            }
            pages.push(page.filter(fits));
        }
        Ok(pages)
    }

    /// Holds a reference against its pack's slot table.
    async fn reference(&mut self, kind: PackKind, reference: &Reference) -> Result<bool> {
        let name = || layout::pack(kind, reference.pack);
        if let Some(slots) = self.bad.get(&(kind, reference.pack))
            && slots
                .as_ref()
                .is_none_or(|slots| slots.contains(&reference.slot))
        {
            return Ok(false);
        }
        let Some(slots) = self.table(kind, reference).await? else {
            return Ok(false);
        };
        let slot = slots.get(usize::from(reference.slot));
        let found = slot.map(|slot| slot.reference(reference.pack, reference.key, reference.slot));
        if found == Some(*reference) {
            return Ok(true);
        }
        let what = format!(
            "slot {} is not the chunk that a map refers to",
            reference.slot
        );
        self.damage.insert(Damage {
            object: name(),
            what,
        });
        Ok(false)
    }

    async fn table(
        &mut self,
        kind: PackKind,
        reference: &Reference,
    ) -> Result<Option<Arc<[Slot]>>> {
        if let Some(table) = self.tables.get(&reference.pack) {
            return Ok(table.clone());
        }
        let table = match self.length(kind, reference.pack).await? {
            None => {
                let object = layout::pack(kind, reference.pack);
                self.damage.insert(Damage {
                    object,
                    what: "it is missing".to_owned(),
                });
                None
            }
            Some(bytes) => match self
                .repository
                .slot_table(kind, reference.pack, bytes)
                .await
            {
                Ok((_, slots)) => Some(Arc::from(slots)),
                Err(error) => {
                    self.note(layout::pack(kind, reference.pack), error)?;
                    None
                }
            },
        };
        if self.tables.len() >= self.tables_max {
            self.tables.clear();
        }
        self.tables.insert(reference.pack, table.clone());
        Ok(table)
    }

    /// Length of a pack, by the listing of its session.
    async fn length(&mut self, kind: PackKind, id: PackId) -> Result<Option<u64>> {
        let session = id.session();
        if !self.sessions.contains_key(&(kind, session)) {
            let packs = self.repository.session_packs(kind, session).await?;
            self.sessions.insert((kind, session), packs);
        }
        Ok(self.sessions[&(kind, session)].get(&id.sequence()).copied())
    }

    fn note(&mut self, object: String, error: RepositoryError) -> Result<()> {
        self.damage.insert(damage_of(object, error)?);
        Ok(())
    }
}

/// Where a page is.
fn place_of(reference: &Reference) -> (PackId, u16) {
    (reference.pack, reference.slot)
}

/// Where a page belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    level: u8,
    chunk_log2: u8,
    first: u64,
    /// How many chunks below hold data.
    chunks: u64,
    /// The first chunk beyond the volume.
    end: u64,
}
