//! Stores as a process sees them that dies, and as the next one finds them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use repository::store::{
    ErrorKind, MemoryStore, SharedStore, Store, list_all,
    wrap::{Fault, Faulty},
};

/// A copy of everything in `store`, so that every case starts from the same contents.
pub async fn fork(store: &dyn Store) -> MemoryStore {
    let copy = MemoryStore::new();
    let mut entries = list_all(store, "").await.expect("a listing");
    entries.sort_by_key(|entry| entry.modified);
    for entry in entries {
        let body = store
            .get(&entry.name, u64::MAX)
            .await
            .expect("a listed object");
        copy.put_new(&entry.name, body).await.expect("a new name");
    }
    copy
}

/// The names that begin with `prefix`.
pub async fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    let entries = list_all(store, prefix).await.expect("a listing");
    entries.into_iter().map(|entry| entry.name).collect()
}

/// How long a [`Fleeting`] store lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Calls that succeed.
    pub calls: u64,
    /// Reads count too.
    pub reads: bool,
    /// The first call that fails takes effect all the same: its reply was lost.
    pub reply_lost: bool,
}

/// A store that fails every call after the first few: what a process sees that is cut off, and, in what it leaves
/// behind, one that dies.
#[derive(Clone, Debug)]
pub struct Fleeting {
    calls: Arc<AtomicU64>,
    lives: Lives,
}

impl Fleeting {
    /// Lets calls to `store` through for as long as `lives` says.
    pub fn new(store: impl Store + 'static, lives: Lives) -> (SharedStore, Self) {
        let this = Self {
            calls: Arc::default(),
            lives,
        };
        let rule = this.clone();
        let store = Faulty::new(Arc::new(store), move |call| {
            let counts = lives.reads || call.verb.mutates();
            let earlier = rule.calls.fetch_add(u64::from(counts), Ordering::SeqCst);
            match earlier {
                earlier if earlier < lives.calls => None,
                earlier if earlier == lives.calls && !counts => None,
                earlier if earlier == lives.calls && lives.reply_lost => {
                    Some(Fault::After(ErrorKind::Unreachable))
                }
                _ => Some(Fault::Before(ErrorKind::Unreachable)),
            }
        });
        (Arc::new(store), this)
    }

    /// Whether it came to its end. If not, there was nothing left to stop.
    pub fn has_stopped(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.lives.calls
    }
}
