//! The storage format of Sluice: chunks, packs, maps, manifests, keys, stores.
//!
//! Modules in reading order; each uses only those above it.

mod clock;
mod random;
mod process;
pub mod format;
pub mod id;
pub mod layout;
pub mod store;
mod key;
mod record;
mod reference;
mod seal;
mod error;
mod pack;
pub mod map;
mod superblock;
mod point;
mod repository;
pub mod fetch;
mod points;
pub mod session;
pub mod verify;
mod stats;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use crate::{
    error::RepositoryError,
    id::{ChunkId, IdError, PackId, RepositoryId, SessionId},
    key::{KEY_FILE_PREFIX, KeyNumber, Keyring, Secret, SecretError, SlotHeader, SlotKind},
    map::{Entry, MapRoot},
    pack::{PackBuffer, PackBuffers, SealedPack, Slot},
    point::{ChangeMethod, Manifest, Point, Register, RegisterKind, SourceFacts, Stats},
    points::{Points, Selector, newest_good},
    reference::{Codec, Reference},
    repository::{CreateOptions, KeySlot, Repository, VERSION, read_superblock},
    seal::{Compression, OpenError, Opener, Pressure},
    session::Session,
    stats::SeriesStats,
    superblock::{Operation, StoreFacts, Superblock},
};
