//! Refuses to change anything.

use super::{Call, Reply, Wrapper};
use crate::store::{ErrorKind, Result, SharedStore};

/// Refuses to change anything.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    store: SharedStore,
}

impl ReadOnly {
    /// Lets only reads through to `store`.
    pub fn new(store: SharedStore) -> Self {
        Self { store }
    }
}

impl Wrapper for ReadOnly {
    fn inner(&self) -> &SharedStore {
        &self.store
    }

    async fn around<T: Reply>(
        &self,
        call: Call<'_>,
        effect: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if call.verb.mutates() {
            return Err(call.fails(ErrorKind::ReadOnly));
        }
        effect.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::store::{MemoryStore, Store as _};

    #[tokio::test]
    async fn reads_work_and_writes_do_not() {
        let memory = MemoryStore::new();
        memory.put_new("a", Bytes::from_static(b"1")).await.unwrap();
        let store = ReadOnly::new(Arc::new(memory));
        assert_eq!(store.get("a", 1).await.unwrap(), "1");
        let put = store.put_new("b", Bytes::new()).await.unwrap_err();
        let delete = store.delete("a").await.unwrap_err();
        assert_eq!([put.kind(), delete.kind()], [ErrorKind::ReadOnly; 2]);
        assert_eq!(store.list("", None).await.unwrap().entries.len(), 1);
    }
}
