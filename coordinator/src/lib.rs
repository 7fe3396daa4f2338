//! The control plane of Sluice: it decides what is backed up where and when, and never touches a byte of volume data.
//!
//! [`scheduler`] decides, and does nothing else: same events, same commands. Until the shell around it exists, jobs are
//! started by hand with the `sluice` command.

pub mod scheduler;
