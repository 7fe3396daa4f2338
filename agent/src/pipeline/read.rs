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
    let chunk_bytes = shared.chunk_bytes() as u64;
    for block in blocks {
        let mut buffer = shared.wait(pool.take())?;
        let offset = block.chunks.start * chunk_bytes;
        let length = (block.chunks.end - block.chunks.start) * chunk_bytes;
        let bytes = usize::try_from(length).expect("a block fits a buffer");
        shared.wait(shared.control.throttle.read.take(length))?;
        shared.input.volume.read_at(&mut buffer[..bytes], offset)?;
        let read = length.min(shared.input.volume.bytes() - offset);
        shared.read_bytes.fetch_add(read, Relaxed);
        Progress::add(&shared.control.progress.read_bytes, read);
        filled
            .send(Filled {
                block,
                buffer,
                bytes,
            })
            .map_err(|_| JobError::Stopped)?;
    }
    Ok(())
}
