//! Hashes chunks, finds out which are known, and seals the others into packs. This is where the processor time goes.

use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::Receiver;
use repository::{ChunkId, Entry, PackBuffers, Reference, session::DataWriter};
use tokio::sync::mpsc;

use super::{Block, Event, Shared, read::Filled, upload::PackSender};
use crate::{error::JobError, progress::Progress};

pub(super) fn run(
    shared: &Shared,
    buffers: &PackBuffers,
    filled: &Receiver<Filled>,
    events: &mpsc::Sender<Event>,
    packs: &PackSender,
) -> Result<(), JobError> {
    let writer = shared.session.data_writer(shared.input.compression);
    let mut sealer = Sealer {
        shared,
        buffers,
        packs,
        writer,
        plain_bytes: 0,
    };
    for Filled {
        block,
        buffer,
        bytes,
    } in filled
    {
        if shared.control.cancel.is_cancelled() {
            continue;
        }
        let contents = &buffer[..bytes];
        let entries = if block.spot_check {
            sealer.spot_check(&block, contents)
        } else {
            sealer.block(&block, contents)
        };
        drop(buffer);
        let entries = match entries {
            Ok(entries) => entries,
            // The leaf stays without it, and so does the map. What is sealed of it is found again by the next run.
            Err(JobError::Cancelled) => continue,
            Err(error) => return Err(error),
        };
        let sealed = Event::Sealed {
            leaf: block.leaf.number,
            entries,
        };
        events
            .blocking_send(sealed)
            .map_err(|_| JobError::Stopped)?;
    }
    sealer.close()
}

/// Chunks by index, with what the map shall say of them.
type Entries = Vec<(u64, Option<Entry>)>;

struct Sealer<'a> {
    shared: &'a Shared,
    buffers: &'a PackBuffers,
    packs: &'a PackSender,
    writer: DataWriter,
    /// Bytes of the volume in the open pack.
    plain_bytes: u64,
}

impl Sealer<'_> {
    fn block(&mut self, block: &Block, contents: &[u8]) -> Result<Entries, JobError> {
        let chunks = contents.chunks_exact(self.shared.chunk_bytes());
        let indexes = block.runs.iter().cloned().flatten();
        chunks
            .zip(indexes)
            .map(|(chunk, index)| Ok((index, self.chunk(block, chunk, index)?)))
            .collect()
    }

    fn chunk(
        &mut self,
        block: &Block,
        chunk: &[u8],
        index: u64,
    ) -> Result<Option<Entry>, JobError> {
        if is_zero(chunk) {
            self.count_done(chunk);
            return Ok(None);
        }
        let id = self.shared.repository.keys().chunk_id(chunk);
        let reference = match self.find(block, index, &id) {
            Some(known) => {
                self.count_done(chunk);
                let adopted = self.shared.session.adopted().sessions();
                if adopted.contains(&known.pack.session()) {
                    self.shared
                        .adopted_bytes
                        .fetch_add(chunk.len() as u64, Relaxed);
                }
                known
            }
            None => self.seal(id, chunk)?,
        };
        Ok(Some(Entry::chunk(reference)))
    }

    /// Where the chunk is stored already: at the same place of the base, of the hint, or elsewhere.
    fn find(&self, block: &Block, index: u64, id: &ChunkId) -> Option<Reference> {
        let adopted = self.shared.session.adopted();
        let base = block
            .leaf
            .base
            .as_ref()
            .and_then(|base| base.page.get(index));
        let hint = block.leaf.hint.as_ref().and_then(|hint| hint.get(index));
        let mut here = [base, hint]
            .into_iter()
            .flatten()
            .map(|entry| entry.reference);
        here.find(|reference| reference.id == *id && adopted.admits(reference))
            .or_else(|| self.shared.known.get(id))
    }

    fn seal(&mut self, id: ChunkId, chunk: &[u8]) -> Result<Reference, JobError> {
        if self.writer.needs_buffer(chunk.len()) {
            self.close()?;
            let buffer = self.shared.wait(self.buffers.take())?;
            self.writer.start_pack(buffer);
        }
        let reference = self.writer.add(id, chunk, self.buffers.pressure());
        // A full table only means that a chunk that comes again is sealed again.
        self.shared.known.insert(reference);
        self.shared.new_bytes.fetch_add(chunk.len() as u64, Relaxed);
        self.plain_bytes += chunk.len() as u64;
        Ok(reference)
    }

    /// Sends the open pack. What is in it is done when it has arrived.
    fn close(&mut self) -> Result<(), JobError> {
        let plain_bytes = std::mem::take(&mut self.plain_bytes);
        match self.writer.close()? {
            Some(pack) => self.packs.send_data(pack, plain_bytes),
            None => Ok(()),
        }
    }

    /// A chunk that need not be sent.
    fn count_done(&self, chunk: &[u8]) {
        Progress::add(&self.shared.control.progress.done_bytes, chunk.len() as u64);
    }

    /// Chunks that are said to be unchanged must be what the base says they are.
    fn spot_check(&self, block: &Block, contents: &[u8]) -> Result<Entries, JobError> {
        let chunks = contents.chunks_exact(self.shared.chunk_bytes());
        let mut entries = Vec::new();
        for (chunk, index) in chunks.zip(block.runs.iter().cloned().flatten()) {
            let entry = block
                .leaf
                .base
                .as_ref()
                .and_then(|base| base.page.get(index))
                .copied();
            let known = entry.map(|entry| entry.reference.id);
            let found = (!is_zero(chunk)).then(|| self.shared.repository.keys().chunk_id(chunk));
            if known != found {
                return Err(JobError::SpotCheck {
                    offset: index << self.shared.input.chunk_log2,
                });
            }
            entries.push((index, entry));
        }
        Ok(entries)
    }
}

/// Most chunks that are not zeros show it in their first bytes.
fn is_zero(chunk: &[u8]) -> bool {
    let (head, rest) = chunk.split_at(chunk.len().min(64));
    head.iter().all(|byte| *byte == 0) && rest.iter().fold(0, |bits, byte| bits | byte) == 0
}

#[cfg(test)]
mod tests {
    use super::is_zero;

    #[test]
    fn one_bit_anywhere_is_not_zeros() {
        let mut chunk = vec![0; 65536];
        assert!(is_zero(&chunk));
        for position in [0, 63, 64, 65535] {
            chunk[position] = 1;
            assert!(!is_zero(&chunk));
            chunk[position] = 0;
        }
    }
}
