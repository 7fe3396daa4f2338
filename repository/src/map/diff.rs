//! Where two maps differ: a walk of both from the root down that passes by whatever is the same.

use std::ops::Range;

use crate::{
    error::RepositoryError,
    map::{MapReader, span_log2},
};

/// Calls `found` with each range of chunk indexes in which the two maps, read at the same size, name other contents.
/// Ranges come in ascending order and do not touch.
pub async fn diff(
    left: &mut MapReader,
    right: &mut MapReader,
    mut found: impl FnMut(Range<u64>),
) -> Result<(), RepositoryError> {
    let mut open: Option<Range<u64>> = None;
    // Spans still to be compared, the next one last.
    let mut pending: Vec<(u8, u64)> = vec![(left.level().max(right.level()), 0)];
    while let Some((level, index)) = pending.pop() {
        let (ours, theirs) = (
            left.page(level, index).await?,
            right.page(level, index).await?,
        );
        let step = span_log2(level) - 8;
        for position in (0..256_u64).rev() {
            let index = index + (position << step);
            let id = |base: &Option<super::BasePage>| {
                base.as_ref()
                    .and_then(|base| base.page.get(index))
                    .map(|entry| entry.reference.id)
            };
            if id(&ours) == id(&theirs) {
                continue;
            }
            match level {
                0 => pending.push((u8::MAX, index)),
                _ => pending.push((level - 1, index)),
            }
        }
        // Chunks were pushed last to first, so they are popped in order before anything behind them.
        while let Some((u8::MAX, index)) = pending.last().copied() {
            pending.pop();
            match &mut open {
                Some(range) if range.end == index => range.end += 1,
                _ => {
                    if let Some(range) = open.replace(index..index + 1) {
                        found(range);
                    }
                }
            }
        }
    }
    if let Some(range) = open {
        found(range);
    }
    Ok(())
}
