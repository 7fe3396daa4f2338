//! A store in memory, for tests and trials: the contract without a disk.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    clock,
    store::{Entry, ErrorKind, LIST_PAGE_ENTRIES, Page, Result, Store, StoreError, name},
};

/// Objects in memory. Clones share them, so that a process that "died" can be started again on what it left.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    contents: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    /// When the newest object was written: times never go back, whatever the clock does.
    newest: Option<SystemTime>,
}

#[derive(Clone, Debug)]
struct Object {
    body: Bytes,
    modified: SystemTime,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // No code panics between two changes that belong together.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Bytes> {
        name::check("get", name)?;
        let found = self
            .contents()
            .objects
            .get(name)
            .map(|object| object.body.clone());
        found.ok_or_else(|| StoreError::new("get", name, ErrorKind::NotFound))
    }
}

impl Contents {
    fn tick(&mut self) -> SystemTime {
        let soonest = self.newest.map(|newest| newest + Duration::from_nanos(1));
        let now = clock::now();
        *self
            .newest
            .insert(soonest.map_or(now, |soonest| soonest.max(now)))
    }

    /// Whether some object is in the folder `name`.
    fn is_folder(&self, name: &str) -> bool {
        let folder = format!("{name}/");
        self.objects
            .range(folder.clone()..)
            .next()
            .is_some_and(|(next, _)| next.starts_with(&folder))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn put_new(&self, name: &str, body: Bytes) -> Result<()> {
        name::check("put", name)?;
        let mut contents = self.contents();
        if contents.objects.contains_key(name) || contents.is_folder(name) {
            return Err(StoreError::new("put", name, ErrorKind::Exists));
        }
        if name::folders(name).any(|folder| contents.objects.contains_key(folder)) {
            return Err(StoreError::new("put", name, ErrorKind::Other)
                .because("a folder of the name is an object"));
        }
        let modified = contents.tick();
        // A copy: the body may be a buffer that somebody waits for.
        let body = Bytes::copy_from_slice(&body);
        contents
            .objects
            .insert(name.to_owned(), Object { body, modified });
        Ok(())
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes> {
        let body = self.find(name)?;
        if body.len() as u64 > bytes_max {
            return Err(StoreError::new("get", name, ErrorKind::TooLarge));
        }
        Ok(body)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let body = self.find(name)?;
        let short = || StoreError::new("get", name, ErrorKind::Short);
        let start = usize::try_from(range.start).map_err(|_| short())?;
        let end = usize::try_from(range.end).map_err(|_| short())?;
        if start > end || end > body.len() {
            return Err(short());
        }
        Ok(body.slice(start..end))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let contents = self.contents();
        let mut rest = contents
            .objects
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, object)| Entry {
                name: name.clone(),
                bytes: object.body.len() as u64,
                modified: object.modified,
            });
        let entries = rest.by_ref().take(LIST_PAGE_ENTRIES).collect();
        Ok(Page {
            entries,
            more: rest.next().is_some(),
        })
    }

    async fn delete(&self, name: &str) -> Result<()> {
        name::check("delete", name)?;
        self.contents().objects.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clones_share_their_objects() {
        let store = MemoryStore::new();
        store
            .clone()
            .put_new("a", Bytes::from_static(b"1"))
            .await
            .unwrap();
        assert_eq!(store.get("a", 1).await.unwrap(), "1");
    }

    #[tokio::test]
    async fn a_buffer_that_was_stored_is_free_again() {
        let buffer = Arc::new([1_u8, 2]);
        let (store, body) = (
            MemoryStore::new(),
            Bytes::from_owner(Shared(Arc::clone(&buffer))),
        );
        store.put_new("a", body).await.unwrap();
        assert_eq!(Arc::strong_count(&buffer), 1);
        assert_eq!(store.get("a", 2).await.unwrap(), buffer[..]);
    }

    struct Shared(Arc<[u8; 2]>);

    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }

    #[tokio::test]
    async fn later_objects_have_later_times() {
        let store = MemoryStore::new();
        for name in ["b", "a", "c"] {
            store.put_new(name, Bytes::new()).await.unwrap();
        }
        let entries = store.list("", None).await.unwrap().entries;
        let modified = |at: usize| entries[at].modified;
        assert!(modified(1) < modified(0) && modified(0) < modified(2));
    }

    #[tokio::test]
    async fn no_object_is_a_folder_of_another() {
        let store = MemoryStore::new();
        store.put_new("a/b", Bytes::new()).await.unwrap();
        let kind = async |name: &str| store.put_new(name, Bytes::new()).await.unwrap_err().kind();
        assert_eq!(kind("a").await, ErrorKind::Exists);
        assert_eq!(kind("a/b/c").await, ErrorKind::Other);
    }
}
