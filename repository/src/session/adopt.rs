//! What a session takes over from writers that ended before they committed: packs that are there, and how far they came.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};

use super::{Result, records::Checkpoint};
use crate::{
    format::SLOT_TABLE_BYTES_MAX,
    id::{PackId, SessionId},
    layout::{self, PackKind, SessionObject},
    pack,
    record::RecordKind,
    reference::Reference,
    repository::Repository,
    store::{Entry, list_all},
};

/// Dead writers whose packs are taken over, the newest of those that left any: their slot tables are read. The older ones
/// are taken over later, or left for prune.
const SESSIONS_MAX: usize = 16;
/// Dead writers that are looked at: each costs three listings. A writer that is killed at once, again and again, leaves
/// hundreds of sessions with nothing in them.
const LOOKED_AT_MAX: usize = 1024;
/// Of which so many at a time, since most of the time is the store's.
const LISTED_TOGETHER: usize = 16;

/// What was taken over.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    sessions: Vec<SessionId>,
    /// Those that were left: nobody looked which of their packs are there.
    left: BTreeSet<SessionId>,
    packs: BTreeSet<PackId>,
    checkpoint: Option<(SessionId, Checkpoint)>,
}

impl Adopted {
    /// The sessions that were taken over.
    pub fn sessions(&self) -> &[SessionId] {
        &self.sessions
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref().map(|(_, checkpoint)| checkpoint)
    }

    /// Whether a reference may be used: a pack of a session that never committed must have been seen in a listing, since
    /// its upload may never have ended. Others are vouched for by a committed point.
    pub fn admits(&self, reference: &Reference) -> bool {
        let session = reference.pack.session();
        let dead = self.sessions.contains(&session) || self.left.contains(&session);
        !dead || self.packs.contains(&reference.pack)
    }

    /// Whether everything before the checkpoint's cursor is there. It may lead to any session before its own, so all must
    /// have been looked at.
    pub fn cursor_holds(&self) -> bool {
        self.left.is_empty()
            && self
                .checkpoint
                .as_ref()
                .is_some_and(|(session, checkpoint)| {
                    (0..checkpoint.packs_before)
                        .step_by(2)
                        .all(|number| self.packs.contains(&PackId::new(*session, number)))
                })
    }

    /// Number of packs that are there.
    pub fn packs(&self) -> usize {
        self.packs.len()
    }

    /// Calls `found` with the chunks of packs that were taken over, newest pack first, until it returns `false`.
    ///
    /// # Errors
    /// When the store fails. A slot table that is missing or damaged is passed over: its chunks are uploaded again.
    pub async fn chunks(
        &self,
        repository: &Repository,
        mut found: impl FnMut(Reference) -> bool,
    ) -> Result<()> {
        for pack in self
            .packs
            .iter()
            .rev()
            .filter(|pack| pack.sequence().is_multiple_of(2))
        {
            let name = layout::slot_table(*pack);
            let table = match repository.store().get(&name, SLOT_TABLE_BYTES_MAX).await {
                Ok(sealed) => {
                    pack::open_table(repository.keys(), repository.id(), &name, *pack, &sealed).ok()
                }
                Err(error) if error.kind() == crate::store::ErrorKind::NotFound => None,
                Err(error) => return Err(error.into()),
            };
            let Some(table) = table else { continue };
            for (slot, number) in table.slots.iter().zip(0_u16..) {
                if !found(slot.reference(*pack, table.key, number)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Packs and checkpoints of a session.
async fn left_behind(
    repository: &Repository,
    session: SessionId,
) -> Result<(Vec<PackId>, Vec<Entry>)> {
    let mut packs = Vec::new();
    for kind in [PackKind::Data, PackKind::Meta] {
        let entries =
            list_all(&**repository.store(), &layout::session_packs(kind, session)).await?;
        let ids = entries
            .iter()
            .filter_map(|entry| layout::parse_pack(kind, &entry.name));
        packs.extend(ids);
    }
    let mut checkpoints = list_all(&**repository.store(), &layout::checkpoints(session)).await?;
    checkpoints.retain(|entry| {
        let object = layout::parse_session_object(&entry.name);
        matches!(object, Some((_, SessionObject::Checkpoint(_))))
    });
    Ok((packs, checkpoints))
}

/// Takes over from these sessions, oldest first, all of which can no longer commit.
pub(super) async fn adopt(repository: &Repository, dead: &[SessionId]) -> Result<Adopted> {
    let mut adopted = Adopted::default();
    let mut newest: BTreeMap<(std::time::SystemTime, String), SessionId> = BTreeMap::new();
    adopted.left.extend(dead);
    let looked_at = dead.iter().rev().copied().take(LOOKED_AT_MAX);
    let mut found = stream::iter(looked_at)
        .map(|session| async move { (session, left_behind(repository, session).await) })
        .buffered(LISTED_TOGETHER);
    let mut with_packs = 0;
    while with_packs < SESSIONS_MAX
        && let Some((session, found)) = found.next().await
    {
        let (packs, checkpoints) = found?;
        adopted.left.remove(&session);
        adopted.sessions.push(session);
        with_packs += usize::from(!packs.is_empty());
        adopted.packs.extend(packs);
        for entry in checkpoints {
            newest.insert((entry.modified, entry.name), session);
        }
    }
    drop(found);
    if !adopted.left.is_empty() {
        tracing::warn!(
            sessions = adopted.left.len(),
            limit = SESSIONS_MAX,
            "what older interrupted runs uploaded is not taken over, and uploaded again where it is needed"
        );
    }
    // The newest that can be read; one that was half written when its writer ended is no loss.
    for ((_, name), session) in newest.into_iter().rev() {
        match repository
            .get_record::<Checkpoint>(&name, RecordKind::Checkpoint)
            .await
        {
            Ok(checkpoint) => {
                adopted.checkpoint = Some((session, checkpoint));
                break;
            }
            Err(error) if error.is_damage() => {
                tracing::warn!(object = name, %error, "a checkpoint cannot be used");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(adopted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::ChunkId, reference::Codec};

    fn reference(session: u8) -> Reference {
        Reference {
            id: ChunkId::from_bytes([0; 32]),
            pack: PackId::new(SessionId::from_bytes([session; 16]), 0),
            key: 0,
            slot: 0,
            offset: 48,
            stored_bytes: 16,
            plain_bytes: 1,
            codec: Codec::Stored,
        }
    }

    #[test]
    fn what_nobody_looked_at_is_not_referred_to() {
        let session = |byte| SessionId::from_bytes([byte; 16]);
        let adopted = Adopted {
            sessions: vec![session(2)],
            left: BTreeSet::from([session(1)]),
            packs: BTreeSet::from([PackId::new(session(2), 0)]),
            checkpoint: None,
        };
        assert!(adopted.admits(&reference(2)), "seen in a listing");
        assert!(adopted.admits(&reference(3)), "a committed point vouches");
        assert!(!adopted.admits(&reference(1)), "left");
        let unseen = Adopted {
            packs: BTreeSet::new(),
            ..adopted
        };
        assert!(!unseen.admits(&reference(2)), "its upload never ended");
    }
}
