//! A writer may end at any moment. Whatever moment that is, every point that was there restores bit for bit, and the
//! next run goes on from what was uploaded.
//!
//! The store fails after call 1, 2, 3, ... n of a job: what it holds then is what a process leaves that is killed there.

mod administration;
mod backup;
mod lists;
mod scenario;
mod writers;
