//! What goes wrong in a repository: one variant for each thing that a caller or a user can do something about.

use std::borrow::Cow;

use crate::{
    layout,
    seal::OpenError,
    store::{ErrorKind, StoreError},
};

/// An operation on a repository that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing, or something else, is there.
    #[error(
        "{location} is not a Sluice repository: run `sluice init` there first, or check the address"
    )]
    NotARepository {
        /// Where.
        location: String,
    },
    /// `init` where something is already.
    #[error("{location} already holds a repository")]
    AlreadyARepository {
        /// Where.
        location: String,
    },
    /// `init` where one did not finish, or where a superblock was lost.
    #[error("{location} holds keys but no superblock: {way_out}")]
    Unfinished {
        /// Where.
        location: String,
        /// What to do.
        way_out: &'static str,
    },
    /// No slot opens with the secret.
    #[error(
        "wrong {secret}: none of the {slots} key slots of {location} opens with it; if it is the right one, its slot is \
         damaged: try another key, or put the objects below `keys/slot/` back from a copy"
    )]
    WrongSecret {
        /// `key file` or `passphrase`.
        secret: &'static str,
        /// Slots tried.
        slots: usize,
        /// Where.
        location: String,
    },
    /// Nothing is there that any secret could open.
    #[error("{location} has no key slot left: put the objects below `keys/slot/` back from a copy")]
    NoSlots {
        /// Where.
        location: String,
    },
    /// The repository, or a feature that it needs for this, is of a newer version.
    #[error("{what} needs a newer version of Sluice than this one ({version})")]
    Newer {
        /// What.
        what: String,
        /// This version.
        version: &'static str,
    },
    /// The store does not enforce write-once.
    #[error(
        "{location} does not enforce write-once objects, so two writers could destroy each other's points: use another \
         store, or say `--accept-no-write-once` and never run two writers at a time"
    )]
    NoWriteOnce {
        /// Where.
        location: String,
    },
    /// An object is damaged, missing or not what it should be.
    #[error("`{object}` is damaged: {what}; {}", way_out(object))]
    Damaged {
        /// Name of the object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// No point has this name.
    #[error("no recovery point `{name}`{hint}: `sluice points` lists them")]
    NoPoint {
        /// As the user wrote it.
        name: String,
        /// What may help.
        hint: String,
    },
    /// Several points begin with this.
    #[error("`{name}` is the beginning of {count} recovery points: write more of it")]
    AmbiguousPoint {
        /// As the user wrote it.
        name: String,
        /// How many.
        count: usize,
    },
    /// Another writer is at work on the series.
    #[error(
        "another writer ({writer}) is backing up `{series}`; wait for it, or say `--force` to stop it from committing"
    )]
    Busy {
        /// The series.
        series: String,
        /// Host and session of the other one.
        writer: String,
    },
    /// The store said that it keeps an object, and does not.
    #[error(
        "the store took `{object}` and does not have it: nothing was committed; `sluice doctor` tries the store out"
    )]
    Unkept {
        /// Name of the object.
        object: String,
    },
    /// Somebody else decided that this session may not commit.
    #[error(
        "another writer has taken over `{series}`: nothing was committed; run the backup again"
    )]
    Fenced {
        /// The series.
        series: String,
    },
    /// Forgetting the newest good point of a series.
    #[error(
        "{point} is the newest good recovery point of `{series}`: say `--force` to forget it all the same"
    )]
    NewestPoint {
        /// The point.
        point: String,
        /// The series.
        series: String,
    },
    /// Removing what must stay.
    #[error(
        "key slot {slot} opened the repository just now, and no other is known to: remove it with another key, or replace it by `sluice key change`"
    )]
    OwnSlot {
        /// The slot.
        slot: String,
    },
    /// No such slot.
    #[error("no key slot begins with `{slot}`, or several do: `sluice key list` shows them")]
    NoSlot {
        /// As the user wrote it.
        slot: String,
    },
    /// No slot that was looked at opens, and there are more than are looked at.
    #[error(
        "none of the first {looked_at} of {count} key slots of {location} opens with this key: somebody added more than \
         there may be; remove the objects below `keys/slot/` that you did not add"
    )]
    SlotsUnread {
        /// How many there are.
        count: usize,
        /// How many were looked at.
        looked_at: usize,
        /// Where.
        location: String,
    },
    /// There are as many slots as there may be.
    #[error("the repository has {0} key slots, as many as it may have: remove one first")]
    TooManySlots(usize),
    /// A chunk does not open.
    #[error(
        "chunk {chunk} in `{object}` is damaged: {source}; run `sluice verify` to see which points are affected"
    )]
    Chunk {
        /// The chunk.
        chunk: String,
        /// The pack.
        object: String,
        /// Why.
        source: OpenError,
    },
    /// Two points that cannot be compared chunk by chunk.
    #[error(
        "the points have chunks of {left} and {right} KiB: restore both and compare the files instead"
    )]
    ChunkSizes {
        /// KiB of one.
        left: u64,
        /// KiB of the other.
        right: u64,
    },
    /// A chunk that was sealed a moment ago does not open.
    #[error(
        "a chunk of `{object}` changed in memory before it was uploaded: test this machine's memory"
    )]
    Memory {
        /// The pack.
        object: String,
        /// Why.
        source: OpenError,
    },
    /// A task of ours ended before its work did.
    #[error("an internal task ended early")]
    Internal,
}

impl RepositoryError {
    /// Something that an authentic object says is wrong.
    pub(crate) fn damaged(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged {
            object: object.into(),
            what: what.into(),
        }
    }

    /// Whether stored bytes are to blame, and not the way to them.
    pub fn is_damage(&self) -> bool {
        let absent = [ErrorKind::NotFound, ErrorKind::Short, ErrorKind::TooLarge];
        matches!(self, Self::Damaged { .. } | Self::Chunk { .. })
            || matches!(self, Self::Store(error) if absent.contains(&error.kind()))
    }
}

/// What to do about a damaged object.
pub(crate) fn way_out(object: &str) -> Cow<'static, str> {
    if object == layout::SUPERBLOCK || object.starts_with(&layout::keyrings()) {
        "nothing opens without it, and it never changes: put it back from a copy".into()
    } else if object.starts_with(layout::KEY_SLOTS) {
        "another key may still open the repository: remove this slot then, and add it again".into()
    } else if let Some(point) = layout::parse_register(object) {
        format!("put it back from a copy, or give the point up with `sluice forget {point}`").into()
    } else if layout::parse_delete_marker(object).is_some() {
        "nobody with the keys made it: delete this object, and forget the point again if it is to go".into()
    } else {
        "run `sluice verify` to see which points are affected".into()
    }
}
