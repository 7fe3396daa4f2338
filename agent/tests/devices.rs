//! Sources and changes on real devices and file systems, which take root. A test that cannot run here passes, and says
//! `SKIPPED` past the harness, so that it shows on the terminal and in the summary of `.ci/run`.
//!
//! One at a time, and apart from other tests: a program that is just being started shares this process's open files
//! for a moment, which looks like another writer.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use agent::{
    buffer::Buffer,
    changes::fiemap,
    source::{FileSource, OpenSource, Volume},
    target::{FileTarget, InPlaceTarget, Target},
};
use tempfile::TempDir;

static ALONE: Mutex<()> = Mutex::new(());

/// A folder, for one test at a time.
fn folder() -> (TempDir, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    (tempfile::tempdir().expect("make a folder"), alone)
}

/// Bytes that tell where they belong.
fn pattern(bytes: u64) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at / 4096 * 31 + at % 251).to_le_bytes()[0])
        .collect()
}

fn image(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("image");
    fs::write(&path, bytes).expect("write an image");
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
    .expect("open a source")
}

/// Reads everything in chunks, as a backup does.
fn read_all(source: &FileSource, chunk: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = Buffer::new(chunk);
    while (all.len() as u64) < source.bytes() {
        buffer.fill(0xee);
        source
            .read_at(&mut buffer, all.len() as u64)
            .expect("read a chunk");
        all.extend_from_slice(&buffer);
    }
    all
}

#[test]
fn a_file_behind_a_loop_device_is_refused_while_that_is_writable() {
    let (folder, _alone) = folder();
    let path = image(&folder, &pattern(1 << 20));
    let Some(attached) = LoopDevice::attach(&path, &[]) else {
        return;
    };
    let error = FileSource::open(&path, OpenSource::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("is attached to `{}`", attached.name)),
        "{error}"
    );
    drop(attached);
    let attached = LoopDevice::attach(&path, &["--read-only"]).unwrap();
    FileSource::open(&path, OpenSource::default()).unwrap();
    let source = FileSource::open(&attached.name, OpenSource::default()).unwrap();
    assert!(read_all(&source, 65_536) == pattern(1 << 20));
}

#[test]
fn devices_are_read_to_their_last_sector() {
    let (folder, _alone) = folder();
    // Sectors of 512 bytes: the end is not aligned to a block.
    let expected = pattern(65_536 * 3 + 512);
    let path = image(&folder, &expected);
    let Some(attached) = LoopDevice::attach(&path, &[]) else {
        return;
    };
    for direct in [false, true] {
        let source = open(Path::new(&attached.name), direct);
        assert_eq!(source.bytes(), expected.len() as u64);
        assert_eq!(source.next_data(10).unwrap(), Some(10..source.bytes()));
        let read = read_all(&source, 65_536);
        assert!(
            read[..expected.len()] == expected
                && read[expected.len()..].iter().all(|&byte| byte == 0)
        );
        assert_eq!(source.facts().kind, "block-device");
        source.check().unwrap();
    }
}

#[test]
fn a_mounted_device_is_refused_unless_live() {
    let (folder, _alone) = folder();
    let path = image(&folder, &[]);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let Some(attached) = LoopDevice::attach(&path, &[]) else {
        return;
    };
    assert!(run("mkfs.ext4", &["-q", &attached.name]));
    let point = folder.path().join("mount point");
    fs::create_dir(&point).unwrap();
    let point = point.to_str().unwrap();
    assert!(run("mount", &[&attached.name, point]));
    let refused = FileSource::open(&attached.name, OpenSource::default());
    let live = FileSource::open(
        &attached.name,
        OpenSource {
            live: true,
            ..OpenSource::default()
        },
    );
    assert!(run("mount", &["-o", "remount,ro", point]));
    let read_only = FileSource::open(&attached.name, OpenSource::default());
    assert!(run("umount", &[point]));
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains(&format!("is mounted read-write at `{point}`")),
        "{error}"
    );
    assert!(live.unwrap().facts().live);
    assert!(!read_only.unwrap().facts().live);
}

#[test]
fn a_device_open_for_writing_is_refused() {
    let (folder, _alone) = folder();
    let path = image(&folder, &pattern(1 << 20));
    let Some(attached) = LoopDevice::attach(&path, &[]) else {
        return;
    };
    let _writer = OpenOptions::new().write(true).open(&attached.name).unwrap();
    let error = FileSource::open(&attached.name, OpenSource::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("is open for writing by process"), "{error}");
}

#[test]
fn a_device_that_fails_names_the_failing_blocks() {
    let (folder, _alone) = folder();
    let path = image(&folder, &pattern(1 << 20));
    let Some(attached) = LoopDevice::attach(&path, &[]) else {
        return;
    };
    for direct in [false, true] {
        fs::write(&path, pattern(1 << 20)).unwrap();
        let source = open(Path::new(&attached.name), direct);
        // The device keeps its size, but has nothing to read beyond this.
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len((1 << 20) - 40_960)
            .unwrap();
        let error = source
            .read_at(&mut Buffer::new(1 << 17), (1 << 20) - (1 << 17))
            .unwrap_err()
            .to_string();
        let range = format!("read bytes {} to {} of", (1 << 20) - 40_960, 1 << 20);
        assert!(
            error.contains(&range) && error.contains("check the disk"),
            "direct {direct}: {error}"
        );
    }
}

#[test]
fn a_device_that_is_detached_has_vanished() {
    let (folder, _alone) = folder();
    let path = image(&folder, &pattern(1 << 20));
    let Some(attached) = LoopDevice::attach(&path, &[]) else {
        return;
    };
    let error = FileSource::open(&attached.name, OpenSource::default()).map(|source| {
        fs::write(&path, []).unwrap();
        assert!(run("losetup", &["--set-capacity", &attached.name]));
        source
            .read_at(&mut Buffer::new(65_536), 65_536)
            .unwrap_err()
    });
    let error = error.unwrap().to_string();
    assert!(
        error.contains("vanished while it was read, at bytes 65536 to 131072"),
        "{error}"
    );
    let error = FileSource::open(&attached.name, OpenSource::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds nothing"), "{error}");
}

#[test]
fn a_device_is_restored_in_place() {
    let (folder, _alone) = folder();
    // Larger than the volume, and with an end that is not aligned to a block.
    let before = pattern((8 << 20) + 512);
    let path = image(&folder, &before);
    let Some(attached) = LoopDevice::attach(&path, &[]) else {
        return;
    };
    let target = InPlaceTarget::open(&attached.name).unwrap();
    assert_eq!(target.bytes(), Some(before.len() as u64));
    let error = target
        .prepare(before.len() as u64 + 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("has 8389120 bytes, the volume 8389121"),
        "{error}"
    );
    target.prepare((8 << 20) + 512).unwrap();

    let mut large = Buffer::new(1 << 20);
    large.fill(7);
    target.write_at(&large, 1 << 20).unwrap();
    target.write_at(&[8; 512], 8 << 20).unwrap();
    target.zero(4 << 20..6 << 20).unwrap();
    target.zero((6 << 20) + 100..(6 << 20) + 300).unwrap();
    target.finish().unwrap();
    drop(target);

    let mut expected = before;
    expected[1 << 20..2 << 20].fill(7);
    expected[8 << 20..].fill(8);
    expected[4 << 20..6 << 20].fill(0);
    expected[(6 << 20) + 100..(6 << 20) + 300].fill(0);
    drop(attached);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn a_device_or_file_in_use_is_not_restored_to() {
    let (folder, _alone) = folder();
    let path = image(&folder, &[]);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    let check = |path: &str, expected: &str| {
        let error = InPlaceTarget::open(path).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    let Some(attached) = LoopDevice::attach(&path, &[]) else {
        return;
    };
    check(path.to_str().unwrap(), "is attached to `/dev/loop");
    assert!(run("mkfs.ext4", &["-q", &attached.name]));
    let point = folder.path().join("mounted");
    fs::create_dir(&point).unwrap();
    for options in ["rw", "ro"] {
        assert!(run(
            "mount",
            &["-o", options, &attached.name, point.to_str().unwrap()]
        ));
        let refused = InPlaceTarget::open(&attached.name);
        assert!(run("umount", &[point.to_str().unwrap()]));
        let error = refused.expect_err(options).to_string();
        assert!(error.contains("mounted"), "{error}");
    }
    InPlaceTarget::open(&attached.name).unwrap();
    let held = InPlaceTarget::open(&attached.name).unwrap();
    check(&attached.name, "in use");
    drop((held, attached));
    let attached = LoopDevice::attach(&path, &["--read-only"]).unwrap();
    check(path.to_str().unwrap(), "is attached to `/dev/loop");
    drop(attached);
    InPlaceTarget::open(&path).unwrap();
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let (folder, _alone) = folder();
    let point = folder.path().join("full");
    fs::create_dir(&point).unwrap();
    let place = point.to_str().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none", place])
        .output();
    if !done("mount", &mounted) {
        return;
    }
    let target = FileTarget::create(point.join("volume")).unwrap();
    target.prepare(16 << 20).unwrap();
    let written = (0..16).try_for_each(|number| target.write_at(&[1; 1 << 20], number << 20));
    let error = written
        .map(|()| String::new())
        .unwrap_or_else(|error| error.to_string());
    drop(target);
    let left = fs::read_dir(&point).unwrap().count();
    assert!(run("umount", &[place]));
    assert!(error.contains("volume.partial`: no space left"), "{error}");
    assert_eq!(left, 0);
}

/// Goal: on real file systems nothing that differs is called unchanged, and what is shared is found.
/// Method: reflink a file, write into one copy, compare with what was written.
#[test]
fn reflink_copies_tell_what_was_written() {
    for (kind, options) in [("xfs", ["-q", "-f"]), ("btrfs", ["-q", "-f"])] {
        let (folder, _alone) = folder();
        let Some(mounted) = Mounted::new(folder.path(), kind, &options) else {
            continue;
        };
        let (base, current) = (mounted.point.join("base"), mounted.point.join("current"));
        let bytes: Vec<u8> = (0..16_u32 << 20)
            .map(|at| (at / 7 % 251).to_le_bytes()[0])
            .collect();
        fs::write(&base, &bytes).unwrap();
        let copied = Command::new("cp")
            .arg("--reflink=always")
            .args([&base, &current])
            .status()
            .unwrap();
        assert!(copied.success(), "{kind}");
        assert!(
            fiemap::changed(&current, &base).unwrap().is_empty(),
            "{kind}: nothing was written yet"
        );

        let file = File::options().write(true).open(&current).unwrap();
        let written = [
            (0, 4096),
            (1 << 20, 100),
            ((5 << 20) - 10, 20),
            ((16 << 20) - 1, 1),
            (17 << 20, 5),
        ];
        for (offset, length) in written {
            file.write_all_at(&vec![0xff; length], offset).unwrap();
        }
        // Not flushed on purpose: asking must do that.
        let found = fiemap::changed(&current, &base).unwrap();
        for (offset, length) in written {
            for byte in [offset, offset + length as u64 - 1] {
                assert!(found.contains(byte), "{kind}: {byte} in {found:?}");
            }
        }
        assert!(
            found.bytes() <= 5 * 65_536 + (1 << 20) + 5,
            "{kind}: {found:?}"
        );
        let (now, then) = (fs::read(&current).unwrap(), fs::read(&base).unwrap());
        for range in found.complement().iter() {
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert!(now[range.clone()] == then[range], "{kind}");
        }
    }
}

/// A loop device over an image, detached when dropped.
struct LoopDevice {
    name: String,
}

impl LoopDevice {
    /// `None` where this test may not make one.
    fn attach(path: &Path, options: &[&str]) -> Option<Self> {
        let output = Command::new("losetup")
            .args(options)
            .args(["--find", "--show"])
            .arg(path)
            .output();
        if !done("losetup", &output) {
            return None;
        }
        let name = String::from_utf8(output.expect("it is done").stdout).expect("a path");
        Some(Self {
            name: name.trim().to_owned(),
        })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        assert!(run("losetup", &["--detach", &self.name]));
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .status()
        .is_ok_and(|status| status.success())
}

/// A fresh file system in a file, unmounted when dropped.
struct Mounted {
    point: PathBuf,
}

impl Mounted {
    /// `None` where this machine cannot make one.
    fn new(folder: &Path, kind: &str, options: &[&str]) -> Option<Self> {
        let (image, point) = (folder.join("image"), folder.join("mounted"));
        let file = File::create(&image).expect("make an image");
        file.set_len(512 << 20).expect("size an image");
        fs::create_dir(&point).expect("make a folder");
        let run = |program: &str, arguments: &[&str], paths: &[&Path]| {
            let output = Command::new(program).args(arguments).args(paths).output();
            done(program, &output)
        };
        let made = run(&format!("mkfs.{kind}"), options, &[&image]);
        (made && run("mount", &["-o", "loop"], &[&image, &point])).then(|| Self { point })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(
            Command::new("umount")
                .arg(&self.point)
                .status()
                .is_ok_and(|status| status.success())
        );
    }
}

/// Whether a program that this test needs did its work; if not, says so.
fn done(program: &str, output: &io::Result<Output>) -> bool {
    let why = match output {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let rights = if nix::unistd::geteuid().is_root() {
        "although this is root"
    } else {
        "which takes root"
    };
    let why = why.lines().next().unwrap_or("it failed");
    let test = thread::current().name().unwrap_or("devices").to_owned();
    // Not `eprintln!`, which the harness keeps to itself.
    let line = format!("\nSKIPPED {test}: no {program} here, {rights}: {why}\n");
    io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
    false
}
