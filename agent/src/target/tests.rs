//! Targets in real files, and everything that can be wrong with one.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::buffer::Buffer;

const MIB: usize = 1 << 20;

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at / 4096 * 31 + at % 251).to_le_bytes()[0] | 1)
        .collect()
}

fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::new(bytes.len());
    buffer.copy_from_slice(bytes);
    buffer
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn check_refused(path: &Path, expected: &str) {
    let error = FileTarget::create(path).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_new_file_appears_whole_and_sparse() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let target = FileTarget::create(&path).unwrap();
    assert_eq!(target.kind(), TargetKind::Fresh);
    // The end is not aligned, the pieces come in any order, and both ways of writing are used.
    let bytes = 8 * MIB + 1000;
    target.prepare(bytes as u64).unwrap();
    target.write_at(&pattern(1000), 8 * MIB as u64).unwrap();
    target
        .write_at(&aligned(&pattern(MIB + 10)), MIB as u64)
        .unwrap();
    target
        .write_at(&aligned(&pattern(65_536)), 4 * MIB as u64)
        .unwrap();
    target.zero(0..MIB as u64).unwrap();
    target.zero(5 * MIB as u64..8 * MIB as u64).unwrap();
    assert_eq!(names(&folder), ["volume.partial"]);
    target.finish().unwrap();
    drop(target);
    assert_eq!(names(&folder), ["volume"]);

    let mut expected = vec![0; bytes];
    expected[8 * MIB..].copy_from_slice(&pattern(1000));
    expected[MIB..2 * MIB + 10].copy_from_slice(&pattern(MIB + 10));
    expected[4 * MIB..][..65_536].copy_from_slice(&pattern(65_536));
    assert!(fs::read(&path).unwrap() == expected);
    let metadata = fs::metadata(&path).unwrap();
    assert!(
        metadata.blocks() * 512 < 2 * MIB as u64,
        "{} blocks",
        metadata.blocks()
    );
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_was_written_can_be_zeroed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let target = FileTarget::create(&path).unwrap();
    target.prepare(MIB as u64).unwrap();
    target.write_at(&pattern(MIB), 0).unwrap();
    target.zero(100..900_000).unwrap();
    target.finish().unwrap();
    let mut expected = pattern(MIB);
    expected[100..900_000].fill(0);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn an_unfinished_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let target = FileTarget::create(folder.path().join("volume")).unwrap();
    target.prepare(MIB as u64).unwrap();
    drop(target);
    assert!(names(&folder).is_empty());
}

#[test]
fn what_an_interrupted_restore_left_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let first = FileTarget::create(&path).unwrap();
    first.prepare(100_000).unwrap();
    first.write_at(&pattern(100_000), 0).unwrap();
    // Killed: nothing cleans up, and the kernel takes the lock away.
    let partial = folder.path().join("volume.partial");
    let left = folder.path().join("left");
    fs::copy(&partial, &left).unwrap();
    let mode = fs::metadata(&partial).unwrap().permissions();
    drop(first);
    fs::set_permissions(&left, mode).unwrap();
    fs::rename(&left, &partial).unwrap();
    let target = FileTarget::create(&path).unwrap();
    target.prepare(65_536).unwrap();
    target.zero(0..65_536).unwrap();
    target.finish().unwrap();
    assert!(fs::read(&path).unwrap() == [0; 65_536]);
}

#[test]
fn a_file_that_is_not_ours_is_never_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let (partial, victim) = (
        folder.path().join("volume.partial"),
        folder.path().join("victim"),
    );
    let (first, mode) = (FileTarget::create(&path).unwrap(), || {
        fs::metadata(&partial).unwrap().permissions()
    });
    let ours = mode();
    drop(first);
    let check = || {
        check_refused(&path, "volume.partial");
        check_refused(&path, "remove it");
        assert_eq!(fs::read(&partial).unwrap(), b"mine");
        fs::remove_file(&partial).unwrap();
    };
    // Another program's, by its mode.
    for mode in [0o600, 0o644, 0o666] {
        fs::write(&partial, "mine").unwrap();
        fs::set_permissions(&partial, fs::Permissions::from_mode(mode)).unwrap();
        check();
    }
    // Another name of something precious.
    fs::write(&victim, "mine").unwrap();
    fs::set_permissions(&victim, ours.clone()).unwrap();
    fs::hard_link(&victim, &partial).unwrap();
    check();
    // Another user's. Only root can make one.
    if nix::unistd::geteuid().is_root() {
        fs::write(&partial, "mine").unwrap();
        std::os::unix::fs::chown(&partial, Some(12_345), None).unwrap();
        fs::set_permissions(&partial, ours).unwrap();
        check();
    }
    FileTarget::create(&path).unwrap();
}

#[test]
fn two_restores_to_one_name_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let first = FileTarget::create(&path).unwrap();
    check_refused(&path, "is being written by another restore");
    drop(first);
    FileTarget::create(&path).unwrap();
}

#[test]
fn a_file_that_appears_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    let target = FileTarget::create(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    let error = target.finish().unwrap_err();
    assert!(
        error.to_string().contains("appeared during the restore"),
        "{error}"
    );
    drop(target);
    assert_eq!(
        names(&folder),
        ["volume", "volume.partial"],
        "hours of work are not thrown away"
    );
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn an_empty_file_is_replaced_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume");
    File::create(&path).unwrap();
    let target = FileTarget::create(&path).unwrap();
    target.prepare(1).unwrap();
    target.write_at(b"x", 0).unwrap();
    target.finish().unwrap();
    drop(target);
    check_refused(
        &path,
        "is not empty: choose a new name, or write what differs into it with --in-place",
    );
    check_refused(folder.path(), "is a folder");
    check_refused(Path::new("/"), "is a folder");
    check_refused(Path::new("/dev/null"), "is not a regular file");
    check_refused(&folder.path().join("missing/volume"), "no such file");
    let link = folder.path().join("link");
    symlink("nowhere", &link).unwrap();
    check_refused(&link, "is a symbolic link to nothing");
    symlink(&path, folder.path().join("other.partial")).unwrap();
    check_refused(
        &folder.path().join("other"),
        "other.partial` is not what an interrupted restore leaves",
    );
    assert_eq!(fs::read(&path).unwrap(), b"x");
}

#[test]
fn a_volume_too_large_for_the_file_system_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let target = FileTarget::create(folder.path().join("volume")).unwrap();
    let error = target.prepare(u64::MAX / 2).unwrap_err().to_string();
    assert!(
        error.contains("volume.partial`: too large for this file system"),
        "{error}"
    );
}

fn existing(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("volume");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_file_is_written_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = existing(&folder, &pattern(4 * MIB + 100));
    let target = InPlaceTarget::open(&path).unwrap();
    assert_eq!(
        (target.kind(), target.bytes()),
        (TargetKind::InPlace, Some(4 * MIB as u64 + 100))
    );
    target.prepare(4 * MIB as u64).unwrap();
    target.zero(MIB as u64 + 5..2 * MIB as u64).unwrap();
    target
        .write_at(&aligned(&[9; MIB]), 2 * MIB as u64)
        .unwrap();
    let mut buffer = aligned(&[0; MIB]);
    target.read_at(&mut buffer, 2 * MIB as u64).unwrap();
    assert!(buffer.iter().all(|&byte| byte == 9));
    let mut end = vec![0; 200];
    target.read_at(&mut end, 4 * MIB as u64 - 100).unwrap();
    target.finish().unwrap();
    let mut expected = pattern(4 * MIB + 100);
    assert_eq!(end, expected[4 * MIB - 100..]);
    expected[MIB + 5..2 * MIB].fill(0);
    expected[2 * MIB..3 * MIB].fill(9);
    assert!(
        fs::read(&path).unwrap() == expected,
        "what is beyond the volume stays"
    );
    let hole = target.next_data(MIB as u64 + 4096).unwrap().unwrap();
    assert_eq!(hole.start, 2 * MIB as u64);
}

#[test]
fn a_target_in_place_must_be_there_large_enough_and_unused() {
    let folder = tempfile::tempdir().unwrap();
    let path = existing(&folder, &pattern(1000));
    let check = |path: &Path, expected: &str| {
        let error = InPlaceTarget::open(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&folder.path().join("missing"), "no such file");
    check(folder.path(), "is neither a file nor a block device");
    let target = InPlaceTarget::open(&path).unwrap();
    let error = target.prepare(1001).unwrap_err().to_string();
    assert!(
        error.contains("has 1000 bytes, the volume 1001: give a target that is at least as large"),
        "{error}"
    );
    check(&path, "is open for writing by process");
    drop(target);
    InPlaceTarget::open(&path).unwrap();
}

#[test]
fn a_stream_gets_every_byte_in_order() {
    let target = StreamTarget::new("standard output", Vec::new());
    target.prepare(200_010).unwrap();
    target.write_at(b"0123456789", 0).unwrap();
    target.zero(10..200_000).unwrap();
    let error = target.write_at(b"early", 200_005).unwrap_err();
    assert!(
        matches!(&error, TargetError::Write { range, .. } if range.start == 200_005),
        "{error}"
    );
    assert!(target.read_at(&mut [0], 0).is_err());
    assert!(target.finish().is_err(), "it is not whole");
    target.write_at(b"0123456789", 200_000).unwrap();
    target.finish().unwrap();
    let written = target.into_inner();
    assert_eq!(written.len(), 200_010);
    assert!(written[10..200_000].iter().all(|&byte| byte == 0) && written.ends_with(b"0123456789"));
}

#[test]
fn a_closed_stream_is_told() {
    struct Closed(Arc<AtomicBool>);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0.store(true, Relaxed);
            Err(nix::errno::Errno::EPIPE.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let asked = Arc::new(AtomicBool::new(false));
    let target = StreamTarget::new("standard output", Closed(Arc::clone(&asked)));
    let error = target.write_at(b"x", 0).unwrap_err().to_string();
    assert!(
        asked.load(Relaxed) && error.contains("whoever reads the output has gone"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any writes and zeroings leave what they would leave in memory, in a new file and in an old one.
    #[test]
    fn targets_behave_like_memory(
        steps in prop::collection::vec((any::<bool>(), 0..3 * MIB, 0..MIB), 1..8),
        unaligned in any::<bool>(),
    ) {
        let bytes = 3 * MIB + 777;
        let folder = tempfile::tempdir().unwrap();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        fs::write(&old, pattern(bytes)).unwrap();
        let targets: [(Box<dyn Target>, Vec<u8>, &Path); 2] = [
            (Box::new(FileTarget::create(&new).unwrap()), vec![0; bytes], &new),
            (Box::new(InPlaceTarget::open(&old).unwrap()), pattern(bytes), &old),
        ];
        for (target, mut memory, path) in targets {
            target.prepare(bytes as u64).unwrap();
            for &(write, offset, length) in &steps {
                let offset = if unaligned { offset } else { offset - offset % 4096 };
                let end = bytes.min(offset + length);
                if write {
                    target.write_at(&aligned(&pattern(end - offset)), offset as u64).unwrap();
                    memory[offset..end].copy_from_slice(&pattern(end - offset));
                } else {
                    target.zero(offset as u64..end as u64).unwrap();
                    memory[offset..end].fill(0);
                }
            }
            let mut read = Buffer::new(bytes);
            target.read_at(&mut read, 0).unwrap();
            prop_assert!(*read == *memory);
            target.finish().unwrap();
            prop_assert!(fs::read(path).unwrap() == memory);
        }
    }
}
