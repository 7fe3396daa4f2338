//! Fails the calls that a rule names.

use std::fmt;

use super::{Call, Reply, Wrapper};
use crate::store::{ErrorKind, Result, SharedStore};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens but the error.
    Before(ErrorKind),
    /// It happens all the same: the reply is lost.
    After(ErrorKind),
}

type Rule = Box<dyn Fn(&Call<'_>) -> Option<Fault> + Send + Sync>;

/// Fails the calls that a rule names.
pub struct Faulty {
    store: SharedStore,
    rule: Rule,
}

impl Faulty {
    /// Asks `rule` before each call to `store`.
    pub fn new(
        store: SharedStore,
        rule: impl Fn(&Call<'_>) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            rule: Box::new(rule),
        }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Wrapper for Faulty {
    fn inner(&self) -> &SharedStore {
        &self.store
    }

    async fn around<T: Reply>(
        &self,
        call: Call<'_>,
        effect: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match (self.rule)(&call) {
            None => effect.await,
            Some(Fault::Before(kind)) => Err(call.fails(kind)),
            Some(Fault::After(kind)) => {
                effect.await?;
                Err(call.fails(kind))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::store::{MemoryStore, Store as _};

    #[tokio::test]
    async fn a_fault_comes_before_or_after_the_effect() {
        let store = Faulty::new(Arc::new(MemoryStore::new()), |call| match call.name {
            "before" if call.verb.mutates() => Some(Fault::Before(ErrorKind::Full)),
            "after" if call.verb.mutates() => Some(Fault::After(ErrorKind::Unreachable)),
            _ => None,
        });
        let put = async |name: &str| {
            store
                .put_new(name, Bytes::new())
                .await
                .map_err(|error| error.kind())
        };
        assert_eq!(put("before").await, Err(ErrorKind::Full));
        assert_eq!(put("after").await, Err(ErrorKind::Unreachable));
        assert_eq!(put("neither").await, Ok(()));
        assert_eq!(
            store.get("before", 0).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(store.get("after", 0).await.unwrap(), "");
    }
}
