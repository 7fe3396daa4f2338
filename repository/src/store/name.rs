//! Which names objects may have: one rule for every store, so that a name that works in one works in all.

use crate::store::{ErrorKind, Result, StoreError};

/// Longest segment: `NAME_MAX` is 255 on every file system we know, and some encrypting ones keep only 143 to 200 of it.
pub(crate) const SEGMENT_BYTES_MAX: usize = 200;

/// Longest name: an S3 key has 1,024 bytes, and the repository's own prefix in the bucket needs some of them.
pub(crate) const NAME_BYTES_MAX: usize = 800;

/// A name that no object may have.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a name: segments of letters, digits, `-`, `_` and `.` that do not start with a `.`, with `/` between them"
)]
struct NameError;

/// Refuses names that could leave the store, or that another store could not keep.
pub(crate) fn check(operation: &'static str, name: &str) -> Result<()> {
    if is_valid(name) {
        Ok(())
    } else {
        Err(StoreError::new(operation, name, ErrorKind::Other).because(NameError))
    }
}

/// Whether an object may have this name.
pub(crate) fn is_valid(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.split('/').all(segment_is_valid)
}

/// Whether this may stand between two slashes. A leading dot is ours: `..`, `.tmp`, and what NFS leaves behind.
pub(crate) fn segment_is_valid(segment: &str) -> bool {
    !segment.is_empty()
        && segment.len() <= SEGMENT_BYTES_MAX
        && !segment.starts_with('.')
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The names of the folders that a name is in, outermost first: `a`, `a/b` for `a/b/c`.
pub(crate) fn folders(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(end, _)| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        let long = "a".repeat(SEGMENT_BYTES_MAX + 1);
        let hostile = [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            ".tmp/a",
            "a/.hidden",
            "a b",
            "a\0b",
            "a\nb",
            "a\\b",
            "ä",
            "a%2e",
            &long,
        ];
        for name in hostile {
            assert!(check("put", name).is_err(), "{name:?}");
        }
        assert!(check("put", &["a"; NAME_BYTES_MAX].join("/")).is_err());
    }

    #[test]
    fn names_of_the_format_are_allowed() {
        let long = "a".repeat(SEGMENT_BYTES_MAX);
        for name in [
            "super",
            "d/default/i/L0/00ff/00000001",
            "d/default/s/00000000/ab.hb/00000001",
            "a_b-c.d",
            &long,
        ] {
            assert!(check("put", name).is_ok(), "{name:?}");
        }
    }
}
