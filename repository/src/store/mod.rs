//! Where objects are kept: five verbs, write-once.
//!
//! Everything in a repository is an object that is written once and never overwritten. A store that keeps the contract
//! below is enough for any number of writers without locks.
//!
//! - **Linearizable**: once [`Store::put_new`] or [`Store::delete`] was acknowledged, every later `get` and `list`
//!   sees it.
//! - **Write-once**: of any number of concurrent `put_new` of one name exactly one succeeds, whole or not at all; the
//!   others are told [`ErrorKind::Exists`].
//! - **Durable**: an acknowledged object survives the loss of power.
//!
//! [`conformance`] checks the contract against any store; [`probe`] checks, at `init` and by `doctor`, what can be
//! checked from outside, since some servers accept the condition and ignore it.

mod error;
mod name;
mod listing;
mod pace;
mod memory;
mod directory;
#[cfg(feature = "s3")]
pub mod s3;
pub mod wrap;
pub mod conformance;
pub mod probe;

use std::{fmt::Debug, ops::Range, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::{
    directory::DirectoryStore,
    error::{ErrorKind, StoreError},
    listing::list_all,
    memory::MemoryStore,
    pace::{PACE_FRAME_BYTES, Pace, Unpaced},
};

/// Entries a [`Store::list`] page holds at most: what S3 returns for one request.
pub const LIST_PAGE_ENTRIES: usize = 1000;

/// A result whose error names the operation and the object.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A shared store.
pub type SharedStore = Arc<dyn Store>;

/// A place that keeps named, immutable objects.
///
/// Names are `/`-separated, lower-case, at most 200 bytes a segment; no name is a folder of another. Implementations
/// retry what is worth retrying and bound every request in time; callers never retry.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Where this is, as a user writes it: a path or an `s3://` address, never with credentials.
    fn location(&self) -> String;

    /// Writes an object that must not exist yet, durably, whole or not at all.
    ///
    /// When the reply to a request is lost, the store finds out itself whether its own bytes arrived (it reads the
    /// object back and compares) and then reports success.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] when the name is taken by other bytes.
    async fn put_new(&self, name: &str, body: Bytes) -> Result<()>;

    /// Reads a whole object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none; [`ErrorKind::TooLarge`] above `bytes_max`, before it is held in
    /// memory.
    async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes>;

    /// Reads exactly the bytes of `range`.
    ///
    /// # Errors
    /// [`ErrorKind::Short`] when the object ends before `range.end`.
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes>;

    /// Lists names that start with `prefix` and sort after `after`, in byte order, at most [`LIST_PAGE_ENTRIES`].
    ///
    /// A page shorter than that does not mean the end; [`Page::more`] does.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page>;

    /// Deletes an object; one that does not exist is no error.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects, in byte order of their names.
    pub entries: Vec<Entry>,
    /// Whether names may follow the last entry.
    pub more: bool,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Full name, as given to [`Store::put_new`].
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// When it was written, by the store's own clock. Compare it only with other times of the same store.
    pub modified: SystemTime,
}
