//! The command as its users see it: what it prints, where, and how it ends.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in helpers too"
)]

mod support;

mod init;
mod backup;
mod interrupt;
mod restore;
mod points;
mod verify;
mod forget;
mod key;
mod doctor;
mod about;
mod log;
mod process;
mod json;
