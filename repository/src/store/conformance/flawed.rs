//! Stores that break the contract, each in one way, to test what is there to find them.

#![expect(clippy::wildcard_enum_match_arm, reason = "a flaw shows in one place")]

use std::{collections::BTreeMap, ops::Range, sync::Mutex, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{
    Entry, ErrorKind, LIST_PAGE_ENTRIES, MemoryStore, Page, Result, Store, StoreError,
};

/// What may be wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Flaw {
    Overwrites,
    LooksThenWrites,
    SaysExistsToAll,
    KeepsTheLoser,
    ShowsHalf,
    Truncates,
    ReadsLate,
    ListsLate,
    ListsUnsorted,
    ListsLongPages,
    ListsFoldersAlone,
    ListsAfterInclusively,
    EndsAfterAPage,
    PromisesMoreForEver,
    RepeatsPages,
    InventsNames,
    ListsForeignNames,
    IgnoresPrefixes,
    ShiftsParts,
    CutsParts,
    IgnoresBytesMax,
    MissingIsEmpty,
    KeepsDeleted,
    DeletingTwiceFails,
    FoldsCase,
}

/// A store with one flaw.
#[derive(Debug)]
pub(in crate::store) struct Flawed {
    flaw: Flaw,
    memory: MemoryStore,
    /// What listings show when they are late: the state before the last change.
    late: Mutex<Vec<Page>>,
    /// What was written of objects that are not there yet.
    halves: Mutex<BTreeMap<String, Bytes>>,
}

impl Flawed {
    pub(in crate::store) fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            memory: MemoryStore::new(),
            late: Mutex::default(),
            halves: Mutex::default(),
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn name(&self, name: &str) -> String {
        if self.has(Flaw::FoldsCase) {
            name.to_lowercase()
        } else {
            name.to_owned()
        }
    }

    async fn remember_listing(&self) {
        let page = self.memory.list("", None).await.unwrap();
        self.late.lock().unwrap().push(page);
    }

    async fn overwrite(&self, name: &str, body: Bytes) -> Result<()> {
        self.memory.delete(name).await?;
        self.memory.put_new(name, body).await
    }
}

#[async_trait]
impl Store for Flawed {
    fn location(&self) -> String {
        "flawed".to_owned()
    }

    async fn put_new(&self, name: &str, body: Bytes) -> Result<()> {
        let name = &self.name(name);
        if self.has(Flaw::ListsLate) {
            self.remember_listing().await;
        }
        if self.has(Flaw::ReadsLate) {
            self.halves
                .lock()
                .unwrap()
                .insert(name.clone(), Bytes::new());
        }
        match self.flaw {
            Flaw::Overwrites => self.overwrite(name, body).await,
            Flaw::LooksThenWrites => {
                if self.memory.get(name, u64::MAX).await.is_ok() {
                    return Err(StoreError::new("put", name, ErrorKind::Exists));
                }
                tokio::task::yield_now().await;
                self.overwrite(name, body).await
            }
            Flaw::SaysExistsToAll => {
                self.memory.put_new(name, body).await?;
                Err(StoreError::new("put", name, ErrorKind::Exists))
            }
            Flaw::KeepsTheLoser => match self.memory.put_new(name, body.clone()).await {
                Err(error) if error.kind() == ErrorKind::Exists => {
                    self.overwrite(name, body).await?;
                    Err(error)
                }
                result => result,
            },
            Flaw::ShowsHalf => {
                self.halves
                    .lock()
                    .unwrap()
                    .insert(name.clone(), body.slice(..body.len() / 2));
                tokio::task::yield_now().await;
                self.halves.lock().unwrap().remove(name);
                self.memory.put_new(name, body).await
            }
            Flaw::Truncates => {
                self.memory
                    .put_new(name, body.slice(..body.len().min(8 << 20)))
                    .await
            }
            _ => self.memory.put_new(name, body).await,
        }
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes> {
        let name = &self.name(name);
        if let Some(half) = self
            .halves
            .lock()
            .unwrap()
            .get(name)
            .filter(|_| self.has(Flaw::ShowsHalf))
        {
            return Ok(half.clone());
        }
        if self.has(Flaw::ReadsLate) && self.halves.lock().unwrap().remove(name).is_some() {
            return Err(StoreError::new("get", name, ErrorKind::NotFound));
        }
        let bytes_max = if self.has(Flaw::IgnoresBytesMax) {
            u64::MAX
        } else {
            bytes_max
        };
        match self.memory.get(name, bytes_max).await {
            Err(error) if error.kind() == ErrorKind::NotFound && self.has(Flaw::MissingIsEmpty) => {
                Ok(Bytes::new())
            }
            result => result,
        }
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let name = &self.name(name);
        let body = self.memory.get(name, u64::MAX).await?;
        let bytes = body.len() as u64;
        if self.has(Flaw::ShiftsParts) && range.start > 0 && range.end < bytes {
            return self
                .memory
                .get_range(name, range.start + 1..range.end + 1)
                .await;
        }
        if self.has(Flaw::CutsParts) && range.start < bytes {
            return self
                .memory
                .get_range(name, range.start..range.end.min(bytes))
                .await;
        }
        self.memory.get_range(name, range).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page> {
        if let Some(page) = self
            .late
            .lock()
            .unwrap()
            .pop()
            .filter(|_| self.has(Flaw::ListsLate))
        {
            return Ok(page);
        }
        if self.has(Flaw::ListsFoldersAlone) {
            let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
            return self.memory.list(folder, after).await;
        }
        if self.has(Flaw::IgnoresPrefixes) {
            return self.memory.list("", after).await;
        }
        if self.has(Flaw::RepeatsPages) {
            let entries = self.memory.list(prefix, None).await?.entries;
            let more = !entries.is_empty();
            return Ok(Page { entries, more });
        }
        if self.has(Flaw::InventsNames) {
            let first = after.map_or(0, |after| after[prefix.len()..].parse::<u64>().unwrap() + 1);
            let names = (first..).map(|number| format!("{prefix}{number:0>20}"));
            return Ok(Page {
                entries: names.take(LIST_PAGE_ENTRIES).map(entry).collect(),
                more: true,
            });
        }
        let mut page = self.memory.list(prefix, after).await?;
        match self.flaw {
            Flaw::ListsUnsorted => page
                .entries
                .sort_by_key(|entry| entry.name.replace('/', " ")),
            Flaw::ListsLongPages if page.more => {
                let last = page.entries.last().unwrap().name.clone();
                page.entries
                    .extend(self.memory.list(prefix, Some(&last)).await?.entries);
                page.more = false;
            }
            Flaw::ListsAfterInclusively => {
                if let Some(after) = after.filter(|after| after.starts_with(prefix)) {
                    let mut entries = self.memory.list(after, None).await?.entries;
                    entries.retain(|entry| entry.name == after);
                    page.entries.splice(0..0, entries);
                }
            }
            Flaw::EndsAfterAPage => page.more = false,
            Flaw::PromisesMoreForEver => page.more = true,
            Flaw::ListsForeignNames if !page.more => {
                let foreign =
                    ["~", "~/..", "~a b", "~\u{202e}"].map(|end| format!("{prefix}{end}"));
                page.entries.extend(foreign.map(entry));
            }
            _ => {}
        }
        Ok(page)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let name = &self.name(name);
        if self.has(Flaw::KeepsDeleted) {
            return Ok(());
        }
        if self.has(Flaw::DeletingTwiceFails) {
            self.memory.get(name, u64::MAX).await?;
        }
        self.memory.delete(name).await
    }
}

/// What a listing says about an object that is not there.
fn entry(name: String) -> Entry {
    Entry {
        name,
        bytes: 1,
        modified: SystemTime::UNIX_EPOCH,
    }
}
