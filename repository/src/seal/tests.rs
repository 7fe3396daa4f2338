//! Chunks through compression and sealing and back.

use proptest::prelude::*;

use super::*;

fn reference(codec: Codec, plain: usize, stored: usize) -> Reference {
    Reference {
        id: ChunkId::from_bytes([1; 32]),
        pack: PackId::from_bytes([2; 20]),
        key: 0,
        slot: 9,
        codec,
        offset: 48,
        stored_bytes: u32::try_from(stored + TAG_BYTES).unwrap(),
        plain_bytes: u32::try_from(plain).unwrap(),
    }
}

fn seal(key: &Key, reference: &Reference, stored: &[u8]) -> Vec<u8> {
    let mut sealed = stored.to_vec();
    let tag = encrypt(key, reference, &mut sealed);
    sealed.extend(tag);
    sealed
}

fn random(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Ids are not what is tested here.
fn any_id(_: &[u8]) -> ChunkId {
    ChunkId::from_bytes([1; 32])
}

proptest! {
    #[test]
    fn only_the_reference_it_was_sealed_for_opens_a_chunk(
        plain in prop::collection::vec(any::<u8>(), 1..3000),
        bit in any::<prop::sample::Index>(),
    ) {
        let key = Key::draw();
        let right = reference(Codec::Stored, plain.len(), plain.len());
        let sealed = seal(&key, &right, &plain);
        let open = |key: &Key, reference: &Reference, sealed: &[u8]| {
            let mut opened = vec![0; plain.len()];
            Opener::default().open(key, reference, sealed, &mut opened, any_id).map(|()| opened)
        };
        prop_assert_eq!(open(&key, &right, &sealed), Ok(plain.clone()));
        prop_assert_eq!(open(&Key::draw(), &right, &sealed), Err(OpenError::Unauthentic));
        for wrong in [
            Reference { id: ChunkId::from_bytes([3; 32]), ..right },
            Reference { pack: PackId::from_bytes([3; 20]), ..right },
            Reference { slot: 8, ..right },
            Reference { codec: Codec::Zstd, ..right },
            Reference { stored_bytes: right.stored_bytes + 1, ..right },
            Reference { plain_bytes: right.plain_bytes + 1, ..right },
        ] {
            prop_assert_eq!(open(&key, &wrong, &sealed), Err(OpenError::Unauthentic));
        }
        let mut damaged = sealed.clone();
        let bit = bit.index(damaged.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(open(&key, &right, &damaged), Err(OpenError::Unauthentic));
        prop_assert_eq!(open(&key, &right, &sealed[1..]), Err(OpenError::Unauthentic));
    }

    #[test]
    fn what_is_compressed_comes_back_at_every_level(
        runs in prop::collection::vec((any::<u8>(), 1..500_usize, any::<bool>()), 1..60),
        level in prop::sample::select(vec![2, 3, 6, 12]),
    ) {
        let plain: Vec<u8> = runs.into_iter().flat_map(|(seed, length, noise)| {
            if noise { random(seed, length) } else { vec![seed; length] }
        }).collect();
        let mut out = vec![0; plain.len()];
        if let Some(length) = Compressor::new().compress(&plain, level, &mut out) {
            prop_assert!(length <= plain.len() - plain.len() / 16);
            let key = Key::draw();
            let reference = reference(Codec::Zstd, plain.len(), length);
            let sealed = seal(&key, &reference, &out[..length]);
            let mut opened = vec![0; plain.len()];
            prop_assert_eq!(Opener::default().open(&key, &reference, &sealed, &mut opened, any_id), Ok(()));
            prop_assert!(opened == plain);
        }
    }

    #[test]
    fn frames_that_do_not_decompress_to_the_length_are_refused(
        frame in prop::collection::vec(any::<u8>(), 0..200),
        more in prop::sample::select(vec![-1_isize, 1]),
    ) {
        let key = Key::draw();
        let open = |stored: &[u8], length: usize| {
            let reference = reference(Codec::Zstd, length, stored.len());
            let sealed = seal(&key, &reference, stored);
            Opener::default().open(&key, &reference, &sealed, &mut vec![0; length], any_id)
        };
        // Whoever has the key can seal what is no frame.
        prop_assert!(matches!(open(&frame, 100), Err(OpenError::Decompress) | Ok(())));
        let right = bulk::compress(&[5; 1000], 2).unwrap();
        prop_assert_eq!(open(&right, 1000), Ok(()));
        prop_assert_eq!(open(&right, 1000_usize.saturating_add_signed(more)), Err(OpenError::Decompress));
    }
}

#[test]
fn contents_that_do_not_match_the_id_are_refused() {
    let (key, plain) = (Key::draw(), b"contents");
    let reference = reference(Codec::Stored, plain.len(), plain.len());
    let sealed = seal(&key, &reference, plain);
    let other = |_: &[u8]| ChunkId::from_bytes([4; 32]);
    let result = Opener::default().open(&key, &reference, &sealed, &mut [0; 8], other);
    assert_eq!(result, Err(OpenError::WrongContents));
}

#[test]
fn after_noise_a_chunk_is_sampled_and_still_compressed() {
    let (noise, text) = (
        random(1, 1 << 16),
        b"some words, again and again; ".repeat(2260),
    );
    let mut compressor = Compressor::new();
    let mut out = vec![0; 1 << 16];
    assert_eq!(compressor.compress(&noise, 2, &mut out), None);
    assert!(compressor.sample_first);
    assert_eq!(compressor.compress(&noise, 2, &mut out), None);
    assert!(compressor.compress(&text, 2, &mut out).is_some());
    assert!(!compressor.sample_first);
}

#[test]
fn pressure_only_ever_compresses_more() {
    for compression in [
        Compression::Off,
        Compression::Auto,
        Compression::Better,
        Compression::Best,
    ] {
        let levels = [Pressure::None, Pressure::Some, Pressure::Full]
            .map(|pressure| level(compression, pressure));
        assert!(levels.is_sorted(), "{compression:?}: {levels:?}");
        assert_eq!(levels.contains(&None), compression == Compression::Off);
    }
}
