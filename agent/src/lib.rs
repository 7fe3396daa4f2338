//! The data plane of Sluice: it reads a volume, finds what changed, and drives the repository.
//!
//! ```text
//! source -> changes -> chunk -> seal -> pack -> store
//! ```
//!
//! Modules in reading order; each uses only those above it.

mod kernel;

pub mod buffer;
pub mod source;
pub mod target;
pub mod changes;
pub mod throttle;
pub mod progress;
mod control;
mod error;
mod pipeline;
pub mod job;

pub use crate::{
    control::{Control, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN},
    error::JobError,
};
