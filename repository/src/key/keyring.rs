//! A domain's keys. Several of a kind can be there, so that keys can be rotated without touching data.

use std::{collections::BTreeMap, fmt};

use minicbor::{Decode, Encode, bytes::ByteArray};

use crate::{
    format::DOMAIN,
    id::{ChunkId, RepositoryId},
    key::Key,
    record::{self, Place, RecordError, RecordKind},
};

/// Which of a domain's keys of one kind sealed a pack.
pub type KeyNumber = u16;

/// The keys of one domain.
pub struct Keyring {
    data: BTreeMap<KeyNumber, Key>,
    meta: BTreeMap<KeyNumber, Key>,
    chunk_id: Key,
    page_id: Key,
    gear: Key,
    manifest: Key,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    data: BTreeMap<KeyNumber, ByteArray<32>>,
    #[n(1)]
    meta: BTreeMap<KeyNumber, ByteArray<32>>,
    #[n(2)]
    chunk_id: ByteArray<32>,
    #[n(3)]
    page_id: ByteArray<32>,
    #[n(4)]
    gear: ByteArray<32>,
    #[n(5)]
    manifest: ByteArray<32>,
}

impl Keyring {
    /// Draws a domain's first keys.
    pub(crate) fn draw() -> Self {
        Self {
            data: BTreeMap::from([(0, Key::draw())]),
            meta: BTreeMap::from([(0, Key::draw())]),
            chunk_id: Key::draw(),
            page_id: Key::draw(),
            gear: Key::draw(),
            manifest: Key::draw(),
        }
    }

    /// Seals the keyring: the domain's key under the root key, and the keys under the domain's key.
    pub(crate) fn seal(&self, root: &Key, repository: RepositoryId, name: &str) -> Vec<u8> {
        let place = Place {
            repository,
            domain: DOMAIN,
            name,
        };
        let domain = Key::draw();
        let wrapped = record::seal(root, RecordKind::DomainKey, place, domain.as_bytes());
        let bytes = |key: &Key| ByteArray::from(*key.as_bytes());
        let all = |keys: &BTreeMap<KeyNumber, Key>| {
            keys.iter()
                .map(|(number, key)| (*number, bytes(key)))
                .collect()
        };
        let stored = Stored {
            data: all(&self.data),
            meta: all(&self.meta),
            chunk_id: bytes(&self.chunk_id),
            page_id: bytes(&self.page_id),
            gear: bytes(&self.gear),
            manifest: bytes(&self.manifest),
        };
        let stored =
            zeroize::Zeroizing::new(minicbor::to_vec(&stored).expect("encoding into memory"));
        let mut object = u32::try_from(wrapped.len())
            .expect("a short record")
            .to_le_bytes()
            .to_vec();
        object.extend_from_slice(&wrapped);
        object.extend_from_slice(&record::seal(&domain, RecordKind::Keyring, place, &stored));
        object
    }

    /// Opens a sealed keyring.
    pub(crate) fn open(
        root: &Key,
        repository: RepositoryId,
        name: &str,
        object: &[u8],
    ) -> Result<Self, RecordError> {
        let place = Place {
            repository,
            domain: DOMAIN,
            name,
        };
        let (length, rest) = object
            .split_first_chunk::<4>()
            .ok_or(RecordError::NotARecord)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (wrapped, ring) = rest
            .split_at_checked(length)
            .ok_or(RecordError::NotARecord)?;
        let domain = record::open(root, RecordKind::DomainKey, place, wrapped)
            .map(zeroize::Zeroizing::new)?;
        let domain =
            <[u8; 32]>::try_from(domain.as_slice()).map_err(|_| RecordError::NotARecord)?;
        let stored = record::open(&Key::from_bytes(domain), RecordKind::Keyring, place, ring)
            .map(zeroize::Zeroizing::new)?;
        let stored: Stored = minicbor::decode(&stored).map_err(|_| RecordError::NotARecord)?;
        let key = |bytes: ByteArray<32>| Key::from_bytes(*bytes);
        let all = |keys: BTreeMap<KeyNumber, ByteArray<32>>| {
            keys.into_iter()
                .map(|(number, bytes)| (number, key(bytes)))
                .collect::<BTreeMap<_, _>>()
        };
        let (data, meta) = (all(stored.data), all(stored.meta));
        if data.is_empty() || meta.is_empty() {
            return Err(RecordError::NotARecord);
        }
        Ok(Self {
            data,
            meta,
            chunk_id: key(stored.chunk_id),
            page_id: key(stored.page_id),
            gear: key(stored.gear),
            manifest: key(stored.manifest),
        })
    }

    /// The id of a chunk with these contents.
    pub fn chunk_id(&self, plain: &[u8]) -> ChunkId {
        ChunkId::from_bytes(self.chunk_id.hash(plain))
    }

    /// The id of a page with these contents.
    pub fn page_id(&self, plain: &[u8]) -> ChunkId {
        ChunkId::from_bytes(self.page_id.hash(plain))
    }

    /// A short keyed name for a series, the same in every session.
    pub(crate) fn series_hash(&self, series: &str) -> String {
        self.name_hash("series", series)
    }

    /// A name in a listing for what must not be read there.
    pub(crate) fn name_hash(&self, label: &'static str, text: &str) -> String {
        let hash = self.page_id.derive(label, text.as_bytes());
        hash.as_bytes()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The key that new data packs are sealed with.
    pub(crate) fn newest_data(&self) -> KeyNumber {
        *self
            .data
            .keys()
            .next_back()
            .expect("a keyring has a data key")
    }

    /// The key that new metadata is sealed with.
    pub(crate) fn newest_meta(&self) -> KeyNumber {
        *self
            .meta
            .keys()
            .next_back()
            .expect("a keyring has a metadata key")
    }

    pub(crate) fn data(&self, number: KeyNumber) -> Option<&Key> {
        self.data.get(&number)
    }

    pub(crate) fn meta(&self, number: KeyNumber) -> Option<&Key> {
        self.meta.get(&number)
    }

    /// Seals intents, heartbeats, checkpoints, slot tables and what is advisory.
    pub(crate) fn records(&self) -> &Key {
        &self.meta[&self.newest_meta()]
    }

    /// All keys that a record may be sealed with, newest first.
    pub(crate) fn record_keys(&self) -> impl Iterator<Item = &Key> {
        self.meta.values().rev()
    }

    /// Seals what is in commit registers.
    pub(crate) fn manifest(&self) -> &Key {
        &self.manifest
    }

    /// Makes the cut points of files; kept for directory trees.
    #[expect(
        dead_code,
        reason = "drawn now, so that trees arrive without a new keyring"
    )]
    pub(crate) fn gear(&self) -> &Key {
        &self.gear
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}
