//! What goes wrong with a target.

use std::{io, ops::Range, path::PathBuf};

use thiserror::Error;

use crate::source::error::hint;

/// A target that cannot be used, read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It cannot be opened or made.
    #[error("open `{}` for writing: {}", path.display(), hint(source))]
    Open {
        /// The target.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new file was asked for, and there is one.
    #[error("`{}` is not empty: choose a new name, or write what differs into it with --in-place", path.display())]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// It is not what can be restored to.
    #[error("`{}` is {found}: {remedy}", path.display())]
    Kind {
        /// The target.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody else uses it.
    #[error("`{}` {usage}: restore nothing into what is in use", path.display())]
    InUse {
        /// The target.
        path: PathBuf,
        /// By whom, as the rest of a sentence.
        usage: String,
    },
    /// The volume does not fit.
    #[error("`{}` has {bytes} bytes, the volume {volume_bytes}: give a target that is at least as large", path.display())]
    TooSmall {
        /// The target.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The size of the volume.
        volume_bytes: u64,
    },
    /// A range cannot be written.
    #[error("write bytes {} to {} of `{location}`: {}", range.start, range.end, hint(source))]
    Write {
        /// The target.
        location: String,
        /// The range.
        range: Range<u64>,
        /// Why.
        source: io::Error,
    },
    /// A range cannot be read.
    #[error("read bytes {} to {} of `{location}`: {}", range.start, range.end, hint(source))]
    Read {
        /// The target.
        location: String,
        /// The range.
        range: Range<u64>,
        /// Why.
        source: io::Error,
    },
    /// A zeroed range reads as something else.
    #[error("bytes {} to {} of `{}` were zeroed and are not zero: check the device", range.start, range.end, path.display())]
    NotZeroed {
        /// The target.
        path: PathBuf,
        /// The first bytes that are wrong.
        range: Range<u64>,
    },
    /// What was written cannot be made durable or named.
    #[error("finish `{location}`: {}", hint(source))]
    Finish {
        /// The target.
        location: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody made a file of that name during the restore.
    #[error("`{}` appeared during the restore: the whole volume is in `{}`, rename that", path.display(), partial.display())]
    Appeared {
        /// The target.
        path: PathBuf,
        /// What was restored.
        partial: PathBuf,
    },
    /// What was restored cannot get its name.
    #[error("rename `{}`, which holds the whole volume, to `{}`: {}", partial.display(), path.display(), hint(source))]
    Rename {
        /// The target.
        path: PathBuf,
        /// What was restored.
        partial: PathBuf,
        /// Why.
        source: io::Error,
    },
}
