//! What must be seen of each kind of damage.

use crate::{
    action::{Action, At},
    fixture::{Kind, Name},
};

/// What must be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Opening is refused with an error that contains one of these.
    pub(crate) closed: Option<&'static [&'static str]>,
    /// Points that are no longer listed.
    pub(crate) lost: &'static [Name],
    /// Points that are listed again.
    pub(crate) back: &'static [Name],
    /// Points whose restore is refused with an error that names the object.
    pub(crate) refused: &'static [Name],
    /// A verify that reads everything names the object.
    pub(crate) noticed: bool,
    /// Whether a backup is refused, naming the object, until a verify has said which points are damaged.
    pub(crate) waits: Waits,
    /// Whether a backup takes over what is damaged. The next verify says so then, and the backup after it is whole.
    pub(crate) adopted: Adopted,
}

/// Whether a backup waits for a verify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Waits {
    #[default]
    No,
    /// If it does not go on from a checkpoint.
    UnlessContinued,
    Yes,
}

/// Whether a backup takes something over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Adopted {
    #[default]
    No,
    /// If it does not happen to look at it.
    Perhaps,
    Yes,
}

const NONE: Expected = Expected {
    closed: None,
    lost: &[],
    back: &[],
    refused: &[],
    noticed: false,
    waits: Waits::No,
    adopted: Adopted::No,
};
const BOTH: &[Name] = &[Name::Parent, Name::Child];
const NOTICED: Expected = Expected {
    noticed: true,
    ..NONE
};

/// What must be seen of an object of this kind that is damaged so.
pub(crate) fn expected(kind: Kind, action: Action) -> Expected {
    if action == Action::Nothing {
        return NONE;
    }
    match kind {
        Kind::Superblock => superblock(action),
        Kind::KeySlot => key_slot(action),
        Kind::Keyring => Expected {
            closed: Some(&["`keys/default/0000000"]),
            ..NONE
        },
        Kind::ChildData => pack(
            action,
            Waits::No,
            &[Name::Child],
            &[Name::Child, Name::Other],
        ),
        Kind::ChildMeta => pack(
            action,
            Waits::UnlessContinued,
            &[Name::Child],
            &[Name::Child, Name::Other],
        ),
        Kind::ParentData => pack(
            action,
            Waits::No,
            BOTH,
            &[Name::Parent, Name::Child, Name::Other],
        ),
        // The page in its middle is one that the child does not share.
        Kind::ParentMeta if action == Action::Flip(At::Middle) => Expected {
            refused: &[Name::Parent],
            ..NOTICED
        },
        Kind::ParentMeta => pack(
            action,
            Waits::Yes,
            BOTH,
            &[Name::Parent, Name::Child, Name::Other],
        ),
        // A backup takes over what the slot table names.
        Kind::DeadData => dead_pack(action, Adopted::Yes),
        // It goes on from the checkpoint, unless it comes by what is damaged.
        Kind::DeadMeta => dead_pack(action, Adopted::Perhaps),
        Kind::ChildRegister => register(action, &[Name::Child], &[Name::Child, Name::Other]),
        Kind::ParentRegister => register(action, &[Name::Parent], &[Name::Parent, Name::Other]),
        // Nobody names a session that never committed.
        Kind::Tombstone if action == Action::Missing => NONE,
        Kind::Tombstone => register(action, &[], &[]),
        // Markers count by name alone.
        Kind::DeleteMarker if action == Action::Missing => Expected {
            back: &[Name::Old],
            ..NONE
        },
        Kind::DeleteMarker if action == Action::Duplicated => Expected {
            lost: &[Name::Other],
            ..NOTICED
        },
        // One more, of a pack that is not there.
        Kind::SlotTable if action == Action::Duplicated => NONE,
        // Nobody refers to it, or there is nothing in it.
        Kind::DeadTable | Kind::Probe | Kind::Feature => NONE,
        // Nothing depends on them, but what is there must be what its name says.
        Kind::DeleteMarker
        | Kind::SlotTable
        | Kind::Intent
        | Kind::Heartbeat
        | Kind::Checkpoint
        | Kind::SeriesEntry
        | Kind::VerifyRun
        | Kind::BadMark => {
            if action == Action::Missing {
                NONE
            } else {
                NOTICED
            }
        }
    }
}

fn superblock(action: Action) -> Expected {
    let closed: &[&str] = match action {
        Action::Duplicated | Action::Swapped | Action::Nothing => return NONE,
        Action::Missing => &["put the object `super` back"],
        Action::Empty | Action::Cut(_) | Action::Flip(At::Start | At::End) => {
            &["`super` is damaged"]
        }
        // The id is in the middle, and what is sealed for another repository does not open.
        Action::Flip(At::Middle) => &["`super` is damaged", "wrong key file"],
        Action::Foreign => &["wrong key file"],
    };
    Expected {
        closed: Some(closed),
        ..NONE
    }
}

/// Another slot still opens the repository; this is what is seen with the secret of the damaged one.
fn key_slot(action: Action) -> Expected {
    let closed: &[&str] = match action {
        Action::Duplicated | Action::Nothing => return NONE,
        Action::Empty | Action::Cut(At::Start) | Action::Flip(At::Start) => &["`keys/slot/"],
        Action::Missing | Action::Swapped | Action::Foreign => &["wrong key file"],
        // The header is in the clear and the rest is not: a slot that does not open says nothing about the secret.
        Action::Cut(At::Middle | At::End) | Action::Flip(At::Middle | At::End) => {
            &["`keys/slot/", "wrong key file"]
        }
    };
    Expected {
        closed: Some(closed),
        ..NONE
    }
}

fn pack(
    action: Action,
    waits: Waits,
    refused: &'static [Name],
    swapped: &'static [Name],
) -> Expected {
    let refused = match action {
        Action::Nothing => return NONE,
        // What restores read is whole: the header, the slot table and the trailer are not.
        Action::Flip(At::Start | At::End) | Action::Cut(At::End) | Action::Duplicated => {
            return NOTICED;
        }
        Action::Swapped => swapped,
        Action::Missing
        | Action::Empty
        | Action::Cut(At::Start | At::Middle)
        | Action::Flip(At::Middle)
        | Action::Foreign => refused,
    };
    Expected {
        refused,
        waits,
        ..NOTICED
    }
}

/// Nobody refers to it yet, so a verify does not look at it, and a backup does not read it.
fn dead_pack(action: Action, adopted: Adopted) -> Expected {
    match action {
        Action::Missing | Action::Duplicated | Action::Nothing => NONE,
        Action::Swapped => Expected {
            adopted,
            refused: &[Name::Other],
            ..NOTICED
        },
        Action::Empty | Action::Cut(_) | Action::Flip(_) | Action::Foreign => {
            Expected { adopted, ..NONE }
        }
    }
}

fn register(action: Action, lost: &'static [Name], swapped: &'static [Name]) -> Expected {
    match action {
        Action::Nothing => NONE,
        Action::Duplicated => NOTICED,
        Action::Swapped => Expected {
            lost: swapped,
            ..NOTICED
        },
        Action::Missing | Action::Empty | Action::Cut(_) | Action::Flip(_) | Action::Foreign => {
            Expected { lost, ..NOTICED }
        }
    }
}
