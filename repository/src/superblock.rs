//! The superblock: which repository this is, and which version of the format it needs. Written once, never changed.
//!
//! ```text
//! "SLUICERP" | major u8 | minor u8 | 0 u16 | length u32 | CBOR | MAC 32
//! ```
//!
//! It is in the clear, since it is read before any key is known; the MAC is checked as soon as the root key is.

use minicbor::{Decode, Encode};

use crate::{
    format::{FORMAT_MAJOR, FORMAT_MINOR, SUITE_BLAKE3_AES256GCM},
    id::RepositoryId,
    key::Key,
};

const MAGIC: &[u8; 8] = b"SLUICERP";
const HEADER_BYTES: usize = 16;
const MAC_BYTES: usize = 32;

/// An operation that a mandatory feature can be named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Restore, list, show, diff.
    Read,
    /// Backup and forget.
    Write,
    /// Verify.
    Verify,
}

impl Operation {
    /// Its name in messages and in the names of feature markers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Verify => "verify",
        }
    }
}

/// Features that a program must know before it does this or that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Features {
    #[n(0)]
    pub(crate) read: Vec<String>,
    #[n(1)]
    pub(crate) write: Vec<String>,
    #[n(2)]
    pub(crate) prune: Vec<String>,
    #[n(3)]
    pub(crate) verify: Vec<String>,
}

/// What the store was seen to do at `init`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an answer to a question of its own"
)]
pub struct StoreFacts {
    /// Of several writers of one name exactly one won, and its bytes were read back.
    #[n(0)]
    pub write_once: bool,
    /// The user accepts a store that does not enforce write-once.
    #[n(1)]
    pub accepted_without: bool,
    /// What was written was read back at once.
    #[n(2)]
    pub read_after_write: bool,
    /// What was written was listed at once.
    #[n(3)]
    pub list_after_write: bool,
}

/// The superblock.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Superblock {
    /// Which repository this is.
    #[n(0)]
    pub id: RepositoryId,
    /// When it was made, in milliseconds since 1970.
    #[n(1)]
    pub created_ms: u64,
    #[n(2)]
    suite: u8,
    #[n(3)]
    pub(crate) features: Features,
    /// What the store was seen to do.
    #[n(4)]
    pub store: StoreFacts,
}

/// Why bytes are not a superblock that this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuperblockError {
    NotASuperblock,
    Damaged,
    Newer { major: u8 },
}

impl Superblock {
    pub(crate) fn new(id: RepositoryId, created_ms: u64, store: StoreFacts) -> Self {
        Self {
            id,
            created_ms,
            suite: SUITE_BLAKE3_AES256GCM,
            features: Features::default(),
            store,
        }
    }

    pub(crate) fn encode(&self, root: &Key) -> Vec<u8> {
        let body = minicbor::to_vec(self).expect("encoding into memory");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + MAC_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[FORMAT_MAJOR, FORMAT_MINOR, 0, 0]);
        bytes.extend_from_slice(&u32::try_from(body.len()).expect("short").to_le_bytes());
        bytes.extend_from_slice(&body);
        let mac = mac(root, &bytes);
        bytes.extend_from_slice(&mac);
        bytes
    }

    /// Reads a superblock; nothing in it is to be believed before [`check`](Self::check).
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SuperblockError> {
        if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC {
            return Err(SuperblockError::NotASuperblock);
        }
        if bytes[8] > FORMAT_MAJOR {
            return Err(SuperblockError::Newer { major: bytes[8] });
        }
        let length = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        let body = bytes[HEADER_BYTES..]
            .split_last_chunk::<MAC_BYTES>()
            .map(|(body, _)| body);
        let body =
            body.filter(|body| u32::try_from(body.len()) == Ok(length) && bytes[8] == FORMAT_MAJOR);
        let superblock: Self = minicbor::decode(body.ok_or(SuperblockError::Damaged)?)
            .map_err(|_| SuperblockError::Damaged)?;
        if superblock.suite != SUITE_BLAKE3_AES256GCM {
            return Err(SuperblockError::Newer { major: bytes[8] });
        }
        Ok(superblock)
    }

    /// Whether these bytes were made by somebody who had the root key.
    pub(crate) fn check(bytes: &[u8], root: &Key) -> bool {
        bytes
            .split_last_chunk::<MAC_BYTES>()
            .is_some_and(|(body, found)| {
                aws_lc_rs::constant_time::verify_slices_are_equal(&mac(root, body), found).is_ok()
            })
    }

    /// A feature that this program does not know and must know for `operation`. It knows none yet.
    pub(crate) fn unknown_feature(&self, operation: Operation) -> Option<&str> {
        let features = match operation {
            Operation::Read => &self.features.read,
            Operation::Write => &self.features.write,
            Operation::Verify => &self.features.verify,
        };
        features.first().map(String::as_str)
    }
}

fn mac(root: &Key, bytes: &[u8]) -> [u8; MAC_BYTES] {
    root.derive("superblock", b"").hash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_noticed() {
        let root = Key::draw();
        let superblock = Superblock::new(RepositoryId::draw(), 5, StoreFacts::default());
        let bytes = superblock.encode(&root);
        assert_eq!(Superblock::decode(&bytes), Ok(superblock));
        assert!(Superblock::check(&bytes, &root) && !Superblock::check(&bytes, &Key::draw()));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            let noticed =
                Superblock::decode(&damaged).is_err() || !Superblock::check(&damaged, &root);
            assert!(noticed, "byte {position}");
            assert!(
                Superblock::decode(&bytes[..position]).is_err(),
                "cut at {position}"
            );
        }
    }

    #[test]
    fn a_newer_format_says_so() {
        let mut bytes =
            Superblock::new(RepositoryId::draw(), 5, StoreFacts::default()).encode(&Key::draw());
        bytes[8] = FORMAT_MAJOR + 1;
        assert_eq!(
            Superblock::decode(&bytes),
            Err(SuperblockError::Newer {
                major: FORMAT_MAJOR + 1
            })
        );
    }
}
