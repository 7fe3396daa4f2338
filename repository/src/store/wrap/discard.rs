//! A store that nothing reaches: writes and deletions happen beside it, in memory, and are dropped with it.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    layout::{self, PackKind},
    store::{ErrorKind, MemoryStore, Page, Result, SharedStore, Store, StoreError},
};

/// Does everything but write: what a dry run opens a repository over. Packs are counted and dropped; small objects are
/// kept, since a writer reads its own again.
#[derive(Debug)]
pub struct Discard {
    inner: SharedStore,
    beside: MemoryStore,
    deleted: Mutex<BTreeSet<String>>,
    discarded_bytes: AtomicU64,
}

impl Discard {
    /// Nothing reaches `inner` any more.
    pub fn new(inner: SharedStore) -> Self {
        Self {
            inner,
            beside: MemoryStore::default(),
            deleted: Mutex::default(),
            discarded_bytes: AtomicU64::new(0),
        }
    }

    /// Bytes that would have been written.
    pub fn discarded_bytes(&self) -> u64 {
        self.discarded_bytes.load(Relaxed)
    }

    fn is_deleted(&self, name: &str) -> bool {
        self.deleted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(name)
    }
}

#[async_trait]
impl Store for Discard {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put_new(&self, name: &str, body: Bytes) -> Result<()> {
        self.discarded_bytes.fetch_add(body.len() as u64, Relaxed);
        let pack = [PackKind::Data, PackKind::Meta]
            .iter()
            .any(|kind| layout::parse_pack(*kind, name).is_some());
        if pack || layout::parse_slot_table(name).is_some() {
            return Ok(());
        }
        // Whether it is there, without a byte of it: how long it is, the store decides.
        match self.inner.get_range(name, 0..0).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.beside.put_new(name, body).await
            }
            Ok(_) => Err(StoreError::new("put", name, ErrorKind::Exists)),
            Err(error) => Err(error),
        }
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes> {
        if self.is_deleted(name) {
            return Err(StoreError::new("get", name, ErrorKind::NotFound));
        }
        match self.beside.get(name, bytes_max).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.inner.get(name, bytes_max).await
            }
            other => other,
        }
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(name, range).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page> {
        let mut page = self.inner.list(prefix, after).await?;
        let beside = self.beside.list(prefix, after).await?;
        // What is beside the store and within this page; the rest comes with the next one.
        let end = page
            .more
            .then(|| page.entries.last().map(|last| last.name.clone()))
            .flatten();
        let within = beside
            .entries
            .into_iter()
            .filter(|entry| end.as_ref().is_none_or(|end| entry.name <= *end));
        page.entries.extend(within);
        page.entries.retain(|entry| !self.is_deleted(&entry.name));
        page.entries
            .sort_by(|left, right| left.name.cmp(&right.name));
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.deleted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned());
        self.beside.delete(name).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::wrap::Recorded;

    #[tokio::test]
    async fn nothing_reaches_the_store_and_all_seems_to() {
        let inner: SharedStore = Arc::new(MemoryStore::default());
        inner.put_new("a", Bytes::from_static(b"1")).await.unwrap();
        let store = Discard::new(Arc::clone(&inner));
        store.put_new("b", Bytes::from_static(b"2")).await.unwrap();
        let exists = store
            .put_new("a", Bytes::from_static(b"3"))
            .await
            .unwrap_err();
        assert_eq!(exists.kind(), ErrorKind::Exists);
        store.delete("a").await.unwrap();
        let names = |page: Page| {
            page.entries
                .into_iter()
                .map(|entry| entry.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(store.list("", None).await.unwrap()), ["b"]);
        assert_eq!(&store.get("b", 9).await.unwrap()[..], b"2");
        assert_eq!(names(inner.list("", None).await.unwrap()), ["a"]);
        assert_eq!(store.discarded_bytes(), 2);
    }

    #[tokio::test]
    async fn what_is_there_already_is_not_read() {
        let inner: SharedStore = Arc::new(MemoryStore::default());
        inner.put_new("a", Bytes::from_static(b"1")).await.unwrap();
        let recorded = Recorded::new(inner);
        let store = Discard::new(Arc::new(recorded.clone()));
        let taken = store.put_new("a", Bytes::from_static(b"2")).await;
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::Exists);
        let received: u64 = recorded.records().iter().map(|record| record.bytes).sum();
        assert_eq!(received, 0, "of any length");
    }
}
