//! What ends a job.

use repository::RepositoryError;

use crate::{changes::ExtentsError, source::SourceError, target::TargetError};

/// A job that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// What is read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Where it is written.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The list of changes.
    #[error(transparent)]
    Extents(#[from] ExtentsError),
    /// It was asked to stop.
    #[error("stopped as asked")]
    Cancelled,
    /// A chunk that was said to be unchanged differs from the parent.
    #[error("bytes at {offset} changed although the list of changes does not have them")]
    SpotCheck {
        /// Where the chunk begins.
        offset: u64,
    },
    /// The point does not hold what was asked for.
    #[error("recovery point {point} holds no volume")]
    NoVolume {
        /// The point.
        point: String,
    },
    /// Restored bytes are not those of the point.
    #[error(
        "read back {bytes} bytes at {offset} of the target, and they are not zeros as they must be"
    )]
    NotZeroed {
        /// Where.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Another stage failed; its error is the one to report.
    #[error("another stage of the job failed")]
    Stopped,
}
