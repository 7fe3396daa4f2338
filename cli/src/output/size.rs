//! Sizes and rates as people write them: `64K`, `10MiB`, `1.5G`; and back: `9.4 MiB`.

use std::fmt;

/// Units of 1024. A letter, with or without `i` and `B`.
const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Digits behind the point that are looked at: what is smaller is less than a byte of a GiB.
const FRACTION_DIGITS_MAX: usize = 9;

/// Bytes, shown with one digit behind the point below 100 of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        f.pad(&text)
    }
}

impl Size {
    fn text(self) -> String {
        if self.0 < 1024 {
            return format!("{} B", self.0);
        }
        let mut tenths = u128::from(self.0) * 10;
        for unit in UNITS {
            // Rounded first: 1023.96 KiB is 1.0 MiB and not 1024 KiB.
            let whole = (tenths + 5) / 10;
            if tenths < 1000 {
                return format!("{}.{} {unit}", tenths / 10, tenths % 10);
            }
            if whole < 1024 {
                return format!("{whole} {unit}");
            }
            tenths = (tenths + 512) / 1024;
        }
        format!("{} EiB", tenths * 1024 / 10)
    }
}

/// Reads a size. Units are of 1024 (`K`, `KiB`, `k`), but for `KB`, `MB` and so on, which are of 1000.
///
/// # Errors
/// Says what a size looks like.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size: write 512, 64K, 10MiB or 1.5G");
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = u128::from(scale(unit.trim_start()).ok_or_else(bad)?);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let point_without_digits = number.contains('.') && fraction.is_empty();
    if whole.is_empty() || point_without_digits || fraction.len() > FRACTION_DIGITS_MAX {
        return Err(bad());
    }
    let whole: u128 = whole.parse().map_err(|_| bad())?;
    let parts: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().map_err(|_| bad())?
    };
    let digits = u32::try_from(fraction.len()).expect("at most nine");
    let bytes = whole
        .checked_mul(scale)
        .map(|bytes| bytes + parts * scale / 10_u128.pow(digits));
    bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(|| format!("`{text}` is more than 16 EiB"))
}

/// Reads bytes per second; `/s` may follow.
///
/// # Errors
/// Says what a rate looks like, also for zero, which would be none at all.
pub(crate) fn parse_rate(text: &str) -> Result<std::num::NonZeroU64, String> {
    let amount = text.strip_suffix("/s").unwrap_or(text);
    let bytes = parse(amount)
        .map_err(|_| format!("`{text}` is not a rate: write 500K, 10MiB or 1.5G, per second"))?;
    std::num::NonZeroU64::new(bytes)
        .ok_or_else(|| "a rate of 0 never ends: leave the limit out for none".to_owned())
}

fn scale(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if unit.is_empty() || unit == "b" {
        return Some(1);
    }
    let power = UNITS
        .iter()
        .skip(1)
        .position(|known| unit.starts_with(&known.to_ascii_lowercase()[..1]))?;
    let power = u32::try_from(power + 1).expect("seven units");
    match &unit[1..] {
        "" | "i" | "ib" => Some(1024_u64.pow(power)),
        "b" => Some(1000_u64.pow(power)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("64KiB", 64 << 10),
            ("64 KiB", 64 << 10),
            ("1.5G", 3 << 29),
            ("10MiB", 10 << 20),
            ("10MB", 10_000_000),
            ("10mb", 10_000_000),
            ("2Ti", 2 << 40),
            ("15.999E", 18_445_591_152_204_944_769),
            (" 7 ", 7),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "K",
            "-1",
            "1,5G",
            "1.G",
            ".5G",
            "1 2",
            "1KK",
            "1Kib/s",
            "1X",
            "1e3",
            "16E",
            "99999999999E",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_rate("0").is_err() && parse_rate("10Q").is_err());
        assert_eq!(
            parse_rate("10MiB/s").map(std::num::NonZeroU64::get),
            Ok(10 << 20)
        );
    }

    #[test]
    fn sizes_are_shown_with_three_digits_at_most() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_240, "10.0 KiB"),
            (1_048_064, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (487 << 20, "487 MiB"),
            (1_000 << 20, "1000 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text, "{bytes}");
        }
        assert_eq!(format!("[{:>8}]", Size(1)), "[     1 B]");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_within_its_rounding(bytes: u64) {
            let text = Size(bytes).to_string();
            if let Ok(again) = parse(&text) {
                prop_assert!(again.abs_diff(bytes) <= bytes / 19, "{bytes} as {text} as {again}");
            } else {
                prop_assert_eq!(text, "16.0 EiB");
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            prop_assert!(parse(&text).is_ok() || parse(&text).is_err());
        }
    }
}
