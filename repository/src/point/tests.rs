//! Any register is read as it was written, and each of its fields is where `FORMAT.md` says.

use minicbor::{Decoder, bytes::ByteSlice};
use proptest::{collection, option, prelude::*};

use super::*;
use crate::{
    format::{CHUNK_LOG2_MAX, CHUNK_LOG2_MIN},
    id::{ChunkId, PackId},
    reference::{Codec, Reference},
};

fn session() -> impl Strategy<Value = SessionId> {
    any::<[u8; 16]>().prop_map(SessionId::from_bytes)
}

prop_compose! {
    /// A reference to a page that a pack can hold.
    fn page()(
        id in any::<[u8; 32]>(),
        pack in any::<[u8; 20]>(),
        (key, slot) in any::<(u16, u16)>(),
        zstd in any::<bool>(),
        offset in 0..1_u32 << 25,
        plain_bytes in 0..20_000_u32,
        saved in any::<prop::sample::Index>(),
    ) -> Reference {
        Reference {
            id: ChunkId::from_bytes(id),
            pack: PackId::from_bytes(pack),
            key,
            slot,
            codec: if zstd { Codec::Zstd } else { Codec::Stored },
            offset,
            stored_bytes: plain_bytes + 16 - u32::try_from(saved.index(plain_bytes as usize + 1)).unwrap(),
            plain_bytes,
        }
    }
}

prop_compose! {
    fn root()(
        chunk_log2 in CHUNK_LOG2_MIN..=CHUNK_LOG2_MAX,
        bits in 0..64_u32,
        size in any::<u64>(),
        page in option::of(page()),
        chunks in 1..=256_u64,
    ) -> MapRoot {
        MapRoot {
            page,
            chunks: page.map_or(0, |_| chunks),
            ..MapRoot::empty(chunk_log2, size >> bits)
        }
    }
}

prop_compose! {
    fn source()(
        (host, path, kind) in any::<(String, String, String)>(),
        (handle, fallback, unchecked) in any::<(Option<String>, Option<String>, Option<String>)>(),
        method in option::of(prop::sample::select(
            &[ChangeMethod::Everything, ChangeMethod::Compare, ChangeMethod::Extents][..]
        )),
        live in any::<bool>(),
        origin in collection::btree_map(any::<String>(), any::<String>(), 0..4),
    ) -> SourceFacts {
        SourceFacts { host, path, kind, handle, method, fallback, live, origin, unchecked }
    }
}

fn stats() -> impl Strategy<Value = Stats> {
    any::<[u64; 5]>().prop_map(
        |[read_bytes, new_bytes, uploaded_bytes, packs, adopted_bytes]| Stats {
            read_bytes,
            new_bytes,
            uploaded_bytes,
            packs,
            adopted_bytes,
        },
    )
}

prop_compose! {
    fn manifest()(
        (series, run, tool) in any::<(String, String, String)>(),
        parent in option::of(session()),
        parent_digest in any::<Option<[u8; 32]>>(),
        (started_ms, finished_ms, fence, attempt) in any::<(u64, u64, u64, u32)>(),
        tags in collection::vec(any::<String>(), 0..4),
        source in source(),
        volume in option::of(root()),
        stats in stats(),
        compression in prop::sample::select(
            &[Compression::Off, Compression::Auto, Compression::Better, Compression::Best][..]
        ),
        signature in any::<Option<Vec<u8>>>(),
        locked_until_ms in any::<Option<u64>>(),
    ) -> Manifest {
        Manifest {
            series,
            parent,
            parent_digest,
            started_ms,
            finished_ms,
            run,
            attempt,
            fence,
            tags,
            source,
            volume,
            stats,
            tool,
            compression,
            signature: signature.map(Into::into),
            locked_until_ms,
        }
    }
}

prop_compose! {
    fn register()(
        kind in prop::sample::select(&[
            RegisterKind::Backup,
            RegisterKind::Partial,
            RegisterKind::Group,
            RegisterKind::Relocation,
            RegisterKind::Tombstone,
            RegisterKind::Closed,
        ][..]),
        nonce in any::<[u8; 16]>(),
        manifest in option::of(manifest()),
        by in option::of(session()),
    ) -> Register {
        Register { kind, nonce: Nonce::from_bytes(nonce), manifest, by }
    }
}

/// The entries of a CBOR map, as they are encoded; they must be of ascending keys.
fn entries(map: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut decoder = Decoder::new(map);
    let count = decoder.map().unwrap().expect("a definite length");
    let entries: Vec<(u64, Vec<u8>)> = (0..count)
        .map(|_| {
            let key = decoder.u64().unwrap();
            let start = decoder.position();
            decoder.skip().unwrap();
            (key, map[start..decoder.position()].to_vec())
        })
        .collect();
    assert_eq!(decoder.position(), map.len(), "nothing follows");
    assert!(entries.is_sorted_by(|left, right| left.0 < right.0));
    entries
}

/// What must be in such a map: the fields that have a value, as they are encoded by themselves.
fn expected(fields: Vec<(u64, Vec<u8>)>) -> Vec<(u64, Vec<u8>)> {
    let fields = fields.into_iter();
    fields.filter(|(_, value)| *value != absent()).collect()
}

/// A field without a value, which is left out.
fn absent() -> Vec<u8> {
    cbor(None::<u8>)
}

fn cbor(value: impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(value).unwrap()
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    cbor(<&ByteSlice>::from(bytes))
}

proptest! {
    #[test]
    fn a_register_is_read_as_it_was_written(register in register()) {
        let bytes = minicbor::to_vec(&register).unwrap();
        prop_assert_eq!(minicbor::decode::<Register>(&bytes).unwrap(), register);
    }

    #[test]
    fn a_register_that_ends_early_is_none(register in register(), end in any::<prop::sample::Index>()) {
        let bytes = minicbor::to_vec(&register).unwrap();
        prop_assert!(minicbor::decode::<Register>(&bytes[..end.index(bytes.len())]).is_err());
    }

    #[test]
    fn the_fields_of_a_register_have_their_keys(register in register()) {
        let found = entries(&minicbor::to_vec(&register).unwrap());
        let Register { kind, nonce, manifest, by } = register;
        let number: u8 = match kind {
            RegisterKind::Backup => 1,
            RegisterKind::Partial => 2,
            RegisterKind::Group => 3,
            RegisterKind::Relocation => 4,
            RegisterKind::Tombstone => 5,
            RegisterKind::Closed => 6,
        };
        prop_assert_eq!(found, expected(vec![
            (0, cbor(number)),
            (1, bytes(nonce.as_bytes())),
            (2, cbor(manifest)),
            (3, by.map_or(absent(), |by| bytes(by.as_bytes()))),
        ]));
    }

    #[test]
    fn the_fields_of_a_manifest_have_their_keys(manifest in manifest()) {
        let found = entries(&minicbor::to_vec(&manifest).unwrap());
        let Manifest {
            series, parent, parent_digest, started_ms, finished_ms, run, attempt, fence, tags, source, volume, stats, tool,
            compression, signature, locked_until_ms,
        } = manifest;
        let compression: u8 = match compression {
            Compression::Off => 0,
            Compression::Auto => 1,
            Compression::Better => 2,
            Compression::Best => 3,
        };
        prop_assert_eq!(found, expected(vec![
            (0, cbor(series)),
            (1, parent.map_or(absent(), |parent| bytes(parent.as_bytes()))),
            (2, parent_digest.map_or(absent(), |digest| bytes(&digest))),
            (3, cbor(started_ms)),
            (4, cbor(finished_ms)),
            (5, cbor(run)),
            (6, cbor(attempt)),
            (7, cbor(fence)),
            (8, cbor(tags)),
            (9, cbor(source)),
            (10, cbor(volume)),
            (11, cbor(stats)),
            (12, cbor(tool)),
            (13, cbor(compression)),
            (14, signature.map_or(absent(), |signature| bytes(&signature))),
            (15, cbor(locked_until_ms)),
        ]));
    }

    #[test]
    fn the_fields_of_source_and_statistics_have_their_keys(source in source(), stats in stats()) {
        let found = entries(&minicbor::to_vec(&source).unwrap());
        let SourceFacts { host, path, kind, handle, method, fallback, live, origin, unchecked } = source;
        let method = method.map(|method| match method {
            ChangeMethod::Everything => 0_u8,
            ChangeMethod::Compare => 1,
            ChangeMethod::Extents => 2,
        });
        prop_assert_eq!(found, expected(vec![
            (0, cbor(host)),
            (1, cbor(path)),
            (2, cbor(kind)),
            (3, cbor(handle)),
            (4, cbor(method)),
            (5, cbor(fallback)),
            (6, cbor(live)),
            (7, cbor(origin)),
            (8, cbor(unchecked)),
        ]));
        let found = entries(&minicbor::to_vec(stats).unwrap());
        let Stats { read_bytes, new_bytes, uploaded_bytes, packs, adopted_bytes } = stats;
        prop_assert_eq!(found, expected(vec![
            (0, cbor(read_bytes)),
            (1, cbor(new_bytes)),
            (2, cbor(uploaded_bytes)),
            (3, cbor(packs)),
            (4, cbor(adopted_bytes)),
        ]));
    }

    #[test]
    fn the_fields_of_a_root_have_their_keys(root in root()) {
        let found = entries(&minicbor::to_vec(root).unwrap());
        let MapRoot { chunk_log2, volume_bytes, level, page, chunks } = root;
        prop_assert_eq!(found, expected(vec![
            (0, cbor(chunk_log2)),
            (1, cbor(volume_bytes)),
            (2, cbor(level)),
            (3, cbor(page)),
            (4, cbor(chunks)),
        ]));
    }
}
