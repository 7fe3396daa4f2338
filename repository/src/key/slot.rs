//! Key slots: the root key, sealed under a secret.
//!
//! A slot's header is in the clear, since it must be read before anything can be opened; it is bound into the key that
//! seals the rest, so a changed header does not open.

use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::{
    format::{ARGON2_COST_MAX, ARGON2_KIB, ARGON2_KIB_MAX, ARGON2_PASSES, DOMAIN},
    id::RepositoryId,
    key::{Key, Secret},
    random,
    record::{self, Place, RecordKind},
};

const MAGIC: &[u8; 8] = b"SLUICEKS";
const VERSION: u8 = 1;
const HEADER_BYTES_MAX: usize = 4096;

/// How the root key is sealed in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SlotKind {
    /// Under 32 random bytes.
    #[n(1)]
    KeyFile,
    /// Under a passphrase, stretched by Argon2id.
    #[n(2)]
    Passphrase,
}

/// What a slot says in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SlotHeader {
    /// What opens it.
    #[n(0)]
    pub kind: SlotKind,
    /// Makes equal secrets open with different keys.
    #[cbor(n(1), with = "minicbor::bytes")]
    salt: [u8; 32],
    /// When it was added, in milliseconds since 1970.
    #[n(2)]
    pub created_ms: u64,
    /// What the user calls it.
    #[n(3)]
    pub label: String,
    /// Memory of Argon2id in KiB; 0 for a key file.
    #[n(4)]
    argon2_kib: u32,
    /// Passes of Argon2id; 0 for a key file.
    #[n(5)]
    argon2_passes: u32,
}

impl SlotHeader {
    /// What opening it takes: memory in KiB times passes.
    pub(crate) fn cost(&self) -> u64 {
        u64::from(self.argon2_kib) * u64::from(self.argon2_passes)
    }
}

/// Why a slot does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SlotError {
    #[error("not a key slot")]
    NotASlot,
    #[error("written by a newer version of Sluice")]
    Newer,
    #[error("asks for more memory or time than Sluice spends on a passphrase")]
    TooCostly,
    #[error("another secret, or damaged")]
    Wrong,
}

/// Seals the root key for `secret`.
pub(crate) fn seal_slot(
    secret: &Secret,
    root: &Key,
    label: &str,
    created_ms: u64,
    repository: RepositoryId,
    name: &str,
) -> Vec<u8> {
    let (kind, argon2_kib, argon2_passes) = match secret {
        Secret::KeyFile(_) => (SlotKind::KeyFile, 0, 0),
        Secret::Passphrase(_) => (SlotKind::Passphrase, ARGON2_KIB, ARGON2_PASSES),
    };
    let label = label.to_owned();
    let salt = random::array();
    let header = SlotHeader {
        kind,
        salt,
        created_ms,
        label,
        argon2_kib,
        argon2_passes,
    };
    let encoded = minicbor::to_vec(&header).expect("encoding into memory");
    let mut slot = Vec::with_capacity(256);
    slot.extend_from_slice(MAGIC);
    slot.push(VERSION);
    slot.push(0);
    let length = u16::try_from(encoded.len()).expect("labels are limited");
    slot.extend_from_slice(&length.to_le_bytes());
    slot.extend_from_slice(&encoded);
    let key = slot_key(secret, &header, &slot).expect("our own parameters are allowed");
    let place = Place {
        repository,
        domain: DOMAIN,
        name,
    };
    let sealed = record::seal(&key, RecordKind::RootKey, place, root.as_bytes());
    slot.extend_from_slice(&sealed);
    slot
}

/// Reads a slot's header.
pub(crate) fn parse_slot_header(slot: &[u8]) -> Result<SlotHeader, SlotError> {
    split(slot).map(|(header, _, _)| header)
}

/// Opens a slot.
pub(crate) fn open_slot(
    secret: &Secret,
    slot: &[u8],
    repository: RepositoryId,
    name: &str,
) -> Result<Key, SlotError> {
    let (header, clear, sealed) = split(slot)?;
    let key = slot_key(secret, &header, clear)?;
    let place = Place {
        repository,
        domain: DOMAIN,
        name,
    };
    let root = record::open(&key, RecordKind::RootKey, place, sealed).map(Zeroizing::new);
    let root = root.map_err(|_| SlotError::Wrong)?;
    let root = <[u8; 32]>::try_from(root.as_slice()).map_err(|_| SlotError::NotASlot)?;
    Ok(Key::from_bytes(root))
}

fn split(slot: &[u8]) -> Result<(SlotHeader, &[u8], &[u8]), SlotError> {
    if slot.len() < 12 || &slot[..8] != MAGIC {
        return Err(SlotError::NotASlot);
    }
    if slot[8] > VERSION {
        return Err(SlotError::Newer);
    }
    let length = usize::from(u16::from_le_bytes([slot[10], slot[11]]));
    if slot[8] != VERSION || slot[9] != 0 || length > HEADER_BYTES_MAX || slot.len() < 12 + length {
        return Err(SlotError::NotASlot);
    }
    let (clear, sealed) = slot.split_at(12 + length);
    let header = minicbor::decode(&clear[12..]).map_err(|_| SlotError::NotASlot)?;
    Ok((header, clear, sealed))
}

fn slot_key(secret: &Secret, header: &SlotHeader, clear: &[u8]) -> Result<Key, SlotError> {
    let stretched = match (secret, header.kind) {
        (Secret::KeyFile(bytes), SlotKind::KeyFile) => Key::from_bytes(**bytes),
        (Secret::Passphrase(text), SlotKind::Passphrase) => stretch(text.as_bytes(), header)?,
        (Secret::KeyFile(_) | Secret::Passphrase(_), _) => return Err(SlotError::Wrong),
    };
    Ok(stretched.derive("slot", clear))
}

fn stretch(passphrase: &[u8], header: &SlotHeader) -> Result<Key, SlotError> {
    if header.argon2_kib > ARGON2_KIB_MAX || header.cost() > ARGON2_COST_MAX {
        return Err(SlotError::TooCostly);
    }
    let params = Params::new(header.argon2_kib, header.argon2_passes, 1, Some(32))
        .map_err(|_| SlotError::NotASlot)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, &header.salt, key.as_mut())
        .map_err(|_| SlotError::NotASlot)?;
    Ok(Key::from_bytes(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "keys/slot/00";

    #[test]
    fn only_the_secret_opens_the_slot() {
        let (root, id) = (Key::draw(), RepositoryId::draw());
        let right = Secret::passphrase("correct horse").unwrap();
        let slot = seal_slot(&right, &root, "mine", 5, id, NAME);
        let opened = open_slot(&right, &slot, id, NAME).unwrap();
        assert_eq!(opened.as_bytes(), root.as_bytes());
        for wrong in [
            Secret::passphrase("battery").unwrap(),
            Secret::draw_key_file(),
        ] {
            assert_eq!(
                open_slot(&wrong, &slot, id, NAME).err(),
                Some(SlotError::Wrong)
            );
        }
        assert_eq!(parse_slot_header(&slot).unwrap().label, "mine");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let (root, id) = (Key::draw(), RepositoryId::draw());
        let secret = Secret::draw_key_file();
        let slot = seal_slot(&secret, &root, "", 5, id, NAME);
        for position in 0..slot.len() {
            let mut damaged = slot.clone();
            damaged[position] ^= 4;
            assert!(
                open_slot(&secret, &damaged, id, NAME).is_err(),
                "byte {position}"
            );
        }
    }

    #[test]
    fn a_costly_slot_is_refused_before_the_cost() {
        for (argon2_kib, argon2_passes) in [(u32::MAX, 1), (ARGON2_KIB, 25), (8, u32::MAX)] {
            let header = SlotHeader {
                kind: SlotKind::Passphrase,
                salt: [0; 32],
                created_ms: 0,
                label: String::new(),
                argon2_kib,
                argon2_passes,
            };
            assert_eq!(stretch(b"x", &header).err(), Some(SlotError::TooCostly));
        }
    }
}
