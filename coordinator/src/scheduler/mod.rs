//! What runs where and when, as a pure function of what happened.
//!
//! No I/O, no clock, no randomness, no `async`: the time is an argument and the world answers with events, so that the
//! same events give the same commands, byte for byte, in production and in simulation.
