//! Ranges of a volume: sorted, apart from each other, never empty, never beyond its end.

use std::{
    cmp::{max, min},
    fmt,
    io::{self, BufRead, Read},
    ops::Range,
};

use thiserror::Error;

/// Lines that a list may have: 128 MiB in memory, one extent per 512 KiB of a volume of 4 TiB.
pub const EXTENT_LINES_MAX: u64 = 1 << 23;

/// Bytes that a line may have: two numbers need at most 41, the rest is room for a comment.
const LINE_BYTES_MAX: u64 = 1024;

/// A set of bytes of a volume, as ranges of which no two touch.
#[derive(Clone, PartialEq, Eq)]
pub struct Extents {
    volume_bytes: u64,
    ranges: Vec<Range<u64>>,
}

/// A list of extents that cannot be used, by line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExtentsError {
    /// The list cannot be read.
    #[error("changed extents, line {line}: cannot be read")]
    Read {
        /// Where.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line does not hold two decimal numbers.
    #[error("changed extents, line {line}: `{text}` is not `OFFSET LENGTH` in decimal bytes")]
    Syntax {
        /// Where.
        line: u64,
        /// Its beginning.
        text: String,
    },
    /// An extent without bytes.
    #[error("changed extents, line {line}: the length is zero")]
    Empty {
        /// Where.
        line: u64,
    },
    /// An extent that starts before the one above it.
    #[error(
        "changed extents, line {line}: offset {offset} is before the line above: sort the list by offset"
    )]
    Unsorted {
        /// Where.
        line: u64,
        /// Its offset.
        offset: u64,
    },
    /// An extent that starts inside the one above it.
    #[error(
        "changed extents, line {line}: offset {offset} is inside the extent above, which ends at {end}"
    )]
    Overlap {
        /// Where.
        line: u64,
        /// Its offset.
        offset: u64,
        /// The end of the extent above.
        end: u64,
    },
    /// An extent that ends after the volume.
    #[error(
        "changed extents, line {line}: {length} bytes at {offset} end beyond the volume of {volume_bytes} bytes: \
         is this the list of another volume?"
    )]
    OutOfRange {
        /// Where.
        line: u64,
        /// Its offset.
        offset: u64,
        /// Its length.
        length: u64,
        /// The size of the volume.
        volume_bytes: u64,
    },
    /// More lines than [`EXTENT_LINES_MAX`].
    #[error("changed extents: more than {max} lines: merge extents that are close to each other")]
    TooMany {
        /// The limit.
        max: u64,
    },
}

impl Extents {
    /// Nothing of a volume.
    pub fn none(volume_bytes: u64) -> Self {
        Self {
            volume_bytes,
            ranges: Vec::new(),
        }
    }

    /// A whole volume.
    pub fn all(volume_bytes: u64) -> Self {
        let mut all = Self::none(volume_bytes);
        all.add(0..volume_bytes);
        all
    }

    /// Reads a list: `OFFSET LENGTH` a line in decimal bytes, sorted by offset, not overlapping; empty lines and what
    /// follows a `#` are skipped. Extents that touch become one.
    ///
    /// # Errors
    /// Names the first line that cannot be right.
    pub fn parse(mut list: impl BufRead, volume_bytes: u64) -> Result<Self, ExtentsError> {
        let mut extents = Self::none(volume_bytes);
        let mut text = Vec::new();
        let mut above = 0..0;
        for line in 1..=EXTENT_LINES_MAX {
            text.clear();
            let read = list
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut text);
            if read.map_err(|source| ExtentsError::Read { line, source })? == 0 {
                extents.ranges.shrink_to_fit();
                return Ok(extents);
            }
            let Some((offset, length)) = parse_line(&text, line)? else {
                continue;
            };
            if length == 0 {
                return Err(ExtentsError::Empty { line });
            }
            if offset < above.start {
                return Err(ExtentsError::Unsorted { line, offset });
            }
            if offset < above.end {
                return Err(ExtentsError::Overlap {
                    line,
                    offset,
                    end: above.end,
                });
            }
            above = match offset.checked_add(length) {
                Some(end) if end <= volume_bytes => offset..end,
                Some(_) | None => {
                    return Err(ExtentsError::OutOfRange {
                        line,
                        offset,
                        length,
                        volume_bytes,
                    });
                }
            };
            extents.add(above.clone());
        }
        Err(ExtentsError::TooMany {
            max: EXTENT_LINES_MAX,
        })
    }

    /// Adds a range that starts at or after the last one; what is beyond the volume is cut off.
    ///
    /// # Panics
    /// When the range starts before the last one: the caller's order is wrong.
    pub fn add(&mut self, range: Range<u64>) {
        let range = range.start..min(range.end, self.volume_bytes);
        if range.is_empty() {
            return;
        }
        match self.ranges.last_mut() {
            Some(last) if range.start <= last.end => {
                assert!(last.start <= range.start, "extents are added in order");
                last.end = max(last.end, range.end);
            }
            Some(_) | None => self.ranges.push(range),
        }
    }

    /// The size of the volume.
    pub fn volume_bytes(&self) -> u64 {
        self.volume_bytes
    }

    /// The ranges in order; no two touch.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<u64>> + '_ {
        self.ranges.iter().cloned()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many bytes the ranges hold.
    pub fn bytes(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    /// Whether the byte at `offset` is in one of them.
    pub fn contains(&self, offset: u64) -> bool {
        offset < u64::MAX && self.intersects(offset..offset + 1)
    }

    /// Whether a byte of `range` is in one of them.
    pub fn intersects(&self, range: Range<u64>) -> bool {
        let first = self.ranges.partition_point(|own| own.end <= range.start);
        !range.is_empty()
            && self
                .ranges
                .get(first)
                .is_some_and(|own| own.start < range.end)
    }

    /// The chunks of 2^`log2` bytes that hold a byte of the set, as ranges of chunk numbers of which no two touch.
    pub fn chunks(&self, log2: u32) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut rounded = self
            .ranges
            .iter()
            .map(move |range| range.start >> log2..((range.end - 1) >> log2) + 1)
            .peekable();
        std::iter::from_fn(move || {
            let mut chunks = rounded.next()?;
            while let Some(next) = rounded.next_if(|next| next.start <= chunks.end) {
                chunks.end = next.end;
            }
            Some(chunks)
        })
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = Self::none(max(self.volume_bytes, other.volume_bytes));
        let (mut left, mut right) = (
            self.ranges.iter().peekable(),
            other.ranges.iter().peekable(),
        );
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.start <= b.start => left.next(),
                (_, Some(_)) => right.next(),
                (_, None) => left.next(),
            };
            let Some(range) = next else { return union };
            union.add(range.clone());
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::none(min(self.volume_bytes, other.volume_bytes));
        let (mut left, mut right) = (
            self.ranges.iter().peekable(),
            other.ranges.iter().peekable(),
        );
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            both.add(max(a.start, b.start)..min(a.end, b.end));
            if a.end <= b.end {
                left.next()
            } else {
                right.next()
            };
        }
        both
    }

    /// What is not in this set.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut rest = Self::none(self.volume_bytes);
        let mut start = 0;
        for range in &self.ranges {
            rest.add(start..range.start);
            start = range.end;
        }
        rest.add(start..self.volume_bytes);
        rest
    }
}

/// The list that [`Extents::parse`] reads.
impl fmt::Display for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ranges
            .iter()
            .try_for_each(|range| writeln!(f, "{} {}", range.start, range.end - range.start))
    }
}

/// Short, since there may be millions.
impl fmt::Debug for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.ranges[..min(self.ranges.len(), 8)];
        write!(
            f,
            "Extents({} of {} bytes in {} ranges: {first:?}..)",
            self.bytes(),
            self.volume_bytes,
            self.len()
        )
    }
}

/// `None` for a line that says nothing.
fn parse_line(line: &[u8], number: u64) -> Result<Option<(u64, u64)>, ExtentsError> {
    let syntax = || {
        let text: String = String::from_utf8_lossy(line)
            .trim_end()
            .chars()
            .take(40)
            .collect();
        ExtentsError::Syntax {
            line: number,
            text: text.escape_debug().to_string(),
        }
    };
    if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        return Err(syntax());
    }
    let said = line.split(|&byte| byte == b'#').next().unwrap_or(line);
    let mut words = said
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let Some(offset) = words.next() else {
        return Ok(None);
    };
    let (Some(length), None) = (words.next(), words.next()) else {
        return Err(syntax());
    };
    match (parse_decimal(offset), parse_decimal(length)) {
        (Some(offset), Some(length)) => Ok(Some((offset, length))),
        (_, _) => Err(syntax()),
    }
}

/// Digits only: `u64::from_str` would take a sign.
fn parse_decimal(word: &[u8]) -> Option<u64> {
    let word = std::str::from_utf8(word).ok()?;
    word.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| word.parse().ok())?
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is meant"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn extents(volume_bytes: u64, ranges: &[Range<u64>]) -> Extents {
        let mut extents = Extents::none(volume_bytes);
        ranges.iter().for_each(|range| extents.add(range.clone()));
        extents
    }

    fn check(text: &str, expected: &[Range<u64>]) {
        let parsed = Extents::parse(text.as_bytes(), MIB).unwrap();
        assert_eq!(parsed.iter().collect::<Vec<_>>(), expected, "{text:?}");
    }

    fn check_error(text: &str, expected: &str) {
        let error = Extents::parse(text.as_bytes(), MIB).expect_err(text);
        assert!(error.to_string().contains(expected), "{text:?}: {error}");
    }

    #[test]
    fn lists_are_read() {
        check("", &[]);
        check("# nothing changed\n\n  \n", &[]);
        check("0 4096\n8192 1", &[0..4096, 8192..8193]);
        check("0 4096\n4096 4096\n9000 1\n", &[0..8192, 9000..9001]);
        check(" 0\t512 # superblock\r\n", &[0..512]);
        check("1048575 1\n", &[MIB - 1..MIB]);
    }

    #[test]
    fn errors_name_the_line() {
        check_error("0 4096\n# fine\n4096 x\n", "line 3: `4096 x` is not");
        check_error("4096\n", "line 1: `4096` is not");
        check_error("1 2 3\n", "line 1: `1 2 3` is not");
        check_error("+1 2\n", "line 1: `+1 2`");
        check_error("0x10 2\n", "line 1: `0x10 2`");
        check_error("99999999999999999999 1\n", "is not");
        check_error("0 0\n", "line 1: the length is zero");
        check_error("4096 1\n0 1\n", "line 2: offset 0 is before");
        check_error(
            "0 4096\n4095 1\n",
            "line 2: offset 4095 is inside the extent above, which ends at 4096",
        );
        check_error(
            "1048575 2\n",
            "line 1: 2 bytes at 1048575 end beyond the volume of 1048576 bytes",
        );
        check_error(
            "1 18446744073709551615\n",
            "line 1: 18446744073709551615 bytes at 1 end beyond",
        );
        check_error("\u{1b}[31m 1\n", "`\\u{1b}[31m 1`");
        check_error("\0\0\0\0", "is not");
    }

    #[test]
    fn a_line_without_end_is_refused_without_holding_it() {
        check_error(&format!("0 1 #{}\n", "x".repeat(5000)), "line 1: `0 1 #x");
        check_error(&"0".repeat(5000), "line 1");
    }

    #[test]
    fn an_extent_takes_sixteen_bytes() {
        assert_eq!(size_of::<Range<u64>>(), 16);
        let text: String = (0..1000)
            .map(|number| format!("{} 1\n", number * 2))
            .collect();
        let parsed = Extents::parse(text.as_bytes(), MIB).unwrap();
        assert_eq!(parsed.ranges.capacity(), 1000);
    }

    #[test]
    fn lists_that_never_end_are_refused() {
        let endless = io::BufReader::new(Endless);
        let error = Extents::parse(endless, MIB).unwrap_err();
        assert!(matches!(error, ExtentsError::TooMany { .. }), "{error}");
    }

    struct Endless;

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'\n');
            Ok(buffer.len())
        }
    }

    #[test]
    fn chunks_are_merged() {
        let set = extents(MIB, &[0..1, 65_535..65_537, 200_000..200_001, MIB - 1..MIB]);
        assert_eq!(set.chunks(16).collect::<Vec<_>>(), [0..2, 3..4, 15..16]);
        assert_eq!(extents(1, &[0..1]).chunks(20).collect::<Vec<_>>(), [0..1]);
        assert_eq!(Extents::none(MIB).chunks(16).next(), None);
    }

    /// A set as ten lines would write it: one flag a byte.
    fn model(set: &Extents) -> Vec<bool> {
        (0..set.volume_bytes)
            .map(|byte| set.iter().any(|range| range.contains(&byte)))
            .collect()
    }

    fn well_formed(set: &Extents) -> bool {
        set.ranges
            .iter()
            .all(|range| !range.is_empty() && range.end <= set.volume_bytes)
            && set
                .ranges
                .windows(2)
                .all(|pair| pair[0].end < pair[1].start)
    }

    fn any_extents() -> impl Strategy<Value = Extents> {
        prop::collection::vec((0_u64..250, 0_u64..40), 0..12).prop_map(|mut list| {
            list.sort_unstable();
            let ranges: Vec<_> = list
                .iter()
                .map(|&(start, length)| start..start + length)
                .collect();
            extents(256, &ranges)
        })
    }

    proptest! {
        #[test]
        fn sets_behave_like_flags(a in any_extents(), b in any_extents()) {
            let (flags_a, flags_b) = (model(&a), model(&b));
            let zip = |f: fn(bool, bool) -> bool| -> Vec<bool> {
                flags_a.iter().zip(&flags_b).map(|(&a, &b)| f(a, b)).collect()
            };
            for set in [&a, &b, &a.union(&b), &a.intersection(&b), &a.complement()] {
                prop_assert!(well_formed(set), "{set:?}");
            }
            prop_assert_eq!(model(&a.union(&b)), zip(|a, b| a || b));
            prop_assert_eq!(model(&a.intersection(&b)), zip(|a, b| a && b));
            prop_assert_eq!(model(&a.complement()), zip(|a, _| !a));
            prop_assert_eq!(a.bytes(), flags_a.iter().filter(|&&flag| flag).count() as u64);
            for byte in 0..256 {
                prop_assert_eq!(a.contains(byte), flags_a[usize::try_from(byte).unwrap()]);
            }
        }

        #[test]
        fn laws_hold(a in any_extents(), b in any_extents()) {
            prop_assert_eq!(&a.complement().complement(), &a);
            prop_assert_eq!(&a.union(&a), &a);
            prop_assert_eq!(&a.intersection(&a), &a);
            prop_assert!(a.intersection(&a.complement()).is_empty());
            prop_assert_eq!(a.union(&a.complement()), Extents::all(256));
            prop_assert_eq!(a.union(&b).complement(), a.complement().intersection(&b.complement()));
        }

        #[test]
        fn rounding_covers_and_is_tight(set in any_extents(), log2 in 0_u32..8) {
            let chunks: Vec<_> = set.chunks(log2).collect();
            prop_assert!(chunks.windows(2).all(|pair| pair[0].end < pair[1].start));
            for chunk in 0..=256 >> log2 {
                let touched = set.intersects(chunk << log2..(chunk + 1) << log2);
                prop_assert_eq!(chunks.iter().any(|range| range.contains(&chunk)), touched);
            }
        }

        #[test]
        fn what_is_written_is_read_back(set in any_extents()) {
            prop_assert_eq!(Extents::parse(set.to_string().as_bytes(), 256).unwrap(), set);
        }

        #[test]
        fn any_text_is_an_answer(text in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(set) = Extents::parse(text.as_slice(), 256) {
                prop_assert!(well_formed(&set));
            }
        }
    }
}
