//! The data plane of Sluice: it reads a volume, finds what changed, and drives the repository.
//!
//! ```text
//! source -> changes -> chunk -> seal -> pack -> store
//! ```
//!
//! Modules in reading order; each uses only those above it. A backup and a restore:
//!
//! ```
//! # use std::sync::Arc;
//! # use agent::{Control, job, job::BackupRequest, source::{FileSource, OpenSource}, target::FileTarget};
//! # use repository::{CreateOptions, Repository, Secret, store::MemoryStore};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (image, copy) = (folder.path().join("image"), folder.path().join("copy"));
//! # std::fs::write(&image, vec![7; 300_000])?;
//! let secret = Secret::draw_key_file();
//! let store = Arc::new(MemoryStore::default());
//! let repository = Repository::create(store, &secret, &CreateOptions::default()).await?;
//!
//! let volume = Arc::new(FileSource::open(&image, OpenSource::default())?);
//! let request = BackupRequest { series: "disk".to_owned(), ..BackupRequest::default() };
//! let report = job::backup(&repository, volume, request, &Control::default()).await?;
//!
//! let target = Arc::new(FileTarget::create(&copy)?);
//! job::restore(&repository, &report.point, target, &Control::default()).await?;
//! assert_eq!(std::fs::read(&image)?, std::fs::read(&copy)?);
//! # Ok(())
//! # }
//! ```

mod kernel;

pub mod buffer;
pub mod source;
pub mod target;
pub mod changes;
pub mod throttle;
pub mod progress;
mod error;
mod control;
mod pipeline;
pub mod job;

pub use crate::{
    control::{Control, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN},
    error::JobError,
};
