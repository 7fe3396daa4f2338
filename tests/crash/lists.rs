//! Lists of changes that are wrong, and what is taken over from runs that believed them.

use std::sync::Arc;

use agent::job::BackupRequest;
use repository::{ChangeMethod, store::MemoryStore};
use support::{Model, World, noise};

use crate::scenario::{changed, extents};

const MIB: usize = 1 << 20;

/// The list has one change of many. What was sealed for it before that was noticed was never uploaded, and must not be
/// referred to.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lacks_changes_costs_a_comparison() {
    let world = World::create(Arc::new(MemoryStore::new())).await;
    let parent = noise(4 * MIB, 1);
    let request = BackupRequest {
        handle: Some("0".to_owned()),
        ..BackupRequest::default()
    };
    let first = world.backup(&parent, request).await.unwrap();
    let contents = changed(&parent, 0, 2 * MIB, 2);
    let request = extents("0", contents.len(), &[0..65_536]);
    let second = world.backup(&contents, request).await.unwrap();
    assert_eq!(second.changes.method, ChangeMethod::Compare);
    assert!(second.changes.fallback.unwrap().contains("spot check"));
    let model = Model::from([
        (first.point.id, Arc::new(parent)),
        (second.point.id, Arc::new(contents)),
    ]);
    world.check(&model).await.unwrap();
    world.check_verify(100).await.unwrap();
}
