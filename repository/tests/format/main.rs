//! The format, held against `FORMAT.md`: by a second reader, by the examples on the page, and by repositories that were
//! written once and are never made anew.

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

/// A chunk that compresses well, or not at all; the same in every run.
fn chunk(seed: u8, random: bool) -> Vec<u8> {
    let mut bytes = vec![seed; CHUNK];
    if random {
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut bytes);
    }
    bytes
}

fn compressible(seed: u8) -> Option<Vec<u8>> {
    Some(chunk(seed, false))
}

fn random(seed: u8) -> Option<Vec<u8>> {
    Some(chunk(seed, true))
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
fn steps() -> [(usize, Changes); 4] {
    [
        (
            10 * CHUNK + 1,
            BTreeMap::from([(0, random(1)), (9, compressible(2))]),
        ),
        (
            300 * CHUNK,
            BTreeMap::from([(0, None), (256, random(4)), (299, compressible(3))]),
        ),
        (299 * CHUNK, BTreeMap::from([(1, compressible(5))])),
        (5 * CHUNK, BTreeMap::new()),
    ]
}
