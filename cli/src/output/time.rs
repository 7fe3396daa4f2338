//! Times as people write them: `2026-11-20 14:00`, `2h ago`; and back.

use std::time::Duration;

use jiff::{
    Span, Timestamp, Zoned,
    civil::{Date, DateTime},
};

/// Reads a point in time: RFC 3339; a date with a time, in the local zone; a date, which means the end of that day;
/// or how long ago.
///
/// # Errors
/// Says what a time looks like.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let bad = || {
        format!(
            "`{text}` is not a time: write 2026-11-20T14:00:00Z, \"2026-11-20 14:00\", 2026-11-20, or \"2h ago\""
        )
    };
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Ok(now.timestamp());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let zone = now.time_zone();
    // A date alone also reads as a date with a time of midnight, so it is tried first.
    if let Some(date) = date(text) {
        let next = date.tomorrow().map_err(|_| bad())?;
        let midnight = next.to_zoned(zone.clone()).map_err(|_| bad())?;
        return midnight
            .timestamp()
            .checked_sub(Span::new().milliseconds(1))
            .map_err(|_| bad());
    }
    if text.starts_with(|c: char| c.is_ascii_digit())
        && let Ok(time) = text.parse::<DateTime>()
    {
        return time
            .to_zoned(zone.clone())
            .map(|time| time.timestamp())
            .map_err(|_| bad());
    }
    parse_ago(text, now).map_err(|_| bad())
}

/// Reads how long ago: `3d`, `2h ago`, `1 week`.
///
/// # Errors
/// Says what such a time looks like.
pub(crate) fn parse_ago(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let bad = || format!("`{text}` is not a length of time: write 12h, 30d, 2w or 6mo");
    let written = text.trim().strip_suffix("ago").unwrap_or(text).trim();
    if !written.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(bad());
    }
    let span: Span = written.parse().map_err(|_| bad())?;
    now.checked_sub(span)
        .map(|time| time.timestamp())
        .map_err(|_| bad())
}

/// `2026-11-20`, and nothing else.
fn date(text: &str) -> Option<Date> {
    let shape = text.len() == 10
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    shape.then(|| text.parse().ok()).flatten()
}

/// A time in milliseconds since 1970; the nearest that exists for one that no calendar has.
pub(crate) fn timestamp(ms: u64) -> Timestamp {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

/// `2026-11-20 14:00:07` in the zone of `now`.
pub(crate) fn absolute(ms: u64, now: &Zoned) -> String {
    timestamp(ms)
        .to_zoned(now.time_zone().clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// `2026-11-20T14:00:07.123Z`, for JSON.
pub(crate) fn rfc3339(ms: u64) -> String {
    timestamp(ms).to_string()
}

/// How long ago that was, in one unit: `7s`, `12m`, `5h`, `3d`, `8w`, `2y`.
pub(crate) fn age(ms: u64, now: &Zoned) -> String {
    const UNITS: [(u64, u64, &str); 5] = [
        (1, 120, "s"),
        (60, 120 * 60, "m"),
        (3600, 48 * 3600, "h"),
        (86_400, 60 * 86_400, "d"),
        (604_800, 730 * 86_400, "w"),
    ];
    let seconds = milliseconds(now.timestamp()).saturating_sub(ms) / 1000;
    if ms > milliseconds(now.timestamp()) + 60_000 {
        return "in the future".to_owned();
    }
    let unit = UNITS.iter().find(|(_, end, _)| seconds < *end);
    let (one, _, name) = unit.copied().unwrap_or((31_556_952, 0, "y"));
    format!("{}{name}", seconds / one)
}

/// How long something will take, about: `8 s`, `3 min`, `2 h 05 min`.
pub(crate) fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds if seconds < 3600 => format!("{} min", seconds.div_ceil(60)),
        _ => duration(time),
    }
}

/// How long something took: `0.42 s`, `12.3 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn duration(time: Duration) -> String {
    let ms = time.as_millis();
    let seconds = (ms + 500) / 1000;
    match (ms + 50) / 100 {
        _ if ms < 995 => format!("0.{:02} s", (ms + 5) / 10),
        tenths if tenths < 600 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ if seconds < 3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::{TimeZone, offset};
    use proptest::prelude::*;

    use super::*;

    /// 14:30 in a zone two hours east.
    fn now() -> Zoned {
        let time: Timestamp = "2026-11-21T12:30:00Z".parse().expect("a time");
        time.to_zoned(TimeZone::fixed(offset(2)))
    }

    #[test]
    fn times_read_as_people_write_them() {
        for (text, time) in [
            ("now", "2026-11-21T12:30:00Z"),
            ("2026-11-20T14:00:00Z", "2026-11-20T14:00:00Z"),
            ("2026-11-20T14:00:00+02:00", "2026-11-20T12:00:00Z"),
            ("2026-11-20 14:00", "2026-11-20T12:00:00Z"),
            ("2026-11-20T14:00", "2026-11-20T12:00:00Z"),
            ("2026-11-20 14:00:30", "2026-11-20T12:00:30Z"),
            ("2026-11-20", "2026-11-20T21:59:59.999Z"),
            ("2h ago", "2026-11-21T10:30:00Z"),
            ("2 hours ago", "2026-11-21T10:30:00Z"),
            ("90m", "2026-11-21T11:00:00Z"),
            ("3d", "2026-11-18T12:30:00Z"),
            ("1d 2h ago", "2026-11-20T10:30:00Z"),
            ("2w ago", "2026-11-07T12:30:00Z"),
            ("6mo", "2026-05-21T12:30:00Z"),
        ] {
            let read = parse(text, &now());
            assert_eq!(
                read.map(|time| time.to_string()),
                Ok(time.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "ago",
            "2026-13-01",
            "2026-11-31",
            "-2h",
            "yesterdayish",
            "14",
            "2026",
            "5 parsecs",
            "99999999y",
        ] {
            assert!(parse(text, &now()).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        let at = |seconds: u64| age(milliseconds(now().timestamp()) - seconds * 1000, &now());
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7199, "119m"),
            (7200, "2h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (60 * 86_400, "8w"),
            (800 * 86_400, "2y"),
        ] {
            assert_eq!(at(seconds), text, "{seconds}");
        }
        assert_eq!(age(u64::MAX, &now()), "in the future");
    }

    #[test]
    fn durations_are_short() {
        for (ms, text) in [
            (4, "0.00 s"),
            (420, "0.42 s"),
            (994, "0.99 s"),
            (995, "1.0 s"),
            (12_340, "12.3 s"),
            (59_949, "59.9 s"),
            (59_960, "1 min 00 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 05 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text, "{ms}");
        }
    }

    #[test]
    fn what_is_left_is_rounded_up() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "2 min"),
            (3599, "60 min"),
            (7500, "2 h 05 min"),
        ] {
            assert_eq!(rough(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(ms in 0_u64..4_102_444_800_000) {
            let read = |text: &str| parse(text, &now()).map(milliseconds);
            prop_assert_eq!(read(&rfc3339(ms)), Ok(ms));
            prop_assert_eq!(read(&absolute(ms, &now())), Ok(ms / 1000 * 1000));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            prop_assert!(parse(&text, &now()).is_ok() || parse(&text, &now()).is_err());
        }
    }
}
