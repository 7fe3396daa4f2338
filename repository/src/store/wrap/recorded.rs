//! Remembers every call, so that a test can say exactly what was read and written.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Call, Reply, Verb, Wrapper};
use crate::store::{ErrorKind, Result, SharedStore};

/// A call that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What was done.
    pub verb: Verb,
    /// To which object; of a listing, its prefix.
    pub name: String,
    /// Bytes of the body, sent or received.
    pub bytes: u64,
    /// How it failed, if it did.
    pub error: Option<ErrorKind>,
}

/// Requests of one kind, and the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of calls.
    pub requests: u64,
    /// Bytes sent or received.
    pub bytes: u64,
}

/// Remembers every call in the order in which they ended. Clones share what they remember.
///
/// Nothing is forgotten before [`take`](Self::take): it is meant for tests and short measurements.
#[derive(Clone, Debug)]
pub struct Recorded {
    store: SharedStore,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Recorded {
    /// Remembers calls to `store`.
    pub fn new(store: SharedStore) -> Self {
        Self {
            store,
            records: Arc::default(),
        }
    }

    /// All calls since the last [`take`](Self::take).
    pub fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// All calls since the last time, which are forgotten.
    pub fn take(&self) -> Vec<Record> {
        mem::take(&mut *self.lock())
    }

    /// Names that were successfully written, in the order in which that was acknowledged.
    pub fn written(&self) -> Vec<String> {
        let records = self.lock();
        let written = records
            .iter()
            .filter(|record| record.verb == Verb::PutNew && record.error.is_none());
        written.map(|record| record.name.clone()).collect()
    }

    /// Requests and bytes of each verb.
    pub fn counts(&self) -> BTreeMap<Verb, Count> {
        let mut counts: BTreeMap<_, Count> = BTreeMap::new();
        for record in self.lock().iter() {
            let count = counts.entry(record.verb).or_default();
            count.requests += 1;
            count.bytes += record.bytes;
        }
        counts
    }

    /// Requests and bytes of one verb.
    pub fn count(&self, verb: Verb) -> Count {
        self.counts().get(&verb).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wrapper for Recorded {
    fn inner(&self) -> &SharedStore {
        &self.store
    }

    async fn around<T: Reply>(
        &self,
        call: Call<'_>,
        effect: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let result = effect.await;
        let received_bytes = result.as_ref().map_or(0, Reply::received_bytes);
        self.lock().push(Record {
            verb: call.verb,
            name: call.name.to_owned(),
            bytes: call.sent_bytes + received_bytes,
            error: result.as_ref().err().map(crate::store::StoreError::kind),
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::store::{MemoryStore, Store as _};

    #[tokio::test]
    async fn calls_are_remembered_with_their_bytes_and_errors() {
        let store = Recorded::new(Arc::new(MemoryStore::new()));
        store
            .put_new("a/b", Bytes::from_static(b"12345"))
            .await
            .unwrap();
        store
            .put_new("a/b", Bytes::from_static(b"67"))
            .await
            .unwrap_err();
        store.get_range("a/b", 1..4).await.unwrap();
        store.list("a/", None).await.unwrap();

        let record = |verb, name: &str, bytes, error| Record {
            verb,
            name: name.to_owned(),
            bytes,
            error,
        };
        let expected = [
            record(Verb::PutNew, "a/b", 5, None),
            record(Verb::PutNew, "a/b", 2, Some(ErrorKind::Exists)),
            record(Verb::GetRange, "a/b", 3, None),
            record(Verb::List, "a/", 0, None),
        ];
        assert_eq!(store.records(), expected);
        assert_eq!(store.written(), ["a/b"]);
        assert_eq!(
            store.count(Verb::PutNew),
            Count {
                requests: 2,
                bytes: 7
            }
        );
        assert_eq!(store.take(), expected);
        assert!(store.records().is_empty());
    }
}
