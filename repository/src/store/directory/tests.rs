//! What only a folder can do wrong: links, leftovers, foreign files, full and read-only disks.

use super::*;
use crate::store::list_all;

fn store() -> (tempfile::TempDir, DirectoryStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::create(folder.path().join("a/b")).unwrap();
    (folder, store)
}

async fn names(store: &DirectoryStore, prefix: &str) -> Vec<String> {
    list_all(store, prefix)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

#[tokio::test]
async fn objects_come_back_once_written() {
    let (_folder, store) = store();
    let body: Bytes = (0..5_000_000_u32)
        .map(|at| at.to_le_bytes()[at as usize % 3])
        .collect();
    store.put_new("d/p/00/x", body.clone()).await.unwrap();
    store.put_new("super", Bytes::new()).await.unwrap();
    assert_eq!(store.get("d/p/00/x", 5_000_000).await.unwrap(), body);
    assert_eq!(
        store.get_range("d/p/00/x", 7..4_999_999).await.unwrap(),
        body.slice(7..4_999_999)
    );
    assert_eq!(store.get("super", 0).await.unwrap(), "");
    assert_eq!(names(&store, "").await, ["d/p/00/x", "super"]);
    let kind = store.put_new("super", body).await.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::Exists);
    store.delete("super").await.unwrap();
    store.delete("super").await.unwrap();
    assert_eq!(names(&store, "").await, ["d/p/00/x"]);
}
