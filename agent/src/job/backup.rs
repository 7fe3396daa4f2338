//! Backup: find what changed since the parent, read that, commit a point.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use repository::{
    ChangeMethod, Compression, Manifest, MapRoot, Point, Repository, SessionId, SourceFacts, Stats,
    format::{CHUNK_LOG2_MAX, CHUNK_LOG2_MIN, chunk_log2_default},
    session::{Checkpoint, Session, SessionRequest},
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    changes::Extents,
    pipeline::{self, Known, Output},
    progress::Progress,
    source::Volume,
};
use crate::{control::Control, error::JobError};

/// Unchanged chunks that are read all the same when a list of changes is believed: this many,
const SPOT_CHECKS_MIN: u64 = 64;
/// or one for each twenty that are read for changes,
const SPOT_CHECKS_SHARE: u64 = 20;
/// but no more than this.
const SPOT_CHECKS_MAX: u64 = 1024;

/// What to back up, as what.
#[derive(Clone, Debug, Default)]
pub struct BackupRequest {
    /// What the source's points belong to.
    pub series: String,
    /// What the user calls the point.
    pub tags: Vec<String>,
    /// Host that the source is on.
    pub host: String,
    /// Facts of whoever orders this: plan, PVC, PV.
    pub origin: BTreeMap<String, String>,
    /// The coordinator's run.
    pub run: String,
    /// Which attempt of the run.
    pub attempt: u32,
    /// The coordinator's fence.
    pub fence: u64,
    /// Handle of the immutable snapshot being read.
    pub handle: Option<String>,
    /// What is known about changes.
    pub changes: Option<ChangeHint>,
    /// Why nothing is known although a list was to be made. The point records it.
    pub no_changes: Option<String>,
    /// Chunk size, as a power of two, instead of the parent's or the default.
    pub chunk_log2: Option<u8>,
    /// How hard to compress.
    pub compression: Compression,
    /// Take over from a writer that shows signs of life.
    pub force: bool,
}

/// A list of what changed since a snapshot.
#[derive(Clone, Debug)]
pub struct ChangeHint {
    /// Handle of that snapshot. The list is used only against the point that was made from it.
    pub base: String,
    /// What changed.
    pub extents: Extents,
}

/// How changes were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The way that was taken.
    pub method: ChangeMethod,
    /// Why a better one was not.
    pub fallback: Option<String>,
}

/// What a backup did.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The new point.
    pub point: Point,
    /// How changes were found.
    pub changes: Changes,
    /// Offset from which an interrupted run was continued without reading what came before.
    pub resumed_at: Option<u64>,
    /// Sessions of interrupted runs whose packs were taken over.
    pub adopted_sessions: Vec<SessionId>,
    /// What it read, found new and uploaded.
    pub stats: Stats,
    /// How long it took.
    pub duration: Duration,
}

/// Backs up a volume.
///
/// # Errors
/// Nothing is visible in the repository then, and what was uploaded is taken over by the next run.
pub async fn backup(
    repository: &Repository,
    volume: Arc<dyn Volume>,
    request: BackupRequest,
    control: &Control,
) -> Result<BackupReport, JobError> {
    let began = Instant::now();
    let session = Arc::new(Session::begin(repository, session_request(&request)).await?);
    let mut plan = Plan::make(&request, volume.bytes(), &session, true);
    tell_begin(&session, &plan);
    Progress::add(&control.progress.total_bytes, volume.bytes());
    let output = loop {
        match attempt(&session, &volume, &request, &plan, control).await {
            Err(JobError::SpotCheck { offset }) if plan.spot_checks > 0 => {
                warn!(offset, "the list of changes is wrong: comparing everything");
                plan = plan.without_hint(offset);
                begin_again(control, volume.bytes());
                // What came before was believed too: a run that goes on from here must not believe it.
                if let Err(error) = session.checkpoint(&plan.nothing_done(&session)).await {
                    break Err(error.into());
                }
            }
            // It only saves work, and no verify would ever say that it is damaged.
            Err(JobError::Repository(error)) if plan.uses_checkpoint && error.is_damage() => {
                warn!(%error, "a checkpoint cannot be used: starting over");
                plan = Plan::make(&request, volume.bytes(), &session, false);
                begin_again(control, volume.bytes());
            }
            other => break other,
        }
    };
    // What was read is a volume only if nobody wrote to it or replaced it meanwhile.
    let output = output.and_then(|output| {
        volume.check()?;
        control.go_on()?;
        Ok(output)
    });
    let adopted_sessions = session.adopted().sessions().to_vec();
    let session = Arc::into_inner(session).ok_or(repository::RepositoryError::Internal)?;
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            info!(session = %session.id(), uploaded_bytes = session.uploaded_bytes(), "session ended without a point");
            session.abandon().await;
            return Err(error);
        }
    };
    let changes = plan.changes.clone();
    let point = session
        .commit(manifest(&request, &*volume, &changes, output))
        .await?;
    let (stats, duration) = (point.manifest.stats, began.elapsed());
    info!(
        point = %point.id,
        volume_bytes = volume.bytes(),
        read_bytes = stats.read_bytes,
        new_bytes = stats.new_bytes,
        uploaded_bytes = stats.uploaded_bytes,
        adopted_bytes = stats.adopted_bytes,
        duration_ms = duration.as_millis(),
        "recovery point committed"
    );
    Ok(BackupReport {
        stats,
        point,
        changes,
        resumed_at: plan.resumed_at,
        adopted_sessions,
        duration,
    })
}

/// A point has the id of the session that commits it.
fn tell_begin(session: &Session, plan: &Plan) {
    let id = session.id();
    let parent = session.parent().map(|parent| parent.id.to_string());
    let method = format!("{:?}", plan.changes.method).to_ascii_lowercase();
    info!(session = %id, parent, method, "session begun");
    for adopted in session.adopted().sessions() {
        info!(session = %id, %adopted, "interrupted session adopted");
    }
    if let Some(offset) = plan.resumed_at {
        info!(session = %id, offset, "going on from a checkpoint");
    }
    if let Some(reason) = &plan.changes.fallback {
        info!(session = %id, reason, "no better way to find changes");
    }
}

fn session_request(request: &BackupRequest) -> SessionRequest {
    SessionRequest {
        series: request.series.clone(),
        run: request.run.clone(),
        attempt: request.attempt,
        fence: request.fence,
        force: request.force,
    }
}

/// All of the volume is to be done once more.
fn begin_again(control: &Control, volume_bytes: u64) {
    let Progress {
        total_bytes,
        done_bytes,
        ..
    } = &*control.progress;
    total_bytes.store(Progress::get(done_bytes) + volume_bytes, Relaxed);
}

/// Runs the pipeline once.
async fn attempt(
    session: &Arc<Session>,
    volume: &Arc<dyn Volume>,
    request: &BackupRequest,
    plan: &Plan,
    control: &Control,
) -> Result<Output, JobError> {
    // New for each attempt: one that failed knows chunks of packs that were never uploaded.
    let known = Arc::new(Known::new(control.memory_bytes));
    let repository = session.repository();
    let adopted = session.adopted();
    let adopt = |reference| known.adopt(reference, plan.chunk_log2);
    control
        .unless_cancelled(adopted.chunks(repository, adopt))
        .await??;
    let input = pipeline::Input {
        volume: Arc::clone(volume),
        chunk_log2: plan.chunk_log2,
        base: plan.base,
        hint: plan.hint,
        work: plan.work.clone(),
        spot_checks: plan.spot_checks,
        compression: request.compression,
        handle: request.handle.clone(),
    };
    pipeline::run(Arc::clone(session), input, known, control).await
}

fn manifest(
    request: &BackupRequest,
    volume: &dyn Volume,
    changes: &Changes,
    output: Output,
) -> Manifest {
    let facts = volume.facts();
    Manifest {
        tags: request.tags.clone(),
        source: SourceFacts {
            host: request.host.clone(),
            path: facts.path,
            kind: facts.kind,
            handle: request.handle.clone(),
            method: Some(changes.method),
            fallback: changes.fallback.clone(),
            live: facts.live,
            origin: request.origin.clone(),
            unchecked: facts.unchecked,
        },
        volume: Some(output.map),
        stats: Stats {
            read_bytes: output.counts.read_bytes,
            new_bytes: output.counts.new_bytes,
            adopted_bytes: output.counts.adopted_bytes,
            ..Stats::default()
        },
        compression: request.compression,
        ..Manifest::default()
    }
}

/// What to read, and what the rest is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    volume_bytes: u64,
    chunk_log2: u8,
    changes: Changes,
    base: Option<MapRoot>,
    hint: Option<MapRoot>,
    work: Vec<Range<u64>>,
    spot_checks: u64,
    resumed_at: Option<u64>,
    /// Something is taken from the checkpoint of an interrupted run.
    uses_checkpoint: bool,
    /// Everything, if the list of changes proves wrong.
    everything: Range<u64>,
    parent: Option<MapRoot>,
}

impl Plan {
    fn make(
        request: &BackupRequest,
        volume_bytes: u64,
        session: &Session,
        with_checkpoint: bool,
    ) -> Self {
        let parent = session.parent();
        let parent_map = parent.and_then(|parent| parent.manifest.volume);
        let chunk_log2 = request
            .chunk_log2
            .or(parent_map.map(|map| map.chunk_log2))
            .unwrap_or_else(|| chunk_log2_default(volume_bytes))
            .clamp(CHUNK_LOG2_MIN, CHUNK_LOG2_MAX);
        let base = parent_map.filter(|map| map.chunk_log2 == chunk_log2);
        let everything = 0..volume_bytes.div_ceil(1 << chunk_log2);
        let (mut changes, extents) = choose(request, parent, base, chunk_log2);
        if let Some(passed_over) = session.passed_over() {
            let because = changes
                .fallback
                .map(|reason| format!("{passed_over}; {reason}"));
            changes.fallback = because.or_else(|| Some(passed_over.to_owned()));
        }
        let work = match (extents, base) {
            (Some(extents), Some(base)) => changed_chunks(extents, base, volume_bytes),
            _ => Vec::from([everything.clone()]),
        };
        let plan = Self {
            volume_bytes,
            chunk_log2,
            spot_checks: if changes.method == ChangeMethod::Extents {
                spot_checks(&work)
            } else {
                0
            },
            changes,
            base,
            hint: None,
            work,
            resumed_at: None,
            uses_checkpoint: false,
            everything,
            parent: base,
        };
        let fits = |checkpoint: &&Checkpoint| {
            with_checkpoint
                && checkpoint.map.chunk_log2 == chunk_log2
                && checkpoint.map.volume_bytes == volume_bytes
                // What it took from another point nobody vouches for: that one may be damaged by now.
                && checkpoint.parent == parent.map(|parent| parent.id)
        };
        match session.adopted().checkpoint().filter(fits) {
            None => plan,
            Some(checkpoint) => {
                let same_snapshot = request.handle.is_some()
                    && checkpoint.handle == request.handle
                    && session.adopted().cursor_holds();
                if same_snapshot {
                    plan.continued(checkpoint)
                } else {
                    Self {
                        hint: Some(checkpoint.map),
                        uses_checkpoint: true,
                        ..plan
                    }
                }
            }
        }
    }

    /// Goes on where an interrupted run of the very same snapshot had come.
    fn continued(self, checkpoint: &Checkpoint) -> Self {
        let cursor = checkpoint.cursor.min(self.everything.end);
        let rest = self
            .work
            .iter()
            .map(|range| range.start.max(cursor)..range.end);
        Self {
            base: Some(checkpoint.map),
            work: rest.filter(|range| !range.is_empty()).collect(),
            // The interrupted run may have believed a list that lacked changes.
            spot_checks: self.spot_checks.max(SPOT_CHECKS_MIN),
            resumed_at: Some(cursor << self.chunk_log2),
            uses_checkpoint: true,
            ..self
        }
    }

    /// A checkpoint that says that nothing was done yet.
    fn nothing_done(&self, session: &Session) -> Checkpoint {
        let bytes = self.volume_bytes;
        Checkpoint {
            map: self.base.unwrap_or(MapRoot::empty(self.chunk_log2, bytes)),
            parent: session.parent().map(|parent| parent.id),
            cursor: 0,
            packs_before: 0,
            handle: None,
        }
    }

    /// Compares everything, since the list of changes lacked `offset`.
    fn without_hint(self, offset: u64) -> Self {
        let fallback =
            format!("a spot check found a change at byte {offset} that the list of changes lacks");
        Self {
            changes: Changes {
                method: ChangeMethod::Compare,
                fallback: Some(fallback),
            },
            base: self.parent,
            work: Vec::from([self.everything.clone()]),
            spot_checks: 0,
            resumed_at: None,
            ..self
        }
    }
}

/// Chooses the way, and says why it is no better one.
fn choose<'a>(
    request: &'a BackupRequest,
    parent: Option<&Point>,
    base: Option<MapRoot>,
    chunk_log2: u8,
) -> (Changes, Option<&'a Extents>) {
    let fallback = |method, reason: Option<String>| {
        (
            Changes {
                method,
                fallback: reason,
            },
            None,
        )
    };
    let hint = request.changes.as_ref();
    let (Some(parent), true) = (parent, base.is_some()) else {
        let reason = match parent {
            None if hint.is_some() => Some("the series has no good point yet".to_owned()),
            None => request.no_changes.clone(),
            Some(_) => Some(format!(
                "chunks of {} KiB are asked for, and the last point has others",
                1 << chunk_log2 >> 10
            )),
        };
        return fallback(ChangeMethod::Everything, reason);
    };
    match (hint, &parent.manifest.source.handle) {
        (None, _) => fallback(ChangeMethod::Compare, request.no_changes.clone()),
        (Some(hint), Some(handle)) if hint.base == *handle => {
            let changes = Changes {
                method: ChangeMethod::Extents,
                fallback: None,
            };
            (changes, Some(&hint.extents))
        }
        (Some(hint), handle) => {
            let made_from = handle
                .as_deref()
                .map_or("none".to_owned(), |handle| format!("`{handle}`"));
            let reason = format!(
                "the list of changes starts from snapshot `{}`, but the last point {} was made from {made_from}",
                hint.base,
                parent.id.short(),
            );
            fallback(ChangeMethod::Compare, Some(reason))
        }
    }
}

/// Chunks that the list names, and those that a resized volume has more or that it cuts: beyond its end are zeros.
fn changed_chunks(extents: &Extents, base: MapRoot, volume_bytes: u64) -> Vec<Range<u64>> {
    let mut edge = Extents::none(volume_bytes);
    if volume_bytes != base.volume_bytes {
        edge.add(base.volume_bytes.min(volume_bytes.saturating_sub(1))..volume_bytes);
    }
    let changed = extents
        .union(&edge)
        .intersection(&Extents::all(volume_bytes));
    changed.chunks(u32::from(base.chunk_log2)).collect()
}

fn spot_checks(work: &[Range<u64>]) -> u64 {
    let read: u64 = work.iter().map(|range| range.end - range.start).sum();
    (read / SPOT_CHECKS_SHARE).clamp(SPOT_CHECKS_MIN, SPOT_CHECKS_MAX)
}
