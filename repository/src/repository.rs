//! A repository: opened with a secret, it lists, finds and forgets points, and changes who can open it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::{
    clock,
    error::RepositoryError,
    format::{DOMAIN, KEY_SLOTS_MAX, RECORD_BYTES_MAX},
    id::RepositoryId,
    key::{self, Key, Keyring, Secret, SlotHeader, SlotKind},
    layout, random,
    record::{self, Place, RecordError, RecordKind},
    store::{ErrorKind, SharedStore, Store, StoreError, list_all, probe},
    superblock::{Operation, StoreFacts, Superblock, SuperblockError},
};

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
}

/// How to make a repository.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// What the first key slot is called.
    pub label: String,
    /// Accept a store that does not enforce write-once: one writer at a time, and every command warns.
    pub accept_no_write_once: bool,
}

/// A key slot, as `sluice key list` shows it.
#[derive(Clone, Debug)]
pub struct KeySlot {
    /// Its name.
    pub id: String,
    /// What it says in the clear; `None` when it is damaged.
    pub header: Option<SlotHeader>,
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
            }),
        };
        if let Err(error) = repository.add_slot(secret, &options.label).await {
            repository.remove_keys().await;
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
    async fn remove_keys(&self) {
        match list_all(&**self.store(), layout::KEY_SLOTS).await {
            Ok(slots) => {
                for slot in slots {
                    self.delete_quietly(&slot.name).await;
                }
                self.delete_quietly(&layout::keyring(0)).await;
            }
            Err(error) => tracing::debug!(%error, "keys that open nothing were left behind"),
        }
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// When none is there, it is of a newer version, the secret is wrong, or what is needed to open it is damaged.
    pub async fn open(store: SharedStore, secret: &Secret) -> Result<Self> {
        let (bytes, superblock) = read_superblock(&store).await?;
        let root = open_root(&store, secret, superblock.id).await?;
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

    /// Refuses an operation for which a feature must be known that this program does not know.
    pub(crate) async fn require(&self, operation: Operation) -> Result<()> {
        let newer = |feature: &str| RepositoryError::Newer {
            what: format!("feature `{feature}` of {}", self.store().location()),
            version: VERSION,
        };
        if let Some(feature) = self.superblock().unknown_feature(operation) {
            return Err(newer(feature));
        }
        let prefix = format!("{}{}-", layout::FEATURES, operation.name());
        match list_all(&**self.store(), &prefix).await?.first() {
            Some(marker) => Err(newer(&marker.name[layout::FEATURES.len()..])),
            None => Ok(()),
        }
    }

    /// The slots that can open the repository.
    pub async fn slots(&self) -> Result<Vec<KeySlot>> {
        let mut slots = Vec::new();
        for (id, bytes) in read_slots(self.store()).await? {
            slots.push(KeySlot {
                id,
                header: key::parse_slot_header(&bytes).ok(),
            });
        }
        Ok(slots)
    }

    /// Lets another secret open the repository. Returns the slot's name.
    ///
    /// # Errors
    /// When there are as many slots as there may be.
    pub async fn add_slot(&self, secret: &Secret, label: &str) -> Result<String> {
        let slots = list_all(&**self.store(), layout::KEY_SLOTS).await?.len();
        if slots >= KEY_SLOTS_MAX {
            return Err(RepositoryError::TooManySlots(slots));
        }
        let id: String = random::array::<8>()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = layout::key_slot(&id);
        let label: String = label.chars().take(200).collect();
        let slot = key::seal_slot(
            secret,
            &self.inner.root,
            &label,
            clock::now_ms(),
            self.id(),
            &name,
        );
        self.store().put_new(&name, slot.into()).await?;
        // Read back and tried: a slot that does not open must not be relied on.
        let slot = self.store().get(&name, RECORD_BYTES_MAX).await?;
        key::open_slot(secret, &slot, self.id(), &name)
            .map_err(|error| RepositoryError::damaged(&name, error.to_string()))?;
        Ok(id)
    }

    /// Takes a secret's slot away; the beginning of its name is enough. The root key stays the same: whoever opened the
    /// repository before may have kept it.
    ///
    /// # Errors
    /// When it is the last slot that can open the repository, or no or several slots begin so.
    pub async fn remove_slot(&self, id: &str) -> Result<String> {
        let slots = self.slots().await?;
        let mut matching = slots.iter().filter(|slot| slot.id.starts_with(id));
        let (Some(slot), None) = (matching.next(), matching.next()) else {
            return Err(RepositoryError::NoSlot {
                slot: id.to_owned(),
            });
        };
        let others = slots
            .iter()
            .filter(|other| other.header.is_some() && other.id != slot.id);
        if others.count() == 0 {
            return Err(RepositoryError::LastSlot {
                slot: slot.id.clone(),
            });
        }
        self.store().delete(&layout::key_slot(&slot.id)).await?;
        Ok(slot.id.clone())
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
        let payload = result.map_err(|error| match error {
            RecordError::Newer => RepositoryError::Newer {
                what: format!("`{name}`"),
                version: VERSION,
            },
            RecordError::NotARecord | RecordError::Unauthentic => {
                RepositoryError::damaged(name, error.to_string())
            }
        })?;
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
    pub(crate) async fn delete_quietly(&self, name: &str) {
        if let Err(error) = self.store().delete(name).await {
            tracing::debug!(object = name, %error, "left for prune");
        }
    }

    /// Draws nothing and waits for nothing: how long a writer may be silent before it counts as gone.
    pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(600);
}

/// Keys without a superblock are never removed by themselves: they may be all that is left of a repository that lost it.
async fn refuse_leftovers(store: &dyn Store) -> Result<()> {
    let keys = store.list("keys/", None).await?;
    if keys.entries.is_empty() {
        return Ok(());
    }
    let way_out = if store.list("d/", None).await?.entries.is_empty() {
        "another `init` is at work or did not finish; if so, delete `keys/` there and run it again"
    } else {
        "put the object `super` back from a copy, or use another place"
    };
    let location = store.location();
    Err(RepositoryError::Unfinished { location, way_out })
}

/// Reads the superblock of a location, without any key.
///
/// # Errors
/// When no repository is there, or one of a newer version.
pub async fn read_superblock(store: &SharedStore) -> Result<(Bytes, Superblock)> {
    let location = store.location();
    let bytes = match store.get(layout::SUPERBLOCK, RECORD_BYTES_MAX).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(RepositoryError::NotARepository { location });
        }
        other => other?,
    };
    let superblock = Superblock::decode(&bytes).map_err(|error| match error {
        SuperblockError::NotASuperblock => RepositoryError::NotARepository { location },
        SuperblockError::Damaged => RepositoryError::damaged(layout::SUPERBLOCK, "it is not whole"),
        SuperblockError::Newer { major } => RepositoryError::Newer {
            what: format!("{location} (format {major})"),
            version: VERSION,
        },
    })?;
    Ok((bytes, superblock))
}

async fn read_slots(store: &SharedStore) -> Result<Vec<(String, Bytes)>> {
    let mut slots = Vec::new();
    for entry in list_all(&**store, layout::KEY_SLOTS)
        .await?
        .into_iter()
        .take(KEY_SLOTS_MAX)
    {
        let id = entry.name[layout::KEY_SLOTS.len()..].to_owned();
        match store.get(&entry.name, RECORD_BYTES_MAX).await {
            Ok(bytes) => slots.push((id, bytes)),
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(slots)
}

/// Tries the slots that this kind of secret may open.
async fn open_root(store: &SharedStore, secret: &Secret, id: RepositoryId) -> Result<Key> {
    let (wanted, name) = match secret {
        Secret::KeyFile(_) => (SlotKind::KeyFile, "key file"),
        Secret::Passphrase(_) => (SlotKind::Passphrase, "passphrase"),
    };
    let slots = read_slots(store).await?;
    let mut damaged = None;
    for (slot, bytes) in &slots {
        let object = layout::key_slot(slot);
        match key::parse_slot_header(bytes) {
            Ok(header) if header.kind == wanted => {
                if let Ok(root) = key::open_slot(secret, bytes, id, &object) {
                    return Ok(root);
                }
            }
            Ok(_) => {}
            Err(error) => damaged = Some(RepositoryError::damaged(object, error.to_string())),
        }
    }
    let location = store.location();
    Err(damaged.unwrap_or(RepositoryError::WrongSecret {
        secret: name,
        slots: slots.len(),
        location,
    }))
}

/// Opens the newest version of the keyring.
async fn open_keyring(store: &SharedStore, root: &Key, id: RepositoryId) -> Result<Keyring> {
    let prefix = format!("keys/{DOMAIN}/");
    let newest = list_all(&**store, &prefix)
        .await?
        .pop()
        .map(|entry| entry.name);
    // Named even when the listing lacks it, so that the error says what is missing.
    let name = newest.unwrap_or_else(|| layout::keyring(0));
    let object = match store.get(&name, RECORD_BYTES_MAX).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(RepositoryError::damaged(name, "it is missing"));
        }
        other => other?,
    };
    Keyring::open(root, id, &name, &object)
        .map_err(|error| RepositoryError::damaged(name, error.to_string()))
}
