//! A target in memory.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agent::target::{Target, TargetError, TargetKind};

/// A target in memory, larger than the volume if it was so before.
#[derive(Debug)]
pub struct MemoryTarget {
    kind: TargetKind,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    contents: Vec<u8>,
    finished: bool,
}

impl MemoryTarget {
    /// A target that is not there yet.
    pub fn fresh() -> Arc<Self> {
        Arc::new(Self {
            kind: TargetKind::Fresh,
            state: Mutex::default(),
        })
    }

    /// A target that holds something already.
    pub fn in_place(contents: Vec<u8>) -> Arc<Self> {
        let state = State {
            contents,
            finished: false,
        };
        Arc::new(Self {
            kind: TargetKind::InPlace,
            state: Mutex::new(state),
        })
    }

    /// What it holds; `None` when it was not finished.
    pub fn contents(&self) -> Option<Vec<u8>> {
        let state = self.state();
        state.finished.then(|| state.contents.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target for MemoryTarget {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn kind(&self) -> TargetKind {
        self.kind
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.state().contents.len() as u64)
    }

    fn prepare(&self, volume_bytes: u64) -> Result<(), TargetError> {
        let mut state = self.state();
        let bytes = state.contents.len();
        state.contents.resize(bytes.max(index(volume_bytes)), 0);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), TargetError> {
        let start = index(offset);
        self.state().contents[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), TargetError> {
        let start = index(offset);
        buffer.copy_from_slice(&self.state().contents[start..start + buffer.len()]);
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, TargetError> {
        let end = self.state().contents.len() as u64;
        Ok((offset < end).then_some(offset..end))
    }

    fn zero(&self, range: Range<u64>) -> Result<(), TargetError> {
        self.state().contents[index(range.start)..index(range.end)].fill(0);
        Ok(())
    }

    fn finish(&self) -> Result<(), TargetError> {
        self.state().finished = true;
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset within memory")
}
