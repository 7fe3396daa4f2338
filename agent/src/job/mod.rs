//! The jobs: each file reads like the sentence that describes it.
//!
//! A job takes a repository, what to work on, and a [`Control`](crate::Control); it returns a report. It never prints, never exits and
//! never asks: that is the caller's.

mod backup;
mod restore;
#[cfg(test)]
mod tests;
mod verify;

pub use self::{
    backup::{BackupReport, BackupRequest, ChangeHint, Changes, backup},
    restore::{RestoreReport, restore},
    verify::{VerifyReport, VerifyRequest, verify},
};
