//! Whoever may not delete: what others left stays where it is, and stops nobody.

use std::{sync::Arc, time::Duration};

use agent::job::{self, BackupRequest, VerifyRequest};
use repository::{
    PackId, Point, Session, SessionId,
    layout::{self, PackKind},
    session::SessionRequest,
    store::{
        ErrorKind, MemoryStore, SharedStore,
        wrap::{Delayed, Fault, Faulty, Recorded, Verb},
    },
};
use support::{SERIES, World, control, names, noise};

const MIB: usize = 1 << 20;

/// Refuses to delete.
fn undeletable(store: &SharedStore) -> SharedStore {
    Arc::new(Faulty::new(Arc::clone(store), |call| {
        (call.verb == Verb::Delete).then_some(Fault::Before(ErrorKind::Denied))
    }))
}

/// A repository, and the same one as somebody sees it who may not delete.
async fn worlds() -> (World, World) {
    let all = World::create(Arc::new(MemoryStore::new())).await;
    let restrained = all.on(undeletable(&all.store));
    (all, restrained)
}

async fn backup(world: &World, seed: u64) -> Point {
    let report = world
        .backup(&noise(MIB, seed), BackupRequest::default())
        .await;
    report.expect("a backup").point
}

/// Takes away the entry of a point in the index.
async fn unindex(world: &World, point: SessionId) {
    let index = names(&*world.store, &layout::points_index()).await;
    let of_point = |name: &&String| layout::parse_indexed_point(name) == Some(point);
    let entry = index.iter().find(of_point).expect("its entry");
    world.store.delete(entry).await.unwrap();
}

fn data_of(point: SessionId) -> String {
    layout::pack(PackKind::Data, PackId::new(point, 0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newest_point_that_is_damaged_or_forgotten_stops_no_backup() {
    let (all, restrained) = worlds().await;
    let first = backup(&restrained, 1).await;
    let second = backup(&restrained, 2).await;
    assert_eq!(second.manifest.parent, Some(first.id));
    all.store.delete(&data_of(second.id)).await.unwrap();
    all.verify(100).await.expect("a report");
    let third = backup(&restrained, 3).await;
    assert_eq!(third.manifest.parent, Some(first.id));
    let repository = restrained.open().await.unwrap();
    repository.forget(&[third.id], "test", true).await.unwrap();
    let fourth = backup(&restrained, 4).await;
    assert_eq!(fourth.manifest.parent, Some(first.id));
}

/// It begins anew when it learns of a newer point, beside the intent that it cannot take back.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_of_ones_own_is_no_other_writer() {
    let (all, restrained) = worlds().await;
    backup(&restrained, 1).await;
    let newest = backup(&restrained, 2).await;
    unindex(&all, newest.id).await;
    let next = backup(&restrained, 3).await;
    assert_eq!(next.manifest.parent, Some(newest.id));
}

/// Else writers that come again and again shut each other out, though nobody is at work.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_refused_shuts_out_nobody() {
    let (_, restrained) = worlds().await;
    let repository = restrained.open().await.unwrap();
    let request = SessionRequest {
        series: SERIES.to_owned(),
        ..SessionRequest::default()
    };
    let living = Session::begin(&repository, request).await.unwrap();
    for _ in 0..2 {
        let refused = restrained
            .backup(&noise(MIB, 1), BackupRequest::default())
            .await;
        refused.expect_err("another writer is at work");
    }
    living.abandon().await;
    backup(&restrained, 1).await;
}

/// Requests of a backup of what is known already.
async fn requests(world: &World) -> usize {
    let recorded = Recorded::new(Arc::clone(&world.store));
    backup(&world.on(Arc::new(recorded.clone())), 1).await;
    recorded.records().len()
}

/// Else the thousandth backup would spend minutes looking at those before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_is_not_looked_at_each_time() {
    let (_, restrained) = worlds().await;
    backup(&restrained, 1).await;
    let few = requests(&restrained).await;
    for number in 0..60 {
        let request = BackupRequest {
            series: ["another", SERIES][number % 2].to_owned(),
            ..BackupRequest::default()
        };
        let done = restrained.backup(&noise(MIB, 1), request).await;
        done.expect("a backup");
    }
    let many = requests(&restrained).await;
    assert!(many <= few + 12, "{few} requests at first, {many} later");
}

/// One that commits meanwhile must be noticed, however many there were before.
#[tokio::test(flavor = "multi_thread")]
async fn among_many_a_newer_one_is_noticed() {
    let (all, restrained) = worlds().await;
    for _ in 0..30 {
        backup(&restrained, 1).await;
    }
    let newest = backup(&restrained, 2).await;
    // It had not written its entry yet when the next one looked for its parent.
    unindex(&all, newest.id).await;
    let next = backup(&restrained, 3).await;
    assert_eq!(next.manifest.parent, Some(newest.id));
}

/// A point that is marked as damaged, and whole.
async fn healed(world: &World) -> SessionId {
    let point = backup(world, 1).await.id;
    let pack = data_of(point);
    let body = world.store.get(&pack, u64::MAX).await.unwrap();
    world.store.delete(&pack).await.unwrap();
    let report = world.verify(100).await.expect("a report");
    assert_eq!(report.bad_points, [point]);
    world.store.put_new(&pack, body).await.unwrap();
    point
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_may_not_be_taken_away_is_told() {
    let (all, restrained) = worlds().await;
    let point = healed(&all).await;
    let report = restrained.verify(100).await.expect("a report");
    assert_eq!(report.marks_left, [point]);
    assert_eq!((report.bad_points, report.not_recorded), (Vec::new(), None));
    let report = all.verify(100).await.expect("a report");
    assert_eq!((report.marks_left, report.bad_points), (vec![], vec![]));
    assert!(names(&*all.store, &layout::bad_points()).await.is_empty());
}

/// A slow verify of a part, beside a quick one of everything at any moment of it.
#[tokio::test(start_paused = true)]
async fn a_mark_that_was_taken_away_meanwhile_is_not_put_back() {
    const CALL: Duration = Duration::from_secs(60);
    for minute in 0..40 {
        let (all, _) = worlds().await;
        healed(&all).await;
        let slow = all.on(Arc::new(Delayed::new(Arc::clone(&all.store), CALL)));
        let part = async {
            let repository = slow.open().await.unwrap();
            let request = VerifyRequest {
                read_data_percent: 50,
                ..VerifyRequest::default()
            };
            job::verify(&repository, request, &control()).await
        };
        let everything = async {
            tokio::time::sleep(CALL * minute + CALL / 2).await;
            all.verify(100).await
        };
        let (part, everything) = tokio::join!(part, everything);
        part.expect("a report");
        everything.expect("a report");
        let marks = names(&*all.store, &layout::bad_points()).await;
        assert!(marks.is_empty(), "minute {minute}: {marks:?}");
    }
}
