//! `sluice diff`: the ranges in which two recovery points differ.

use std::{
    io::{self, BufWriter, Write},
    ops::Range,
};

use serde::Serialize;

use crate::{
    args::Diff,
    context::Context,
    exit::Exit,
    output::{json, size::Size, text::count, written},
    selection,
};

#[derive(Debug, Serialize)]
struct Extent {
    offset: u64,
    length: u64,
}

#[derive(Debug, Serialize)]
struct Difference {
    left: String,
    right: String,
    extents: Vec<Extent>,
    differing_bytes: u64,
}

pub(super) async fn run(context: &Context, arguments: &Diff) -> anyhow::Result<Exit> {
    let repository = context.open().await?;
    let points = context.interruptible(repository.points()).await??;
    let series = arguments.series.as_deref();
    let find = |name| selection::find(&context.screen, &points, name, series, None);
    let (left, right) = (find(&arguments.left)?, find(&arguments.right)?);
    if context.json() {
        let mut extents: Vec<Extent> = Vec::new();
        let found = |range: Range<u64>| {
            extents.push(Extent {
                offset: range.start,
                length: range.end - range.start,
            });
        };
        context
            .interruptible(repository.diff(left, right, found))
            .await??;
        let differing_bytes = extents.iter().map(|extent| extent.length).sum();
        let (left, right) = (left.id.to_string(), right.id.to_string());
        json::write(&Difference {
            left,
            right,
            extents,
            differing_bytes,
        })?;
        return Ok(Exit::Done);
    }
    let (mut found_ranges, mut bytes) = (0_u64, 0_u64);
    // Not held: there may be millions. What cannot be written is told at the end.
    let mut out = BufWriter::new(io::stdout().lock());
    let mut outcome = Ok(());
    let found = |range: Range<u64>| {
        let length = range.end - range.start;
        found_ranges += 1;
        bytes += length;
        if outcome.is_ok() {
            outcome = writeln!(out, "{} {length}", range.start);
        }
    };
    context
        .interruptible(repository.diff(left, right, found))
        .await??;
    written(outcome.and_then(|()| out.flush()))?;
    let (left, right) = (left.id.short(), right.id.short());
    let (bytes, ranges) = (Size(bytes), count(found_ranges, "range"));
    context.screen.note(match found_ranges {
        0 => format!("{left} and {right} hold the same"),
        _ => format!("{left} and {right} differ in {bytes}, in {ranges}"),
    });
    Ok(Exit::Done)
}
