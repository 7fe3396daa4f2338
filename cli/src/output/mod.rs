//! What people and programs see: sizes and times as they are written, tables, JSON, notes, progress.
//!
//! Standard output carries results only. Everything else goes to standard error.

pub(crate) mod size;
pub(crate) mod time;
pub(crate) mod text;
pub(crate) mod table;
pub(crate) mod json;
mod screen;
pub(crate) mod log;
pub(crate) mod progress;

use std::{fmt, io, io::Write};

pub(crate) use self::screen::Screen;

/// Nobody reads standard output any more: `sluice points | head` has what it wanted.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(crate) struct Closed;

/// Writes a result to standard output.
///
/// # Errors
/// [`Closed`] when nobody reads it.
pub(crate) fn print(result: impl fmt::Display) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    written(write!(out, "{result}").and_then(|()| out.flush()))
}

/// What became of writing to standard output.
pub(crate) fn written(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("write standard output")),
        Ok(()) => Ok(()),
    }
}
