//! Fills a pack: chunks are compressed straight into its buffer and sealed in place, so that nothing is copied.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    error::RepositoryError,
    format::{PACK_SLOTS_MAX, TAG_BYTES},
    id::{ChunkId, PackId, RepositoryId},
    key::{Key, KeyNumber, Keyring},
    layout::{self, PackKind},
    pack::{
        HEADER_BYTES, TRAILER_BYTES, Trailer, encode_header,
        table::{SLOT_BYTES, Slot, TABLE_HEADER_BYTES, encode_table, seal_table},
    },
    random, record,
    reference::{Codec, Reference},
    seal::{self, Compression, Compressor, Opener, Pressure},
};

/// Bytes a sealed table takes besides its slots.
const SLOT_TABLE_FIXED_BYTES: usize = TABLE_HEADER_BYTES + record::OVERHEAD_BYTES;

/// Buffers for packs: so many and no more, reused, which bounds what sealing and uploading hold in memory.
#[derive(Clone, Debug)]
pub struct PackBuffers {
    pack_bytes: usize,
    free: Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
    permits: Arc<Semaphore>,
    count: usize,
}

impl PackBuffers {
    /// `count` buffers for packs of `pack_bytes`. They are allocated when first used.
    pub fn new(count: usize, pack_bytes: usize) -> Self {
        Self {
            pack_bytes,
            free: Arc::default(),
            permits: Arc::new(Semaphore::new(count)),
            count,
        }
    }

    /// How far behind the store is, by how many buffers are in use.
    pub fn pressure(&self) -> Pressure {
        match self.permits.available_permits() {
            0 => Pressure::Full,
            free if free * 3 <= self.count => Pressure::Some,
            _ => Pressure::None,
        }
    }

    /// Waits for a free buffer.
    pub async fn take(&self) -> PackBuffer {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let mut free = self
            .free
            .lock()
            .expect("nothing panics while it holds this lock");
        let bytes = free.pop().unwrap_or_else(|| vec![0; self.pack_bytes]);
        PackBuffer {
            bytes,
            free: Arc::clone(&self.free),
            _permit: permit,
        }
    }
}

/// A buffer for one pack. Goes back to its pool when dropped.
pub struct PackBuffer {
    bytes: Vec<u8>,
    free: Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for PackBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PackBuffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.free
            .lock()
            .expect("nothing panics while it holds this lock")
            .push(bytes);
    }
}

impl fmt::Debug for PackBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackBuffer({} bytes)", self.bytes.len())
    }
}

/// A finished pack, ready to be uploaded.
#[derive(Debug)]
pub struct SealedPack {
    pub(crate) kind: PackKind,
    pub(crate) id: PackId,
    /// The whole object.
    pub(crate) body: Bytes,
    /// The sealed copy of its slot table.
    pub(crate) table: Bytes,
}

impl SealedPack {
    /// Length of the object.
    pub fn bytes(&self) -> u64 {
        self.body.len() as u64
    }

    /// Its id.
    pub fn id(&self) -> PackId {
        self.id
    }
}

/// A pack being filled.
pub(crate) struct PackBuilder {
    kind: PackKind,
    id: PackId,
    key_number: KeyNumber,
    key: Key,
    buffer: PackBuffer,
    used: usize,
    slots: Vec<Slot>,
}

impl fmt::Debug for PackBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackBuilder({}, {} bytes)", self.id, self.used)
    }
}

impl PackBuilder {
    pub(crate) fn new(kind: PackKind, id: PackId, keys: &Keyring, mut buffer: PackBuffer) -> Self {
        let (number, key) = match kind {
            PackKind::Data => (keys.newest_data(), keys.data(keys.newest_data())),
            PackKind::Meta => (keys.newest_meta(), keys.meta(keys.newest_meta())),
        };
        let key = seal::pack_key(key.expect("the newest key is there"), id);
        buffer.bytes[..HEADER_BYTES].copy_from_slice(&encode_header(kind, id, number));
        let (used, slots) = (HEADER_BYTES, Vec::new());
        Self {
            kind,
            id,
            key_number: number,
            key,
            buffer,
            used,
            slots,
        }
    }

    /// Whether a chunk of this length fits, whatever its contents.
    pub(crate) fn fits(&self, plain_bytes: usize) -> bool {
        let table = SLOT_TABLE_FIXED_BYTES + (self.slots.len() + 1) * SLOT_BYTES;
        self.slots.len() < PACK_SLOTS_MAX
            && self.used + plain_bytes + TAG_BYTES + table + TRAILER_BYTES
                <= self.buffer.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Compresses, seals and appends a chunk that [`fits`](Self::fits).
    pub(crate) fn append(
        &mut self,
        id: ChunkId,
        plain: &[u8],
        compressor: &mut Compressor,
        compression: Compression,
        pressure: Pressure,
    ) -> Reference {
        let room = &mut self.buffer.bytes[self.used..];
        let compressed = seal::level(compression, pressure)
            .and_then(|level| compressor.compress(plain, level, &mut room[..plain.len()]));
        let (codec, length) = match compressed {
            Some(length) => (Codec::Zstd, length),
            None => {
                room[..plain.len()].copy_from_slice(plain);
                (Codec::Stored, plain.len())
            }
        };
        let fits = "a pack is smaller than 4 GiB";
        let slot = Slot {
            id,
            offset: u32::try_from(self.used).expect(fits),
            stored_bytes: u32::try_from(length + TAG_BYTES).expect(fits),
            plain_bytes: u32::try_from(plain.len()).expect(fits),
            codec,
        };
        let number = u16::try_from(self.slots.len()).expect("`fits` limits the slots");
        let reference = slot.reference(self.id, self.key_number, number);
        let tag = seal::encrypt(&self.key, &reference, &mut room[..length]);
        room[length..length + TAG_BYTES].copy_from_slice(&tag);
        self.used += length + TAG_BYTES;
        self.slots.push(slot);
        reference
    }

    /// Appends the slot table and closes the pack.
    ///
    /// One chunk, drawn at random, is opened again first: memory or a processor that flips bits shows here before
    /// anything relies on the pack.
    ///
    /// # Errors
    /// When that chunk does not open.
    pub(crate) fn finish(
        mut self,
        keys: &Keyring,
        repository: RepositoryId,
    ) -> Result<SealedPack, RepositoryError> {
        self.reopen_one(keys)?;
        let name = layout::pack(self.kind, self.id);
        let plain = encode_table(self.id, self.key_number, &self.slots);
        let table = seal_table(keys, repository, &name, &plain);
        let fits = "`fits` leaves room for the table";
        let trailer = Trailer {
            table_offset: u32::try_from(self.used).expect(fits),
            table_bytes: u32::try_from(table.len()).expect(fits),
            slots: u16::try_from(self.slots.len()).expect(fits),
        };
        for part in [&table[..], &trailer.encode()[..]] {
            self.buffer.bytes[self.used..self.used + part.len()].copy_from_slice(part);
            self.used += part.len();
        }
        let copy = seal_table(keys, repository, &layout::slot_table(self.id), &plain);
        let body = Bytes::from_owner(self.buffer).slice(..self.used);
        Ok(SealedPack {
            kind: self.kind,
            id: self.id,
            body,
            table: copy.into(),
        })
    }

    fn reopen_one(&self, keys: &Keyring) -> Result<(), RepositoryError> {
        let drawn = usize::from(u16::from_le_bytes(random::array())) % self.slots.len().max(1);
        let (Some(slot), Ok(number)) = (self.slots.get(drawn), u16::try_from(drawn)) else {
            return Ok(());
        };
        let reference = slot.reference(self.id, self.key_number, number);
        let range = reference.range();
        let index = |at: u64| usize::try_from(at).expect("a pack is in memory");
        let sealed = &self.buffer.bytes[index(range.start)..index(range.end)];
        let mut plain = vec![0; index(u64::from(slot.plain_bytes))];
        let hash = |plain: &[u8]| match self.kind {
            PackKind::Data => keys.chunk_id(plain),
            PackKind::Meta => keys.page_id(plain),
        };
        Opener::default()
            .open(&self.key, &reference, sealed, &mut plain, hash)
            .map_err(|source| RepositoryError::Memory {
                object: layout::pack(self.kind, self.id),
                source,
            })
    }
}
