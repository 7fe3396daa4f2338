//! An incremental backup costs what changed, whatever the size of the volume.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use agent::{
    changes::Extents,
    job::{self, BackupRequest, ChangeHint},
    source::{FileSource, OpenSource, Volume},
};
use repository::store::{
    MemoryStore,
    wrap::{Count, Recorded, Verb},
};
use support::{SERIES, World, control, noise};

const GIB: u64 = 1 << 30;
const EXTENTS: u64 = 100;
const EXTENT_BYTES: u64 = 8 << 10;
const CHUNK_BYTES: u64 = 64 << 10;

/// What a backup asked of the store.
struct Cost {
    counts: BTreeMap<Verb, Count>,
    read_bytes: u64,
}

impl Cost {
    fn requests(&self) -> u64 {
        self.counts.values().map(|count| count.requests).sum()
    }

    fn bytes(&self) -> u64 {
        self.counts.values().map(|count| count.bytes).sum()
    }
}

/// Where the extents of a volume are: evenly spread, or all together.
fn places(volume_bytes: u64, spread: bool) -> Vec<u64> {
    let apart = if spread {
        volume_bytes / EXTENTS
    } else {
        CHUNK_BYTES
    };
    // Within a chunk each.
    let chunks = (0..EXTENTS).map(|number| number * apart / CHUNK_BYTES);
    chunks.map(|chunk| chunk * CHUNK_BYTES).collect()
}

fn write(path: &Path, places: &[u64], seed: u64) {
    let file = File::options().write(true).open(path).unwrap();
    for (place, number) in places.iter().zip(0..) {
        let bytes = usize::try_from(EXTENT_BYTES).unwrap();
        file.write_all_at(&noise(bytes, seed + number), *place)
            .unwrap();
    }
}

/// Backs up a volume with data in these places, changes all of them, and backs up by a list.
async fn cost(volume_bytes: u64, spread: bool) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    File::create(&path).unwrap().set_len(volume_bytes).unwrap();
    let places = places(volume_bytes, spread);
    let world = World::create(Arc::new(MemoryStore::new())).await;
    let backup = async |world: &World, handle: &str, changes| {
        let volume = FileSource::open(&path, OpenSource::default()).unwrap();
        let volume: Arc<dyn Volume> = Arc::new(volume);
        let request = BackupRequest {
            series: SERIES.to_owned(),
            handle: Some(handle.to_owned()),
            changes,
            ..BackupRequest::default()
        };
        let repository = world.open().await.unwrap();
        job::backup(&repository, volume, request, &control())
            .await
            .unwrap()
    };
    write(&path, &places, 1);
    backup(&world, "0", None).await;
    write(&path, &places, 1_000_000);
    let mut extents = Extents::none(volume_bytes);
    places
        .iter()
        .for_each(|place| extents.add(*place..place + EXTENT_BYTES));
    let recorded = Recorded::new(Arc::clone(&world.store));
    let changes = Some(ChangeHint {
        base: "0".to_owned(),
        extents,
    });
    let report = backup(&world.on(Arc::new(recorded.clone())), "1", changes).await;
    assert_eq!(
        report.stats.new_bytes,
        EXTENTS * CHUNK_BYTES,
        "{:?}",
        report.changes
    );
    Cost {
        counts: recorded.counts(),
        read_bytes: report.stats.read_bytes,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_costs_what_changed() {
    for spread in [false, true] {
        let (small, large) = (cost(10 * GIB, spread).await, cost(1024 * GIB, spread).await);
        let show = |cost: &Cost| {
            format!(
                "{} requests, {} bytes, {} read",
                cost.requests(),
                cost.bytes(),
                cost.read_bytes
            )
        };
        let both = format!(
            "spread {spread}: 10 GiB {}, 1 TiB {}",
            show(&small),
            show(&large)
        );
        println!("{both}");
        assert!(large.requests() * 2 <= small.requests() * 5, "{both}");
        assert!(large.bytes() * 2 <= small.bytes() * 5, "{both}");
        assert!(large.read_bytes * 2 <= small.read_bytes * 5, "{both}");
    }
}
