//! Packs as they are stored: which ones a session left, and what their ends say is in them.

use std::collections::BTreeMap;

use super::{
    Result,
    damage::{Damage, damage_of},
};
use crate::{
    error::RepositoryError,
    format::{PACK_BYTES_MAX, SLOT_TABLE_BYTES_MAX},
    id::{PackId, SessionId},
    key::KeyNumber,
    layout::{self, PackKind},
    pack::{self, HEADER_BYTES, Slot, TRAILER_BYTES},
    repository::Repository,
    store::{ErrorKind, list_all},
};

/// Bytes at the end of a pack that are read at first: enough for the table of 1,300 chunks.
const TAIL_BYTES: u64 = 64 << 10;

impl Repository {
    /// Lengths of the packs of a session.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn session_packs(
        &self,
        kind: PackKind,
        session: SessionId,
    ) -> Result<BTreeMap<u32, u64>> {
        let entries = list_all(&**self.store(), &layout::session_packs(kind, session)).await?;
        let packs = entries.iter().filter_map(|entry| {
            Some((
                layout::parse_pack(kind, &entry.name)?.sequence(),
                entry.bytes,
            ))
        });
        Ok(packs.collect())
    }

    /// Whether the advisory copy of a pack's slot table, if there is one, is what its name says.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn check_table_copy(&self, pack: PackId) -> Result<Option<Damage>> {
        let name = layout::slot_table(pack);
        let opened = match self.store().get(&name, SLOT_TABLE_BYTES_MAX).await {
            Ok(sealed) => pack::open_table(self.keys(), self.id(), &name, pack, &sealed)
                .map_err(|error| RepositoryError::damaged(&name, error.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error.into()),
        };
        let Err(error) = opened else {
            return Ok(None);
        };
        let mut damage = damage_of(name, error)?;
        damage
            .what
            .push_str("; no point depends on it: delete this object");
        Ok(Some(damage))
    }

    /// The slot table at the end of a pack of this length, and the key that the pack is sealed with.
    ///
    /// # Errors
    /// When it is not there or not authentic.
    pub async fn slot_table(
        &self,
        kind: PackKind,
        id: PackId,
        bytes: u64,
    ) -> Result<(KeyNumber, Vec<Slot>)> {
        let name = layout::pack(kind, id);
        let damaged = |what: &str| RepositoryError::damaged(&name, what);
        let least = (HEADER_BYTES + TRAILER_BYTES) as u64;
        if !(least..=PACK_BYTES_MAX).contains(&bytes) {
            return Err(damaged("its length is not that of a pack"));
        }
        let mut start = bytes - TAIL_BYTES.min(bytes);
        let mut tail = self.store().get_range(&name, start..bytes).await?;
        let trailer = pack::decode_trailer(&tail[tail.len() - TRAILER_BYTES..], bytes)
            .ok_or_else(|| damaged("its trailer is not that of a pack"))?;
        debug_assert!(u64::from(trailer.table_bytes) <= SLOT_TABLE_BYTES_MAX);
        let table = u64::from(trailer.table_offset);
        if table < start {
            start = table;
            tail = self.store().get_range(&name, start..bytes).await?;
        }
        let at = usize::try_from(table - start).expect("a tail fits memory");
        let sealed = &tail[at..tail.len() - TRAILER_BYTES];
        let opened = pack::open_table(self.keys(), self.id(), &name, id, sealed)
            .map_err(|error| damaged(&format!("its slot table: {error}")))?;
        if opened.slots.len() != usize::from(trailer.slots) {
            return Err(damaged("its trailer and its slot table differ"));
        }
        let end = opened.slots.last().map_or(HEADER_BYTES as u64, |slot| {
            u64::from(slot.offset) + u64::from(slot.stored_bytes)
        });
        if end != table {
            return Err(damaged("its slots do not end where its slot table begins"));
        }
        let header = self
            .store()
            .get_range(&name, 0..HEADER_BYTES as u64)
            .await?;
        if header[..] != pack::encode_header(kind, id, opened.key) {
            return Err(damaged("its header is not the one it was written with"));
        }
        Ok((opened.key, opened.slots))
    }
}
