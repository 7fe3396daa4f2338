//! The data itself: every chunk of a pack is opened and hashed.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Result;
use crate::{
    error::RepositoryError,
    fetch::{self, Piece},
    format::CHUNK_LOG2_MAX,
    id::PackId,
    key::KeyNumber,
    layout::PackKind,
    pack::Slot,
    reference::Reference,
    repository::Repository,
    seal::Opener,
};

impl Repository {
    /// What to read of a pack to see whether all of its chunks are as they must be.
    pub fn pack_pieces(
        key: KeyNumber,
        id: PackId,
        slots: &[Slot],
        piece_bytes_max: u64,
    ) -> Vec<(Piece, Vec<Reference>)> {
        let references: Vec<Reference> = slots
            .iter()
            .zip(0_u16..)
            .map(|(slot, number)| slot.reference(id, key, number))
            .collect();
        fetch::plan(&references, piece_bytes_max)
            .into_iter()
            .map(|piece| {
                let members = piece
                    .members
                    .iter()
                    .map(|member| references[*member])
                    .collect();
                (piece, members)
            })
            .collect()
    }

    /// Opens every chunk of a piece; returns the slots that do not open, and why the first one does not.
    ///
    /// # Errors
    /// When the pack's key is not in the keyring.
    pub fn check_piece(
        &self,
        kind: PackKind,
        piece: &Piece,
        references: &[Reference],
        bytes: &Bytes,
    ) -> Result<(BTreeSet<u16>, Option<RepositoryError>)> {
        let mut opener = Opener::default();
        let (mut bad, mut first) = (BTreeSet::new(), None);
        let Some(any) = references.first() else {
            return Ok((bad, first));
        };
        let pack = self.pack_opener(kind, any)?;
        let mut plain = Vec::new();
        for reference in references {
            // The table is authentic, but whoever wrote it may have been wrong: a bound all the same.
            plain.resize(length_of(reference), 0);
            let sealed = fetch::within(piece, bytes, reference);
            if let Err(error) = pack.open(&mut opener, reference, sealed, &mut plain) {
                bad.insert(reference.slot);
                first.get_or_insert(error);
            }
        }
        Ok((bad, first))
    }
}

/// Length of a chunk's or page's contents, as far as any may have: one that says more does not open.
fn length_of(reference: &Reference) -> usize {
    let bytes = reference.plain_bytes.min(1 << CHUNK_LOG2_MAX);
    usize::try_from(bytes).expect("32 bits")
}
