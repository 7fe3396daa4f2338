//! The control plane of Sluice: it decides what is backed up where and when, and never touches a byte of volume data.
//!
//! Nothing decides yet: until plans and windows arrive, every job is started by hand with the `sluice` command.
