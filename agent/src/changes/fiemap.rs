//! What differs between two reflink copies: the ranges that no longer share their place on the disk.
//!
//! A file system that copies by reference writes changed blocks elsewhere as long as the old ones are shared. So bytes
//! that two files share are equal, without reading them; everything that is not known to be shared counts as changed.

use std::{
    cmp::min,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::Extents;
use crate::{
    kernel::{self, FiemapExtent},
    source::error::hint,
};

/// Extents that prove nothing: their place is unknown, not yet chosen, encoded, encrypted, not aligned, or inside
/// the file system's own blocks. From `linux/fiemap.h`: UNKNOWN, DELALLOC, ENCODED, `DATA_ENCRYPTED`, `NOT_ALIGNED`,
/// `DATA_INLINE`, `DATA_TAIL`.
const OPAQUE: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400;

/// Reserved space that reads as zeros.
const UNWRITTEN: u32 = 0x800;

/// Another file refers to this extent too. Some file systems report places that are none (SMB reports the offset
/// in the file) but no sharing, so only what is shared is compared.
const SHARED: u32 = 0x2000;

/// Why two files cannot be compared by place.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FiemapError {
    /// One of them cannot be opened.
    #[error("open `{}`: {}", path.display(), hint(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of them is not a regular file.
    #[error("`{}` is not a regular file: only files can be reflink copies", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// They are one and the same file.
    #[error("`{}` and `{}` are the same file, not copies", current.display(), base.display())]
    Same {
        /// The newer file.
        current: PathBuf,
        /// The older file.
        base: PathBuf,
    },
    /// They cannot share anything.
    #[error("`{}` and `{}` are on different file systems", current.display(), base.display())]
    Apart {
        /// The newer file.
        current: PathBuf,
        /// The older file.
        base: PathBuf,
    },
    /// Neither is a copy of the other, or all of it was written since.
    #[error("`{}` and `{}` share nothing: only copies made by `cp --reflink` do", current.display(), base.display())]
    Unshared {
        /// The newer file.
        current: PathBuf,
        /// The older file.
        base: PathBuf,
    },
    /// The file system does not tell where its files are, or tells what cannot be.
    #[error("the file system does not tell the extents of `{}`", path.display())]
    Extents {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The ranges of `current` that may differ from `base`, a reflink copy of an earlier state of it.
///
/// Neither may be written to meanwhile.
///
/// # Errors
/// When the file system cannot tell; then everything has to be compared.
pub fn changed(current: &Path, base: &Path) -> Result<Extents, FiemapError> {
    let (current_file, base_file) = (open(current)?, open(base)?);
    let (now, then) = (
        metadata(current, &current_file)?,
        metadata(base, &base_file)?,
    );
    let names = || (current.to_path_buf(), base.to_path_buf());
    if now.dev() != then.dev() {
        let (current, base) = names();
        return Err(FiemapError::Apart { current, base });
    }
    if now.ino() == then.ino() {
        let (current, base) = names();
        return Err(FiemapError::Same { current, base });
    }
    let failed = |path: &Path, source| FiemapError::Extents {
        path: path.to_path_buf(),
        source,
    };
    let (changed, shared_bytes) = compare(
        extents(&current_file).map(|extent| extent.map_err(|source| failed(current, source))),
        extents(&base_file).map(|extent| extent.map_err(|source| failed(base, source))),
        now.len(),
        then.len(),
    )?;
    if shared_bytes == 0 && changed.bytes() > 0 {
        let (current, base) = names();
        return Err(FiemapError::Unshared { current, base });
    }
    Ok(changed)
}

fn open(path: &Path) -> Result<File, FiemapError> {
    // Asked first: opening a pipe would wait for a writer.
    let found = fs::metadata(path).and_then(|found| {
        if found.is_file() {
            File::open(path).map(Some)
        } else {
            Ok(None)
        }
    });
    let path = path.to_path_buf();
    match found {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(FiemapError::Kind { path }),
        Err(source) => Err(FiemapError::Open { path, source }),
    }
}

fn metadata(path: &Path, file: &File) -> Result<fs::Metadata, FiemapError> {
    file.metadata().map_err(|source| FiemapError::Open {
        path: path.to_path_buf(),
        source,
    })
}

/// The extents of a file in order, a batch at a time, so that a badly fragmented file takes no memory.
fn extents(file: &File) -> impl Iterator<Item = io::Result<FiemapExtent>> + '_ {
    let mut batch = Vec::new().into_iter();
    let mut end = 0_u64;
    let mut last = false;
    std::iter::from_fn(move || {
        if batch.as_slice().is_empty() && !last {
            match kernel::fiemap(file, end) {
                Ok(next) => batch = next.into_iter(),
                Err(error) => {
                    last = true;
                    return Some(Err(error));
                }
            }
        }
        let extent = batch.next();
        last |= extent.is_none();
        // The first one of a batch may begin before the end of the batch above, but must end after it.
        extent.map(|mut extent: FiemapExtent| {
            let extent_end = extent
                .logical
                .checked_add(extent.length)
                .filter(|next| *next > end);
            let Some(extent_end) = extent_end else {
                last = true;
                batch = Vec::new().into_iter();
                return Err(io::Error::other("extents out of order"));
            };
            extent.skip_to(end);
            end = extent_end;
            Ok(extent)
        })
    })
}

/// What is at a position of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// A hole, or space without data: zeros.
    Zeros,
    /// Shared bytes at this place of the disk.
    Shared(u64),
    /// Bytes that must be read to be known.
    Unknown,
}

/// A file's extents, asked by rising position.
struct Cursor<I> {
    extents: I,
    next: Option<FiemapExtent>,
}

impl<E, I: Iterator<Item = Result<FiemapExtent, E>>> Cursor<I> {
    fn new(mut extents: I) -> Result<Self, E> {
        let next = extents.next().transpose()?;
        Ok(Self { extents, next })
    }

    /// What is at `position`, and up to where it goes on like this, which is after `position`.
    fn at(&mut self, position: u64) -> Result<(Content, u64), E> {
        while self.next.is_some_and(|extent| extent.end() <= position) {
            self.next = self.extents.next().transpose()?;
        }
        Ok(match self.next {
            None => (Content::Zeros, u64::MAX),
            Some(extent) if position < extent.logical => (Content::Zeros, extent.logical),
            Some(extent) => (extent.content(position), extent.end()),
        })
    }
}

impl FiemapExtent {
    fn end(&self) -> u64 {
        self.logical.saturating_add(self.length)
    }

    /// Forgets what is before `position`.
    fn skip_to(&mut self, position: u64) {
        let skipped = position.saturating_sub(self.logical);
        self.logical += skipped;
        self.physical = self.physical.saturating_add(skipped);
        self.length -= skipped;
    }

    fn content(&self, position: u64) -> Content {
        let shared = self.flags & SHARED != 0;
        match self.physical.checked_add(position - self.logical) {
            _ if self.flags & OPAQUE != 0 => Content::Unknown,
            _ if self.flags & UNWRITTEN != 0 => Content::Zeros,
            Some(place) if shared => Content::Shared(place),
            Some(_) | None => Content::Unknown,
        }
    }
}

/// The ranges of a file of `bytes` that are not known to equal its base of `base_bytes`, and how many bytes they share.
fn compare<E>(
    current: impl Iterator<Item = Result<FiemapExtent, E>>,
    base: impl Iterator<Item = Result<FiemapExtent, E>>,
    bytes: u64,
    base_bytes: u64,
) -> Result<(Extents, u64), E> {
    let (mut current, mut base) = (Cursor::new(current)?, Cursor::new(base)?);
    let mut changed = Extents::none(bytes);
    let common = min(bytes, base_bytes);
    let (mut position, mut shared_bytes) = (0, 0);
    while position < common {
        let (now, now_end) = current.at(position)?;
        let (then, then_end) = base.at(position)?;
        let end = min(min(now_end, then_end), common);
        if now != then || now == Content::Unknown {
            changed.add(position..end);
        } else if matches!(now, Content::Shared(_)) {
            shared_bytes += end - position;
        }
        position = end;
    }
    changed.add(common..bytes);
    Ok((changed, shared_bytes))
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, ops::Range, os::unix::fs::FileExt};

    use proptest::prelude::*;

    use super::*;

    const DELALLOC: u32 = 0x4;
    const INLINE: u32 = 0x200;
    const LAST: u32 = 0x1;

    type Extent = (u64, u64, u64, u32);

    fn list(extents: &[Extent]) -> impl Iterator<Item = Result<FiemapExtent, Infallible>> + '_ {
        extents.iter().map(|&(logical, physical, length, flags)| {
            Ok(FiemapExtent {
                logical,
                physical,
                length,
                flags,
                ..FiemapExtent::default()
            })
        })
    }

    fn check(current: &[Extent], base: &[Extent], expected: &[Range<u64>]) {
        let (changed, _) = compare(list(current), list(base), 100, 100).unwrap();
        assert_eq!(
            changed.iter().collect::<Vec<_>>(),
            expected,
            "{current:?} {base:?}"
        );
    }

    #[test]
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "a list of one range is meant"
    )]
    fn only_what_is_shared_or_zero_in_both_is_unchanged() {
        check(&[], &[], &[]);
        check(
            &[(0, 1000, 100, SHARED)],
            &[(0, 1000, 100, SHARED | LAST)],
            &[],
        );
        check(
            &[(0, 1000, 100, SHARED)],
            &[(0, 2000, 100, SHARED)],
            &[0..100],
        );
        check(&[(0, 1000, 100, SHARED)], &[], &[0..100]);
        check(&[], &[(0, 1000, 100, SHARED)], &[0..100]);
        // Cut differently, at the same place.
        check(
            &[(0, 1000, 100, SHARED)],
            &[(0, 1000, 40, SHARED), (40, 1040, 60, SHARED)],
            &[],
        );
        check(
            &[(0, 1000, 100, SHARED)],
            &[(0, 1000, 40, SHARED), (40, 1041, 60, SHARED)],
            &[40..100],
        );
        // A block in the middle was written elsewhere.
        check(
            &[
                (0, 1000, 40, SHARED),
                (40, 5000, 10, 0),
                (50, 1050, 50, SHARED),
            ],
            &[(0, 1000, 100, SHARED)],
            &[40..50],
        );
        // Moved within the file.
        check(
            &[(10, 1000, 10, SHARED)],
            &[(20, 1000, 10, SHARED)],
            &[10..30],
        );
        // Space without data is as good as a hole.
        check(
            &[(0, 1000, 50, UNWRITTEN)],
            &[(50, 3000, 50, UNWRITTEN)],
            &[],
        );
        check(
            &[(0, 1000, 50, SHARED | UNWRITTEN)],
            &[(0, 1000, 50, SHARED)],
            &[0..50],
        );
        // What proves nothing.
        for flags in [
            0,
            SHARED | DELALLOC,
            SHARED | INLINE,
            SHARED | 0x2,
            SHARED | 0x8,
            UNWRITTEN | DELALLOC,
        ] {
            check(
                &[(10, 1000, 10, flags)],
                &[(10, 1000, 10, flags)],
                &[10..20],
            );
        }
    }

    #[test]
    fn what_the_base_does_not_reach_is_changed() {
        let shared = [(0, 1000, 200, SHARED)];
        let check = |bytes, base_bytes, expected: Option<Range<u64>>| {
            let (changed, both) = compare(list(&shared), list(&shared), bytes, base_bytes).unwrap();
            assert_eq!(both, bytes.min(base_bytes));
            assert_eq!(changed.iter().next(), expected);
        };
        check(100, 90, Some(90..100));
        check(90, 100, None);
        check(0, 100, None);
    }

    proptest! {
        /// Two files of 64 cells, each with the place of its content; a model compares cell by cell.
        #[test]
        fn comparing_agrees_with_a_cell_by_cell_model(
            now in prop::collection::vec(0_u64..4, 64),
            then in prop::collection::vec(0_u64..4, 64),
        ) {
            // 0 is a hole, 1 and 2 are shared at two places, 3 is opaque.
            let extents = |cells: &[u64]| -> Vec<Extent> {
                let flags = |kind| if kind == 3 { INLINE } else { SHARED };
                let cells = cells.iter().zip(0..).filter(|(kind, _)| **kind != 0);
                cells.map(|(&kind, at)| (at, kind * 1000 + at, 1, flags(kind))).collect()
            };
            let (changed, shared_bytes) =
                compare(list(&extents(&now)), list(&extents(&then)), 64, 64).unwrap();
            let both = now.iter().zip(&then).filter(|(now, then)| now == then && matches!(now, 1 | 2));
            prop_assert_eq!(shared_bytes, both.count() as u64);
            for (at, (now, then)) in (0..).zip(now.iter().zip(&then)) {
                prop_assert_eq!(changed.contains(at), now != then || *now == 3);
            }
        }
    }

    #[test]
    fn files_that_share_nothing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, vec![1; 100_000]).unwrap();
        fs::write(&two, vec![1; 100_000]).unwrap();
        let refused = changed(&one, &two).unwrap_err();
        assert!(
            matches!(
                refused,
                FiemapError::Unshared { .. } | FiemapError::Extents { .. }
            ),
            "{refused}"
        );
        assert!(matches!(changed(&one, &one), Err(FiemapError::Same { .. })));
        assert!(matches!(
            changed(&one, folder.path()),
            Err(FiemapError::Kind { .. })
        ));
        assert!(matches!(
            changed(&one, &folder.path().join("three")),
            Err(FiemapError::Open { .. })
        ));
        let memory = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        assert!(matches!(
            changed(&one, memory.path()),
            Err(FiemapError::Apart { .. })
        ));
        let other = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        fs::write(other.path(), [1; 4096]).unwrap();
        assert!(matches!(
            changed(memory.path(), other.path()),
            Err(FiemapError::Extents { .. } | FiemapError::Unshared { .. })
        ));
    }

    #[test]
    fn badly_fragmented_files_are_read_in_batches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fragments");
        let file = File::create(&path).unwrap();
        for fragment in 0..1000 {
            file.write_all_at(&[1; 4096], fragment * 8192).unwrap();
        }
        let file = File::open(&path).unwrap();
        let found: Vec<FiemapExtent> = extents(&file).collect::<io::Result<_>>().unwrap();
        assert_eq!(
            found.iter().map(|extent| extent.length).sum::<u64>(),
            1000 * 4096
        );
        assert!(
            found
                .windows(2)
                .all(|pair| pair[0].end() <= pair[1].logical)
        );
    }
}
