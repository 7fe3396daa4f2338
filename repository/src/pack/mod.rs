//! Packs: many sealed chunks in one object, and a table of what is where.
//!
//! ```text
//! header 48 | sealed chunk 0 | ... | sealed chunk n-1 | slot table (a sealed record) | trailer 32
//! ```

pub(crate) mod table;
mod frame;
mod builder;

pub(crate) use self::{
    builder::PackBuilder,
    frame::{HEADER_BYTES, TRAILER_BYTES, Trailer, decode_trailer, encode_header},
    table::open_table,
};
pub use self::{
    builder::{PackBuffer, PackBuffers, SealedPack},
    table::Slot,
};

#[cfg(test)]
mod tests;
