//! What a verify finds.

use std::collections::{BTreeMap, BTreeSet};

use super::Result;
use crate::{
    error::{RepositoryError, way_out},
    id::PackId,
    layout::{self, PackKind},
    store::ErrorKind,
};

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Name of the object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// A chunk that cannot be read: its pack and slot, or all of the pack.
pub type BadSlots = BTreeMap<(PackKind, PackId), Option<BTreeSet<u16>>>;

/// Damage, or an error that is none.
pub fn damage_of(object: String, error: RepositoryError) -> Result<Damage> {
    if !error.is_damage() {
        return Err(error);
    }
    let what = if let RepositoryError::Damaged { what, object } = error {
        // The others name what they are about, and are not read by name.
        if layout::parse_register(&object).is_some() {
            format!("{what}; {}", way_out(&object))
        } else {
            what
        }
    } else if let RepositoryError::Chunk { chunk, source, .. } = error {
        format!("chunk {chunk}: {source}")
    } else if let RepositoryError::Store(error) = error {
        let short = error.kind() == ErrorKind::Short;
        let missing = error.kind() == ErrorKind::NotFound;
        let what = if missing {
            "it is missing"
        } else if short {
            "it is too short"
        } else {
            "it is too large"
        };
        what.to_owned()
    } else {
        error.to_string()
    };
    Ok(Damage { object, what })
}
