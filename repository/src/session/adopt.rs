//! What a session takes over from writers that ended before they committed: packs that are there, and how far they came.

use std::collections::{BTreeMap, BTreeSet};

use super::{Result, records::Checkpoint};
use crate::{
    format::SLOT_TABLE_BYTES_MAX,
    id::{PackId, SessionId},
    layout::{self, PackKind, SessionObject},
    pack,
    record::RecordKind,
    reference::Reference,
    repository::Repository,
    store::list_all,
};

/// Dead writers whose packs are taken over, the newest; older ones are left for prune.
const SESSIONS_MAX: usize = 16;

/// What was taken over.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    sessions: Vec<SessionId>,
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

    /// Whether a reference may be used: a pack of a session that was taken over must have been seen in a listing, since
    /// its upload may never have ended. Others are vouched for by a committed point.
    pub fn admits(&self, reference: &Reference) -> bool {
        !self.sessions.contains(&reference.pack.session()) || self.packs.contains(&reference.pack)
    }

    /// Whether everything before the checkpoint's cursor is there.
    pub fn cursor_holds(&self) -> bool {
        self.checkpoint
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

/// Takes over from these sessions, oldest first, all of which can no longer commit.
pub(super) async fn adopt(repository: &Repository, dead: &[SessionId]) -> Result<Adopted> {
    let mut adopted = Adopted::default();
    let mut newest: BTreeMap<(std::time::SystemTime, String), SessionId> = BTreeMap::new();
    for session in dead.iter().rev().take(SESSIONS_MAX).copied() {
        adopted.sessions.push(session);
        for kind in [PackKind::Data, PackKind::Meta] {
            let entries =
                list_all(&**repository.store(), &layout::session_packs(kind, session)).await?;
            adopted.packs.extend(
                entries
                    .iter()
                    .filter_map(|entry| layout::parse_pack(kind, &entry.name)),
            );
        }
        for entry in list_all(&**repository.store(), &layout::checkpoints(session)).await? {
            if let Some((_, SessionObject::Checkpoint(_))) =
                layout::parse_session_object(&entry.name)
            {
                newest.insert((entry.modified, entry.name), session);
            }
        }
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
