//! Who can open the repository: each key file and each passphrase has a slot, which holds the root key.
//!
//! Slots are read before anything can be authenticated. So whoever can write to the store can add slots that open for
//! nobody: they may cost little time and memory, and must never pass for one that opens.

use bytes::Bytes;

use super::{Repository, Result};
use crate::{
    clock,
    error::RepositoryError,
    format::{ARGON2_COST, KEY_SLOTS_MAX, RECORD_BYTES_MAX},
    id::RepositoryId,
    key::{self, Key, Secret, SlotHeader, SlotKind},
    layout, random,
    store::{ErrorKind, SharedStore, list_all},
};

/// What all slots together may cost: as much as the most that there may be, made by us.
const COST_MAX: u64 = ARGON2_COST * KEY_SLOTS_MAX as u64;

/// A key slot, as `sluice key list` shows it.
#[derive(Clone, Debug)]
pub struct KeySlot {
    /// Its name.
    pub id: String,
    /// What it says in the clear; `None` when it is damaged.
    pub header: Option<SlotHeader>,
}

impl Repository {
    /// The slots, of which those that are ours can open the repository.
    pub async fn slots(&self) -> Result<Vec<KeySlot>> {
        let (slots, _) = read_slots(self.store()).await?;
        let slots = slots.into_iter();
        Ok(slots
            .map(|(id, bytes)| KeySlot {
                id,
                header: key::parse_slot_header(&bytes).ok(),
            })
            .collect())
    }

    /// How many slots there are: also those beyond the first ones, which nobody looks at.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn slot_count(&self) -> Result<usize> {
        Ok(list_slots(self.store()).await?.len())
    }

    /// The slot that opened the repository.
    pub fn own_slot(&self) -> &str {
        &self.inner.slot
    }

    /// Lets another secret open the repository. Returns the slot's name.
    ///
    /// # Errors
    /// When there are as many slots as there may be.
    pub async fn add_slot(&self, secret: &Secret, label: &str) -> Result<String> {
        let slots = list_slots(self.store()).await?.len();
        if slots >= KEY_SLOTS_MAX {
            return Err(RepositoryError::TooManySlots(slots));
        }
        let id = draw_id();
        self.put_slot(&id, secret, label).await?;
        Ok(id)
    }

    /// Takes a secret's slot away; the beginning of its name is enough. The root key stays the same: whoever opened the
    /// repository before may have kept it.
    ///
    /// # Errors
    /// When it is the slot that opened the repository, the only one that surely does; when no or several slots begin so.
    pub async fn remove_slot(&self, id: &str) -> Result<String> {
        let id = self.only_slot(id).await?;
        if id == self.inner.slot {
            return Err(RepositoryError::OwnSlot { slot: id });
        }
        self.delete_slot(id).await
    }

    /// Lets another secret open the repository instead of one that does, which may be the one that opened it. Returns the
    /// names of the new slot and of the old one.
    ///
    /// # Errors
    /// As for [`add_slot`](Self::add_slot) and [`remove_slot`](Self::remove_slot). Both open it when the old one could
    /// not be removed.
    pub async fn replace_slot(
        &self,
        old: &str,
        secret: &Secret,
        label: &str,
    ) -> Result<(String, String)> {
        let old = self.only_slot(old).await?;
        let added = self.add_slot(secret, label).await?;
        // Only now, when there is another that surely opens.
        Ok((added, self.delete_slot(old).await?))
    }

    /// The one slot whose name begins so.
    async fn only_slot(&self, start: &str) -> Result<String> {
        let slots = list_slots(self.store()).await?;
        let mut matching = slots.into_iter().filter(|id| id.starts_with(start));
        match (matching.next(), matching.next()) {
            (Some(slot), None) => Ok(slot),
            _ => Err(RepositoryError::NoSlot {
                slot: start.to_owned(),
            }),
        }
    }

    async fn delete_slot(&self, id: String) -> Result<String> {
        self.store().delete(&layout::key_slot(&id)).await?;
        Ok(id)
    }

    /// Writes a slot, reads it back and opens it: one that does not open must not be relied on.
    pub(super) async fn put_slot(&self, id: &str, secret: &Secret, label: &str) -> Result<()> {
        let name = layout::key_slot(id);
        let label: String = label.chars().take(200).collect();
        let (root, now) = (&self.inner.root, clock::now_ms());
        let slot = key::seal_slot(secret, root, &label, now, self.id(), &name);
        self.store().put_new(&name, slot.into()).await?;
        let slot = self.store().get(&name, RECORD_BYTES_MAX).await?;
        key::open_slot(secret, &slot, self.id(), &name)
            .map_err(|error| RepositoryError::damaged(&name, error.to_string()))?;
        Ok(())
    }
}

/// Draws the name of a slot.
pub(super) fn draw_id() -> String {
    let bytes = random::array::<8>();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names of slots. What else lies there is not ours.
async fn list_slots(store: &SharedStore) -> Result<Vec<String>> {
    let listed = list_all(&**store, layout::KEY_SLOTS).await?;
    let ids = listed
        .iter()
        .filter_map(|entry| layout::parse_key_slot(&entry.name));
    Ok(ids.map(str::to_owned).collect())
}

/// The first slots, and how many there are in all.
async fn read_slots(store: &SharedStore) -> Result<(Vec<(String, Bytes)>, usize)> {
    let mut slots = Vec::new();
    let ids = list_slots(store).await?;
    let count = ids.len();
    for id in ids.into_iter().take(KEY_SLOTS_MAX) {
        match store.get(&layout::key_slot(&id), RECORD_BYTES_MAX).await {
            Ok(bytes) => slots.push((id, bytes)),
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((slots, count))
}

/// Tries the slots that this kind of secret may open, cheap ones first. Returns the name of the one that opened, too.
pub(super) async fn open_root(
    store: &SharedStore,
    secret: &Secret,
    repository: RepositoryId,
) -> Result<(String, Key)> {
    let (wanted, name) = match secret {
        Secret::KeyFile(_) => (SlotKind::KeyFile, "key file"),
        Secret::Passphrase(_) => (SlotKind::Passphrase, "passphrase"),
    };
    let (slots, count) = read_slots(store).await?;
    if slots.is_empty() {
        let location = store.location();
        return Err(RepositoryError::NoSlots { location });
    }
    let (mut candidates, mut damaged) = (Vec::new(), None);
    for (id, bytes) in &slots {
        match key::parse_slot_header(bytes) {
            Ok(header) if header.kind == wanted => candidates.push((header.cost(), id, bytes)),
            Ok(_) => {}
            Err(error) => {
                damaged = Some(RepositoryError::damaged(
                    layout::key_slot(id),
                    error.to_string(),
                ));
            }
        }
    }
    candidates.sort_by_key(|(cost, _, _)| *cost);
    let (mut spent, mut tried) = (0_u64, false);
    for (cost, id, bytes) in candidates {
        spent = spent.saturating_add(cost);
        if spent > COST_MAX {
            break;
        }
        // On a thread of its own: stretching a passphrase takes long enough for somebody to press Ctrl-C.
        let opened = tokio::task::spawn_blocking({
            let (secret, bytes, name) = (secret.duplicate(), bytes.clone(), layout::key_slot(id));
            move || key::open_slot(&secret, &bytes, repository, &name)
        });
        match opened.await.map_err(|_| RepositoryError::Internal)? {
            Ok(root) => return Ok((id.clone(), root)),
            Err(key::SlotError::Wrong) => tried = true,
            Err(error) => {
                let slot = layout::key_slot(id);
                damaged = Some(RepositoryError::damaged(slot, error.to_string()));
            }
        }
    }
    if count > slots.len() {
        let (looked_at, location) = (slots.len(), store.location());
        return Err(RepositoryError::SlotsUnread {
            count,
            looked_at,
            location,
        });
    }
    let wrong = RepositoryError::WrongSecret {
        secret: name,
        slots: slots.len(),
        location: store.location(),
    };
    Err(if tried {
        wrong
    } else {
        damaged.unwrap_or(wrong)
    })
}
