//! Equal pages in two places: damage to one of them is damage.

use std::sync::Arc;

use agent::job::BackupRequest;
use repository::{
    PackId, layout,
    layout::PackKind,
    store::{MemoryStore, Store as _, list_all},
};
use support::{World, fork, noise};

use crate::action::{At, flip};

const MIB: usize = 1 << 20;

/// Two writers that did not see each other made the same page. A verify that knows pages by their contents would look at
/// the one and believe the other.
#[tokio::test(flavor = "multi_thread")]
async fn equal_pages_of_siblings_are_both_looked_at() {
    let left = MemoryStore::new();
    let world = World::create(Arc::new(left.clone())).await;
    // Two leaves, so that the root is not the page that is the same.
    let mut contents = vec![0; 17 * MIB];
    contents[..MIB].copy_from_slice(&noise(MIB, 1));
    contents[16 * MIB..].copy_from_slice(&noise(MIB, 2));
    world
        .backup(&contents, BackupRequest::default())
        .await
        .unwrap();
    let aside = fork(&left).await;
    contents[..65_536].fill(0);
    let first = world
        .backup(&contents, BackupRequest::default())
        .await
        .unwrap()
        .point
        .id;
    let unseen = world.on(Arc::new(aside.clone()));
    let second = unseen
        .backup(&contents, BackupRequest::default())
        .await
        .unwrap()
        .point
        .id;
    for entry in list_all(&aside, "").await.unwrap() {
        if left.get(&entry.name, u64::MAX).await.is_err() {
            let body = aside.get(&entry.name, u64::MAX).await.unwrap();
            left.put_new(&entry.name, body).await.unwrap();
        }
    }
    world.check_verify(100).await.unwrap();

    for (twin, percent) in [(first, 0), (second, 0), (first, 100), (second, 100)] {
        let copy = fork(&left).await;
        let pack = layout::pack(PackKind::Meta, PackId::new(twin, 1));
        let body = copy.get(&pack, u64::MAX).await.unwrap();
        // The leaf comes first.
        let (leaf, rest) = body.split_at(200);
        let body = [flip(leaf, At::Middle), rest.to_vec()].concat();
        copy.delete(&pack).await.unwrap();
        copy.put_new(&pack, body.into()).await.unwrap();
        let report = world.on(Arc::new(copy)).verify(percent).await.unwrap();
        assert_eq!(
            report.bad_points,
            [twin],
            "{percent} %: {:?}",
            report.damage
        );
    }
}
