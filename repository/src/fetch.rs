//! Fetches sealed chunks with few requests, and opens them.
//!
//! [`plan`] decides which ranges of which packs to read; it is pure. Whoever executes it holds one [`Piece`] at a time
//! and so decides how much memory that takes.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    error::RepositoryError,
    id::PackId,
    key::{Key, KeyNumber},
    layout::{self, PackKind},
    map::{Page, PageError, PageLoader},
    reference::Reference,
    repository::{Repository, VERSION},
    seal::{self, OpenError, Opener},
};

/// Unwanted bytes between two wanted ones that are read rather than asked around: what a request costs in time at the
/// rate of one connection (10 ms at 50 MB/s).
pub const GAP_BYTES_MAX: u64 = 512 << 10;
/// Pages of a map that are fetched at the same time.
const PAGE_REQUESTS: usize = 8;
/// Bytes of one request for pages.
const PAGE_PIECE_BYTES: u64 = 1 << 20;

/// A range of one pack, and which of the wanted references lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The pack.
    pub pack: PackId,
    /// The key it is sealed with.
    pub key: KeyNumber,
    /// What to read of it.
    pub range: Range<u64>,
    /// Positions in the list that was planned, in the order of their offsets.
    pub members: Vec<usize>,
}

/// Decides what to read to have all of `references`. Pieces are ordered by the first position they serve, and are no
/// longer than `piece_bytes_max` unless a single reference is.
pub fn plan(references: &[Reference], piece_bytes_max: u64) -> Vec<Piece> {
    let mut by_pack: BTreeMap<(PackId, KeyNumber), Vec<usize>> = BTreeMap::new();
    for (position, reference) in references.iter().enumerate() {
        by_pack
            .entry((reference.pack, reference.key))
            .or_default()
            .push(position);
    }
    let mut pieces: Vec<Piece> = Vec::new();
    for ((pack, key), mut members) in by_pack {
        members.sort_by_key(|position| references[*position].offset);
        let mut open: Option<Piece> = None;
        for position in members {
            let range = references[position].range();
            match &mut open {
                Some(piece)
                    if range.start <= piece.range.end + GAP_BYTES_MAX
                        && range.end.max(piece.range.end) - piece.range.start
                            <= piece_bytes_max =>
                {
                    piece.range.end = piece.range.end.max(range.end);
                    piece.members.push(position);
                }
                _ => pieces.extend(open.replace(Piece {
                    pack,
                    key,
                    range,
                    members: vec![position],
                })),
            }
        }
        pieces.extend(open);
    }
    pieces.sort_by_key(|piece| piece.members.iter().min().copied());
    pieces
}

/// Opens the chunks of one pack.
#[derive(Debug)]
pub struct PackOpener<'a> {
    repository: &'a Repository,
    kind: PackKind,
    key: Key,
}

impl PackOpener<'_> {
    /// Opens one sealed chunk into `plain`, which must have the length that the reference names.
    ///
    /// # Errors
    /// When what is stored is not what was sealed.
    pub fn open(
        &self,
        opener: &mut Opener,
        reference: &Reference,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), RepositoryError> {
        let keys = self.repository.keys();
        let result = opener.open(&self.key, reference, sealed, plain, |plain| {
            match self.kind {
                PackKind::Data => keys.chunk_id(plain),
                PackKind::Meta => keys.page_id(plain),
            }
        });
        result.map_err(|source| chunk_error(self.kind, reference, source))
    }
}

fn chunk_error(kind: PackKind, reference: &Reference, source: OpenError) -> RepositoryError {
    let object = layout::pack(kind, reference.pack);
    let chunk = reference.id.to_string()[..16].to_owned();
    RepositoryError::Chunk {
        chunk,
        object,
        source,
    }
}

impl Repository {
    /// Prepares to open chunks of a pack.
    ///
    /// # Errors
    /// When its key is not in the keyring.
    pub fn pack_opener(
        &self,
        kind: PackKind,
        reference: &Reference,
    ) -> Result<PackOpener<'_>, RepositoryError> {
        let key = match kind {
            PackKind::Data => self.keys().data(reference.key),
            PackKind::Meta => self.keys().meta(reference.key),
        };
        let key = key.ok_or_else(|| chunk_error(kind, reference, OpenError::NoKey))?;
        let key = seal::pack_key(key, reference.pack);
        Ok(PackOpener {
            repository: self,
            kind,
            key,
        })
    }

    /// Reads a piece of a pack.
    ///
    /// # Errors
    /// When the store fails, or the pack is missing or too short.
    pub async fn read_piece(
        &self,
        kind: PackKind,
        piece: &Piece,
    ) -> Result<Bytes, RepositoryError> {
        let name = layout::pack(kind, piece.pack);
        Ok(self.store().get_range(&name, piece.range.clone()).await?)
    }

    /// Loads pages of maps.
    pub fn pages(&self) -> Arc<dyn PageLoader> {
        Arc::new(Pages {
            repository: self.clone(),
        })
    }
}

/// The sealed bytes of a reference within the bytes of its piece.
pub fn within<'a>(piece: &Piece, bytes: &'a [u8], reference: &Reference) -> &'a [u8] {
    let start =
        usize::try_from(u64::from(reference.offset) - piece.range.start).expect("pieces are small");
    let length = usize::try_from(reference.stored_bytes).expect("pieces are small");
    &bytes[start..start + length]
}

#[derive(Debug)]
struct Pages {
    repository: Repository,
}

#[async_trait]
impl PageLoader for Pages {
    async fn load(&self, references: &[Reference]) -> Result<Vec<Arc<Page>>, RepositoryError> {
        let pieces = plan(references, PAGE_PIECE_BYTES);
        let mut pages: Vec<Option<Arc<Page>>> = vec![None; references.len()];
        let mut opened = stream::iter(pieces)
            .map(|piece| async move {
                let bytes = self.repository.read_piece(PackKind::Meta, &piece).await?;
                open_pages(&self.repository, references, &piece, &bytes)
            })
            .buffer_unordered(PAGE_REQUESTS);
        while let Some(batch) = opened.try_next().await? {
            for (position, page) in batch {
                pages[position] = Some(page);
            }
        }
        Ok(pages
            .into_iter()
            .map(|page| page.expect("each reference is in one piece"))
            .collect())
    }
}

fn open_pages(
    repository: &Repository,
    references: &[Reference],
    piece: &Piece,
    bytes: &[u8],
) -> Result<Vec<(usize, Arc<Page>)>, RepositoryError> {
    let mut opener = Opener::default();
    let pack = repository.pack_opener(PackKind::Meta, &references[piece.members[0]])?;
    let mut pages = Vec::with_capacity(piece.members.len());
    for position in piece.members.iter().copied() {
        let reference = &references[position];
        let mut plain =
            vec![0; usize::try_from(reference.plain_bytes).expect("decoding limits it")];
        pack.open(
            &mut opener,
            reference,
            within(piece, bytes, reference),
            &mut plain,
        )?;
        let page = Page::decode(&plain).map_err(|error| match error {
            PageError::Newer => RepositoryError::Newer {
                what: "a page of a map".to_owned(),
                version: VERSION,
            },
            PageError::NotAPage => RepositoryError::damaged(
                layout::pack(PackKind::Meta, reference.pack),
                "authentic, but not a page of a map",
            ),
        })?;
        pages.push((position, Arc::new(page)));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::{ChunkId, SessionId},
        reference::Codec,
    };

    fn reference(pack: u32, offset: u32, stored_bytes: u32) -> Reference {
        Reference {
            id: ChunkId::from_bytes([0; 32]),
            pack: PackId::new(SessionId::from_bytes([0; 16]), pack),
            key: 0,
            slot: 0,
            codec: Codec::Stored,
            offset,
            stored_bytes,
            plain_bytes: stored_bytes,
        }
    }

    #[test]
    fn neighbours_share_a_request_and_far_ones_do_not() {
        let far = 100 + u32::try_from(GAP_BYTES_MAX).unwrap() + 1;
        let wanted = [
            reference(0, 0, 50),
            reference(0, 60, 40),
            reference(0, far, 10),
            reference(1, 0, 5),
        ];
        let pieces = plan(&wanted, 1 << 20);
        let ranges: Vec<_> = pieces.iter().map(|piece| piece.range.clone()).collect();
        assert_eq!(ranges, [0..100, u64::from(far)..u64::from(far) + 10, 0..5]);
    }

    proptest! {
        #[test]
        fn every_reference_lies_whole_in_exactly_one_piece(
            wanted in prop::collection::vec((0..4_u32, 0..5_000_000_u32, 1..100_000_u32), 0..60),
            longest in 1..2_000_000_u64,
        ) {
            let wanted: Vec<_> = wanted.into_iter().map(|(pack, at, length)| reference(pack, at, length)).collect();
            let mut seen = vec![0; wanted.len()];
            for piece in plan(&wanted, longest) {
                for member in &piece.members {
                    seen[*member] += 1;
                    let range = wanted[*member].range();
                    prop_assert!(piece.pack == wanted[*member].pack);
                    prop_assert!(piece.range.start <= range.start && range.end <= piece.range.end);
                }
                let single = piece.members.len() == 1;
                prop_assert!(single || piece.range.end - piece.range.start <= longest);
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
        }
    }
}
