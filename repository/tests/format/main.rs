//! The format, held against `FORMAT.md`: by a second reader, by the examples on the page, and by repositories that were
//! written once and are never made anew.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be unwrapped fails the test"
)]

mod second_reader;
mod writer;
mod reader;
mod today;
mod examples;
mod golden;

use std::collections::BTreeMap;

use crate::writer::Changes;

/// The size of the chunks of all volumes here.
const CHUNK: usize = 1 << 16;

/// Chunks that compress well, or not at all; the same in every run.
fn compressible(seed: u8) -> Vec<u8> {
    vec![seed; CHUNK]
}

fn random(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// What a volume of these bytes holds after these changes.
fn apply(volume: &mut Vec<u8>, bytes: usize, changes: &Changes) {
    volume.resize(bytes.next_multiple_of(CHUNK), 0);
    for (index, contents) in changes {
        let start = usize::try_from(*index).expect("volumes here are small") * CHUNK;
        volume[start..start + CHUNK].copy_from_slice(contents.as_deref().unwrap_or(&[0; CHUNK]));
    }
    volume.truncate(bytes);
}

/// The hash by which a test knows a volume.
fn fingerprint(volume: &[u8]) -> String {
    blake3::hash(volume).to_hex()[..32].to_owned()
}

/// Sizes and changes of one series after another: it grows over a level, ends within a chunk, and shrinks.
fn steps() -> [(usize, Changes); 5] {
    [
        (
            10 * CHUNK + 1,
            BTreeMap::from([(0, Some(random(1))), (9, Some(compressible(2)))]),
        ),
        (
            300 * CHUNK,
            BTreeMap::from([
                (0, None),
                (256, Some(random(4))),
                (299, Some(compressible(3))),
            ]),
        ),
        (299 * CHUNK, BTreeMap::from([(1, Some(compressible(5)))])),
        (256 * CHUNK, BTreeMap::new()),
        (5 * CHUNK, BTreeMap::new()),
    ]
}
