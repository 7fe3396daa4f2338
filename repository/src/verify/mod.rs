//! Verify: is everything that a point refers to there, authentic, and what the reference says?
//!
//! [`Structure`] walks maps: every page is opened, every reference is held against the slot table of its pack.
//! [`Repository::check_piece`](crate::Repository::check_piece) reads the data itself. Which packs a partial run reads is
//! decided by [`selected`], so that 100 / N runs of N per cent read everything once.

mod damage;
mod tables;
mod chunks;
mod walk;
mod ledger;
mod records;

use crate::error::RepositoryError;

pub use self::{
    damage::{BadSlots, Damage, damage_of},
    ledger::{Asked, Turns, VerifyRun, selected},
    walk::Structure,
};

type Result<T> = std::result::Result<T, RepositoryError>;
