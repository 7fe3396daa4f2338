//! Several writers of one series: who proceeds, who gives way, who is fenced.

use std::{sync::Arc, time::Duration};

use agent::{
    JobError,
    job::{BackupReport, BackupRequest},
};
use bytes::Bytes;
use repository::{
    Manifest, MapRoot, PackId, Repository, RepositoryError, Session,
    layout::{self, PackKind},
    session::SessionRequest,
    store::{MemoryStore, wrap::Delayed},
};
use support::{Aged, Model, SERIES, World, force, names, noise};
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;
/// Longer than a living writer is ever silent.
const SILENCE: Duration = Duration::from_secs(601);

async fn world() -> World {
    World::create(Arc::new(MemoryStore::new())).await
}

/// Begins a session of the series that suites back up.
async fn begin(
    repository: &Repository,
    request: SessionRequest,
) -> Result<Session, RepositoryError> {
    Session::begin(
        repository,
        SessionRequest {
            series: SERIES.to_owned(),
            ..request
        },
    )
    .await
}

/// A point without any data.
fn empty() -> Manifest {
    Manifest {
        volume: Some(MapRoot::empty(16, 65_536)),
        ..Manifest::default()
    }
}

fn is_busy(result: &Result<BackupReport, JobError>) -> bool {
    matches!(
        result,
        Err(JobError::Repository(RepositoryError::Busy { .. }))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_writer_is_not_disturbed() {
    let world = world().await;
    let repository = world.open().await.unwrap();
    let living = begin(&repository, SessionRequest::default()).await.unwrap();
    let refused = world.backup(&noise(MIB, 1), BackupRequest::default()).await;
    assert!(is_busy(&refused), "{refused:?}");
    // The one that was refused left nothing behind.
    let intents = names(&*world.store, &layout::sessions()).await;
    assert_eq!(intents, [layout::intent(living.id())]);
    living.commit(empty()).await.unwrap();
    world
        .backup(&noise(MIB, 1), BackupRequest::default())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_other_series_do_not_meet() {
    let world = world().await;
    let repository = world.open().await.unwrap();
    let living = begin(&repository, SessionRequest::default()).await.unwrap();
    let request = BackupRequest {
        series: "another".to_owned(),
        ..BackupRequest::default()
    };
    world.backup(&noise(MIB, 1), request).await.unwrap();
    living.commit(empty()).await.unwrap();
}

/// Takes a series over from a session that goes on all the same, and lets that one commit.
async fn take_over(request: BackupRequest, take: SessionRequest) {
    let world = world().await;
    let mut model = Model::new();
    let contents = noise(MIB, 1);
    let report = world
        .backup(&contents, BackupRequest::default())
        .await
        .unwrap();
    model.insert(report.point.id, Arc::new(contents));

    let repository = world.open().await.unwrap();
    let slow = begin(&repository, take).await.unwrap();
    let contents = noise(MIB, 2);
    let report = world.backup(&contents, request).await.unwrap();
    assert_eq!(report.adopted_sessions, [slow.id()]);
    model.insert(report.point.id, Arc::new(contents));

    let fenced = slow.commit(empty()).await;
    assert!(
        matches!(fenced, Err(RepositoryError::Fenced { .. })),
        "{fenced:?}"
    );
    world.check(&model).await.unwrap();
    let left = names(&*world.store, &layout::sessions()).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_taken_over_by_force_cannot_commit() {
    take_over(force(), SessionRequest::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_died_the_newest_are_taken_over() {
    let world = world().await;
    let repository = world.open().await.unwrap();
    let take_over = SessionRequest {
        force: true,
        ..SessionRequest::default()
    };
    let mut died = Vec::new();
    for number in 0..20 {
        let id = begin(&repository, take_over.clone()).await.unwrap().id();
        if number % 5 != 0 {
            let pack = layout::pack(PackKind::Data, PackId::new(id, 0));
            world
                .store
                .put_new(&pack, Bytes::from_static(b"pack"))
                .await
                .unwrap();
        }
        died.push(id);
    }
    let next = begin(&repository, take_over).await.unwrap();
    // Those that left nothing do not count: 16 of the 20 have a pack.
    let adopted = next.adopted().sessions();
    assert_eq!(adopted.len(), 19);
    assert!(
        died[1..].iter().all(|id| adopted.contains(id)),
        "{adopted:?}"
    );
}

/// To look at what the dead left takes minutes on a slow store: whoever does it must not count as dead meanwhile.
#[tokio::test(start_paused = true)]
async fn a_writer_gives_signs_of_life_while_it_begins() {
    let world = world().await;
    let repository = world.open().await.unwrap();
    let dead = begin(&repository, SessionRequest::default()).await.unwrap();
    drop(dead);
    let slow = Delayed::new(Arc::clone(&world.store), SILENCE / 4);
    let repository = world.on(Arc::new(slow)).open().await.unwrap();
    let request = SessionRequest {
        force: true,
        ..SessionRequest::default()
    };
    let begun = begin(&repository, request).await.unwrap();
    let signs = names(&*world.store, &layout::sessions()).await;
    let first = layout::heartbeat(begun.id(), 0);
    assert!(signs.contains(&first), "{signs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_fence_takes_over() {
    let request = BackupRequest {
        fence: 8,
        ..BackupRequest::default()
    };
    take_over(
        request,
        SessionRequest {
            fence: 7,
            ..SessionRequest::default()
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_fence_does_not_take_over() {
    let world = world().await;
    let repository = world.open().await.unwrap();
    let _living = begin(
        &repository,
        SessionRequest {
            fence: 7,
            ..SessionRequest::default()
        },
    )
    .await
    .unwrap();
    let request = BackupRequest {
        fence: 7,
        ..BackupRequest::default()
    };
    assert!(is_busy(&world.backup(&noise(MIB, 1), request).await));
}

/// Backs up beside a writer whose newest object is as old as `age` says.
async fn beside_a_writer_of_age(age: Duration) -> Result<BackupReport, JobError> {
    let world = world().await;
    let aged = Arc::new(Aged::new(Arc::clone(&world.store)));
    let world = world.on(Arc::clone(&aged) as _);
    let repository = world.open().await.unwrap();
    let silent = begin(&repository, SessionRequest::default()).await.unwrap();
    aged.age(&layout::intent(silent.id()), age);
    world.backup(&noise(MIB, 1), BackupRequest::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_writer_is_taken_over() {
    beside_a_writer_of_age(SILENCE).await.unwrap();
    assert!(is_busy(
        &beside_a_writer_of_age(SILENCE - Duration::from_secs(10)).await
    ));
}

/// What counts is the last sign of life, not the beginning.
#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_a_writer_alive() {
    let world = world().await;
    let aged = Arc::new(Aged::new(Arc::clone(&world.store)));
    let world = world.on(Arc::clone(&aged) as _);
    let repository = world.open().await.unwrap();
    let living = begin(&repository, SessionRequest::default()).await.unwrap();
    let beat = layout::heartbeat(living.id(), 0);
    while names(&*world.store, &beat).await.is_empty() {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    aged.age(&layout::intent(living.id()), SILENCE);
    let refused = begin(&repository, SessionRequest::default()).await;
    assert!(
        matches!(refused, Err(RepositoryError::Busy { .. })),
        "{refused:?}"
    );
    aged.age(&beat, SILENCE);
    let taken_over = begin(&repository, SessionRequest::default()).await.unwrap();
    assert_eq!(taken_over.adopted().sessions(), [living.id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_start_at_once_exactly_one_proceeds() {
    for _ in 0..50 {
        let world = world().await;
        let repository = world.open().await.unwrap();
        let mut starts = JoinSet::new();
        for _ in 0..4 {
            let repository = repository.clone();
            starts.spawn(async move { begin(&repository, SessionRequest::default()).await });
        }
        let started = starts.join_all().await;
        let proceed = started.iter().filter(|session| session.is_ok()).count();
        assert_eq!(proceed, 1, "{started:?}");
        for refused in started.into_iter().filter_map(Result::err) {
            assert!(
                matches!(refused, RepositoryError::Busy { .. }),
                "{refused:?}"
            );
        }
        assert_eq!(names(&*world.store, &layout::sessions()).await.len(), 1);
    }
}

/// Two writers that do not see each other, as on a store that lists late: both points stay and say so.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_commit_leave_siblings() {
    let world = world().await;
    let mut model = Model::new();
    let first = noise(MIB, 1);
    let report = world
        .backup(&first, BackupRequest::default())
        .await
        .unwrap();
    let parent = report.point.id;
    model.insert(parent, Arc::new(first));

    let repository = world.open().await.unwrap();
    let blind = begin(&repository, SessionRequest::default()).await.unwrap();
    // Its intent is not seen.
    let intent = layout::intent(blind.id());
    let body = world.store.get(&intent, u64::MAX).await.unwrap();
    world.store.delete(&intent).await.unwrap();
    let second = noise(MIB, 2);
    let report = world
        .backup(&second, BackupRequest::default())
        .await
        .unwrap();
    model.insert(report.point.id, Arc::new(second));
    world.store.put_new(&intent, body).await.unwrap();
    let other = blind.commit(empty()).await.unwrap();
    model.insert(other.id, Arc::new(vec![0; 65_536]));

    world.check(&model).await.unwrap();
    let points = world.points().await.unwrap();
    let siblings: Vec<_> = points
        .iter()
        .map(|point| (point.manifest.parent, point.sibling))
        .collect();
    assert_eq!(
        siblings,
        [(None, false), (Some(parent), true), (Some(parent), true)]
    );
}

/// A session that ended without a point, in a process that goes on, stands in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_failed_is_run_again_by_the_same_process() {
    let world = world().await;
    let control = support::control();
    control.cancel.cancel();
    let contents = noise(MIB, 1);
    let cancelled = world
        .backup_under(&contents, BackupRequest::default(), &control)
        .await;
    assert!(
        matches!(cancelled, Err(JobError::Cancelled)),
        "{cancelled:?}"
    );
    let report = world
        .backup(&contents, BackupRequest::default())
        .await
        .expect("nobody else is there");
    world
        .check(&Model::from([(report.point.id, Arc::new(contents))]))
        .await
        .unwrap();
}
