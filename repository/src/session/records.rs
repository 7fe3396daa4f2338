//! What a session leaves while it has not ended.

use minicbor::{Decode, Encode};

use crate::{id::SessionId, map::MapRoot, process::Process};

/// What a session says before it writes anything else.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Intent {
    #[n(0)]
    pub(crate) series: String,
    #[n(1)]
    pub(crate) run: String,
    #[n(2)]
    pub(crate) attempt: u32,
    #[n(3)]
    pub(crate) fence: u64,
    /// Pinned: prune keeps it readable while this session has not ended.
    #[n(4)]
    pub(crate) parent: Option<SessionId>,
    #[n(5)]
    pub(crate) process: Process,
    #[n(6)]
    pub(crate) started_ms: u64,
}

/// A sign of life. What counts is the store's time of it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Heartbeat {
    #[n(0)]
    pub(crate) at_ms: u64,
}

/// How far a session has come.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Checkpoint {
    /// The volume's map as it would be if the rest did not change. It may name packs that were not uploaded when the
    /// checkpoint was written: whoever uses it looks whether they are there.
    #[n(0)]
    pub map: MapRoot,
    /// The point that the map is based on.
    #[n(1)]
    pub parent: Option<SessionId>,
    /// Chunks before this index are done, and everything they refer to had been uploaded.
    #[n(2)]
    pub cursor: u64,
    /// All data packs of the session with lower numbers had been uploaded.
    #[n(3)]
    pub packs_before: u32,
    /// Handle of the immutable snapshot that was being read.
    #[n(4)]
    pub handle: Option<String>,
}
