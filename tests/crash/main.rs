//! A writer may end at any moment. Whatever moment that is, every point that was there restores bit for bit, and the
//! next run goes on from what was uploaded.
//!
//! The store fails after call 1, 2, 3, ... n of a job: what it holds then is what a process leaves that is killed there.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::single_range_in_vec_init,
    reason = "a suite fails by panicking, and a list may have one range"
)]

mod administration;
mod backup;
mod lists;
mod process;
mod scenario;
mod undeletable;
mod writers;
