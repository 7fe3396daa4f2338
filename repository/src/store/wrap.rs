//! Stores around stores, for tests: they record, fail, delay and stop.
