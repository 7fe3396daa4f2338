//! Pages of maps.

use super::{Reference, Result, array, u16_at, u32_at, u64_at};

/// A page of a map.
pub(crate) struct Page {
    pub(crate) level: u64,
    pub(crate) chunk_log2: u64,
    pub(crate) first: u64,
    /// Position, what is there, and how many chunks that holds.
    pub(crate) entries: Vec<(u64, Reference, u64)>,
}

/// Reads the one encoding of a page.
pub(crate) fn decode_page(bytes: &[u8]) -> Result<Page> {
    let header = bytes.get(..52).ok_or("the page is short")?;
    if &header[..4] != b"SLMP" || header[4] != 1 || header[7] != 0 {
        return Err("not a page".to_owned());
    }
    let level = u64::from(header[5]);
    let packs = usize::from(u16_at(header, 16)?);
    let count = usize::from(u16_at(header, 18)?);
    let length = if level == 0 { 50 } else { 58 };
    let body = 52 + packs * 22;
    if bytes.len() != body + count * length {
        return Err("a page of another length".to_owned());
    }
    let positions: Vec<usize> = (0..256)
        .filter(|p| header[20 + p / 8] >> (p % 8) & 1 == 1)
        .collect();
    if positions.len() != count {
        return Err("a page with another number of entries".to_owned());
    }
    let mut entries = Vec::new();
    for (entry, position) in bytes[body..].chunks(length).zip(positions) {
        let pack = 52 + usize::from(u16_at(entry, 32)?) * 22;
        let pack = bytes[..body]
            .get(pack..pack + 22)
            .ok_or("no such pack in the page")?;
        let reference = Reference {
            id: array(&entry[..32])?,
            pack: array(&pack[..20])?,
            key: u16_at(pack, 20)?,
            slot: u16_at(entry, 34)?,
            codec: entry[48],
            offset: u32_at(entry, 36)?,
            stored: u32_at(entry, 40)?,
            plain: u32_at(entry, 44)?,
        };
        let chunks = if level == 0 { 1 } else { u64_at(entry, 50)? };
        entries.push((position as u64, reference, chunks));
    }
    let (chunk_log2, first) = (u64::from(header[6]), u64_at(header, 8)?);
    Ok(Page {
        level,
        chunk_log2,
        first,
        entries,
    })
}
