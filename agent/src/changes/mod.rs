//! What differs from an earlier state of a volume.

mod extents;
pub mod fiemap;

pub use self::extents::{EXTENT_LINES_MAX, Extents, ExtentsError};
