//! Sealed records: small objects that are read whole (keyrings, intents, manifests, slot tables, ...).
//!
//! Each is sealed under a key of its own, made from a random salt, and bound to the repository, the domain, what kind of
//! record it is and its full object name: a record that was swapped, copied or renamed does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{
    format::{DOMAIN, SUITE_BLAKE3_AES256GCM, TAG_BYTES},
    id::RepositoryId,
    random,
    symmetric::Key,
};

const MAGIC: &[u8; 4] = b"SLRC";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
const SALT_BYTES: usize = 32;

/// Bytes that sealing adds to a payload.
pub(crate) const OVERHEAD_BYTES: usize = HEADER_BYTES + SALT_BYTES + TAG_BYTES;

/// What a record is. Part of what is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    RootKey = 1,
    DomainKey = 2,
    Keyring = 3,
    Intent = 4,
    Heartbeat = 5,
    Checkpoint = 6,
    Manifest = 7,
    SlotTable = 8,
    DeleteMarker = 9,
    SeriesPoint = 10,
    VerifyRun = 11,
    BadPoint = 12,
}

/// Where a record belongs: what it is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) repository: RepositoryId,
    pub(crate) domain: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> Place<'a> {
    /// The place of the object called `name`.
    pub(crate) fn new(repository: RepositoryId, name: &'a str) -> Self {
        Self {
            repository,
            domain: DOMAIN,
            name,
        }
    }
}

/// Why a record does not open. The caller adds the object's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("not a sealed record")]
    NotARecord,
    #[error("damaged, or written by a newer version of Sluice")]
    Newer,
    #[error("the contents do not match their seal")]
    Unauthentic,
}

/// Seals `payload`.
pub(crate) fn seal(key: &Key, kind: RecordKind, place: Place<'_>, payload: &[u8]) -> Vec<u8> {
    let salt: [u8; SALT_BYTES] = random::array();
    let mut record = Vec::with_capacity(payload.len() + OVERHEAD_BYTES);
    record.extend_from_slice(MAGIC);
    record.extend_from_slice(&[VERSION, kind as u8, SUITE_BLAKE3_AES256GCM, 0]);
    record.extend_from_slice(&salt);
    record.extend_from_slice(payload);
    let aad = associated(kind, place);
    let tag = cipher(key, &salt)
        .seal_in_place_separate_tag(
            nonce(),
            Aad::from(aad),
            &mut record[HEADER_BYTES + SALT_BYTES..],
        )
        .expect("a record is far below the limit of AES-GCM");
    record.extend_from_slice(tag.as_ref());
    record
}

/// Opens a record that must be of this kind and from this place.
pub(crate) fn open(
    key: &Key,
    kind: RecordKind,
    place: Place<'_>,
    record: &[u8],
) -> Result<Vec<u8>, RecordError> {
    if record.len() < OVERHEAD_BYTES || &record[..4] != MAGIC {
        return Err(RecordError::NotARecord);
    }
    if record[4] > VERSION || record[6] != SUITE_BLAKE3_AES256GCM {
        return Err(RecordError::Newer);
    }
    if record[4] != VERSION || record[5] != kind as u8 || record[7] != 0 {
        return Err(RecordError::Unauthentic);
    }
    let (salt, sealed) = record[HEADER_BYTES..].split_at(SALT_BYTES);
    let mut payload = sealed.to_vec();
    let plain = cipher(key, salt)
        .open_in_place(nonce(), Aad::from(associated(kind, place)), &mut payload)
        .map_err(|_| RecordError::Unauthentic)?
        .len();
    payload.truncate(plain);
    Ok(payload)
}

/// Opens a record with whichever of these keys it was sealed with, since it does not say.
pub(crate) fn open_with_any<'k>(
    keys: impl Iterator<Item = &'k Key>,
    kind: RecordKind,
    place: Place<'_>,
    record: &[u8],
) -> Result<Vec<u8>, RecordError> {
    let mut result = Err(RecordError::Unauthentic);
    for key in keys {
        result = open(key, kind, place, record);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn cipher(key: &Key, salt: &[u8]) -> LessSafeKey {
    let key = key.derive("record", salt);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_bytes()).expect("32 bytes are a key"))
}

/// Always zero: each record has a key of its own.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn associated(kind: RecordKind, place: Place<'_>) -> Vec<u8> {
    let mut aad = Vec::with_capacity(64 + place.name.len());
    aad.extend_from_slice(&[VERSION, kind as u8, SUITE_BLAKE3_AES256GCM, 0]);
    aad.extend_from_slice(place.repository.as_bytes());
    for text in [place.domain, place.name] {
        aad.extend_from_slice(
            &u32::try_from(text.len())
                .expect("names are short")
                .to_le_bytes(),
        );
        aad.extend_from_slice(text.as_bytes());
    }
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_only_where_and_as_what_it_was_sealed() {
        let key = Key::draw();
        let here = Place {
            repository: RepositoryId::draw(),
            domain: "default",
            name: "a/b",
        };
        let record = seal(&key, RecordKind::Intent, here, b"payload");
        let opened = |kind, place, bytes: &[u8]| open(&key, kind, place, bytes);
        assert_eq!(
            opened(RecordKind::Intent, here, &record).as_deref(),
            Ok(&b"payload"[..])
        );
        for place in [
            Place {
                repository: RepositoryId::draw(),
                ..here
            },
            Place {
                domain: "other",
                ..here
            },
            Place {
                name: "a/c",
                ..here
            },
        ] {
            assert_eq!(
                opened(RecordKind::Intent, place, &record),
                Err(RecordError::Unauthentic)
            );
        }
        assert!(opened(RecordKind::Manifest, here, &record).is_err());
        assert!(open(&Key::draw(), RecordKind::Intent, here, &record).is_err());
        for position in 0..record.len() {
            let mut damaged = record.clone();
            damaged[position] ^= 1;
            assert!(
                opened(RecordKind::Intent, here, &damaged).is_err(),
                "byte {position}"
            );
            assert!(opened(RecordKind::Intent, here, &record[..position]).is_err());
        }
    }
}
