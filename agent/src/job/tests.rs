//! Jobs from end to end, over a store in memory and volumes in files.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use repository::{
    ChangeMethod, CreateOptions, Repository, Secret, Selector,
    map::MapReader,
    session::{Session, SessionRequest},
    store::{
        ErrorKind, MemoryStore, SharedStore,
        wrap::{Fault, Faulty},
    },
};

use super::{BackupRequest, ChangeHint, VerifyRequest, backup, restore, verify};
use crate::{
    Control, JobError,
    changes::Extents,
    progress::Progress,
    source::{FileSource, OpenSource, Volume},
    target::FileTarget,
};

struct World {
    folder: tempfile::TempDir,
    repository: Repository,
}

impl World {
    async fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::default());
        let secret = Secret::draw_key_file();
        let options = CreateOptions::default();
        let repository = Repository::create(store, &secret, &options).await.unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            repository,
        }
    }

    fn write(&self, contents: &[u8]) -> Arc<dyn Volume> {
        let path = self.folder.path().join("image");
        fs::write(&path, contents).unwrap();
        Arc::new(FileSource::open(path, OpenSource::default()).unwrap())
    }

    async fn backup(&self, contents: &[u8], request: BackupRequest) -> super::BackupReport {
        let volume = self.write(contents);
        let request = BackupRequest {
            series: "s".to_owned(),
            ..request
        };
        backup(&self.repository, volume, request, &Control::default())
            .await
            .unwrap()
    }

    async fn restored(&self, name: &str) -> Vec<u8> {
        let points = self.repository.points().await.unwrap();
        let selector = match name {
            "latest" => Selector::default(),
            id => Selector {
                id_prefix: Some(id.to_owned()),
                ..Selector::default()
            },
        };
        let point = points.find(&selector).unwrap();
        let path = self.folder.path().join(format!("restored-{name}"));
        let target = Arc::new(FileTarget::create(&path).unwrap());
        restore(&self.repository, point, target, &Control::default())
            .await
            .unwrap();
        fs::read(path).unwrap()
    }
}

/// Bytes that differ everywhere, with zeros in between.
fn contents(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes: Vec<u8> = (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0] & 0x1f
        })
        .collect();
    let third = length / 3;
    bytes[third..third + length / 5].fill(0);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_is_restored() {
    let world = World::new().await;
    for length in [1, 4096, 65536, 65537, 20_000_001] {
        let before = contents(length, length as u64);
        let report = world.backup(&before, BackupRequest::default()).await;
        assert_eq!(
            world.restored(&report.point.id.to_string()).await,
            before,
            "{length} bytes"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_volume_uploads_no_data() {
    let world = World::new().await;
    let before = contents(40 << 20, 7);
    let first = world.backup(&before, BackupRequest::default()).await;
    assert_eq!(first.changes.method, ChangeMethod::Everything);
    let second = world.backup(&before, BackupRequest::default()).await;
    assert_eq!(
        (second.changes.method, second.stats.new_bytes),
        (ChangeMethod::Compare, 0)
    );
    assert_eq!(second.point.manifest.volume, first.point.manifest.volume);
    assert_eq!(second.stats.packs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_extents_that_are_named_are_read() {
    let world = World::new().await;
    let mut image = contents(40 << 20, 9);
    let handle = |name: &str| Some(name.to_owned());
    world
        .backup(
            &image,
            BackupRequest {
                handle: handle("a"),
                ..BackupRequest::default()
            },
        )
        .await;
    image[5_000_000..5_000_100].fill(0xff);
    let mut extents = Extents::none(image.len() as u64);
    extents.add(5_000_000..5_000_100);
    let changes = Some(ChangeHint {
        base: "a".to_owned(),
        extents,
    });
    let request = BackupRequest {
        handle: handle("b"),
        changes,
        ..BackupRequest::default()
    };
    let report = world.backup(&image, request.clone()).await;
    assert_eq!(report.changes.method, ChangeMethod::Extents);
    assert_eq!(report.stats.new_bytes, 65536);
    assert!(
        report.stats.read_bytes <= (64 + 20 * 16) * 65536,
        "{}",
        report.stats.read_bytes
    );
    assert_eq!(world.restored("latest").await, image);

    // The same list again: its base is no longer the newest point's snapshot.
    let report = world.backup(&image, request).await;
    assert_eq!(report.changes.method, ChangeMethod::Compare);
    assert!(report.changes.fallback.unwrap().contains("`b`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lacks_changes_is_noticed() {
    let world = World::new().await;
    let image = contents(8 << 20, 9);
    let handle = Some("a".to_owned());
    world
        .backup(
            &image,
            BackupRequest {
                handle,
                ..BackupRequest::default()
            },
        )
        .await;
    let other = contents(8 << 20, 10);
    let changes = Some(ChangeHint {
        base: "a".to_owned(),
        extents: Extents::none(8 << 20),
    });
    let report = world
        .backup(
            &other,
            BackupRequest {
                changes,
                ..BackupRequest::default()
            },
        )
        .await;
    assert_eq!(report.changes.method, ChangeMethod::Compare);
    assert!(report.changes.fallback.unwrap().contains("spot check"));
    assert_eq!(world.restored("latest").await, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_may_grow_and_shrink() {
    let world = World::new().await;
    for (length, seed) in [
        (1 << 20, 1),
        (40 << 20, 1),
        (17 << 20, 1),
        (3 << 20, 2),
        (0, 1),
        (5 << 20, 3),
    ] {
        let image = if length == 0 {
            Vec::new()
        } else {
            contents(length, seed)
        };
        let report = world.backup(&image, BackupRequest::default()).await;
        assert_eq!(
            world.restored(&report.point.id.to_string()).await,
            image,
            "{length} bytes"
        );
    }
}

/// The map of an interrupted run is what the next one begins with: it must not be an empty one.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_before_its_first_leaf_forgets_nothing() {
    let world = World::new().await;
    let before = contents(1 << 20, 5);
    world.backup(&before, BackupRequest::default()).await;
    // More chunks than one leaf holds: the map gets another level.
    let mut image = before.clone();
    image.resize(40 << 20, 0);
    let control = Control::default();
    control.cancel.cancel();
    let request = BackupRequest {
        series: "s".to_owned(),
        ..BackupRequest::default()
    };
    let volume = world.write(&image);
    let cancelled = backup(&world.repository, volume, request, &control).await;
    assert!(matches!(cancelled, Err(JobError::Cancelled)));
    let request = SessionRequest {
        series: "s".to_owned(),
        force: true,
        ..SessionRequest::default()
    };
    let session = Session::begin(&world.repository, request).await.unwrap();
    assert_eq!(session.adopted().sessions().len(), 1);
    let checkpoint = session.adopted().checkpoint();
    assert!(checkpoint.is_none_or(|checkpoint| checkpoint.map.chunks > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_volume_lost_by_shrinking_is_zeros_in_its_last_chunk() {
    let world = World::new().await;
    let image = contents(1 << 20, 5);
    let handle = |name: &str| Some(name.to_owned());
    let request = BackupRequest {
        handle: handle("a"),
        ..BackupRequest::default()
    };
    world.backup(&image, request).await;
    let shrunk = &image[..image.len() - 1000];
    let changes = Some(ChangeHint {
        base: "a".to_owned(),
        extents: Extents::none(shrunk.len() as u64),
    });
    let request = BackupRequest {
        handle: handle("b"),
        changes,
        ..BackupRequest::default()
    };
    let report = world.backup(shrunk, request).await;
    assert_eq!(report.changes.method, ChangeMethod::Extents);
    let map = report.point.manifest.volume.unwrap();
    let mut reader = MapReader::new(map, world.repository.pages());
    let leaf = reader.leaves(&[0]).await.unwrap().remove(0).unwrap();
    let last = leaf.page.get(15).unwrap().reference.id;
    let mut padded = shrunk[15 << 16..].to_vec();
    padded.resize(1 << 16, 0);
    assert_eq!(last, world.repository.keys().chunk_id(&padded));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_works_where_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::write(&image, contents(1 << 20, 5)).unwrap();
    let inner: SharedStore = Arc::new(MemoryStore::default());
    let secret = Secret::draw_key_file();
    let options = CreateOptions::default();
    let repository = Repository::create(Arc::clone(&inner), &secret, &options)
        .await
        .unwrap();
    let volume = Arc::new(FileSource::open(&image, OpenSource::default()).unwrap());
    let control = Control::default();
    backup(&repository, volume, BackupRequest::default(), &control)
        .await
        .unwrap();
    for kind in [ErrorKind::ReadOnly, ErrorKind::Denied] {
        let refusing = Faulty::new(Arc::clone(&inner), move |call| {
            call.verb.mutates().then_some(Fault::Before(kind))
        });
        let repository = Repository::open(Arc::new(refusing), &secret).await.unwrap();
        let request = VerifyRequest {
            read_data_percent: 50,
            ..VerifyRequest::default()
        };
        let report = verify(&repository, request, &control).await.unwrap();
        assert_eq!(report.points, 1);
        assert!(report.not_recorded.unwrap().contains("run/"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_yet_is_not_done() {
    let control = Control::default();
    let progress = Arc::clone(&control.progress);
    let seen = Arc::new(Mutex::new(None));
    let first = Arc::clone(&seen);
    let store = Faulty::new(Arc::new(MemoryStore::default()), move |call| {
        if call.verb.mutates() && call.name.starts_with("d/default/p/") {
            let counted = (&progress.done_bytes, &progress.new_bytes);
            let counted = (Progress::get(counted.0), Progress::get(counted.1));
            first.lock().unwrap().get_or_insert(counted);
        }
        None
    });
    let secret = Secret::draw_key_file();
    let options = CreateOptions::default();
    let repository = Repository::create(Arc::new(store), &secret, &options)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::write(&image, vec![7; 100_000]).unwrap();
    let volume = Arc::new(FileSource::open(&image, OpenSource::default()).unwrap());
    backup(&repository, volume, BackupRequest::default(), &control)
        .await
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), Some((0, 0)));
    let progress = &control.progress;
    assert!(Progress::get(&progress.done_bytes) >= 100_000);
    assert_eq!(Progress::get(&progress.uploading_bytes), 0);
}
