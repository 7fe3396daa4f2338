//! The one kind of key: 256 bits, from which others are derived.
//!
//! It does not show its bytes and cannot be copied by accident.

use std::fmt;

use zeroize::Zeroizing;

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
