//! A page of a map, and its one encoding.
//!
//! ```text
//! "SLMP" | version u8 | level u8 | chunk_log2 u8 | 0 u8 | first u64 | packs u16 | entries u16 | present 32
//! packs   x { pack 20 | key u16 }
//! entries x { id 32 | pack u16 | slot u16 | offset u32 | stored u32 | plain u32 | codec u8 | 0 u8 [| chunks u64] }
//! ```

use crate::{
    format::{CHUNK_LOG2_MAX, CHUNK_LOG2_MIN},
    id::{ChunkId, PackId},
    key::KeyNumber,
    map::{LEVEL_MAX, span_log2},
    reference::{Codec, Reference},
};

const MAGIC: &[u8; 4] = b"SLMP";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 52;
const PACK_ENTRY_BYTES: usize = 22;
const LEAF_ENTRY_BYTES: usize = 50;
const INNER_ENTRY_BYTES: usize = 58;
const ENTRIES: usize = 256;

/// Bytes of the largest page.
pub(crate) const PAGE_BYTES_MAX: usize =
    HEADER_BYTES + ENTRIES * (PACK_ENTRY_BYTES + INNER_ENTRY_BYTES);

/// One entry of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The chunk, or the page one level below.
    pub reference: Reference,
    /// Chunks that hold data in what this refers to; 1 in a leaf.
    pub chunks: u64,
}

impl Entry {
    /// An entry of a leaf.
    pub fn chunk(reference: Reference) -> Self {
        Self {
            reference,
            chunks: 1,
        }
    }
}

/// A page of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    level: u8,
    chunk_log2: u8,
    first: u64,
    entries: Vec<Option<Entry>>,
}

/// Bytes that are not a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Not a page of this kind, or inconsistent.
    #[error("not a page of a volume's map")]
    NotAPage,
    /// Of a version that this program does not know.
    #[error("written by a newer version of Sluice")]
    Newer,
}

impl Page {
    /// A page without entries that contains this chunk index.
    pub fn empty(level: u8, chunk_log2: u8, index: u64) -> Self {
        let first = index >> span_log2(level) << span_log2(level);
        Self {
            level,
            chunk_log2,
            first,
            entries: vec![None; ENTRIES],
        }
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Chunk size of the map it belongs to, as a power of two.
    pub fn chunk_log2(&self) -> u8 {
        self.chunk_log2
    }

    /// The first chunk index that the page spans.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The entry for a chunk index that the page spans.
    pub fn get(&self, index: u64) -> Option<&Entry> {
        self.entries[self.position(index)].as_ref()
    }

    /// Sets the entry for a chunk index; `None` means zeros.
    pub fn set(&mut self, index: u64, entry: Option<Entry>) {
        let position = self.position(index);
        self.entries[position] = entry;
    }

    /// The entries that are there, with the first chunk index that each spans.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let step = span_log2(self.level) - 8;
        let first = self.first;
        self.entries
            .iter()
            .zip(0_u64..)
            .filter_map(move |(entry, position)| {
                Some((first + (position << step), entry.as_ref()?))
            })
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(Option::is_none)
    }

    /// Chunks that hold data below this page.
    pub fn chunks(&self) -> u64 {
        self.entries
            .iter()
            .flatten()
            .map(|entry| entry.chunks)
            .sum()
    }

    /// Whether both pages name the same contents, wherever these are stored.
    pub fn same_contents(&self, other: &Self) -> bool {
        let id = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.reference.id);
        self.first == other.first
            && self.level == other.level
            && self.entries.iter().map(id).eq(other.entries.iter().map(id))
    }

    fn position(&self, index: u64) -> usize {
        let position = index >> (span_log2(self.level) - 8) & 0xff;
        usize::try_from(position).expect("eight bits")
    }

    /// Writes the page down.
    pub fn encode(&self) -> Vec<u8> {
        let mut packs: Vec<(PackId, KeyNumber)> = Vec::new();
        let mut present = [0_u8; 32];
        let mut body = Vec::with_capacity(ENTRIES * INNER_ENTRY_BYTES);
        let mut count = 0_u16;
        for (position, entry) in self.entries.iter().enumerate() {
            let Some(Entry { reference, chunks }) = entry else {
                continue;
            };
            present[position / 8] |= 1 << (position % 8);
            count += 1;
            let pack = (reference.pack, reference.key);
            // Neighbours are mostly in the same pack, so the search from the end is short.
            let known = packs.iter().rposition(|known| *known == pack);
            let pack = known.unwrap_or_else(|| {
                packs.push(pack);
                packs.len() - 1
            });
            body.extend_from_slice(reference.id.as_bytes());
            body.extend_from_slice(
                &u16::try_from(pack)
                    .expect("at most 256 packs")
                    .to_le_bytes(),
            );
            body.extend_from_slice(&reference.slot.to_le_bytes());
            body.extend_from_slice(&reference.offset.to_le_bytes());
            body.extend_from_slice(&reference.stored_bytes.to_le_bytes());
            body.extend_from_slice(&reference.plain_bytes.to_le_bytes());
            body.extend_from_slice(&[reference.codec as u8, 0]);
            if self.level > 0 {
                body.extend_from_slice(&chunks.to_le_bytes());
            }
        }
        let mut page =
            Vec::with_capacity(HEADER_BYTES + packs.len() * PACK_ENTRY_BYTES + body.len());
        page.extend_from_slice(MAGIC);
        page.extend_from_slice(&[VERSION, self.level, self.chunk_log2, 0]);
        page.extend_from_slice(&self.first.to_le_bytes());
        page.extend_from_slice(
            &u16::try_from(packs.len())
                .expect("at most 256 packs")
                .to_le_bytes(),
        );
        page.extend_from_slice(&count.to_le_bytes());
        page.extend_from_slice(&present);
        for (pack, key) in packs {
            page.extend_from_slice(pack.as_bytes());
            page.extend_from_slice(&key.to_le_bytes());
        }
        page.extend_from_slice(&body);
        page
    }

    /// Reads a page.
    ///
    /// # Errors
    /// For everything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        if bytes.len() >= 5 && &bytes[..4] == MAGIC && bytes[4] > VERSION {
            return Err(PageError::Newer);
        }
        decode(bytes).ok_or(PageError::NotAPage)
    }
}

fn decode(bytes: &[u8]) -> Option<Page> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (level, chunk_log2) = (header[5], header[6]);
    let first = u64::from_le_bytes(header[8..16].try_into().ok()?);
    let packs = usize::from(u16::from_le_bytes([header[16], header[17]]));
    let count = usize::from(u16::from_le_bytes([header[18], header[19]]));
    let present = &header[20..];
    let known = &header[..4] == MAGIC
        && header[4] == VERSION
        && header[7] == 0
        && level <= LEVEL_MAX
        && (CHUNK_LOG2_MIN..=CHUNK_LOG2_MAX).contains(&chunk_log2)
        && first.trailing_zeros() >= span_log2(level)
        && first >> (64 - u32::from(chunk_log2)) == 0
        && packs <= count
        && present.iter().map(|byte| byte.count_ones()).sum::<u32>()
            == u32::try_from(count).ok()?;
    if !known {
        return None;
    }
    let entry_bytes = if level == 0 {
        LEAF_ENTRY_BYTES
    } else {
        INNER_ENTRY_BYTES
    };
    let (packs, body) = rest.split_at_checked(packs * PACK_ENTRY_BYTES)?;
    if body.len() != count * entry_bytes {
        return None;
    }
    let packs: Vec<_> = packs
        .chunks_exact(PACK_ENTRY_BYTES)
        .map(decode_pack)
        .collect::<Option<_>>()?;
    let mut page = Page {
        level,
        chunk_log2,
        first,
        entries: vec![None; ENTRIES],
    };
    let mut body = body.chunks_exact(entry_bytes);
    for position in 0..ENTRIES {
        if present[position / 8] >> (position % 8) & 1 == 1 {
            page.entries[position] = Some(decode_entry(body.next()?, &packs, level, chunk_log2)?);
        }
    }
    // One page, one encoding: among other things, each pack once, in the order of its first use.
    (page.encode() == bytes).then_some(page)
}

fn decode_pack(bytes: &[u8]) -> Option<(PackId, KeyNumber)> {
    let pack = PackId::from_bytes(bytes[..20].try_into().ok()?);
    Some((pack, KeyNumber::from_le_bytes([bytes[20], bytes[21]])))
}

fn decode_entry(
    bytes: &[u8],
    packs: &[(PackId, KeyNumber)],
    level: u8,
    chunk_log2: u8,
) -> Option<Entry> {
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (pack, key) = *packs.get(usize::from(half(32)))?;
    let reference = Reference {
        id: ChunkId::from_bytes(bytes[..32].try_into().ok()?),
        pack,
        key,
        slot: half(34),
        codec: Codec::from_byte(bytes[48])?,
        offset: word(36),
        stored_bytes: word(40),
        plain_bytes: word(44),
    };
    let plain_ok = if level == 0 {
        reference.plain_bytes == 1 << chunk_log2
    } else {
        usize::try_from(reference.plain_bytes).ok()? <= PAGE_BYTES_MAX
    };
    let chunks = match level {
        0 => 1,
        _ => u64::from_le_bytes(bytes[50..58].try_into().ok()?),
    };
    let chunks_ok = (1..=1 << (span_log2(level) - 8)).contains(&chunks);
    (plain_ok && reference.is_plausible() && chunks_ok && bytes[49] == 0)
        .then_some(Entry { reference, chunks })
}
