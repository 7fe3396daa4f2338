//! Packs as they are written: every chunk opens again, and nothing else does.

use proptest::prelude::*;

use super::*;
use crate::{
    format::TAG_BYTES,
    id::{ChunkId, PackId, RepositoryId, SessionId},
    key::Keyring,
    layout::{self, PackKind},
    pack::table::{decode_table, encode_table},
    reference::Codec,
    seal::{self, Compression, Compressor, Opener, Pressure},
};

/// Contents that compress in part: `random` of 8 pieces do not.
fn contents(seed: u64, length: usize, random: usize) -> Vec<u8> {
    let mut bytes = vec![0x55; length];
    let part = length / 8 * random;
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes[..part]);
    bytes
}

fn buffer(bytes: usize) -> PackBuffer {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(PackBuffers::new(1, bytes).take())
}

fn compression() -> impl Strategy<Value = (Compression, Pressure)> {
    let compressions = [
        Compression::Off,
        Compression::Auto,
        Compression::Better,
        Compression::Best,
    ];
    let pressures = [Pressure::None, Pressure::Some, Pressure::Full];
    (
        prop::sample::select(compressions.to_vec()),
        prop::sample::select(pressures.to_vec()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_chunk_of_a_pack_opens_from_its_reference_and_from_the_table(
        meta in any::<bool>(),
        number in any::<u32>(),
        chunks in prop::collection::vec((any::<u64>(), 1..70_000_usize, 0..=8_usize, compression()), 0..20),
    ) {
        let kind = if meta { PackKind::Meta } else { PackKind::Data };
        let (keys, repository) = (Keyring::draw(), RepositoryId::draw());
        let id = PackId::new(SessionId::draw(0), number);
        let mut builder = PackBuilder::new(kind, id, &keys, buffer(600_000));
        let mut compressor = Compressor::new();
        let hash = |plain: &[u8]| if meta { keys.page_id(plain) } else { keys.chunk_id(plain) };
        let mut written = Vec::new();
        for (seed, length, random, (compression, pressure)) in chunks {
            let plain = contents(seed, length, random);
            if !builder.fits(plain.len()) {
                break;
            }
            let reference = builder.append(hash(&plain), &plain, &mut compressor, compression, pressure);
            prop_assert!(reference.is_plausible());
            prop_assert!(compression != Compression::Off || reference.codec == Codec::Stored);
            written.push((plain, reference));
        }
        let pack = builder.finish(&keys, repository).unwrap();

        prop_assert_eq!(&pack.body[..HEADER_BYTES], &encode_header(kind, id, 0)[..]);
        let trailer = decode_trailer(&pack.body[pack.body.len() - TRAILER_BYTES..], pack.bytes()).unwrap();
        prop_assert_eq!(usize::from(trailer.slots), written.len());
        let start = usize::try_from(trailer.table_offset).unwrap();
        let sealed = &pack.body[start..pack.body.len() - TRAILER_BYTES];
        let table = open_table(&keys, repository, &layout::pack(kind, id), id, sealed).unwrap();
        let copy = open_table(&keys, repository, &layout::slot_table(id), id, &pack.table).unwrap();
        prop_assert_eq!(&table, &copy);
        // The copy is bound to its own name, and the table to its pack.
        prop_assert!(open_table(&keys, repository, &layout::slot_table(id), id, sealed).is_err());
        let other = PackId::new(id.session(), number ^ 2);
        prop_assert!(open_table(&keys, repository, &layout::pack(kind, id), other, sealed).is_err());

        let key = if meta { keys.meta(0) } else { keys.data(0) };
        let key = seal::pack_key(key.unwrap(), id);
        let mut opener = Opener::default();
        for ((plain, reference), (slot, number)) in written.iter().zip(table.slots.iter().zip(0..)) {
            prop_assert_eq!(slot.reference(id, table.key, number), *reference);
            let range = reference.range();
            let sealed = &pack.body[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            let mut opened = vec![0; plain.len()];
            opener.open(&key, reference, sealed, &mut opened, hash).unwrap();
            prop_assert!(opened == *plain);
        }
    }

    #[test]
    fn a_table_has_one_encoding(
        slots in prop::collection::vec((any::<[u8; 32]>(), 0..100_000_u32, any::<u32>(), any::<bool>()), 0..300),
        key in any::<u16>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut offset = u32::try_from(HEADER_BYTES).unwrap();
        let slots: Vec<Slot> = slots.into_iter().map(|(id, stored, plain_bytes, zstd)| {
            let stored_bytes = stored + u32::try_from(TAG_BYTES).unwrap();
            let codec = if zstd { Codec::Zstd } else { Codec::Stored };
            let slot = Slot { id: ChunkId::from_bytes(id), offset, stored_bytes, plain_bytes, codec };
            offset += stored_bytes;
            slot
        }).collect();
        let pack = PackId::new(SessionId::draw(0), 6);
        let mut bytes = encode_table(pack, key, &slots);
        let table = decode_table(&bytes).unwrap();
        prop_assert_eq!((table.pack, table.key, &table.slots), (pack, key, &slots));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(table) = decode_table(&bytes) {
            prop_assert_eq!(encode_table(table.pack, table.key, &table.slots), bytes);
        }
    }

    #[test]
    fn a_trailer_belongs_to_one_length(table_offset in 48..40_000_000_u32, table_bytes in 0..4_000_000_u32, slots: u16) {
        let trailer = Trailer { table_offset, table_bytes, slots };
        let length = u64::from(table_offset) + u64::from(table_bytes) + TRAILER_BYTES as u64;
        let bytes = trailer.encode();
        prop_assert_eq!(decode_trailer(&bytes, length), Some(trailer));
        prop_assert_eq!(decode_trailer(&bytes, length + 1), None);
        for position in 0..TRAILER_BYTES {
            let mut damaged = bytes;
            damaged[position] ^= 1;
            let found = decode_trailer(&damaged, length);
            prop_assert!(found.is_none() || (8..10).contains(&position), "byte {}", position);
        }
    }
}

#[test]
fn a_pack_is_full_before_it_overflows() {
    let keys = Keyring::draw();
    let id = PackId::new(SessionId::draw(0), 0);
    let mut builder = PackBuilder::new(PackKind::Data, id, &keys, buffer(20_000));
    let (mut compressor, mut count) = (Compressor::new(), 0_u64);
    while builder.fits(1_000) {
        let plain = contents(count, 1_000, 8);
        builder.append(
            keys.chunk_id(&plain),
            &plain,
            &mut compressor,
            Compression::Off,
            Pressure::None,
        );
        count += 1;
    }
    let pack = builder.finish(&keys, RepositoryId::draw()).unwrap();
    assert!(
        (19_000..=20_000).contains(&pack.bytes()),
        "{} bytes",
        pack.bytes()
    );
}
