//! Makes every call take longer, as a distant server does.

use std::time::Duration;

use tokio::time::sleep;

use super::{Call, Reply, Wrapper};
use crate::store::{Result, SharedStore};

/// Makes every call take longer.
#[derive(Clone, Debug)]
pub struct Delayed {
    store: SharedStore,
    delay: Duration,
}

impl Delayed {
    /// Waits `delay` before each call to `store`.
    pub fn new(store: SharedStore, delay: Duration) -> Self {
        Self { store, delay }
    }
}

impl Wrapper for Delayed {
    fn inner(&self) -> &SharedStore {
        &self.store
    }

    async fn around<T: Reply>(
        &self,
        _call: Call<'_>,
        effect: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        sleep(self.delay).await;
        effect.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::store::{MemoryStore, Store as _};

    #[tokio::test(start_paused = true)]
    async fn every_call_waits() {
        let store = Delayed::new(Arc::new(MemoryStore::new()), Duration::from_secs(3));
        let started = Instant::now();
        store.list("", None).await.unwrap();
        store.delete("a").await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_secs(6));
    }
}
