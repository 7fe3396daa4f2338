//! Who may write to a device or a file while it is read or restored.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc::dev_t,
    sys::stat::{major, makedev, minor},
};

use super::mounts::{self, Mount};
use crate::kernel;

/// What is known about others who write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Nobody does.
    Unused,
    /// Somebody may: who, as the rest of a sentence that begins with the name.
    Written(String),
    /// It cannot be found out, and why.
    Unknown(String),
}

/// Finds out who may write to `path`, which is open as `file` for reading only.
pub(crate) fn of(path: &Path, file: &File, metadata: &Metadata) -> Usage {
    if metadata.file_type().is_block_device() {
        of_device(path, metadata.rdev())
    } else {
        of_file(path, file, metadata)
    }
}

/// A file: asks the kernel for a read lease, then looks for a name to tell.
fn of_file(path: &Path, file: &File, metadata: &Metadata) -> Usage {
    let identity = (metadata.dev(), metadata.ino());
    let same = |open: &Metadata| open.file_type().is_file() && (open.dev(), open.ino()) == identity;
    let name = path.file_name();
    let writer = || find_writer(|link| link.file_name() == name, same);
    let loops = || loop_device(path).filter(|found| !found.read_only);
    match kernel::is_open_for_writing(file) {
        Ok(false) => Usage::Unused,
        Ok(true) => Usage::Written(match loops() {
            Some(found) => format!("is attached to `{}` for reading and writing", found.name),
            None => writer().unwrap_or_else(|| "is open for writing".to_owned()),
        }),
        Err(_) => match (loops(), writer()) {
            (Some(found), _) => {
                Usage::Written(format!("is attached to `{}` for reading and writing", found.name))
            }
            (None, Some(writer)) => Usage::Written(writer),
            (None, None) => Usage::Unknown(
                "whether others write to it is not known: its file system has no leases, or it belongs to another user"
                    .to_owned(),
            ),
        },
    }
}

/// A device: a writable file system on it, on a partition of it or on what is built from it; a process that has one
/// of these open for writing; or something in the kernel that this process cannot see.
fn of_device(path: &Path, device: dev_t) -> Usage {
    if sysfs(device, "ro").is_some_and(|value| value == "1") {
        return Usage::Unused;
    }
    let family = family(device);
    let mounts: Vec<Mount> = mounts()
        .into_iter()
        .filter(|mount| family.contains(&mounted_device(mount)))
        .collect();
    if let Some(mount) = mounts.iter().find(|mount| mount.writable) {
        return Usage::Written(format!("is mounted read-write at `{}`", mount.point));
    }
    let name = path.file_name();
    let writer = find_writer(
        // Not every path: asking for a file on a server that is gone would never return.
        |link| link.starts_with("/dev") || link.file_name() == name,
        |open| open.file_type().is_block_device() && family.contains(&open.rdev()),
    );
    if let Some(writer) = writer {
        return Usage::Written(writer);
    }
    let exclusive = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_EXCL.bits())
        .open(path);
    let busy = exclusive.is_err_and(|error| error.raw_os_error() == Some(Errno::EBUSY as i32));
    if busy && mounts.is_empty() {
        return Usage::Written(
            "is held by the kernel (mounted in another container, or part of a RAID, LVM or swap)"
                .to_owned(),
        );
    }
    Usage::Unused
}

/// A loop device that a file is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoopDevice {
    pub(crate) name: String,
    pub(crate) read_only: bool,
}

/// The loop device that has `path` as its backing file; a writable one before others.
pub(crate) fn loop_device(path: &Path) -> Option<LoopDevice> {
    let path = fs::canonicalize(path).ok()?;
    let devices = fs::read_dir("/sys/block")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let backing = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            let read_only =
                fs::read_to_string(entry.path().join("ro")).is_ok_and(|text| text.trim() == "1");
            let name = format!("/dev/{}", entry.file_name().display());
            (Path::new(backing.trim_end_matches('\n')) == path)
                .then_some(LoopDevice { name, read_only })
        });
    devices.min_by_key(|device| device.read_only)
}

/// The device, its partitions, what is built from them (LVM, RAID, crypt), and so on.
fn family(device: dev_t) -> BTreeSet<dev_t> {
    let mut family = BTreeSet::new();
    let mut pending = vec![device];
    while let Some(device) = pending.pop() {
        if family.insert(device) {
            let folder = sysfs_folder(device);
            pending.extend(devices_in(&folder, "partition"));
            pending.extend(devices_in(&folder.join("holders"), "dev"));
        }
    }
    family
}

/// The devices of the folders in `folder` that have a file called `mark`.
fn devices_in(folder: &Path, mark: &str) -> Vec<dev_t> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let devices = entries
        .filter(|path| path.join(mark).exists())
        .filter_map(|path| {
            let text = fs::read_to_string(path.join("dev")).ok()?;
            let (major, minor) = text.trim().split_once(':')?;
            Some(makedev(major.parse().ok()?, minor.parse().ok()?))
        });
    devices.collect()
}

fn sysfs(device: dev_t, file: &str) -> Option<String> {
    let text = fs::read_to_string(sysfs_folder(device).join(file)).ok()?;
    Some(text.trim().to_owned())
}

fn sysfs_folder(device: dev_t) -> PathBuf {
    PathBuf::from(format!(
        "/sys/dev/block/{}:{}",
        major(device),
        minor(device)
    ))
}

/// The mounts that this process sees, and those of the host where it may look.
fn mounts() -> Vec<Mount> {
    let texts = ["/proc/self/mountinfo", "/proc/1/mountinfo"].map(fs::read_to_string);
    texts
        .into_iter()
        .flatten()
        .flat_map(|text| mounts::parse(&text))
        .collect()
}

/// The device under a mount: the one it was mounted from where the file system shows a number of its own.
fn mounted_device(mount: &Mount) -> dev_t {
    let (major, minor) = mount.device;
    let source =
        (major == 0 && mount.source.starts_with("/dev/")).then(|| fs::metadata(&mount.source).ok());
    source
        .flatten()
        .map_or_else(|| makedev(major, minor), |metadata| metadata.rdev())
}

/// A process that has something open for writing, in words; only those of this user unless this is root.
fn find_writer(link: impl Fn(&Path) -> bool, same: impl Fn(&Metadata) -> bool) -> Option<String> {
    let processes = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let is_number = |name: &OsStr| name.as_bytes().iter().all(u8::is_ascii_digit);
    for process in processes.filter(|path| path.file_name().is_some_and(is_number)) {
        // A process may end at any moment.
        for descriptor in fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = descriptor.path();
            // The permissions of the link tell how the file was opened.
            let writable =
                || fs::symlink_metadata(&path).is_ok_and(|link| link.mode() & 0o200 != 0);
            let is_it = || fs::metadata(&path).is_ok_and(|open| same(&open));
            if fs::read_link(&path).is_ok_and(|target| link(&target)) && writable() && is_it() {
                let id = process.file_name().unwrap_or_default().display();
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                return Some(format!(
                    "is open for writing by process {id} ({})",
                    name.trim().escape_debug()
                ));
            }
        }
    }
    None
}
