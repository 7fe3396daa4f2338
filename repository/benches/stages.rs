//! Bytes per second of each stage on one thread, beside the bare primitive that it is made of. What lies between the two is
//! ours.

use std::{hint::black_box, sync::Arc, time::Duration};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use repository::{
    ChunkId, Compression, CreateOptions, Entry, Opener, PackBuffers, Pressure, Reference,
    Repository, Secret,
    fetch::{plan, within},
    format::PACK_BYTES,
    layout::PackKind,
    map::{FANOUT, MapBuilder, Page},
    session::{DataWriter, PageWriter, Session, SessionRequest},
    store::MemoryStore,
};
use tokio::runtime::Runtime;

/// The chunk of volumes up to 1 TiB.
const CHUNK: usize = 1 << 16;
/// Chunks that are worked on in turn: 8 MiB, more than a core's caches hold.
const CHUNKS: usize = 128;

/// Chunks of which zstd takes away about a half, and chunks of noise.
fn chunks(compressible: bool) -> Vec<Vec<u8>> {
    (0..CHUNKS)
        .map(|number| {
            let mut bytes = vec![0; CHUNK];
            let seed = u64::try_from(number).expect("small").to_le_bytes();
            blake3::Hasher::new()
                .update(&seed)
                .finalize_xof()
                .fill(&mut bytes);
            for piece in bytes.chunks_exact_mut(64).filter(|_| compressible) {
                piece[32..].copy_from_slice(b"the same words again and again, ");
            }
            bytes
        })
        .collect()
}

struct Bench {
    runtime: Runtime,
    repository: Repository,
    session: Session,
    buffers: PackBuffers,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let (repository, session) = runtime.block_on(async {
            let secret = Secret::draw_key_file();
            let store = Arc::new(MemoryStore::new());
            let repository = Repository::create(store, &secret, &CreateOptions::default())
                .await
                .expect("created");
            let session = Session::begin(&repository, SessionRequest::default())
                .await
                .expect("begun");
            (repository, session)
        });
        Self {
            runtime,
            repository,
            session,
            buffers: PackBuffers::new(1, PACK_BYTES),
        }
    }

    /// Adds a chunk; full packs are closed and thrown away.
    fn add(&self, writer: &mut DataWriter, id: ChunkId, chunk: &[u8]) -> Reference {
        if writer.needs_buffer(chunk.len()) {
            drop(writer.close().expect("what was sealed opens"));
            writer.start_pack(self.runtime.block_on(self.buffers.take()));
        }
        writer.add(id, chunk, Pressure::None)
    }

    fn id(&self, chunk: &[u8]) -> ChunkId {
        self.repository.keys().chunk_id(chunk)
    }

    /// A leaf's pages into metadata packs that are thrown away.
    fn leaf(&self, builder: &mut MapBuilder, writer: &mut PageWriter, page: &Page) {
        drop(writer.close_if_full().expect("what was sealed opens"));
        self.runtime.block_on(writer.make_room());
        let Ok(()) = builder.leaf(page.first() / FANOUT, &[], None, page, writer);
    }
}

fn stages(criterion: &mut Criterion) {
    let bench = Bench::new();
    let (text, noise) = (chunks(true), chunks(false));
    let text_ids: Vec<_> = text.iter().map(|chunk| bench.id(chunk)).collect();
    let noise_ids: Vec<_> = noise.iter().map(|chunk| bench.id(chunk)).collect();
    let mut turn = (0..CHUNKS).cycle();
    let mut next = move || turn.next().expect("it never ends");

    let mut group = criterion.benchmark_group("stages");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    let key = [7; 32];
    let mut out = vec![0; CHUNK + 64];

    group.bench_function("bare/memcpy", |b| {
        b.iter(|| out[..CHUNK].copy_from_slice(black_box(&noise[next()])));
    });

    group.bench_function("bare/blake3", |b| {
        b.iter(|| blake3::keyed_hash(&key, &noise[next()]));
    });
    group.bench_function("hash", |b| {
        b.iter(|| bench.id(&noise[next()]));
    });

    let mut zstd = zstd::bulk::Compressor::new(2).expect("level 2");
    for (name, chunks, ids) in [("text", &text, &text_ids), ("noise", &noise, &noise_ids)] {
        group.bench_with_input(
            BenchmarkId::new("bare/zstd-2", name),
            chunks,
            |b, chunks| {
                b.iter(|| zstd.compress_to_buffer(&chunks[next()], &mut out[..]));
            },
        );
        group.bench_with_input(
            BenchmarkId::new("compress-seal", name),
            chunks,
            |b, chunks| {
                let mut writer = bench.session.data_writer(Compression::Auto);
                b.iter(|| {
                    let number = next();
                    bench.add(&mut writer, ids[number], &chunks[number])
                });
            },
        );
    }

    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("a key"));
    group.bench_function("bare/aes-256-gcm", |b| {
        b.iter(|| {
            out[..CHUNK].copy_from_slice(&noise[next()]);
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            cipher
                .seal_in_place_separate_tag(nonce, Aad::empty(), &mut out[..CHUNK])
                .expect("sealed")
                .as_ref()[0]
        });
    });
    group.bench_function("seal", |b| {
        let mut writer = bench.session.data_writer(Compression::Off);
        b.iter(|| {
            let number = next();
            bench.add(&mut writer, noise_ids[number], &noise[number])
        });
    });

    for (name, chunks) in [("text", &text), ("noise", &noise)] {
        group.bench_with_input(BenchmarkId::new("pack", name), chunks, |b, chunks| {
            let mut writer = bench.session.data_writer(Compression::Auto);
            b.iter(|| {
                let chunk = &chunks[next()];
                bench.add(&mut writer, bench.id(chunk), chunk)
            });
        });
    }

    for (name, chunks) in [("text", &text), ("noise", &noise)] {
        let mut writer = bench.session.data_writer(Compression::Auto);
        let references: Vec<_> = chunks
            .iter()
            .map(|chunk| bench.add(&mut writer, bench.id(chunk), chunk))
            .collect();
        let pack = writer
            .close()
            .expect("what was sealed opens")
            .expect("a pack");
        bench
            .runtime
            .block_on(bench.session.upload(pack))
            .expect("uploaded");
        let piece = plan(&references, u64::MAX).remove(0);
        let bytes = bench
            .runtime
            .block_on(bench.repository.read_piece(PackKind::Data, &piece))
            .expect("read");
        let opener = bench
            .repository
            .pack_opener(PackKind::Data, &references[0])
            .expect("its key");
        let mut context = Opener::default();
        group.bench_function(BenchmarkId::new("open", name), |b| {
            b.iter(|| {
                let reference = &references[next()];
                let sealed = within(&piece, &bytes, reference);
                opener
                    .open(&mut context, reference, sealed, &mut out[..CHUNK])
                    .expect("whole");
            });
        });
    }
    group.finish();

    map(criterion, &bench, &text);
}

/// The map, in bytes of the volume that it is of.
fn map(criterion: &mut Criterion, bench: &Bench, text: &[Vec<u8>]) {
    let mut writer = bench.session.data_writer(Compression::Auto);
    let references: Vec<_> = text
        .iter()
        .map(|chunk| bench.add(&mut writer, bench.id(chunk), chunk))
        .collect();
    let leaf = |number: u64| {
        let mut page = Page::empty(0, 16, number * FANOUT);
        for index in 0..FANOUT {
            let reference = references[usize::try_from(index).expect("small") % CHUNKS];
            page.set(number * FANOUT + index, Some(Entry::chunk(reference)));
        }
        page
    };
    let mut group = criterion.benchmark_group("map");
    group.throughput(Throughput::Bytes(FANOUT * CHUNK as u64));
    group.bench_function("write", |b| {
        let mut pages = bench.session.page_writer();
        let mut number = 0;
        let mut builder = MapBuilder::new(16, 1 << 62, None);
        b.iter_batched_ref(
            || {
                number += 1;
                leaf(number)
            },
            |page| bench.leaf(&mut builder, &mut pages, page),
            criterion::BatchSize::SmallInput,
        );
    });
    let page = leaf(5);
    let bytes = page.encode();
    group.bench_function("encode", |b| b.iter(|| black_box(&page).encode()));
    group.bench_function("decode", |b| b.iter(|| Page::decode(black_box(&bytes))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = stages
}
criterion_main!(benches);
