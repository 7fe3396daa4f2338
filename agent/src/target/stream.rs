//! A stream, such as standard output: it takes every byte in order.

use std::{
    fmt,
    io::{self, Write},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Target, TargetError, TargetKind};

/// Zeros that are written at once.
const ZEROS: &[u8] = &[0; 64 * 1024];

/// Writes a volume from its first byte to its last.
pub struct StreamTarget<W> {
    name: String,
    state: Mutex<State<W>>,
}

struct State<W> {
    writer: W,
    /// Bytes written so far: where the next write must begin.
    position: u64,
    volume_bytes: u64,
}

impl<W: Write + Send> StreamTarget<W> {
    /// A target that writes to `writer`, called `name` in errors.
    pub fn new(name: impl Into<String>, writer: W) -> Self {
        Self {
            name: name.into(),
            state: Mutex::new(State {
                writer,
                position: 0,
                volume_bytes: 0,
            }),
        }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .writer
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsupported(&self, range: Range<u64>) -> TargetError {
        let source = io::Error::new(io::ErrorKind::Unsupported, "a stream cannot be read back");
        TargetError::Read {
            location: self.name.clone(),
            range,
            source,
        }
    }

    fn append(
        &self,
        range: Range<u64>,
        write: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), TargetError> {
        let mut state = self.state();
        let failed = |source| TargetError::Write {
            location: self.name.clone(),
            range: range.clone(),
            source,
        };
        if range.start != state.position {
            return Err(failed(io::Error::other(format!(
                "a stream is at {} and cannot seek",
                state.position
            ))));
        }
        write(&mut state.writer).map_err(failed)?;
        state.position = range.end;
        Ok(())
    }
}

impl<W> fmt::Debug for StreamTarget<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTarget")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<W: Write + Send> Target for StreamTarget<W> {
    fn location(&self) -> String {
        self.name.clone()
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Stream
    }

    fn bytes(&self) -> Option<u64> {
        None
    }

    fn prepare(&self, volume_bytes: u64) -> Result<(), TargetError> {
        self.state().volume_bytes = volume_bytes;
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), TargetError> {
        self.append(offset..offset + bytes.len() as u64, |writer| {
            writer.write_all(bytes)
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), TargetError> {
        Err(self.unsupported(offset..offset + buffer.len() as u64))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, TargetError> {
        Err(self.unsupported(offset..u64::MAX))
    }

    fn zero(&self, range: Range<u64>) -> Result<(), TargetError> {
        let mut left = range.end.saturating_sub(range.start);
        self.append(range, |writer| {
            while left > 0 {
                let piece = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
                writer.write_all(&ZEROS[..piece])?;
                left -= piece as u64;
            }
            Ok(())
        })
    }

    fn finish(&self) -> Result<(), TargetError> {
        let mut state = self.state();
        let failed = |source| TargetError::Finish {
            location: self.name.clone(),
            source,
        };
        if state.position != state.volume_bytes {
            let (position, bytes) = (state.position, state.volume_bytes);
            return Err(failed(io::Error::other(format!(
                "{position} of {bytes} bytes were written"
            ))));
        }
        state.writer.flush().map_err(failed)
    }
}
