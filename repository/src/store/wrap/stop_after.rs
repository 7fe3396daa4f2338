//! A process that dies at a chosen moment, as the store sees it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{Call, Reply, Wrapper};
use crate::store::{ErrorKind, Result, SharedStore};

/// Lets the first calls that change something through and then fails every call: what a dead process left behind.
///
/// Calls before the last that succeeded may still be under way when it stops; they end as they would have.
#[derive(Clone, Debug)]
pub struct StopAfter {
    store: SharedStore,
    calls_max: u64,
    last_takes_effect: bool,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: AtomicU64,
    stopped: AtomicBool,
}

impl StopAfter {
    /// Lets `calls_max` calls that change something through to `store`; the next one fails, and all after it.
    pub fn new(store: SharedStore, calls_max: u64) -> Self {
        Self {
            store,
            calls_max,
            last_takes_effect: false,
            state: Arc::default(),
        }
    }

    /// The call that is told to have failed first takes effect all the same.
    #[must_use]
    pub fn last_takes_effect(mut self) -> Self {
        self.last_takes_effect = true;
        self
    }

    /// Whether it has stopped. If not, there was nothing left to stop: a crash suite has come to its end.
    pub fn has_stopped(&self) -> bool {
        self.state.stopped.load(Ordering::SeqCst)
    }
}

impl Wrapper for StopAfter {
    fn inner(&self) -> &SharedStore {
        &self.store
    }

    async fn around<T: Reply>(
        &self,
        call: Call<'_>,
        effect: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let dead = || {
            call.fails(ErrorKind::Unreachable)
                .because("the process has stopped")
        };
        if self.has_stopped() {
            return Err(dead());
        }
        if !call.verb.mutates() {
            return effect.await;
        }
        let earlier = self.state.calls.fetch_add(1, Ordering::SeqCst);
        if earlier < self.calls_max {
            return effect.await;
        }
        self.state.stopped.store(true, Ordering::SeqCst);
        if earlier == self.calls_max && self.last_takes_effect {
            effect.await?;
        }
        Err(dead())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{MemoryStore, Store as _, list_all};

    async fn left_behind(stop: impl FnOnce(StopAfter) -> StopAfter) -> Vec<String> {
        let memory = MemoryStore::new();
        let store = stop(StopAfter::new(Arc::new(memory.clone()), 2));
        store.put_new("a", Bytes::new()).await.unwrap();
        store.get("a", 0).await.unwrap();
        store.put_new("b", Bytes::new()).await.unwrap();
        store.list("", None).await.unwrap();
        assert!(!store.has_stopped());
        store.put_new("c", Bytes::new()).await.unwrap_err();
        assert!(store.has_stopped());
        store.get("a", 0).await.unwrap_err();
        store.delete("a").await.unwrap_err();
        let left = list_all(&memory, "").await.unwrap();
        left.into_iter().map(|entry| entry.name).collect()
    }

    #[tokio::test]
    async fn nothing_works_after_the_last_call() {
        assert_eq!(left_behind(|store| store).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn the_call_that_fails_first_may_take_effect() {
        assert_eq!(
            left_behind(StopAfter::last_takes_effect).await,
            ["a", "b", "c"]
        );
    }
}
