//! The key hierarchy: a secret opens a slot, a slot holds the root key, the root key opens the keyring.
//!
//! ```text
//! key file or passphrase -> slot -> root key -> domain key -> keyring: data, meta, id, page, gear, manifest
//! ```
//!
//! No type here shows its bytes or can be copied by accident.

mod keyring;
mod secret;
mod slot;

use std::fmt;

use zeroize::Zeroizing;

pub(crate) use self::slot::{open_slot, parse_slot_header, seal_slot};
pub use self::{
    keyring::{KeyNumber, Keyring},
    secret::{KEY_FILE_PREFIX, Secret, SecretError},
    slot::{SlotHeader, SlotKind},
};
use crate::random;

/// A 256-bit symmetric key, erased when dropped.
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Draws a new one.
    pub(crate) fn draw() -> Self {
        Self(Zeroizing::new(random::array()))
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Another key, bound to a label and a context. The label's length goes first, so that no two pairs of label and
    /// context are hashed alike.
    pub(crate) fn derive(&self, label: &str, context: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[u8::try_from(label.len()).expect("labels are short constants")]);
        hasher.update(label.as_bytes());
        hasher.update(context);
        Self::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The keyed hash of some bytes.
    pub(crate) fn hash(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, bytes).as_bytes()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}
