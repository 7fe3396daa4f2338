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

pub(crate) use self::slot::{SlotError, open_slot, parse_slot_header, seal_slot};
pub use self::{
    keyring::{KeyNumber, Keyring},
    secret::{KEY_FILE_PREFIX, Secret, SecretError},
    slot::{SlotHeader, SlotKind},
};
pub(crate) use crate::symmetric::Key;
