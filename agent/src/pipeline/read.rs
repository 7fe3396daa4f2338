//! Fills buffers from the source, at the rate that was given.

use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::{Receiver, Sender};

use super::{Block, Shared};
use crate::{
    buffer::{BufferPool, PooledBuffer},
    error::JobError,
    progress::Progress,
};

/// A block and its contents.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) block: Block,
    pub(super) buffer: PooledBuffer,
    /// Bytes of the buffer that are the block's.
    pub(super) bytes: usize,
}

pub(super) fn run(
    shared: &Shared,
    pool: &BufferPool,
    blocks: &Receiver<Block>,
    filled: &Sender<Filled>,
) -> Result<(), JobError> {
    for block in blocks {
        match fill(shared, pool, block) {
            Ok(full) => filled.send(full).map_err(|_| JobError::Stopped)?,
            // The rest of the blocks is dropped too, so that *plan* never waits for somebody to take them.
            Err(JobError::Cancelled) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn fill(shared: &Shared, pool: &BufferPool, block: Block) -> Result<Filled, JobError> {
    let chunk_bytes = shared.chunk_bytes() as u64;
    let mut buffer = shared.wait(pool.take())?;
    let mut bytes = 0;
    for run in &block.runs {
        let offset = run.start * chunk_bytes;
        let length = (run.end - run.start) * chunk_bytes;
        shared.wait(shared.control.throttle.read.take(length))?;
        let end = bytes + usize::try_from(length).expect("a block fits a buffer");
        let volume = &shared.input.volume;
        volume.read_at(&mut buffer[bytes..end], offset)?;
        bytes = end;
        let read = length.min(volume.bytes() - offset);
        shared.read_bytes.fetch_add(read, Relaxed);
        Progress::add(&shared.control.progress.read_bytes, read);
    }
    Ok(Filled {
        block,
        buffer,
        bytes,
    })
}
