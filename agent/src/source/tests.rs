//! Sources in real files: every path of reading, and everything that can be wrong with a source.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::buffer::Buffer;

const KIB: u64 = 1024;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Bytes that tell where they belong.
fn pattern(bytes: u64) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at / 4096 * 31 + at % 251).to_le_bytes()[0])
        .collect()
}

fn image(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("image");
    fs::write(&path, bytes).unwrap();
    path
}

fn open(path: &Path, direct: bool) -> FileSource {
    FileSource::open(
        path,
        OpenSource {
            direct,
            ..OpenSource::default()
        },
    )
    .unwrap()
}

/// Reads everything in chunks, as a backup does.
fn read_all(source: &FileSource, chunk: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = Buffer::new(chunk);
    while (all.len() as u64) < source.bytes() {
        buffer.fill(0xee);
        source.read_at(&mut buffer, all.len() as u64).unwrap();
        all.extend_from_slice(&buffer);
    }
    all
}

#[test]
fn every_size_is_read_whole_and_padded_with_zeros() {
    // A disk, and memory, which not every kernel reads directly.
    for folder in [folder(), tempfile::tempdir_in("/dev/shm").unwrap()] {
        for bytes in [0, 1, 511, 4095, 4096, 4097, 65_536, 65_537, 200_000] {
            let mut expected = pattern(bytes);
            let path = image(&folder, &expected);
            expected.resize(expected.len().next_multiple_of(65_536), 0);
            for direct in [false, true] {
                let source = open(&path, direct);
                assert_eq!(source.bytes(), bytes);
                assert!(
                    read_all(&source, 65_536) == expected,
                    "{bytes} bytes, direct {direct}"
                );
                source.check().unwrap();
            }
        }
    }
}

#[test]
fn unaligned_reads_are_right_too() {
    let folder = folder();
    let expected = pattern(100_000);
    let path = image(&folder, &expected);
    for direct in [false, true] {
        let source = open(&path, direct);
        for (offset, length) in [(1, 1), (4095, 2), (1000, 50_000), (99_999, 1), (4096, 4097)] {
            let mut buffer = vec![0xee; length];
            source.read_at(&mut buffer, offset as u64).unwrap();
            assert_eq!(
                buffer,
                expected[offset..offset + length],
                "{length} at {offset}"
            );
        }
        let mut buffer = vec![0xee; 100];
        source.read_at(&mut buffer, 99_950).unwrap();
        assert_eq!(buffer[..50], expected[99_950..]);
        assert_eq!(buffer[50..], [0; 50]);
    }
}

#[test]
fn holes_are_found() {
    let folder = folder();
    let path = folder.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(1024 * KIB).unwrap();
    file.write_all_at(&[1; 4096], 128 * KIB).unwrap();
    file.write_all_at(&[1; 4096], 512 * KIB).unwrap();
    file.sync_all().unwrap();
    drop(file);
    let source = open(&path, true);
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(range) = source.next_data(offset).unwrap() {
        offset = range.end;
        found.push(range);
    }
    assert_eq!(found, [128 * KIB..132 * KIB, 512 * KIB..516 * KIB]);
    assert_eq!(source.next_data(1024 * KIB).unwrap(), None);
    assert_eq!(
        source.next_data(130 * KIB).unwrap(),
        Some(130 * KIB..132 * KIB)
    );
}

#[test]
fn a_source_that_shrinks_names_what_is_gone() {
    let folder = folder();
    let path = image(&folder, &pattern(300_000));
    for direct in [false, true] {
        fs::write(&path, pattern(300_000)).unwrap();
        let source = open(&path, direct);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(100_000)
            .unwrap();
        let error = source
            .read_at(&mut Buffer::new(65_536), 65_536)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("shrank while it was read: bytes 100000 to 300000"),
            "{error}"
        );
        let error = source.next_data(200_000).unwrap_err();
        assert!(
            matches!(&error, SourceError::Shrank { range, .. } if *range == (100_000..300_000)),
            "{error}"
        );
        let error = source.check().unwrap_err();
        assert!(matches!(&error, SourceError::Shrank { .. }), "{error}");
    }
}

#[test]
fn a_source_that_is_taken_away_is_told() {
    let folder = folder();
    let path = image(&folder, &pattern(10_000));
    let source = open(&path, true);
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    let error = source.check().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("vanished while it was read, it is gone from its place"),
        "{error}"
    );
    fs::write(&path, pattern(10_000)).unwrap();
    let error = source.check().unwrap_err();
    assert!(
        error.to_string().contains("something else is in its place"),
        "{error}"
    );
}

#[test]
fn a_source_that_is_written_meanwhile_is_told() {
    let folder = folder();
    let path = image(&folder, &pattern(10_000));
    let source = open(&path, true);
    source.check().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 10], 50).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let error = source.check().unwrap_err();
    assert!(
        error.to_string().contains("was modified while it was read"),
        "{error}"
    );
}

#[test]
fn other_things_are_refused() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let check = |path: &Path, expected: &str| {
        let error = FileSource::open(path, OpenSource::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(
        folder.path(),
        "is a folder: give a block device or an image file",
    );
    check(&pipe, "is a pipe");
    check(Path::new("/dev/null"), "is a character device");
    check(&folder.path().join("missing"), "no such file or device");
}

#[test]
fn a_file_open_for_writing_is_refused_unless_live() {
    let folder = folder();
    let path = image(&folder, &pattern(10_000));
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    let error = FileSource::open(&path, OpenSource::default())
        .unwrap_err()
        .to_string();
    let expected = format!("is open for writing by process {} (", std::process::id());
    assert!(
        error.contains(&expected) && error.contains("--live"),
        "{error}"
    );

    let source = FileSource::open(
        &path,
        OpenSource {
            live: true,
            ..OpenSource::default()
        },
    )
    .unwrap();
    assert!(source.facts().live);
    drop(writer);
    let source = FileSource::open(
        &path,
        OpenSource {
            live: true,
            ..OpenSource::default()
        },
    )
    .unwrap();
    assert!(
        !source.facts().live,
        "nobody writes to it, so its point is as good as any"
    );
    let _writer = OpenOptions::new().write(true).open(&path).unwrap();
    source.check().unwrap();
    assert!(source.facts().live, "now somebody could");
}
