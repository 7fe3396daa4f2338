//! Bytes per second of reading a volume, beside the bare system call. The stages after it are in `repository`.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    time::Duration,
};

use agent::{
    buffer::Buffer,
    source::{FileSource, OpenSource, Volume as _},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nix::fcntl::OFlag;

/// Larger than what a disk reads ahead on its own, small enough for any machine.
const FILE_BYTES: u64 = 256 << 20;
const MIB: usize = 1 << 20;

/// A file on the disk that is built on: temporary folders are often memory, which direct reads cannot read.
fn file() -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    for number in 0..FILE_BYTES / MIB as u64 {
        // Not zeros, which a disk may keep as holes.
        let block = vec![u8::try_from(number % 251 + 1).expect("at most 251"); MIB];
        file.write_all(&block).expect("written");
    }
    file.as_file().sync_all().expect("written");
    // Closed, since a file that somebody may write to is refused as a source.
    file.into_temp_path()
}

fn read(criterion: &mut Criterion) {
    let file = file();
    let direct = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_DIRECT.bits())
        .open(&file);
    let bare: File = direct.expect("a file system that reads directly");
    let source = FileSource::open(&file, OpenSource::default()).expect("opened");
    let mut group = criterion.benchmark_group("read");
    // A chunk, and what the pipeline reads at once.
    for length in [64 << 10, MIB] {
        let mut buffer = Buffer::new(length);
        let mut at = 0;
        let mut next = move || {
            at = (at + length as u64) % FILE_BYTES;
            at
        };
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new("bare/pread", length), |b| {
            b.iter(|| bare.read_exact_at(&mut buffer, next()).expect("read"));
        });
        group.bench_function(BenchmarkId::new("read", length), |b| {
            b.iter(|| source.read_at(&mut buffer, next()).expect("read"));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = read
}
criterion_main!(benches);
