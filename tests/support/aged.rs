//! A store whose objects are as old as a test says.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use repository::store::{Page, Result, SharedStore, Store};

/// A store whose listings give times that a test shifts.
#[derive(Debug)]
pub struct Aged {
    store: SharedStore,
    ages: Mutex<Vec<(String, Duration)>>,
    whole_seconds: bool,
}

impl Aged {
    /// Gives the times of `store`.
    pub fn new(store: SharedStore) -> Self {
        Self {
            store,
            ages: Mutex::default(),
            whole_seconds: false,
        }
    }

    /// Cuts times to whole seconds, as some servers do.
    #[must_use]
    pub fn in_whole_seconds(self) -> Self {
        Self {
            whole_seconds: true,
            ..self
        }
    }

    /// From now on this object is older by so much.
    pub fn age(&self, name: &str, by: Duration) {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        ages.push((name.to_owned(), by));
    }

    fn time(&self, name: &str, modified: SystemTime) -> SystemTime {
        let ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        let by: Duration = ages
            .iter()
            .filter(|(aged, _)| aged == name)
            .map(|(_, by)| *by)
            .sum();
        let modified = modified - by;
        if !self.whole_seconds {
            return modified;
        }
        let since = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
    }
}

#[async_trait]
impl Store for Aged {
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
        for entry in &mut page.entries {
            entry.modified = self.time(&entry.name, entry.modified);
        }
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.store.delete(name).await
    }
}
