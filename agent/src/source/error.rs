//! What goes wrong with a source.

use std::{io, ops::Range, path::PathBuf};

use nix::errno::Errno;
use thiserror::Error;

/// A source that cannot be opened or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It cannot be opened.
    #[error("open `{}`: {}", path.display(), hint(source))]
    Open {
        /// The source.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is neither a block device nor a regular file.
    #[error("`{}` is {found}: give a block device or an image file", path.display())]
    Kind {
        /// The source.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Somebody may write to it while it is read.
    #[error("`{}` {usage}: back up a snapshot of it, or allow torn data with --live", path.display())]
    InUse {
        /// The source.
        path: PathBuf,
        /// By whom, as the rest of a sentence.
        usage: String,
    },
    /// A range cannot be read.
    #[error("read bytes {} to {} of `{}`: {}", range.start, range.end, path.display(), hint(source))]
    Read {
        /// The source.
        path: PathBuf,
        /// The smallest range that is known to fail.
        range: Range<u64>,
        /// Why.
        source: io::Error,
    },
    /// It ends earlier than it did when it was opened.
    #[error(
        "`{}` shrank while it was read: bytes {} to {} are gone; back up a snapshot of it",
        path.display(), range.start, range.end
    )]
    Shrank {
        /// The source.
        path: PathBuf,
        /// What is missing.
        range: Range<u64>,
    },
    /// The device or file was taken away.
    #[error("`{}` vanished while it was read, {place}: check that it is still attached", path.display())]
    Vanished {
        /// The source.
        path: PathBuf,
        /// Where the reading was, or what was found instead.
        place: String,
    },
    /// It was written to although it was not read as a live source.
    #[error("`{}` was modified while it was read: back up a snapshot of it, or allow torn data with --live", path.display())]
    Modified {
        /// The source.
        path: PathBuf,
    },
}

/// What an error means in words, and the way out where there is one.
pub(crate) fn hint(error: &io::Error) -> &'static str {
    const HINTS: &[(Errno, &str)] = &[
        (Errno::EPIPE, "whoever reads the output has gone"),
        (Errno::ENOENT, "no such file or device"),
        (
            Errno::EACCES,
            "permission denied: run as root, or check the rights",
        ),
        (
            Errno::EPERM,
            "not permitted: run as root, or check the rights",
        ),
        (Errno::EIO, "input/output error: check the disk"),
        (
            Errno::ENOMEDIUM,
            "the device holds nothing: attach it, or put a medium in",
        ),
        (Errno::ENXIO, "no such device: attach it"),
        (Errno::EROFS, "the file system is read-only"),
        (
            Errno::ENOSPC,
            "no space left on the device: make room, or choose another target",
        ),
        (Errno::EDQUOT, "the quota is used up"),
        (Errno::EFBIG, "too large for this file system"),
        (Errno::EBUSY, "in use: unmount it, or stop what holds it"),
    ];
    let errno = error.raw_os_error().map(Errno::from_raw);
    HINTS
        .iter()
        .find(|(known, _)| errno == Some(*known))
        .map_or("failed", |(_, words)| words)
}
