//! A repository: opened with a secret, it lists, finds and forgets points, and changes who can open it.

mod open;
mod slots;

use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::{
    clock,
    error::RepositoryError,
    format::{DOMAIN, RECORD_BYTES_MAX},
    id::RepositoryId,
    key::{Key, Keyring, Secret},
    layout,
    record::{self, Place, RecordError, RecordKind},
    store::{ErrorKind, SharedStore, StoreError, list_all, probe},
    superblock::{Operation, StoreFacts, Superblock},
};

use self::open::{open_keyring, refuse_leftovers};
pub use self::{open::read_superblock, slots::KeySlot};

type Result<T> = std::result::Result<T, RepositoryError>;

/// The version of this crate, as recorded in points.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An open repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: SharedStore,
    superblock: Superblock,
    keys: Keyring,
    root: Key,
    /// The key slot that opened it.
    slot: String,
}

/// How to make a repository.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// What the first key slot is called.
    pub label: String,
    /// Accept a store that does not enforce write-once: one writer at a time, and every command warns.
    pub accept_no_write_once: bool,
}

impl Repository {
    /// Makes a repository where nothing is yet, after probing what the store really enforces.
    ///
    /// # Errors
    /// When something is there, or the store does not enforce write-once and that was not accepted.
    pub async fn create(
        store: SharedStore,
        secret: &Secret,
        options: &CreateOptions,
    ) -> Result<Self> {
        let location = store.location();
        match store.get(layout::SUPERBLOCK, RECORD_BYTES_MAX).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(RepositoryError::AlreadyARepository { location }),
        }
        let report = probe::probe(&*store).await?;
        let enforced = report.write_once && report.read_after_write && report.list_after_write;
        if !enforced && !options.accept_no_write_once {
            return Err(RepositoryError::NoWriteOnce { location });
        }
        let facts = StoreFacts {
            write_once: enforced,
            accepted_without: !enforced,
            read_after_write: report.read_after_write,
            list_after_write: report.list_after_write,
        };
        refuse_leftovers(&*store).await?;
        let (root, keys) = (Key::draw(), Keyring::draw());
        let slot = slots::draw_id();
        let superblock = Superblock::new(RepositoryId::draw(), clock::now_ms(), facts);
        let name = layout::keyring(0);
        store
            .put_new(&name, keys.seal(&root, superblock.id, &name).into())
            .await?;
        let repository = Self {
            inner: Arc::new(Inner {
                store,
                superblock,
                keys,
                root,
                slot: slot.clone(),
            }),
        };
        if let Err(error) = repository.put_slot(&slot, secret, &options.label).await {
            repository.remove_keys(&slot).await;
            return Err(error);
        }
        // Last, so that a repository exists exactly when it can be opened.
        let bytes = repository.inner.superblock.encode(&repository.inner.root);
        let written = repository
            .store()
            .put_new(layout::SUPERBLOCK, bytes.into())
            .await;
        match written {
            Ok(()) => Ok(repository),
            Err(error) if error.kind() == ErrorKind::Exists => {
                Err(RepositoryError::AlreadyARepository { location })
            }
            // It may be there all the same, so its keys stay.
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what an `init` wrote that failed before there was a superblock.
    async fn remove_keys(&self, slot: &str) {
        self.delete_quietly(&layout::key_slot(slot)).await;
        self.delete_quietly(&layout::keyring(0)).await;
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// When none is there, it is of a newer version, the secret is wrong, or what is needed to open it is damaged.
    pub async fn open(store: SharedStore, secret: &Secret) -> Result<Self> {
        let (bytes, superblock) = read_superblock(&store).await?;
        let (slot, root) = slots::open_root(&store, secret, superblock.id).await?;
        if !Superblock::check(&bytes, &root) {
            return Err(RepositoryError::damaged(
                layout::SUPERBLOCK,
                "it does not match its seal",
            ));
        }
        let keys = open_keyring(&store, &root, superblock.id).await?;
        let repository = Self {
            inner: Arc::new(Inner {
                store,
                superblock,
                keys,
                root,
                slot,
            }),
        };
        repository.require(Operation::Read).await?;
        Ok(repository)
    }

    /// Where its objects are.
    pub fn store(&self) -> &SharedStore {
        &self.inner.store
    }

    /// Its superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.inner.superblock
    }

    /// Its id.
    pub fn id(&self) -> RepositoryId {
        self.inner.superblock.id
    }

    /// The keys of its domain.
    pub fn keys(&self) -> &Keyring {
        &self.inner.keys
    }

    /// Refuses an operation for which a feature must be known that this program does not know. Whatever does not begin a
    /// session or forget does it before it does anything else.
    ///
    /// # Errors
    /// When there is such a feature, or the store fails.
    pub async fn require(&self, operation: Operation) -> Result<()> {
        let newer = |feature: &str| RepositoryError::Newer {
            what: format!("feature `{feature}` of {}", self.store().location()),
            version: VERSION,
        };
        if let Some(feature) = self.superblock().unknown_feature(operation) {
            return Err(newer(feature));
        }
        let prefix = format!("{}{}-", layout::FEATURES, operation.name());
        let markers = list_all(&**self.store(), &prefix).await?;
        let mut features = markers
            .iter()
            .filter_map(|marker| marker.name.strip_prefix(layout::FEATURES));
        match features.next() {
            Some(feature) => Err(newer(feature)),
            None => Ok(()),
        }
    }

    /// Seals a record for `name` and writes it.
    pub(crate) async fn put_record<T: Encode<()> + Sync>(
        &self,
        name: &str,
        kind: RecordKind,
        value: &T,
    ) -> std::result::Result<(), StoreError> {
        self.store()
            .put_new(name, self.seal_record(name, kind, value))
            .await
    }

    /// Seals a record for `name`.
    pub(crate) fn seal_record<T: Encode<()>>(
        &self,
        name: &str,
        kind: RecordKind,
        value: &T,
    ) -> Bytes {
        let payload = minicbor::to_vec(value).expect("encoding into memory");
        let manifest = kind == RecordKind::Manifest;
        let key = if manifest {
            self.keys().manifest()
        } else {
            self.keys().records()
        };
        record::seal(key, kind, self.place(name), &payload).into()
    }

    /// Reads and opens the record called `name`.
    pub(crate) async fn get_record<T: for<'b> Decode<'b, ()>>(
        &self,
        name: &str,
        kind: RecordKind,
    ) -> Result<T> {
        let sealed = self.store().get(name, RECORD_BYTES_MAX).await?;
        self.open_record(name, kind, &sealed)
            .map(|(value, _)| value)
    }

    /// Opens a record; returns its plaintext too.
    pub(crate) fn open_record<T: for<'b> Decode<'b, ()>>(
        &self,
        name: &str,
        kind: RecordKind,
        sealed: &[u8],
    ) -> Result<(T, Vec<u8>)> {
        let mut result = Err(RecordError::Unauthentic);
        let manifest = (kind == RecordKind::Manifest).then(|| self.keys().manifest());
        let others = self.keys().record_keys().filter(|_| manifest.is_none());
        let keys: Vec<&Key> = manifest.into_iter().chain(others).collect();
        for key in keys {
            result = record::open(key, kind, self.place(name), sealed);
            if result.is_ok() {
                break;
            }
        }
        // Also one that seems to be of a newer version: nothing says so but a byte that may be the damaged one, and a
        // repository that needs a newer program names a feature.
        let payload = result.map_err(|error| RepositoryError::damaged(name, error.to_string()))?;
        let value = minicbor::decode(&payload)
            .map_err(|_| RepositoryError::damaged(name, "authentic, but not what it should be"))?;
        Ok((value, payload))
    }

    pub(crate) fn place<'a>(&self, name: &'a str) -> Place<'a> {
        Place {
            repository: self.id(),
            domain: DOMAIN,
            name,
        }
    }

    /// Deletes what is no longer needed; that it stays is no harm.
    pub(crate) async fn delete_quietly(&self, name: &str) -> bool {
        let deleted = self.store().delete(name).await;
        if let Err(error) = &deleted {
            tracing::debug!(object = name, %error, "left for prune");
        }
        deleted.is_ok()
    }
}
