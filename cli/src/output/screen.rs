//! Standard error: lines for people, and a bar that steps aside for them.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use indicatif::MultiProgress;
use tracing_subscriber::fmt::MakeWriter;

use super::text::clean;

/// Standard error. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    bars: MultiProgress,
    quiet: bool,
    progress: bool,
    terminal: bool,
}

impl Screen {
    /// Standard error, with or without notes and progress.
    pub(crate) fn new(quiet: bool, progress: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            bars: MultiProgress::new(),
            quiet,
            progress: progress && !quiet,
            terminal,
        }
    }

    /// Whether people look at it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether progress is to be shown.
    pub(crate) fn shows_progress(&self) -> bool {
        self.progress
    }

    /// Where a bar is drawn.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// A line that says what happened; left out when quiet.
    pub(crate) fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// A line that says what people must know although all went on.
    pub(crate) fn warn(&self, text: impl fmt::Display) {
        self.line(format_args!("warning: {text}"));
    }

    /// A line whatever happens.
    pub(crate) fn line(&self, text: impl fmt::Display) {
        let text = clean(&text.to_string()).into_owned();
        // Nobody is left to tell when standard error fails.
        drop(
            self.bars
                .suspend(|| writeln!(io::stderr().lock(), "{text}")),
        );
    }
}

/// The log goes between the lines.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
