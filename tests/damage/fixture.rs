//! A repository with an object of every kind, and a second one with the same secret.

use std::{collections::BTreeMap, sync::Arc};

use repository::{
    Secret, SessionId,
    store::{MemoryStore, SharedStore, Store as _},
};
use support::{World, fork};

use crate::{
    action::{Action, cut, flip},
    fill::{fill, next},
};

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Superblock,
    KeySlot,
    Keyring,
    /// Chunks that only the newest point has.
    ChildData,
    /// Chunks that the newest point shares with its parent.
    ParentData,
    ChildMeta,
    ParentMeta,
    /// Chunks of a session that ended without a point.
    DeadData,
    /// Pages of the checkpoint of one.
    DeadMeta,
    SlotTable,
    DeadTable,
    ChildRegister,
    ParentRegister,
    Tombstone,
    Intent,
    Heartbeat,
    Checkpoint,
    DeleteMarker,
    SeriesEntry,
    VerifyRun,
    BadMark,
    /// What a probe leaves that was killed.
    Probe,
    /// A mandatory feature that was added later, for an operation that this version does not have.
    Feature,
}

/// All of them.
pub(crate) const KINDS: &[Kind] = &[
    Kind::Superblock,
    Kind::KeySlot,
    Kind::Keyring,
    Kind::ChildData,
    Kind::ParentData,
    Kind::ChildMeta,
    Kind::ParentMeta,
    Kind::DeadData,
    Kind::DeadMeta,
    Kind::SlotTable,
    Kind::DeadTable,
    Kind::ChildRegister,
    Kind::ParentRegister,
    Kind::Tombstone,
    Kind::Intent,
    Kind::Heartbeat,
    Kind::Checkpoint,
    Kind::DeleteMarker,
    Kind::SeriesEntry,
    Kind::VerifyRun,
    Kind::BadMark,
    Kind::Probe,
    Kind::Feature,
];

impl Kind {
    /// Whether nothing works without it.
    pub(crate) fn opens(self) -> bool {
        matches!(self, Self::Superblock | Self::KeySlot | Self::Keyring)
    }

    pub(crate) fn is_pack(self) -> bool {
        matches!(
            self,
            Self::ChildData | Self::ParentData | Self::ChildMeta | Self::ParentMeta
        ) || self.is_dead_pack()
    }

    /// Whether no point refers to it.
    pub(crate) fn is_dead_pack(self) -> bool {
        matches!(self, Self::DeadData | Self::DeadMeta)
    }
}

/// A point of the fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// Forgotten.
    Old,
    Parent,
    Child,
    /// Of another series.
    Other,
    /// Of a third one; once found damaged, and whole again.
    Spoilt,
}

/// Points by their names, with their contents.
pub(crate) type Points = BTreeMap<Name, (SessionId, Vec<u8>)>;

/// An object, another one of its kind, and a free name for one.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) sibling: Option<String>,
    pub(crate) free: String,
}

/// A repository with an object of every kind.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) world: World,
    /// Opens it too.
    pub(crate) second_secret: Arc<Secret>,
    pub(crate) points: Points,
    places: BTreeMap<Kind, Place>,
    /// The other repository.
    foreign: SharedStore,
    foreign_places: BTreeMap<Kind, Place>,
}

/// A copy of the fixture in which one object is damaged.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) action: Action,
    pub(crate) store: MemoryStore,
    /// The objects that are not what they were.
    pub(crate) objects: Vec<String>,
}

impl Fixture {
    pub(crate) async fn make() -> Self {
        // Heartbeats come every few minutes, so time is ours to move on.
        let made = tokio::task::spawn_blocking(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let world = World::create(Arc::new(MemoryStore::new())).await;
                let foreign = world.another(Arc::new(MemoryStore::new())).await;
                let second_secret = Arc::new(Secret::draw_key_file());
                let (points, places) = fill(&world, &second_secret, 1).await;
                let (_, foreign_places) = fill(&foreign, &second_secret, 2).await;
                let foreign = foreign.store;
                Self {
                    world,
                    second_secret,
                    points,
                    places,
                    foreign,
                    foreign_places,
                }
            })
        });
        made.await.expect("a fixture")
    }

    /// What a backup reads next.
    pub(crate) fn next(&self) -> Vec<u8> {
        next(&self.points[&Name::Child].1)
    }

    /// The name of the object of this kind that is damaged.
    pub(crate) fn name(&self, kind: Kind) -> &str {
        &self.places[&kind].name
    }

    pub(crate) async fn undamaged(&self) -> Cell {
        let store = fork(&*self.world.store).await;
        Cell {
            kind: Kind::Probe,
            action: Action::Nothing,
            store,
            objects: Vec::new(),
        }
    }

    /// Damages an object; `None` when that kind cannot be damaged so.
    pub(crate) async fn damage(&self, kind: Kind, action: Action) -> Option<Cell> {
        let store = fork(&*self.world.store).await;
        let Place {
            name,
            sibling,
            free,
        } = self.places[&kind].clone();
        let body = store.get(&name, u64::MAX).await.expect("it is there");
        let replace = async |name: &str, body: Vec<u8>| {
            store.delete(name).await.expect("it is there");
            store.put_new(name, body.into()).await.expect("it is gone");
        };
        let mut objects = vec![name.clone()];
        match action {
            Action::Nothing => {}
            Action::Missing => store.delete(&name).await.expect("it is there"),
            Action::Empty => replace(&name, Vec::new()).await,
            Action::Cut(at) => replace(&name, cut(&body, at)).await,
            Action::Flip(at) => replace(&name, flip(&body, at)).await,
            Action::Swapped => {
                let sibling = sibling?;
                let other = store.get(&sibling, u64::MAX).await.expect("it is there");
                replace(&name, other.to_vec()).await;
                replace(&sibling, body.to_vec()).await;
                objects.push(sibling);
            }
            Action::Duplicated => {
                store.put_new(&free, body).await.expect("a free name");
                objects = vec![free];
            }
            Action::Foreign => {
                let foreign = &self.foreign_places[&kind].name;
                let foreign = self.foreign.get(foreign, u64::MAX).await;
                replace(&name, foreign.expect("it is there").to_vec()).await;
            }
        }
        Some(Cell {
            kind,
            action,
            store,
            objects,
        })
    }
}
