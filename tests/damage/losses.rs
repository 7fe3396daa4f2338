//! Registers that are gone: told from points that were forgotten, also by a prune to come.

use std::{ops::Range, sync::Arc};

use agent::job::BackupRequest;
use async_trait::async_trait;
use bytes::Bytes;
use repository::{
    SessionId, layout,
    store::{Page, SharedStore, Store, StoreError},
    verify::Damage,
};
use support::{World, fork, names, noise, show};

type Result<T> = std::result::Result<T, StoreError>;

/// Three points, each based on the one before.
async fn chain() -> (World, Vec<SessionId>) {
    let world = World::create(Arc::new(repository::store::MemoryStore::new())).await;
    let mut ids = Vec::new();
    for seed in 0..3 {
        let report = world
            .backup(&noise(200_000, seed), BackupRequest::default())
            .await
            .expect("a backup");
        ids.push(report.point.id);
    }
    (world, ids)
}

async fn copy(world: &World) -> World {
    world.on(Arc::new(fork(&*world.store).await))
}

/// Takes the entry of a point out of the index of its series.
async fn unindex(world: &World, id: SessionId) {
    let entries = names(&*world.store, &layout::points_index()).await;
    let entry = entries.iter().find(|name| name.ends_with(&id.to_string()));
    world
        .store
        .delete(entry.expect("it is there"))
        .await
        .expect("deleted");
}

async fn remove(world: &World, id: SessionId) {
    world
        .store
        .delete(&layout::register(id))
        .await
        .expect("deleted");
}

/// A verify and a listing name exactly these registers.
async fn missing(world: &World, expected: &[SessionId]) {
    let mut expected: Vec<String> = expected.iter().map(|id| layout::register(*id)).collect();
    expected.sort();
    for percent in [0, 100] {
        let report = world.verify(percent).await.expect("a report");
        let is_register = |damage: &&Damage| layout::parse_register(&damage.object).is_some();
        let found: Vec<&Damage> = report.damage.iter().filter(is_register).collect();
        let objects: Vec<&String> = found.iter().map(|damage| &damage.object).collect();
        assert_eq!(objects, expected.iter().collect::<Vec<_>>());
        assert!(report.bad_points.is_empty());
        for damage in found {
            assert!(
                damage.what.contains("missing") && damage.what.contains("put it back"),
                "{damage:?}"
            );
        }
    }
    let listed = world.open().await.expect("it opens").points().await;
    let listed = listed.expect("a listing");
    let mut told: Vec<String> = listed.damaged.into_iter().map(|(name, _)| name).collect();
    told.sort();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_is_gone_is_named_by_its_child_or_by_the_index() {
    let (world, ids) = chain().await;
    missing(&world, &[]).await;
    for (gone, indexed, noticed) in [
        (0, true, true),
        (0, false, true),
        (1, false, true),
        (2, true, true),
        // Nothing names it: what nobody can notice.
        (2, false, false),
    ] {
        let world = copy(&world).await;
        remove(&world, ids[gone]).await;
        if !indexed {
            unindex(&world, ids[gone]).await;
        }
        missing(&world, if noticed { &ids[gone..=gone] } else { &[] }).await;
    }
    // All of them, which leaves the index alone to tell.
    for id in &ids {
        remove(&world, *id).await;
    }
    missing(&world, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_was_forgotten_is_not_missed() {
    let (world, ids) = chain().await;
    let repository = world.open().await.unwrap();
    repository.forget(&ids[..1], "test", false).await.unwrap();
    missing(&world, &[]).await;
    // What a prune does, in the order of FORMAT.md: the marker stays while the next point names this one.
    remove(&world, ids[0]).await;
    missing(&world, &[]).await;
    unindex(&world, ids[0]).await;
    missing(&world, &[]).await;

    // A marker that nobody with the keys wrote is no reason to be gone.
    let forged = copy(&world).await;
    let marker = layout::delete_marker(ids[0]);
    forged.store.delete(&marker).await.unwrap();
    missing(&forged, &ids[..1]).await;
    forged
        .store
        .put_new(&marker, Bytes::from_static(b"gone"))
        .await
        .unwrap();
    missing(&forged, &ids[..1]).await;

    // The child goes too: now nothing names the first one, and its marker may go.
    repository.forget(&ids[1..2], "test", false).await.unwrap();
    remove(&world, ids[1]).await;
    unindex(&world, ids[1]).await;
    world.store.delete(&marker).await.unwrap();
    missing(&world, &[]).await;
}

/// Nobody learns from an error that half of it was done.
#[tokio::test(flavor = "multi_thread")]
async fn a_false_marker_stops_forget_before_it_forgets_anything() {
    let (world, ids) = chain().await;
    let marker = layout::delete_marker(ids[1]);
    let forged = Bytes::from_static(b"gone");
    world.store.put_new(&marker, forged).await.unwrap();
    let repository = world.open().await.unwrap();
    let error = repository.forget(&ids[..2], "test", false).await;
    let error = show(&error.expect_err("a marker that nobody made"));
    assert!(error.contains(&marker), "{error}");
    let markers = names(&*world.store, &layout::delete_markers()).await;
    assert_eq!(markers, [marker]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_point_can_be_given_up() {
    let (world, ids) = chain().await;
    remove(&world, ids[1]).await;
    missing(&world, &ids[1..2]).await;
    let repository = world.open().await.unwrap();
    repository.forget(&ids[1..2], "lost", false).await.unwrap();
    missing(&world, &[]).await;
    let report = world
        .backup(&noise(200_000, 9), BackupRequest::default())
        .await
        .unwrap();
    assert_eq!(report.point.manifest.parent, Some(ids[2]));
}

/// A store whose listings do not show one object yet: it came while they were made.
#[derive(Debug)]
struct Late {
    store: SharedStore,
    name: String,
}

#[async_trait]
impl Store for Late {
    fn location(&self) -> String {
        self.store.location()
    }

    async fn put_new(&self, name: &str, body: Bytes) -> Result<()> {
        self.store.put_new(name, body).await
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes> {
        self.store.get(name, bytes_max).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.store.get_range(name, range).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page> {
        let mut page = self.store.list(prefix, after).await?;
        page.entries.retain(|entry| entry.name != self.name);
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.store.delete(name).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_is_committed_during_the_listing_is_not_missed() {
    let (world, ids) = chain().await;
    for id in ids {
        let store = Arc::clone(&world.store);
        let name = layout::register(id);
        missing(&world.on(Arc::new(Late { store, name })), &[]).await;
    }
}
