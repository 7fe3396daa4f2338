//! How a session begins. The order of steps matters; each is named as in `FORMAT.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64},
    },
    time::SystemTime,
};

use futures::{StreamExt, stream};
use tokio::{sync::Mutex, task::JoinSet};

use super::{
    Parent, Result, SILENCE_MAX, Session, adopt, beat, give_up, index_point, records::Intent,
    remove_session_objects,
};
use crate::{
    clock,
    error::RepositoryError,
    id::{Nonce, SessionId},
    layout::{self, SessionObject},
    point::{Point, Register, RegisterKind},
    process::Process,
    record::RecordKind,
    repository::{Repository, VERSION},
    store::{ErrorKind, list_all},
    superblock::Operation,
};

/// What a session is about to do.
#[derive(Clone, Debug, Default)]
pub struct SessionRequest {
    /// What the source's points belong to.
    pub series: String,
    /// The coordinator's run, if any.
    pub run: String,
    /// Which attempt of the run.
    pub attempt: u32,
    /// The coordinator's fence.
    pub fence: u64,
    /// Take over from a writer that shows signs of life.
    pub force: bool,
}

/// Times a session begins anew because another one committed while it began.
const ATTEMPTS: usize = 4;
/// With more sessions than these, the index of points is asked which of them committed: where nobody may delete, every one
/// that ever was is still there.
const LOOKED_AT: usize = 16;
/// Intents that are read at the same time.
const REQUESTS: usize = 32;

pub(super) async fn begin(repository: &Repository, request: SessionRequest) -> Result<Session> {
    repository.require(Operation::Write).await?;
    for _ in 0..ATTEMPTS {
        if let Some(session) = attempt(repository, &request).await? {
            return Ok(session);
        }
    }
    Err(RepositoryError::Busy {
        series: request.series,
        writer: "several at once".to_owned(),
    })
}

/// One attempt; `None` when another writer committed meanwhile.
async fn attempt(repository: &Repository, request: &SessionRequest) -> Result<Option<Session>> {
    // A0: the era. This version cannot work beside prune, so none may have run.
    refuse_pruned(repository).await?;
    let started_ms = clock::now_ms();
    let (parent, passed_over) = repository.newest(&request.series).await?;
    let id = SessionId::draw(0);
    // A1: the intent, before anything is referred to.
    let intent = Intent {
        series: request.series.clone(),
        run: request.run.clone(),
        attempt: request.attempt,
        fence: request.fence,
        parent: parent.as_ref().map(|point| point.id),
        process: Process::current(),
        started_ms,
    };
    repository
        .put_record(&layout::intent(id), RecordKind::Intent, &intent)
        .await?;
    match continue_after_intent(repository, request, id, (parent, passed_over), started_ms).await {
        Ok(Some(session)) => Ok(Some(session)),
        // Nothing was written under this id but its intent and signs of life.
        other => {
            if !remove_session_objects(repository, id).await {
                // An intent that stays would keep others waiting, and theirs us, and this one the next attempt.
                give_up(repository, id).await;
            }
            other
        }
    }
}

async fn continue_after_intent(
    repository: &Repository,
    request: &SessionRequest,
    id: SessionId,
    (parent, passed_over): (Option<Point>, Option<String>),
    started_ms: u64,
) -> Result<Option<Session>> {
    // A2: the same era still.
    refuse_pruned(repository).await?;
    // To look at what many others left takes its time: nobody must think meanwhile that this writer is dead.
    let mut tasks = JoinSet::new();
    tasks.spawn(beat(repository.clone(), id));
    let mut others = Others::list(repository, id).await?;
    if others.seen.len() > LOOKED_AT {
        let committed = committed(repository, &request.series, parent.as_ref()).await?;
        others.seen.retain(|other, _| !committed.contains(other));
    }
    let others = others.of_series(repository, &request.series, id).await?;
    let mut dead = Vec::new();
    for other in others {
        match resolve(repository, request, id, &other).await? {
            Resolved::Dead => dead.push(other.id),
            Resolved::GivesWay => {}
            Resolved::Committed(point) => {
                // It ended between its commit and its clean-up.
                index_point(repository, &point).await;
                let newest = parent
                    .as_ref()
                    .map_or(0, |parent| parent.manifest.finished_ms);
                remove_session_objects(repository, point.id).await;
                // One that was forgotten or is damaged was passed over as our parent, and would be again.
                let newer = point.manifest.finished_ms > newest;
                if newer && repository.live_point(point.id).await?.is_some() {
                    return Ok(None);
                }
            }
        }
    }
    // A3: the parent, once more, now that it is pinned.
    let parent = match parent {
        None => None,
        Some(parent) => pinned(repository, parent.id).await?,
    };
    let adopted = adopt::adopt(repository, &dead).await?;
    Ok(Some(Session {
        repository: repository.clone(),
        id,
        request: request.clone(),
        parent,
        passed_over,
        adopted,
        started_ms,
        next_data_pack: Arc::new(AtomicU32::new(0)),
        next_page_pack: Arc::new(AtomicU32::new(1)),
        next_checkpoint: AtomicU32::new(0),
        uploaded_bytes: AtomicU64::new(0),
        uploaded_packs: AtomicU64::new(0),
        tasks: Mutex::new(tasks),
    }))
}

async fn refuse_pruned(repository: &Repository) -> Result<()> {
    let rounds = repository
        .store()
        .list(&layout::prune_rounds(), None)
        .await?;
    match rounds.entries.first() {
        None => Ok(()),
        Some(round) => Err(RepositoryError::Newer {
            what: format!("writing beside prune (`{}`)", round.name),
            version: VERSION,
        }),
    }
}

async fn pinned(repository: &Repository, id: SessionId) -> Result<Option<Parent>> {
    let Some(point) = repository.live_point(id).await? else {
        return Ok(None);
    };
    let digest = repository
        .register_digest(id)
        .await?
        .map(|(_, digest)| digest);
    Ok(digest.map(|digest| Parent { point, digest }))
}

/// Another session of the same series that left something behind.
struct Other {
    id: SessionId,
    intent: Intent,
    /// When it began, by the store's time.
    began: SystemTime,
    /// It began before ours: of two that begin at once, the later one gives way.
    earlier: bool,
    /// Silent for longer than a writer that is at work, by the store's time.
    silent: bool,
}

/// Sessions that left something behind, by what the listing says of them.
struct Others {
    /// When each began, if its intent is there, and when it last gave a sign of life.
    seen: BTreeMap<SessionId, (Option<SystemTime>, SystemTime)>,
    /// The store's now.
    now: SystemTime,
}

impl Others {
    async fn list(repository: &Repository, ours: SessionId) -> Result<Self> {
        let entries = list_all(&**repository.store(), &layout::sessions()).await?;
        let mut seen: BTreeMap<SessionId, (Option<SystemTime>, SystemTime)> = BTreeMap::new();
        for entry in &entries {
            let Some((id, object)) = layout::parse_session_object(&entry.name) else {
                continue;
            };
            let (began, last) = seen.entry(id).or_insert((None, entry.modified));
            *last = entry.modified.max(*last);
            if object == SessionObject::Intent {
                *began = Some(entry.modified);
            }
        }
        // Our own intent was written a moment ago: its time is the store's now.
        let now = seen
            .remove(&ours)
            .and_then(|(began, _)| began)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Self { seen, now })
    }

    /// Those of a series, oldest first.
    async fn of_series(
        self,
        repository: &Repository,
        series: &str,
        ours: SessionId,
    ) -> Result<Vec<Other>> {
        let now = self.now;
        let begun = self
            .seen
            .into_iter()
            .filter_map(|(id, (began, last))| Some((id, began?, last)));
        let mut intents = stream::iter(begun)
            .map(|(id, began, last)| async move {
                let name = layout::intent(id);
                let intent = repository.get_record::<Intent>(&name, RecordKind::Intent);
                (id, began, last, intent.await)
            })
            .buffered(REQUESTS);
        let mut others = Vec::new();
        while let Some((id, began, last, intent)) = intents.next().await {
            let intent = match intent {
                Ok(intent) => intent,
                // Cleaned up meanwhile, or nothing that anybody could go on from.
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            if intent.series == series {
                let silent = now.duration_since(last).unwrap_or_default() > SILENCE_MAX;
                others.push(Other {
                    id,
                    intent,
                    began,
                    earlier: (began, id) < (now, ours),
                    silent,
                });
            }
        }
        others.sort_by_key(|other| (other.began, other.id));
        Ok(others)
    }
}

/// Sessions that committed, as the index names them: of this series only those that were there when its newest point was
/// looked for, since a later one must be noticed.
async fn committed(
    repository: &Repository,
    series: &str,
    newest: Option<&Point>,
) -> Result<BTreeSet<SessionId>> {
    let hash = repository.keys().series_hash(series);
    let of_series = layout::series_points(&hash);
    let newest =
        newest.map(|point| layout::series_point(&hash, point.manifest.finished_ms, point.id));
    // Names go from the newest to the oldest.
    let was_there = |name: &str| newest.as_deref().is_some_and(|newest| name >= newest);
    let entries = list_all(&**repository.store(), &layout::points_index()).await?;
    let names = entries.iter().map(|entry| entry.name.as_str());
    let names = names.filter(|name| !name.starts_with(&of_series) || was_there(name));
    Ok(names.filter_map(layout::parse_indexed_point).collect())
}

enum Resolved {
    /// It can never commit.
    Dead,
    /// It began after us and will find us.
    GivesWay,
    /// It committed.
    Committed(Box<Point>),
}

/// Finds out how another session ended, and ends it if it is gone: it may never commit then.
async fn resolve(
    repository: &Repository,
    request: &SessionRequest,
    ours: SessionId,
    other: &Other,
) -> Result<Resolved> {
    if let Some(resolved) = resolution(repository, other.id).await? {
        return Ok(resolved);
    }
    // A coordinator that fences a writer has given its work to us.
    let fenced = request.force || request.fence > other.intent.fence;
    let gone = fenced || other.silent || other.intent.process.is_gone();
    if !gone && other.earlier {
        let writer = format!(
            "process {} on {}, session {}",
            other.intent.process.pid,
            other.intent.process.host,
            other.id.short()
        );
        return Err(RepositoryError::Busy {
            series: request.series.clone(),
            writer,
        });
    }
    if !gone {
        return Ok(Resolved::GivesWay);
    }
    let tombstone = Register {
        kind: RegisterKind::Tombstone,
        nonce: Nonce::draw(),
        manifest: None,
        by: Some(ours),
    };
    match repository
        .put_record(
            &layout::register(other.id),
            RecordKind::Manifest,
            &tombstone,
        )
        .await
    {
        Ok(()) => Ok(Resolved::Dead),
        Err(error) if error.kind() == ErrorKind::Exists => {
            let resolved = resolution(repository, other.id).await?;
            resolved.ok_or_else(|| {
                RepositoryError::damaged(layout::register(other.id), "it exists and cannot be read")
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// How a session ended; `None` when it has not. One whose register is damaged can no longer commit: its name is taken.
async fn resolution(repository: &Repository, id: SessionId) -> Result<Option<Resolved>> {
    let register = match repository.register(id).await {
        Ok(register) => register,
        Err(error) if error.is_damage() => {
            tracing::warn!(session = %id, %error, "a session ended nobody knows how");
            return Ok(Some(Resolved::Dead));
        }
        Err(error) => return Err(error),
    };
    Ok(
        register.map(|register| match (register.kind, register.manifest) {
            (RegisterKind::Backup, Some(manifest)) => Resolved::Committed(Box::new(Point {
                id,
                manifest,
                bad: false,
                sibling: false,
            })),
            _ => Resolved::Dead,
        }),
    )
}
