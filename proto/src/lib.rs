//! The wire between coordinator and agents: generated types only, no logic.
//!
//! Nothing crosses the wire yet: until there is a coordinator, the `sluice` command drives the agent's library itself.
