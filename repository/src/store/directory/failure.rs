//! What the kernel says, in the words of the store.

use std::io;

use nix::errno::Errno;

use crate::store::{ErrorKind, StoreError};

/// Why an operation failed, before it is known which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A system call failed.
    System(Errno),
    /// The contract says so.
    Contract(ErrorKind),
    /// Something in the folder is not ours; what it is.
    Foreign(&'static str),
}

impl Failure {
    /// The error of `operation` on `object`.
    pub(super) fn at(self, operation: &'static str, object: impl Into<String>) -> StoreError {
        let error = StoreError::new(operation, object, self.kind());
        match self {
            // The kind says it all, in more words.
            Self::System(Errno::ENOSPC) => error,
            Self::System(errno) => error.because(errno),
            Self::Contract(_) => error,
            Self::Foreign(what) => error.because(what),
        }
    }

    fn kind(self) -> ErrorKind {
        match self {
            Self::System(errno) => kind(errno),
            Self::Contract(kind) => kind,
            Self::Foreign(_) => ErrorKind::Other,
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        if errno == Errno::ELOOP {
            return Self::Foreign("a symbolic link is in its place or in its path");
        }
        Self::System(errno)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Contract(ErrorKind::Short);
        }
        Self::from(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "there are 130 of them, and they mean nothing to a caller"
)]
fn kind(errno: Errno) -> ErrorKind {
    match errno {
        Errno::ENOENT => ErrorKind::NotFound,
        Errno::EEXIST => ErrorKind::Exists,
        Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => ErrorKind::Full,
        Errno::EROFS => ErrorKind::ReadOnly,
        Errno::EACCES | Errno::EPERM => ErrorKind::Denied,
        Errno::ESTALE | Errno::ETIMEDOUT | Errno::EHOSTDOWN | Errno::ENOTCONN => {
            ErrorKind::Unreachable
        }
        _ => ErrorKind::Other,
    }
}
