//! Verify: walk what points refer to, read as much of the data as asked for, say which points are damaged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use futures::{TryStreamExt, stream};
use repository::{
    Operation, PackId, Point, Reference, Repository, RepositoryError, SessionId,
    fetch::Piece,
    layout::{self, PackKind},
    store::ErrorKind,
    verify::{Asked, BadSlots, Damage, Structure, VerifyRun, damage_of, selected},
};
use tokio::{sync::Semaphore, time::Instant};
use tracing::info;

use crate::{control::Control, error::JobError, progress::Progress};

/// Bytes of one request for data.
const PIECE_BYTES: u64 = 2 << 20;
/// Pieces that are fetched at the same time, memory permitting.
const PIECES: usize = 8;

/// How a repository refuses to record a run. What was found is worth reporting all the same.
const REFUSALS: [ErrorKind; 3] = [ErrorKind::ReadOnly, ErrorKind::Denied, ErrorKind::Full];

/// What to verify.
#[derive(Clone, Debug, Default)]
pub struct VerifyRequest {
    /// How many per cent of the packs to read; 0 walks the structure only.
    pub read_data_percent: u8,
    /// Which points; all when empty.
    pub points: Vec<SessionId>,
    /// What these points are: runs of all, or of one series, take turns in what they read, while the points change.
    pub asked: Asked,
}

/// What a verify found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Points whose structure was walked.
    pub points: u64,
    /// Points that cannot be restored whole: also those that an earlier run marked, unless this one read everything.
    pub bad_points: Vec<SessionId>,
    /// Pages of maps that were opened.
    pub pages: u64,
    /// Packs that the points may refer to.
    pub packs: u64,
    /// Packs that were read.
    pub packs_read: u64,
    /// Bytes that were read of them.
    pub read_bytes: u64,
    /// Objects that are not as they must be.
    pub damage: Vec<Damage>,
    /// Its turn, which says which part a partial run read.
    pub turn: u64,
    /// Points that are whole and stay marked as damaged, since the mark may not be deleted.
    pub marks_left: Vec<SessionId>,
    /// Why the run is not recorded in the repository: the next one of as many per cent reads the same part, and points that
    /// were found damaged are not marked.
    pub not_recorded: Option<String>,
    /// How long it took.
    pub duration: Duration,
}

/// Verifies points.
///
/// # Errors
/// When the store fails or the job is cancelled. Damage is no error: the report says what was found.
pub async fn verify(
    repository: &Repository,
    request: VerifyRequest,
    control: &Control,
) -> Result<VerifyReport, JobError> {
    let began = Instant::now();
    info!(
        read_data_percent = request.read_data_percent,
        "verify begun"
    );
    let percent = request.read_data_percent.min(100);
    let turns = repository.turns(percent, &request.asked);
    let allowed = repository.require(Operation::Verify);
    control.unless_cancelled(allowed).await??;
    let listed = control.unless_cancelled(repository.points()).await??;
    let wanted = |point: &Point| request.points.is_empty() || request.points.contains(&point.id);
    let points: Vec<Point> = listed.points.into_iter().filter(wanted).collect();
    let mut damage: BTreeSet<Damage> = BTreeSet::new();
    for (object, error) in listed.damaged.into_iter().chain(listed.replaced) {
        damage.insert(damage_of(object, error)?);
    }

    if request.points.is_empty() {
        let records = repository.check_records();
        damage.extend(control.unless_cancelled(records).await??);
    }
    let mut structure = Structure::new(repository, control.memory_bytes / 4);
    let mut bad_points = walk(&mut structure, &points, control).await?;
    let mut report = VerifyReport {
        points: points.len() as u64,
        ..VerifyReport::default()
    };
    let packs = Packs::list(repository, &structure).await?;
    report.packs = packs.count();
    if percent > 0 {
        report.turn = repository.verify_turn(&turns).await?;
        let read = Read::new(repository, control);
        let reading = read.packs(packs.selected(percent, report.turn));
        control.unless_cancelled(reading).await??;
        let found = read
            .found
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        (report.packs_read, report.read_bytes) = (found.packs, found.bytes);
        damage.extend(found.damage);
        if !found.bad.is_empty() {
            structure.again(found.bad);
            bad_points.extend(walk(&mut structure, &points, control).await?);
        }
    }
    damage.extend(structure.damage().cloned());
    report.pages = structure.pages();
    report.damage = damage.into_iter().collect();
    // Marked by this run is only what it found: a mark from before may have been taken away meanwhile.
    let found: Vec<SessionId> = bad_points.iter().copied().collect();
    let marked = points.iter().filter(|point| point.bad);
    let unconfirmed: Vec<SessionId> = marked
        .map(|point| point.id)
        .filter(|id| !bad_points.contains(id))
        .collect();
    // What was found damaged before is damaged still, until everything was read and is whole: else the alarm would end with the
    // first run that reads another part.
    let whole = if percent == 100 {
        unconfirmed
    } else {
        bad_points.extend(unconfirmed);
        Vec::new()
    };
    report.bad_points = bad_points.into_iter().collect();

    let run = VerifyRun {
        at_ms: 0,
        percent,
        turn: report.turn,
        points: report.points,
        packs_read: report.packs_read,
        damaged: report
            .damage
            .iter()
            .map(|damage| damage.object.clone())
            .collect(),
    };
    match repository.record_verify(&turns, run, &found, &whole).await {
        Ok(left) => report.marks_left = left,
        Err(RepositoryError::Store(error)) if REFUSALS.contains(&error.kind()) => {
            report.not_recorded = Some(error.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    report.duration = began.elapsed();
    info!(
        points = report.points,
        bad_points = report.bad_points.len(),
        damaged_objects = report.damage.len(),
        packs_read = report.packs_read,
        read_bytes = report.read_bytes,
        duration_ms = report.duration.as_millis(),
        "verify finished"
    );
    Ok(report)
}

/// Walks all points; returns those that are not whole.
async fn walk(
    structure: &mut Structure,
    points: &[Point],
    control: &Control,
) -> Result<BTreeSet<SessionId>, JobError> {
    let mut bad = BTreeSet::new();
    for point in points {
        if !control.unless_cancelled(structure.point(point)).await?? {
            bad.insert(point.id);
        }
    }
    Ok(bad)
}

/// The packs of all sessions that something refers to.
struct Packs {
    sessions: BTreeMap<(PackKind, SessionId), BTreeMap<u32, u64>>,
}

impl Packs {
    async fn list(repository: &Repository, structure: &Structure) -> Result<Self, JobError> {
        let mut sessions = BTreeMap::new();
        for (kind, session) in structure.sessions() {
            sessions.insert(
                (kind, session),
                repository.session_packs(kind, session).await?,
            );
        }
        Ok(Self { sessions })
    }

    fn count(&self) -> u64 {
        self.sessions.values().map(|packs| packs.len() as u64).sum()
    }

    fn selected(&self, percent: u8, turn: u64) -> Vec<(PackKind, PackId, u64)> {
        let all = self.sessions.iter().flat_map(|((kind, session), packs)| {
            packs
                .iter()
                .map(|(number, bytes)| (*kind, PackId::new(*session, *number), *bytes))
        });
        all.filter(|(_, pack, _)| selected(*pack, percent, turn))
            .collect()
    }
}

/// Reads packs whole.
struct Read<'a> {
    repository: &'a Repository,
    control: &'a Control,
    memory: Arc<Semaphore>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    packs: u64,
    bytes: u64,
    damage: BTreeSet<Damage>,
    bad: BadSlots,
}

impl<'a> Read<'a> {
    fn new(repository: &'a Repository, control: &'a Control) -> Self {
        let pieces = usize::try_from(control.memory_bytes / 8 / PIECE_BYTES).unwrap_or(PIECES);
        let memory = Arc::new(Semaphore::new(pieces.clamp(1, PIECES)));
        Self {
            repository,
            control,
            memory,
            found: Mutex::default(),
        }
    }

    async fn packs(&self, packs: Vec<(PackKind, PackId, u64)>) -> Result<(), JobError> {
        let total: u64 = packs.iter().map(|(_, _, bytes)| bytes).sum();
        Progress::add(&self.control.progress.total_bytes, total);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        stream::iter(packs.into_iter().map(Ok))
            .try_for_each_concurrent(2 * cores, |(kind, pack, bytes)| {
                self.pack(kind, pack, bytes)
            })
            .await
    }

    async fn pack(&self, kind: PackKind, pack: PackId, bytes: u64) -> Result<(), JobError> {
        let object = layout::pack(kind, pack);
        match self.repository.slot_table(kind, pack, bytes).await {
            Ok((key, slots)) => {
                let pieces = Repository::pack_pieces(key, pack, &slots, PIECE_BYTES);
                stream::iter(pieces.into_iter().map(Ok))
                    .try_for_each(|(piece, references)| self.piece(kind, piece, references))
                    .await?;
            }
            Err(error) => self.bad_pack(kind, pack, damage_of(object, error)?),
        }
        let copy = self.repository.check_table_copy(pack).await?;
        self.found().damage.extend(copy);
        Progress::add(&self.control.progress.done_bytes, bytes);
        self.found().packs += 1;
        Ok(())
    }

    async fn piece(
        &self,
        kind: PackKind,
        piece: Piece,
        references: Vec<Reference>,
    ) -> Result<(), JobError> {
        let memory = Arc::clone(&self.memory).acquire_owned().await;
        let memory = memory.expect("the semaphore is never closed");
        let length = piece.range.end - piece.range.start;
        self.control.throttle.read.take(length).await;
        let object = layout::pack(kind, piece.pack);
        let bytes = match self.repository.read_piece(kind, &piece).await {
            Ok(bytes) => bytes,
            Err(error) => {
                self.bad_pack(kind, piece.pack, damage_of(object, error)?);
                return Ok(());
            }
        };
        Progress::add(&self.control.progress.read_bytes, length);
        let (repository, pack) = (self.repository.clone(), piece.pack);
        let checked = tokio::task::spawn_blocking(move || {
            let result = repository.check_piece(kind, &piece, &references, &bytes);
            drop((bytes, memory));
            result
        });
        let (slots, error) = checked.await.unwrap_or(Err(RepositoryError::Internal))?;
        let mut found = self.found();
        found.bytes += length;
        if let Some(error) = error {
            found.damage.insert(damage_of(object, error)?);
            if let Some(bad) = found
                .bad
                .entry((kind, pack))
                .or_insert_with(|| Some(BTreeSet::new()))
            {
                bad.extend(slots);
            }
        }
        Ok(())
    }

    fn bad_pack(&self, kind: PackKind, pack: PackId, damage: Damage) {
        let mut found = self.found();
        found.damage.insert(damage);
        found.bad.insert((kind, pack), None);
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
