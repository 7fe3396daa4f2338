//! Where a restore writes.
