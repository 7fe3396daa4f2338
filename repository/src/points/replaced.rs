//! Points that are not what they were when others were based on them: a register is written once, but whoever holds both
//! the keys and the store can remove it and write another.

use std::collections::BTreeMap;

use crate::{error::RepositoryError, id::SessionId, layout, point::Point};

/// Parents whose register is not the one that their children saw. `digests` has those of all registers that were read.
pub(super) fn replaced_parents(
    points: &[Point],
    digests: &BTreeMap<SessionId, [u8; 32]>,
) -> Vec<(String, RepositoryError)> {
    let mut replaced = BTreeMap::new();
    for point in points {
        let (Some(parent), Some(seen)) = (point.manifest.parent, point.manifest.parent_digest)
        else {
            continue;
        };
        if digests.get(&parent).is_some_and(|digest| *digest != seen) {
            replaced.entry(parent).or_insert(point.id);
        }
    }
    let damaged = |(parent, child): (SessionId, SessionId)| {
        let what = format!(
            "it was replaced after point {} was based on it",
            child.short()
        );
        let object = layout::register(parent);
        (object.clone(), RepositoryError::damaged(object, what))
    };
    replaced.into_iter().map(damaged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::Manifest;

    #[test]
    fn a_parent_that_was_replaced_is_named_once() {
        let id = |byte| SessionId::from_bytes([byte; 16]);
        let point = |own, parent: Option<(u8, u8)>| Point {
            id: id(own),
            manifest: Manifest {
                parent: parent.map(|(parent, _)| id(parent)),
                parent_digest: parent.map(|(_, digest)| [digest; 32]),
                ..Manifest::default()
            },
            bad: false,
            sibling: false,
        };
        let points = [
            point(1, None),
            point(2, Some((1, 10))),
            point(3, Some((1, 11))),
            point(4, Some((1, 11))),
            // Forgotten and pruned: there is nothing to compare with.
            point(5, Some((9, 0))),
        ];
        let digests = BTreeMap::from([(id(1), [10; 32]), (id(2), [20; 32])]);
        let replaced = replaced_parents(&points, &digests);
        assert!(matches!(&replaced[..], [(object, _)] if *object == layout::register(id(1))));
        assert!(replaced_parents(&points[..2], &digests).is_empty());
    }
}
