//! Fills a repository with an object of every kind.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use agent::{
    job::{self, BackupRequest, VerifyRequest},
    progress::Progress,
};
use repository::{
    PackId, Secret, Session, SessionId, layout, layout::PackKind, session::SessionRequest,
    store::wrap::Recorded, verify::Asked,
};
use support::{Fleeting, Lives, MemoryVolume, SERIES, Watched, World, control, names, noise};

use crate::fixture::{Kind, Name, Place, Points};

const CHUNK: usize = 64 << 10;
/// Chunks of a volume are this far apart, so that each is read by itself.
const APART: usize = 1 << 20;
/// Two leaves of a map.
const VOLUME: usize = 18 * APART;
/// Chunks in the first leaf.
const FIRST_LEAF: usize = 16;
/// A session that never was.
const NOBODY: SessionId = SessionId::from_bytes([
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
]);

/// Writes chunks of noise at these places.
fn write(contents: &mut [u8], places: impl IntoIterator<Item = usize>, seed: u64) {
    for (place, number) in places.into_iter().zip(0..) {
        contents[place * APART..][..CHUNK].copy_from_slice(&noise(CHUNK, seed * 1000 + number));
    }
}

/// What changed when everything that was interrupted is run again.
pub(crate) fn next(child: &[u8]) -> Vec<u8> {
    let mut contents = child.to_vec();
    write(&mut contents, [0, FIRST_LEAF + 1], 3);
    contents
}

/// Fills a repository; says what its points hold and which objects there are.
pub(crate) async fn fill(
    world: &World,
    second: &Secret,
    seed: u64,
) -> (Points, BTreeMap<Kind, Place>) {
    let mut points = Points::new();
    let mut add = async |name: Name, series: &str, contents: &[u8]| {
        let id = backup(world, series, &format!("{name:?}"), contents).await;
        points.insert(name, (id, contents.to_vec()));
        id
    };
    let mut contents = vec![0; VOLUME];
    write(&mut contents, 0..VOLUME / APART, seed * 10);
    let old = add(Name::Old, SERIES, &contents).await;
    write(&mut contents, [1, FIRST_LEAF], seed * 10 + 1);
    let parent = add(Name::Parent, SERIES, &contents).await;
    write(&mut contents, [2, 3], seed * 10 + 2);
    let child = add(Name::Child, SERIES, &contents).await;
    let mut elsewhere = vec![0; VOLUME];
    write(&mut elsewhere, [0, 1, FIRST_LEAF], seed * 10 + 3);
    let other = add(Name::Other, "other", &elsewhere).await;
    let spoilt = add(Name::Spoilt, "spoilt", &noise(CHUNK, seed * 10 + 4)).await;
    let forgotten = backup(world, "forgotten", "", &noise(CHUNK, seed * 10 + 5)).await;

    let repository = world.open().await.expect("it opens");
    let slot = repository.slots().await.expect("slots")[0].id.clone();
    let second = repository.add_slot(second, "second").await.expect("a slot");
    repository
        .forget(&[old, forgotten], "test", true)
        .await
        .expect("forgotten");
    spoil(world, spoilt).await;
    let beating = beating_session(world).await;
    // The pages of the first one's checkpoint are its own; the second one went on from there.
    let stopped = [
        stopped_half_way(world, &contents).await,
        stopped_half_way(world, &contents).await,
    ];
    let dead = crashed(world, &contents).await;
    let probe = "v/probe/0123456789abcdef/small".to_owned();
    world
        .store
        .put_new(&probe, vec![1; 100].into())
        .await
        .expect("a probe");
    let feature = format!("{}prune-later", layout::FEATURES);
    world
        .store
        .put_new(&feature, vec![1; 100].into())
        .await
        .expect("a feature");

    let place = |name: String, sibling: String, free: String| Place {
        name,
        sibling: Some(sibling),
        free,
    };
    let alone = |name: String, free: String| Place {
        name,
        sibling: None,
        free,
    };
    let pack = |kind, session: SessionId, number| layout::pack(kind, PackId::new(session, number));
    let packs = |kind, session, first| {
        place(
            pack(kind, session, first),
            pack(kind, other, first),
            pack(kind, session, first + 1000),
        )
    };
    let tables = |session: SessionId| {
        let table = |session, number| layout::slot_table(PackId::new(session, number));
        place(table(session, 0), table(other, 0), table(session, 1000))
    };
    let registers = |session: SessionId, sibling: SessionId| {
        place(
            layout::register(session),
            layout::register(sibling),
            layout::register(NOBODY),
        )
    };
    let entries = names(&*world.store, "d/default/i/points/").await;
    let entry = |session: SessionId| {
        let found = entries
            .iter()
            .find(|name| name.ends_with(&session.to_string()));
        found.expect("an entry of the index").clone()
    };
    let newest = entry(child);
    let newer = format!(
        "{}/{:016x}-{parent}",
        newest.rsplit_once('/').expect("a folder").0,
        0
    );
    let runs = names(&*world.store, &layout::verify_runs()).await;
    let places = BTreeMap::from([
        (
            Kind::Superblock,
            alone(layout::SUPERBLOCK.to_owned(), "super-copy".to_owned()),
        ),
        (
            Kind::KeySlot,
            place(
                layout::key_slot(&slot),
                layout::key_slot(&second),
                layout::key_slot("ffffffffffffffff"),
            ),
        ),
        (Kind::Keyring, alone(layout::keyring(0), layout::keyring(1))),
        (Kind::ChildData, packs(PackKind::Data, child, 0)),
        (Kind::ParentData, packs(PackKind::Data, parent, 0)),
        (Kind::ChildMeta, packs(PackKind::Meta, child, 1)),
        (Kind::ParentMeta, packs(PackKind::Meta, parent, 1)),
        (Kind::DeadData, packs(PackKind::Data, dead, 0)),
        (Kind::DeadMeta, packs(PackKind::Meta, stopped[0], 1)),
        (Kind::SlotTable, tables(child)),
        (Kind::DeadTable, tables(dead)),
        (Kind::ChildRegister, registers(child, other)),
        (Kind::ParentRegister, registers(parent, other)),
        (Kind::Tombstone, registers(beating, stopped[0])),
        (
            Kind::Intent,
            place(
                layout::intent(dead),
                layout::intent(beating),
                layout::intent(NOBODY),
            ),
        ),
        (
            Kind::Heartbeat,
            place(
                layout::heartbeat(beating, 0),
                layout::heartbeat(beating, 1),
                layout::heartbeat(dead, 9),
            ),
        ),
        (
            Kind::Checkpoint,
            place(
                layout::checkpoint(stopped[1], 0),
                layout::checkpoint(stopped[0], 0),
                layout::checkpoint(stopped[1], 9),
            ),
        ),
        (
            Kind::DeleteMarker,
            place(
                layout::delete_marker(old),
                layout::delete_marker(forgotten),
                layout::delete_marker(other),
            ),
        ),
        (Kind::SeriesEntry, place(newest, entry(parent), newer)),
        (
            Kind::VerifyRun,
            place(
                runs[0].clone(),
                runs[1].clone(),
                layout::verify_run(u64::MAX, "ffffffff"),
            ),
        ),
        (
            Kind::BadMark,
            alone(layout::bad_point(spoilt), layout::bad_point(child)),
        ),
        (
            Kind::Probe,
            alone(probe, "v/probe/0123456789abcdef/race".to_owned()),
        ),
        (
            Kind::Feature,
            alone(feature, format!("{}prune-later-still", layout::FEATURES)),
        ),
    ]);
    for (kind, place) in &places {
        for name in place.sibling.iter().chain([&place.name]) {
            assert!(
                world.store.get(name, u64::MAX).await.is_ok(),
                "{kind:?}: {name} is not there"
            );
        }
        let free = &place.free;
        assert!(
            world.store.get(free, u64::MAX).await.is_err(),
            "{kind:?}: {free} is there"
        );
    }
    (points, places)
}

async fn backup(world: &World, series: &str, handle: &str, contents: &[u8]) -> SessionId {
    let request = BackupRequest {
        series: series.to_owned(),
        handle: Some(handle.to_owned()),
        ..BackupRequest::default()
    };
    world
        .backup(contents, request)
        .await
        .expect("a backup")
        .point
        .id
}

/// Leaves a bad mark on a point that is whole, and two verify runs.
async fn spoil(world: &World, point: SessionId) {
    let pack = layout::pack(PackKind::Data, PackId::new(point, 0));
    let body = world.store.get(&pack, u64::MAX).await.expect("its data");
    world.store.delete(&pack).await.expect("deleted");
    let repository = world.open().await.expect("it opens");
    for series in ["once", "twice"] {
        let request = VerifyRequest {
            read_data_percent: 1,
            points: vec![point],
            asked: Asked::Series(series.to_owned()),
        };
        let report = job::verify(&repository, request, &control()).await;
        assert_eq!(report.expect("a report").bad_points, [point]);
    }
    world.store.put_new(&pack, body).await.expect("put back");
}

/// A session that gave two signs of life and then gave up.
async fn beating_session(world: &World) -> SessionId {
    let repository = world.open().await.expect("it opens");
    let request = SessionRequest {
        series: SERIES.to_owned(),
        ..SessionRequest::default()
    };
    let session = Session::begin(&repository, request)
        .await
        .expect("a session");
    let id = session.id();
    while names(&*world.store, &layout::heartbeat(id, 1))
        .await
        .is_empty()
    {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    session.abandon().await;
    id
}

/// A backup that was stopped when it had looked at the first leaf: it leaves a checkpoint.
async fn stopped_half_way(world: &World, child: &[u8]) -> SessionId {
    let control = control();
    let (cancel, progress) = (control.cancel.clone(), Arc::clone(&control.progress));
    let contents = next(child);
    // All but the new chunk of the first leaf, which arrives at the end, and the two of the second.
    let first_leaf_done = (VOLUME - 3 * CHUNK) as u64;
    let volume = Watched::new(MemoryVolume::new(&contents), move |offset| {
        if offset >= (FIRST_LEAF * APART) as u64 {
            let done = || Progress::get(&progress.done_bytes) >= first_leaf_done;
            // Half a minute at most: then the checkpoint is missing, which is told.
            (0..30_000)
                .take_while(|_| !done())
                .for_each(|_| thread::park_timeout(Duration::from_millis(1)));
            cancel.cancel();
        }
    });
    let request = BackupRequest {
        series: SERIES.to_owned(),
        handle: Some("next".to_owned()),
        ..BackupRequest::default()
    };
    let repository = world.open().await.expect("it opens");
    interrupted(world, async {
        let report = job::backup(&repository, volume, request, &control).await;
        report.map(drop)
    })
    .await
}

/// A backup that ended after it had uploaded its data.
async fn crashed(world: &World, child: &[u8]) -> SessionId {
    // Its intent, its pack, the slot table.
    let lives = Lives {
        calls: 3,
        reads: false,
        reply_lost: false,
    };
    let (store, _) = Fleeting::new(Recorded::new(Arc::clone(&world.store)), lives);
    let request = BackupRequest {
        handle: Some("next".to_owned()),
        ..BackupRequest::default()
    };
    let contents = next(child);
    let cut_off = world.on(store);
    interrupted(world, async {
        cut_off.backup(&contents, request).await.map(drop)
    })
    .await
}

/// The session that a backup leaves which does not end well.
async fn interrupted(
    world: &World,
    backup: impl Future<Output = Result<(), agent::JobError>>,
) -> SessionId {
    let before = names(&*world.store, &layout::sessions()).await;
    backup.await.expect_err("it is interrupted");
    let after = names(&*world.store, &layout::sessions()).await;
    let new = after
        .iter()
        .find(|name| !before.contains(name))
        .expect("its intent");
    layout::parse_session_object(new)
        .expect("a session's object")
        .0
}
