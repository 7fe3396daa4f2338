//! What goes wrong at a store, by kind, so that callers branch on meaning and never on text.

use std::{error::Error, fmt};

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object has this name.
    NotFound,
    /// The name is taken: somebody else won.
    Exists,
    /// The object is larger than the caller allows.
    TooLarge,
    /// The object is shorter than the range asked for.
    Short,
    /// Credentials are missing, wrong or do not allow this.
    Denied,
    /// The bucket or folder does not exist.
    NoContainer,
    /// The store is full or over its quota.
    Full,
    /// The store can be read but not written.
    ReadOnly,
    /// The server's certificate is not one we trust.
    Certificate,
    /// Our clock and the server's are too far apart.
    Clock,
    /// The server asked us to slow down, and went on asking until we gave up.
    Throttled,
    /// No answer in time, or no connection.
    Unreachable,
    /// The store does not do what the contract asks for.
    Unsupported,
    /// Anything else.
    Other,
}

/// A failed operation on one object.
#[derive(Debug)]
pub struct StoreError {
    operation: &'static str,
    object: String,
    kind: ErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `operation` (`put`, `get`, `list`, `delete`) on `object`.
    pub fn new(operation: &'static str, object: impl Into<String>, kind: ErrorKind) -> Self {
        Self {
            operation,
            object: object.into(),
            kind,
            source: None,
        }
    }

    /// The same, caused by `source`.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The object's name.
    pub fn object(&self) -> &str {
        &self.object
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation, object, ..
        } = self;
        let what = match self.kind {
            ErrorKind::NotFound => "no such object: `sluice verify` says what that damages",
            ErrorKind::Exists => "the name is taken",
            ErrorKind::TooLarge => "larger than it may be",
            ErrorKind::Short => "shorter than it must be",
            ErrorKind::Denied => {
                "access denied: check the credentials and their rights; in a folder, who owns it"
            }
            ErrorKind::NoContainer => {
                "no such bucket or folder: check its name; `sluice init` makes a folder"
            }
            ErrorKind::Full => {
                "no space left: make room and run it again, it goes on from what is there"
            }
            ErrorKind::ReadOnly => {
                "read-only: nothing can be written there, only read and restored"
            }
            ErrorKind::Certificate => {
                "the server's certificate is not accepted: give the CA that signed it with `ca-file`; it must name this \
                 host and be valid today"
            }
            ErrorKind::Clock => "this machine's clock differs too much from the server's: set it",
            ErrorKind::Throttled => "the server keeps asking to slow down",
            ErrorKind::Unreachable => "no answer from the server",
            ErrorKind::Unsupported => "the server does not support this",
            ErrorKind::Other => "failed",
        };
        write!(f, "{operation} `{object}`: {what}")
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
