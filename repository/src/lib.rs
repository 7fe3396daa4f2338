//! The storage format of Sluice: chunks, packs, maps, manifests, keys, stores.
//!
//! Modules in reading order; each uses only those above it.

pub mod id;
mod random;
pub mod store;
