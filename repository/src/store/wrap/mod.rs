//! Stores around stores: they record, delay, fail, stop, and refuse writes.
//!
//! Each is a [`Wrapper`], which sees every call and decides whether and when it takes effect. Tests put them around
//! real stores, so that production code has no branches for tests; [`ReadOnly`] is also of use by itself.

mod delayed;
mod faulty;
mod read_only;
mod recorded;
mod stop_after;

use std::{fmt::Debug, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::{
    delayed::Delayed,
    faulty::{Fault, Faulty},
    read_only::ReadOnly,
    recorded::{Count, Record, Recorded},
    stop_after::StopAfter,
};
use crate::store::{ErrorKind, Page, Result, SharedStore, Store, StoreError};

/// One of the five verbs of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// [`Store::put_new`].
    PutNew,
    /// [`Store::get`].
    Get,
    /// [`Store::get_range`].
    GetRange,
    /// [`Store::list`].
    List,
    /// [`Store::delete`].
    Delete,
}

impl Verb {
    /// Whether the store is another one afterwards.
    pub fn mutates(self) -> bool {
        match self {
            Self::PutNew | Self::Delete => true,
            Self::Get | Self::GetRange | Self::List => false,
        }
    }

    fn operation(self) -> &'static str {
        match self {
            Self::PutNew => "put",
            Self::Get | Self::GetRange => "get",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// A call as a wrapper sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is to be done.
    pub verb: Verb,
    /// To which object; of a listing, its prefix.
    pub name: &'a str,
    /// Bytes of the body that is sent.
    pub sent_bytes: u64,
}

impl Call<'_> {
    /// The error of this call.
    pub fn fails(&self, kind: ErrorKind) -> StoreError {
        StoreError::new(self.verb.operation(), self.name, kind)
    }
}

/// What comes back.
pub trait Reply: Send {
    /// Bytes of the body that is received.
    fn received_bytes(&self) -> u64;
}

impl Reply for () {
    fn received_bytes(&self) -> u64 {
        0
    }
}

impl Reply for Bytes {
    fn received_bytes(&self) -> u64 {
        self.len() as u64
    }
}

impl Reply for Page {
    fn received_bytes(&self) -> u64 {
        0
    }
}

/// Something around a store. All that implement it are stores.
pub trait Wrapper: Debug + Send + Sync {
    /// The store inside.
    fn inner(&self) -> &SharedStore;

    /// Does something before, after or instead of `effect`, which is the call to the store inside.
    fn around<T: Reply>(
        &self,
        call: Call<'_>,
        effect: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send;
}

#[async_trait]
impl<W: Wrapper> Store for W {
    fn location(&self) -> String {
        self.inner().location()
    }

    async fn put_new(&self, name: &str, body: Bytes) -> Result<()> {
        let call = Call {
            verb: Verb::PutNew,
            name,
            sent_bytes: body.len() as u64,
        };
        self.around(call, self.inner().put_new(name, body)).await
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes> {
        let call = Call {
            verb: Verb::Get,
            name,
            sent_bytes: 0,
        };
        self.around(call, self.inner().get(name, bytes_max)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let call = Call {
            verb: Verb::GetRange,
            name,
            sent_bytes: 0,
        };
        self.around(call, self.inner().get_range(name, range)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page> {
        let call = Call {
            verb: Verb::List,
            name: prefix,
            sent_bytes: 0,
        };
        self.around(call, self.inner().list(prefix, after)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let call = Call {
            verb: Verb::Delete,
            name,
            sent_bytes: 0,
        };
        self.around(call, self.inner().delete(name)).await
    }
}
