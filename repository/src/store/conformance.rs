//! One suite for every store: whether it keeps the contract.
