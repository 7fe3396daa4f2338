//! A second reader, written from `FORMAT.md` alone: it shares no code with the crate, only the primitives that the page
//! names. It guards the page: what this cannot restore, the page does not describe.
//!
//! It reads everything into memory and is not fast. Errors are sentences.

mod cbor;
mod crypto;
mod page;

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

use self::crypto::{decompress, open_aead};
pub(crate) use self::{
    cbor::Value,
    crypto::{hash, kdf, open_record},
    page::{Page, decode_page},
};

/// Why something cannot be read.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// A secret that may open a repository.
#[derive(Clone, Copy)]
pub(crate) enum Secret<'a> {
    KeyFile(&'a str),
    Passphrase(&'a str),
}

/// An open repository.
pub(crate) struct SecondReader {
    path: PathBuf,
    pub(crate) id: Vec<u8>,
    data: BTreeMap<u64, [u8; 32]>,
    meta: BTreeMap<u64, [u8; 32]>,
    chunk_id: [u8; 32],
    pub(crate) page_id: [u8; 32],
    manifest: [u8; 32],
}

/// All that opening a chunk or page needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) id: [u8; 32],
    pub(crate) pack: [u8; 20],
    pub(crate) key: u16,
    pub(crate) slot: u16,
    pub(crate) codec: u8,
    pub(crate) offset: u32,
    pub(crate) stored: u32,
    pub(crate) plain: u32,
}

impl SecondReader {
    /// Opens the repository in a folder: steps 1 to 3 of `FORMAT.md`.
    pub(crate) fn open(path: &Path, secret: Secret<'_>) -> Result<Self> {
        let superblock = read(path, "super")?;
        let header = superblock.get(..16).ok_or("the superblock is short")?;
        if &header[..8] != b"SLUICERP" || header[8] != 1 {
            return Err("not a repository of version 1".to_owned());
        }
        let length = u32_at(header, 12)? as usize;
        let (signed, mac) = superblock
            .split_at_checked(16 + length)
            .ok_or("the superblock is cut")?;
        let fields = Value::decode(&signed[16..])?;
        if fields.uint(2)? != 1 || !fields.get(3)?.array(0)?.is_empty() {
            return Err("the repository needs what this reader does not know".to_owned());
        }
        if !names(path, "features/read-").is_empty() {
            return Err("the repository has a feature that this reader does not know".to_owned());
        }
        let id = fields.bytes(0)?.to_vec();
        let root = open_any_slot(path, secret, &id)?;
        if hash(&kdf(&root, "superblock", b""), signed)[..] != *mac {
            return Err("the superblock does not match its MAC".to_owned());
        }
        let name = names(path, "keys/default/").pop().ok_or("no keyring")?;
        Self::with_keyring(path, id, &root, &name, &read(path, &name)?)
    }

    fn with_keyring(
        path: &Path,
        id: Vec<u8>,
        root: &[u8; 32],
        name: &str,
        object: &[u8],
    ) -> Result<Self> {
        let wrapped = object
            .get(4..4 + u32_at(object, 0)? as usize)
            .ok_or("the keyring is cut")?;
        let domain = key(&open_record(root, &id, 2, name, wrapped)?)?;
        let ring = open_record(&domain, &id, 3, name, &object[4 + wrapped.len()..])?;
        let ring = Value::decode(&ring)?;
        let numbered = |field: u64| -> Result<BTreeMap<u64, [u8; 32]>> {
            let keys = ring.get(field)?.entries()?.iter();
            keys.map(|(number, bytes)| Ok((number.as_uint()?, key(bytes.as_bytes()?)?)))
                .collect()
        };
        Ok(Self {
            path: path.to_owned(),
            data: numbered(0)?,
            meta: numbered(1)?,
            chunk_id: key(ring.bytes(2)?)?,
            page_id: key(ring.bytes(3)?)?,
            manifest: key(ring.bytes(5)?)?,
            id,
        })
    }

    /// Recovery points that were not forgotten, with their manifests, by the time they were committed.
    pub(crate) fn points(&self) -> Result<Vec<(String, Value)>> {
        let mut points = Vec::new();
        for name in names(&self.path, "d/default/c/") {
            let sid = name
                .rsplit('/')
                .next()
                .expect("a name has a last part")
                .to_owned();
            if self.path.join(format!("d/default/x/{sid}")).exists() {
                continue;
            }
            let register = Value::decode(&self.register(&sid)?)?;
            if register.uint(0)? == 1 {
                points.push((sid, register.get(2)?.clone()));
            }
        }
        points.sort_by_key(|(sid, manifest)| (manifest.uint(4).unwrap_or(0), sid.clone()));
        Ok(points)
    }

    /// The payload of a register.
    pub(crate) fn register(&self, sid: &str) -> Result<Vec<u8>> {
        let name = format!("d/default/c/{}/{sid}", &sid[24..]);
        open_record(
            &self.manifest,
            &self.id,
            7,
            &name,
            &read(&self.path, &name)?,
        )
    }

    /// The payload of a record under a meta key, whichever it is.
    pub(crate) fn record(&self, kind: u8, name: &str, object: &[u8]) -> Result<Vec<u8>> {
        let opened = self
            .meta
            .values()
            .rev()
            .map(|key| open_record(key, &self.id, kind, name, object));
        opened.reduce(Result::or).ok_or("no meta key")?
    }

    /// A whole volume: steps 5 and 6.
    pub(crate) fn restore(&self, manifest: &Value) -> Result<Vec<u8>> {
        let root = manifest.get(10)?;
        let (chunk_log2, bytes, level) = (root.uint(0)?, root.uint(1)?, root.uint(2)?);
        if !(16..=22).contains(&chunk_log2) || level > 5 {
            return Err("not the root of a map".to_owned());
        }
        let mut volume = vec![0; usize::try_from(bytes).map_err(|_| "too large for memory")?];
        if let Ok(reference) = root.get(3) {
            let mut chunks = 0;
            self.walk(
                &Reference::from_cbor(reference)?,
                chunk_log2,
                level,
                0,
                &mut volume,
                &mut chunks,
            )?;
            if chunks != root.uint(4)? {
                return Err("the root counts other chunks".to_owned());
            }
        }
        Ok(volume)
    }

    fn walk(
        &self,
        reference: &Reference,
        chunk_log2: u64,
        level: u64,
        first: u64,
        volume: &mut [u8],
        chunks: &mut u64,
    ) -> Result<()> {
        let page = self.page(reference)?;
        if (page.level, page.chunk_log2, page.first) != (level, chunk_log2, first) {
            return Err("a page belongs to another place".to_owned());
        }
        for (position, entry, below) in &page.entries {
            let index = first + (position << (8 * level));
            if level > 0 {
                let before = *chunks;
                self.walk(entry, chunk_log2, level - 1, index, volume, chunks)?;
                if *chunks - before != *below {
                    return Err("an entry counts other chunks than there are below it".to_owned());
                }
                continue;
            }
            let contents = self.open_stored("p", &self.data, &self.chunk_id, entry)?;
            let start = usize::try_from(index << chunk_log2).map_err(|_| "too large for memory")?;
            let room = volume
                .get_mut(start..)
                .ok_or("an entry beyond the end of the volume")?;
            let length = contents.len().min(room.len());
            if contents.len() != 1 << chunk_log2 || contents[length..].iter().any(|byte| *byte != 0)
            {
                return Err("a chunk that is not of its size, or not padded with zeros".to_owned());
            }
            room[..length].copy_from_slice(&contents[..length]);
            *chunks += 1;
        }
        Ok(())
    }

    /// A page of a map.
    pub(crate) fn page(&self, reference: &Reference) -> Result<Page> {
        decode_page(&self.open_stored("m", &self.meta, &self.page_id, reference)?)
    }

    /// The encoding of a page.
    pub(crate) fn page_bytes(&self, reference: &Reference) -> Result<Vec<u8>> {
        self.open_stored("m", &self.meta, &self.page_id, reference)
    }

    fn open_stored(
        &self,
        folder: &str,
        keys: &BTreeMap<u64, [u8; 32]>,
        id_key: &[u8; 32],
        reference: &Reference,
    ) -> Result<Vec<u8>> {
        let pack = read(&self.path, &pack_name(folder, &reference.pack))?;
        let sealed = pack
            .get(reference.offset as usize..)
            .and_then(|rest| rest.get(..reference.stored as usize));
        let key = keys.get(&u64::from(reference.key)).ok_or("no such key")?;
        let stored = open_chunk(key, reference, sealed.ok_or("the pack is cut")?)?;
        let contents = match reference.codec {
            0 => stored,
            1 => decompress(&stored, reference.plain as usize)?,
            _ => return Err("an unknown codec".to_owned()),
        };
        if contents.len() != reference.plain as usize || hash(id_key, &contents) != reference.id {
            return Err("the contents do not match their id".to_owned());
        }
        Ok(contents)
    }

    /// The references to all slots of a pack, from its own slot table.
    pub(crate) fn slots(&self, name: &str) -> Result<Vec<Reference>> {
        let pack = read(&self.path, name)?;
        let trailer = pack.len().checked_sub(32).ok_or("the pack is short")?;
        let (table, bytes) = (
            u32_at(&pack, trailer)? as usize,
            u32_at(&pack, trailer + 4)? as usize,
        );
        let slots = u16_at(&pack, trailer + 8)?;
        if &pack[trailer + 24..] != b"SLUICEPT"
            || pack[trailer + 10] != 1
            || table + bytes != trailer
        {
            return Err("not the trailer of a pack".to_owned());
        }
        let payload = self.record(8, name, &pack[table..trailer])?;
        let references = decode_table(&payload)?;
        let end = references
            .last()
            .map_or(48, |last| last.offset + last.stored);
        if references.len() != usize::from(slots)
            || end as usize != table
            || &pack[..8] != b"SLUICEPK"
        {
            return Err("the slot table is that of another pack".to_owned());
        }
        Ok(references)
    }
}

impl Reference {
    /// Reads a reference from CBOR, as the root of a map holds it.
    pub(crate) fn from_cbor(value: &Value) -> Result<Self> {
        let small =
            |key| u32::try_from(value.uint(key)?).map_err(|_| "a number is too large".to_owned());
        let tiny =
            |key| u16::try_from(value.uint(key)?).map_err(|_| "a number is too large".to_owned());
        Ok(Self {
            id: array(value.bytes(0)?)?,
            pack: array(value.bytes(1)?)?,
            key: tiny(2)?,
            slot: tiny(3)?,
            codec: u8::try_from(value.uint(4)?).map_err(|_| "an unknown codec")?,
            offset: small(5)?,
            stored: small(6)?,
            plain: small(7)?,
        })
    }

    /// What the key of the chunk is bound to.
    pub(crate) fn context(&self) -> Vec<u8> {
        let mut context = self.id.to_vec();
        context.extend(self.slot.to_le_bytes());
        context.extend(self.plain.to_le_bytes());
        context.extend(self.stored.to_le_bytes());
        context.push(self.codec);
        context
    }
}

/// The payload of a slot table.
pub(crate) fn decode_table(payload: &[u8]) -> Result<Vec<Reference>> {
    let pack: [u8; 20] = array(payload.get(..20).ok_or("the slot table is short")?)?;
    let key = u16_at(payload, 20)?;
    let slots = payload[24..].chunks(48).zip(0..);
    slots
        .map(|(slot, number)| {
            let id = array(slot.get(..32).ok_or("a slot is cut")?)?;
            let (offset, stored, plain) = (u32_at(slot, 32)?, u32_at(slot, 36)?, u32_at(slot, 40)?);
            let codec = *slot.get(44).ok_or("a slot is cut")?;
            Ok(Reference {
                id,
                pack,
                key,
                slot: number,
                codec,
                offset,
                stored,
                plain,
            })
        })
        .collect()
}

/// Opens the sealed bytes of a chunk or page; they may be compressed still.
fn open_chunk(key: &[u8; 32], reference: &Reference, sealed: &[u8]) -> Result<Vec<u8>> {
    let pack_key = kdf(key, "pack", &reference.pack);
    let chunk_key = kdf(&pack_key, "chunk", &reference.context());
    let mut nonce = [0; 12];
    nonce[..2].copy_from_slice(&reference.slot.to_le_bytes());
    let mut aad = vec![1];
    aad.extend(b"default");
    aad.extend(reference.pack);
    aad.extend(reference.slot.to_le_bytes());
    open_aead(&chunk_key, nonce, &aad, sealed)
}

fn open_any_slot(path: &Path, secret: Secret<'_>, id: &[u8]) -> Result<[u8; 32]> {
    let mut error = "no slot for this kind of secret".to_owned();
    for name in names(path, "keys/slot/") {
        match open_slot(&read(path, &name)?, &name, secret, id) {
            Ok(root) => return Ok(root),
            Err(reason) => error = reason,
        }
    }
    Err(error)
}

/// Opens a key slot: the root key.
pub(crate) fn open_slot(
    slot: &[u8],
    name: &str,
    secret: Secret<'_>,
    id: &[u8],
) -> Result<[u8; 32]> {
    let length = usize::from(u16_at(slot, 10)?);
    let (clear, sealed) = slot
        .split_at_checked(12 + length)
        .ok_or("the slot is cut")?;
    if &clear[..8] != b"SLUICEKS" || clear[8] != 1 || length > 4096 {
        return Err("not a key slot".to_owned());
    }
    let header = Value::decode(&clear[12..])?;
    let stretched = match (secret, header.uint(0)?) {
        (Secret::KeyFile(text), 1) => key(&unhex(
            text.trim()
                .strip_prefix("sluice-key-1:")
                .ok_or("not a key file")?,
        )?)?,
        (Secret::Passphrase(text), 2) => {
            crypto::stretch(text, header.bytes(1)?, header.uint(4)?, header.uint(5)?)?
        }
        _ => return Err("a slot for another kind of secret".to_owned()),
    };
    key(&open_record(
        &kdf(&stretched, "slot", clear),
        id,
        1,
        name,
        sealed,
    )?)
}

/// The name of a pack under `p` or `m`.
pub(crate) fn pack_name(folder: &str, pack: &[u8; 20]) -> String {
    let digits = hex(pack);
    format!(
        "d/default/{folder}/{}/{}/{}",
        &digits[..2],
        &digits[..32],
        &digits[32..]
    )
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>> {
    fs::read(path.join(name)).map_err(|error| format!("{name}: {error}"))
}

/// Names of objects that start with `prefix`, in byte order.
pub(crate) fn names(path: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(path.join(&folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let below = folder.join(entry.file_name());
            let name = below.to_str().expect("names are ASCII").to_owned();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.path().is_dir() {
                folders.push(below);
            } else if name.starts_with(prefix) {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(array(
        bytes.get(at..at + 2).ok_or("cut")?,
    )?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(array(
        bytes.get(at..at + 4).ok_or("cut")?,
    )?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(array(
        bytes.get(at..at + 8).ok_or("cut")?,
    )?))
}

pub(crate) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| format!("{} bytes instead of {N}", bytes.len()))
}

fn key(bytes: &[u8]) -> Result<[u8; 32]> {
    array(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(|char| !char.is_whitespace()).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16));
    pairs
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| format!("not hex: {error}"))
}
