//! Recovery points: what a commit register says.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::{
    id::{Nonce, SessionId},
    map::MapRoot,
    seal::Compression,
};

/// What a register holds. Only `Backup` makes a recovery point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RegisterKind {
    /// A recovery point.
    #[n(1)]
    Backup,
    /// Progress of a long backup, kept so that pruning need not wait: pins chunks, is never restored.
    #[n(2)]
    Partial,
    /// Several volumes committed as one.
    #[n(3)]
    Group,
    /// Chunks that moved to other packs.
    #[n(4)]
    Relocation,
    /// The session may never commit: another one took over.
    #[n(5)]
    Tombstone,
    /// The session ended without a point.
    #[n(6)]
    Closed,
}

/// What is written, once, to a commit register.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Register {
    /// What this is.
    #[n(0)]
    pub kind: RegisterKind,
    /// Tells the writer that reads it back that it won.
    #[n(1)]
    pub nonce: Nonce,
    /// The point, for kinds that carry one.
    #[n(2)]
    pub manifest: Option<Manifest>,
    /// For a tombstone: the session that wrote it.
    #[n(3)]
    pub by: Option<SessionId>,
}

/// How the changed parts of a volume were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ChangeMethod {
    /// Everything was read: there was no parent to compare with.
    #[n(0)]
    Everything,
    /// Everything was read and compared with the parent.
    #[n(1)]
    Compare,
    /// Only the extents that were named were read.
    #[n(2)]
    Extents,
}

/// Where a volume came from and how it was read.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct SourceFacts {
    /// Host that read it.
    #[n(0)]
    pub host: String,
    /// Path or device.
    #[n(1)]
    pub path: String,
    /// `block-device` or `image-file`.
    #[n(2)]
    pub kind: String,
    /// Handle of the immutable snapshot that was read. A list of changes is used only against the point that has its
    /// base's handle.
    #[n(3)]
    pub handle: Option<String>,
    /// How changes were found.
    #[n(4)]
    pub method: Option<ChangeMethod>,
    /// Why no better way was taken.
    #[n(5)]
    pub fallback: Option<String>,
    /// It was in use while it was read.
    #[n(6)]
    pub live: bool,
    /// Facts of whoever ran this: plan, PVC, PV.
    #[n(7)]
    pub origin: BTreeMap<String, String>,
    /// Why it could not be found out whether it was in use.
    #[n(8)]
    pub unchecked: Option<String>,
}

/// What a backup did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Stats {
    /// Bytes read from the source.
    #[n(0)]
    pub read_bytes: u64,
    /// Plain bytes that were new to the repository.
    #[n(1)]
    pub new_bytes: u64,
    /// Bytes of objects that were uploaded.
    #[n(2)]
    pub uploaded_bytes: u64,
    /// Packs that were uploaded.
    #[n(3)]
    pub packs: u64,
    /// Plain bytes taken over from an interrupted run.
    #[n(4)]
    pub adopted_bytes: u64,
}

/// A recovery point.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// What one source's points belong to.
    #[n(0)]
    pub series: String,
    /// The point that this one was based on.
    #[n(1)]
    pub parent: Option<SessionId>,
    /// Keyed hash of the parent's register: notices when it was replaced.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub parent_digest: Option<[u8; 32]>,
    /// When the backup began, in milliseconds since 1970 by the writer's clock.
    #[n(3)]
    pub started_ms: u64,
    /// When it was committed.
    #[n(4)]
    pub finished_ms: u64,
    /// The run it belongs to, if a coordinator ordered it.
    #[n(5)]
    pub run: String,
    /// Which attempt of the run.
    #[n(6)]
    pub attempt: u32,
    /// The coordinator's fence.
    #[n(7)]
    pub fence: u64,
    /// What the user calls it.
    #[n(8)]
    pub tags: Vec<String>,
    /// Where the volume came from.
    #[n(9)]
    pub source: SourceFacts,
    /// The volume's map.
    #[n(10)]
    pub volume: Option<MapRoot>,
    /// What the backup did.
    #[n(11)]
    pub stats: Stats,
    /// Version of the program that wrote it.
    #[n(12)]
    pub tool: String,
    /// How hard it compressed.
    #[n(13)]
    pub compression: Compression,
    /// Reserved: a signature of the writer over the rest.
    #[cbor(n(14), with = "minicbor::bytes")]
    pub signature: Option<minicbor::bytes::ByteVec>,
    /// Reserved: until when the store keeps it whatever anybody says.
    #[n(15)]
    pub locked_until_ms: Option<u64>,
}

/// A committed recovery point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The session that committed it: its name.
    pub id: SessionId,
    /// What it says.
    pub manifest: Manifest,
    /// A verify run found it damaged.
    pub bad: bool,
    /// Two writers based a point on the same parent: both are whole, and neither holds what the other read.
    pub sibling: bool,
}

impl Point {
    /// Size of the volume in bytes.
    pub fn volume_bytes(&self) -> u64 {
        self.manifest.volume.map_or(0, |map| map.volume_bytes)
    }
}

#[cfg(test)]
mod tests;
