//! The one reader of the clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// This machine's time.
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970 by this machine's clock. Recorded and shown, never compared for safety.
pub(crate) fn now_ms() -> u64 {
    let elapsed = now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
