//! The one reader of the clock.

use jiff::{Timestamp, Zoned, tz::TimeZone};

/// This machine's time, in its zone.
pub(crate) fn now() -> Zoned {
    timestamp().to_zoned(TimeZone::system())
}

/// This machine's time.
#[expect(clippy::disallowed_methods, reason = "the one reader of the clock")]
pub(crate) fn timestamp() -> Timestamp {
    Timestamp::now()
}
