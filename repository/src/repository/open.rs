//! What must be read before a repository is open: the superblock, in the clear, and the keyring, under the root key.

use bytes::Bytes;

use super::{Result, VERSION};
use crate::{
    error::RepositoryError,
    format::RECORD_BYTES_MAX,
    id::RepositoryId,
    key::{Key, Keyring},
    layout,
    store::{ErrorKind, SharedStore, Store, list_all},
    superblock::{Superblock, SuperblockError},
};

/// Keys without a superblock are never removed by themselves: they may be all that is left of a repository that lost it.
pub(super) async fn refuse_leftovers(store: &dyn Store) -> Result<()> {
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
            refuse_leftovers(&**store).await?;
            return Err(RepositoryError::NotARepository { location });
        }
        other => other?,
    };
    let decoded = Superblock::decode(&bytes);
    if matches!(decoded, Err(SuperblockError::NotASuperblock))
        && !store.list("keys/", None).await?.entries.is_empty()
    {
        return Err(RepositoryError::damaged(layout::SUPERBLOCK, "it is none"));
    }
    let superblock = decoded.map_err(|error| match error {
        SuperblockError::NotASuperblock => RepositoryError::NotARepository { location },
        SuperblockError::Damaged => RepositoryError::damaged(layout::SUPERBLOCK, "it is not whole"),
        SuperblockError::Newer { major } => RepositoryError::Newer {
            what: format!("{location} (format {major})"),
            version: VERSION,
        },
    })?;
    Ok((bytes, superblock))
}

/// Opens the newest version of the keyring.
pub(super) async fn open_keyring(
    store: &SharedStore,
    root: &Key,
    id: RepositoryId,
) -> Result<Keyring> {
    let listed = list_all(&**store, &layout::keyrings()).await?;
    let newest = listed
        .iter()
        .filter_map(|entry| layout::parse_keyring(&entry.name))
        .max();
    // Named even when the listing lacks it, so that the error says what is missing.
    let name = layout::keyring(newest.unwrap_or(0));
    let object = match store.get(&name, RECORD_BYTES_MAX).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(RepositoryError::damaged(name, "it is missing"));
        }
        other => other?,
    };
    Keyring::open(root, id, &name, &object)
        .map_err(|error| RepositoryError::damaged(name, error.to_string()))
}
