//! Verify: is everything that a point refers to there, authentic, and what the reference says?
//!
//! [`Structure`] walks maps: every page is opened, every reference is held against the slot table of its pack.
//! [`Repository::check_piece`] reads the data itself. Which packs a partial run reads is decided by [`selected`], so that
//! 100 / N runs of N per cent read everything once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::{
    clock,
    error::RepositoryError,
    fetch::{self, Piece},
    format::{PACK_BYTES_MAX, SLOT_TABLE_BYTES_MAX},
    id::{Nonce, PackId, SessionId},
    layout::{self, PackKind},
    map::{MapRoot, Page, PageLoader, span_log2},
    pack::{self, HEADER_BYTES, TRAILER_BYTES},
    point::Point,
    record::RecordKind,
    reference::Reference,
    repository::Repository,
    seal::Opener,
    store::{ErrorKind, list_all},
};

type Result<T> = std::result::Result<T, RepositoryError>;

/// Bytes at the end of a pack that are read at first: enough for the table of 1,300 chunks.
const TAIL_BYTES: u64 = 64 << 10;
/// Pages that are loaded together.
const PAGES: usize = 64;
/// Bytes that one remembered page takes.
const VISITED_BYTES: u64 = 64;
/// Runs whose results are kept.
const RUNS_KEPT: usize = 100;
/// Objects that one run's result names.
const DAMAGE_KEPT: usize = 100;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Name of the object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// A chunk that cannot be read: its pack and slot, or all of the pack.
pub type BadSlots = BTreeMap<(PackKind, PackId), Option<BTreeSet<u16>>>;

/// What a verify run leaves in the repository.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct VerifyRun {
    /// When it ended, in milliseconds since 1970.
    #[n(0)]
    pub at_ms: u64,
    /// How many per cent of the packs it read.
    #[n(1)]
    pub percent: u8,
    /// Which part of them: runs of one percentage are counted.
    #[n(2)]
    pub cycle: u64,
    /// Points whose structure was walked.
    #[n(3)]
    pub points: u64,
    /// Packs read.
    #[n(4)]
    pub packs_read: u64,
    /// Objects that were damaged, at most a hundred of them.
    #[n(5)]
    pub damaged: Vec<String>,
}

/// Walks the structure of points, and remembers what it saw so that shared parts are walked once.
#[derive(Debug)]
pub struct Structure {
    repository: Repository,
    loader: std::sync::Arc<dyn PageLoader>,
    /// Lengths of the packs of each session that something refers to.
    sessions: BTreeMap<(PackKind, SessionId), BTreeMap<u32, u64>>,
    tables: HashMap<PackId, Option<std::sync::Arc<[pack::Slot]>>>,
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
            Some(MapRoot {
                page: Some(page),
                level,
                chunk_log2,
                ..
            }) => {
                let place = Place {
                    level,
                    chunk_log2,
                    first: 0,
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
    async fn load(
        &mut self,
        wanted: &[(Place, Reference)],
    ) -> Result<Vec<Option<std::sync::Arc<Page>>>> {
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
            let fits = |page: &std::sync::Arc<Page>| {
                let first = place.first >> span_log2(place.level) << span_log2(place.level);
                page.level() == place.level
                    && page.first() == first
                    && page.chunk_log2() == place.chunk_log2
            };
            if page.as_ref().is_some_and(|page| !fits(page)) {
                let object = layout::pack(PackKind::Meta, reference.pack);
                self.damage.insert(Damage {
                    object,
                    what: "a page belongs to another place".to_owned(),
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
    ) -> Result<Option<std::sync::Arc<[pack::Slot]>>> {
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
                Ok((_, slots)) => Some(std::sync::Arc::from(slots)),
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
}

/// Damage, or an error that is none.
pub fn damage_of(object: String, error: RepositoryError) -> Result<Damage> {
    if !error.is_damage() {
        return Err(error);
    }
    let what = if let RepositoryError::Damaged { what, .. } = error {
        what
    } else if let RepositoryError::Chunk { chunk, source, .. } = error {
        format!("chunk {chunk}: {source}")
    } else if let RepositoryError::Store(error) = error {
        let short = error.kind() == ErrorKind::Short;
        let missing = error.kind() == ErrorKind::NotFound;
        let what = if missing {
            "it is missing"
        } else if short {
            "it is too short"
        } else {
            "it is too large"
        };
        what.to_owned()
    } else {
        error.to_string()
    };
    Ok(Damage { object, what })
}

/// Whether a run of `percent` reads this pack in its `cycle`-th turn.
pub fn selected(pack: PackId, percent: u8, cycle: u64) -> bool {
    let bytes = blake3::hash(pack.as_bytes());
    let hash = u64::from_le_bytes(bytes.as_bytes()[..8].try_into().expect("eight bytes"));
    let turn = (cycle % 100) * u64::from(percent);
    (hash % 100 + turn) % 100 < u64::from(percent)
}

impl Repository {
    /// Lengths of the packs of a session.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn session_packs(
        &self,
        kind: PackKind,
        session: SessionId,
    ) -> Result<BTreeMap<u32, u64>> {
        let entries = list_all(&**self.store(), &layout::session_packs(kind, session)).await?;
        let packs = entries.iter().filter_map(|entry| {
            Some((
                layout::parse_pack(kind, &entry.name)?.sequence(),
                entry.bytes,
            ))
        });
        Ok(packs.collect())
    }

    /// The slot table at the end of a pack of this length, and where it begins.
    ///
    /// # Errors
    /// When it is not there or not authentic.
    pub async fn slot_table(
        &self,
        kind: PackKind,
        id: PackId,
        bytes: u64,
    ) -> Result<(u64, Vec<pack::Slot>)> {
        let name = layout::pack(kind, id);
        let damaged = |what: &str| RepositoryError::damaged(&name, what);
        let least = (HEADER_BYTES + TRAILER_BYTES) as u64;
        if !(least..=PACK_BYTES_MAX).contains(&bytes) {
            return Err(damaged("its length is not that of a pack"));
        }
        let mut start = bytes - TAIL_BYTES.min(bytes);
        let mut tail = self.store().get_range(&name, start..bytes).await?;
        let trailer = pack::decode_trailer(&tail[tail.len() - TRAILER_BYTES..], bytes)
            .ok_or_else(|| damaged("its trailer is not that of a pack"))?;
        debug_assert!(u64::from(trailer.table_bytes) <= SLOT_TABLE_BYTES_MAX);
        let table = u64::from(trailer.table_offset);
        if table < start {
            start = table;
            tail = self.store().get_range(&name, start..bytes).await?;
        }
        let at = usize::try_from(table - start).expect("a tail fits memory");
        let sealed = &tail[at..tail.len() - TRAILER_BYTES];
        let opened = pack::open_table(self.keys(), self.id(), &name, id, sealed)
            .map_err(|error| damaged(&format!("its slot table: {error}")))?;
        if opened.slots.len() != usize::from(trailer.slots) {
            return Err(damaged("its trailer and its slot table differ"));
        }
        let end = opened.slots.last().map_or(HEADER_BYTES as u64, |slot| {
            u64::from(slot.offset) + u64::from(slot.stored_bytes)
        });
        if end != table {
            return Err(damaged("its slots do not end where its slot table begins"));
        }
        let header = self
            .store()
            .get_range(&name, 0..HEADER_BYTES as u64)
            .await?;
        if header[..] != pack::encode_header(kind, id, opened.key) {
            return Err(damaged("its header is not the one it was written with"));
        }
        Ok((opened.key.into(), opened.slots))
    }

    /// What to read of a pack to see whether all of its chunks are as they must be.
    pub fn pack_pieces(
        key: u64,
        id: PackId,
        slots: &[pack::Slot],
        piece_bytes_max: u64,
    ) -> Vec<(Piece, Vec<Reference>)> {
        let key = u16::try_from(key).unwrap_or(u16::MAX);
        let references: Vec<Reference> = slots
            .iter()
            .zip(0_u16..)
            .map(|(slot, number)| slot.reference(id, key, number))
            .collect();
        fetch::plan(&references, piece_bytes_max)
            .into_iter()
            .map(|piece| {
                let members = piece
                    .members
                    .iter()
                    .map(|member| references[*member])
                    .collect();
                (piece, members)
            })
            .collect()
    }

    /// Opens every chunk of a piece; returns the slots that do not open, and why the first one does not.
    ///
    /// # Errors
    /// When the pack's key is not in the keyring.
    pub fn check_piece(
        &self,
        kind: PackKind,
        piece: &Piece,
        references: &[Reference],
        bytes: &Bytes,
    ) -> Result<(BTreeSet<u16>, Option<RepositoryError>)> {
        let mut opener = Opener::default();
        let (mut bad, mut first) = (BTreeSet::new(), None);
        let Some(any) = references.first() else {
            return Ok((bad, first));
        };
        let pack = self.pack_opener(kind, any)?;
        let mut plain = Vec::new();
        for reference in references {
            // The table is authentic, but whoever wrote it may have been wrong: a bound all the same.
            let length = usize::try_from(reference.plain_bytes)
                .expect("32 bits")
                .min(8 << 20);
            plain.resize(length, 0);
            let sealed = fetch::within(piece, bytes, reference);
            if let Err(error) = pack.open(&mut opener, reference, sealed, &mut plain) {
                bad.insert(reference.slot);
                first.get_or_insert(error);
            }
        }
        Ok((bad, first))
    }

    /// Which turn a run of `percent` is: one more than the last one of the same percentage.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn verify_cycle(&self, percent: u8) -> Result<u64> {
        let runs = list_all(&**self.store(), &layout::verify_runs()).await?;
        for entry in runs.iter().rev().take(RUNS_KEPT) {
            match self
                .get_record::<VerifyRun>(&entry.name, RecordKind::VerifyRun)
                .await
            {
                Ok(run) if run.percent == percent => return Ok(run.cycle + 1),
                Ok(_) => {}
                // Advisory: another part is read than would have been.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Records the result of a run: what it read, and which points are damaged or whole again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn record_verify(
        &self,
        mut run: VerifyRun,
        bad: &[SessionId],
        whole: &[SessionId],
    ) -> Result<()> {
        run.at_ms = clock::now_ms();
        run.damaged.truncate(DAMAGE_KEPT);
        let name = layout::verify_run(run.at_ms, &Nonce::draw().to_string()[..8]);
        self.put_record(&name, RecordKind::VerifyRun, &run).await?;
        for point in bad {
            match self
                .put_record(&layout::bad_point(*point), RecordKind::BadPoint, &run.at_ms)
                .await
            {
                Err(error) if error.kind() == ErrorKind::Exists => {}
                other => other?,
            }
        }
        for point in whole {
            self.store().delete(&layout::bad_point(*point)).await?;
        }
        let runs = list_all(&**self.store(), &layout::verify_runs()).await?;
        for entry in runs.iter().take(runs.len().saturating_sub(RUNS_KEPT)) {
            self.delete_quietly(&entry.name).await;
        }
        Ok(())
    }
}
