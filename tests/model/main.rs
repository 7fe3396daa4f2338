//! Generated operations against a model that is a map from points to bytes.
//!
//! Whatever is written, resized, backed up in whatever way, interrupted, forgotten and verified, in whatever order: after
//! each step every point that should be there restores to the bytes that were backed up. A case that fails is made
//! shorter, and printed as the list of operations to give to [`operations::replay`].

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod growth;
mod operations;
mod state;

use proptest::prelude::*;

use crate::operations::{operation, replay};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_point_restores_to_what_was_backed_up(
        operations in prop::collection::vec(operation(), 1..30),
    ) {
        replay(&operations).map_err(TestCaseError::fail)?;
    }
}
