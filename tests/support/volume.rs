//! A volume in memory.

use std::{fmt, ops::Range, sync::Arc};

use agent::source::{SourceError, Volume, VolumeFacts};

/// Blocks of a file system: what a hole is made of.
const BLOCK_BYTES: usize = 4096;

/// A volume in memory. Blocks of zeros are its holes.
#[derive(Clone, Debug)]
pub struct MemoryVolume {
    contents: Arc<[u8]>,
}

impl MemoryVolume {
    /// A volume with these contents.
    #[expect(clippy::new_ret_no_self, reason = "jobs take shared volumes")]
    pub fn new(contents: &[u8]) -> Arc<dyn Volume> {
        Arc::new(Self {
            contents: contents.into(),
        })
    }
}

impl Volume for MemoryVolume {
    fn bytes(&self) -> u64 {
        self.contents.len() as u64
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, SourceError> {
        let skipped = offset / BLOCK_BYTES as u64;
        let blocks = (skipped..).zip(self.contents.chunks(BLOCK_BYTES).skip(index(skipped)));
        let mut data = blocks
            .skip_while(|(_, block)| is_zero(block))
            .take_while(|(_, block)| !is_zero(block))
            .map(|(number, _)| number);
        let Some(first) = data.next() else {
            return Ok(None);
        };
        let end = data.last().unwrap_or(first) + 1;
        let bytes = BLOCK_BYTES as u64;
        Ok(Some(
            (first * bytes).max(offset)..(end * bytes).min(self.bytes()),
        ))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let rest = &self.contents[index(offset)..];
        let (data, beyond) = buffer.split_at_mut(rest.len().min(buffer.len()));
        data.copy_from_slice(&rest[..data.len()]);
        beyond.fill(0);
        Ok(())
    }

    fn facts(&self) -> VolumeFacts {
        VolumeFacts {
            path: "memory".to_owned(),
            kind: "image-file".to_owned(),
            live: false,
            unchecked: None,
        }
    }
}

/// A volume that calls something each time it is read.
pub struct Watched {
    volume: Arc<dyn Volume>,
    on_read: Box<dyn Fn(u64) + Send + Sync>,
}

impl Watched {
    /// Calls `on_read` with the offset before each read of `volume`.
    #[expect(clippy::new_ret_no_self, reason = "jobs take shared volumes")]
    pub fn new(
        volume: Arc<dyn Volume>,
        on_read: impl Fn(u64) + Send + Sync + 'static,
    ) -> Arc<dyn Volume> {
        Arc::new(Self {
            volume,
            on_read: Box::new(on_read),
        })
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({:?})", self.volume.facts())
    }
}

impl Volume for Watched {
    fn bytes(&self) -> u64 {
        self.volume.bytes()
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, SourceError> {
        self.volume.next_data(offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), SourceError> {
        (self.on_read)(offset);
        self.volume.read_at(buffer, offset)
    }

    fn facts(&self) -> VolumeFacts {
        self.volume.facts()
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset within memory")
}
