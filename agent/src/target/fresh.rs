//! A new file: written as `NAME.partial`, and renamed when it is whole.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    ops::Range,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2},
    unistd::geteuid,
};
use tracing::warn;

use super::{Target, TargetError, TargetKind, handles::Handles};
use crate::source;

/// What the name of an unfinished file ends with.
pub const PARTIAL_SUFFIX: &str = ".partial";

/// Rights of a new file: a volume holds secrets, so only its owner may read it.
const MODE: u32 = 0o600;

/// Marks a file as unfinished. This bit of the mode means nothing for a file on Linux, and nobody else sets it. Where a
/// file system does not keep it, what an interrupted restore leaves is not recognised, and has to be removed by hand.
const MARK: u32 = 0o1000;

/// A file that appears under its name only when it is whole.
#[derive(Debug)]
pub struct FileTarget {
    path: PathBuf,
    partial: PathBuf,
    handles: Handles,
    volume_bytes: AtomicU64,
    /// The end of the last byte written: what is beyond is a hole already.
    written_end: AtomicU64,
    /// Everything is written and durable: worth keeping whatever happens.
    whole: AtomicBool,
}

impl FileTarget {
    /// Makes `NAME.partial`, in place of what an interrupted restore left there.
    ///
    /// # Errors
    /// When there is a file of that name that is not empty, another restore is writing it, or `NAME.partial` is somebody
    /// else's.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, TargetError> {
        let path = path.as_ref().to_path_buf();
        check_free(&path)?;
        let partial = partial_path(&path)?;
        remove_left(&path, &partial)?;
        let file = make_partial(&path, &partial)?;
        let handles = Handles::new(file, &partial);
        let (volume_bytes, written_end, whole) =
            (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self {
            path,
            partial,
            handles,
            volume_bytes,
            written_end,
            whole,
        })
    }

    /// Gives the file its name. Nobody's file is replaced but an empty one, which was there from the start.
    fn rename(&self) -> Result<(), TargetError> {
        let (partial, path) = (&self.partial, &self.path);
        let empty =
            fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0);
        let renamed = if empty {
            fs::rename(partial, path)
        } else {
            match renameat2(
                AT_FDCWD,
                partial,
                AT_FDCWD,
                path,
                RenameFlags::RENAME_NOREPLACE,
            ) {
                // NFS and FUSE cannot do this, but a link never replaces anything either.
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    fs::hard_link(partial, path).and_then(|()| fs::remove_file(partial))
                }
                renamed => renamed.map_err(io::Error::from),
            }
        };
        renamed.map_err(|source| {
            let (path, partial) = (path.clone(), partial.clone());
            if source.kind() == io::ErrorKind::AlreadyExists {
                TargetError::Appeared { path, partial }
            } else {
                TargetError::Rename {
                    path,
                    partial,
                    source,
                }
            }
        })
    }
}

impl Target for FileTarget {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Fresh
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.volume_bytes.load(Relaxed))
    }

    fn prepare(&self, volume_bytes: u64) -> Result<(), TargetError> {
        let resized = self.handles.cached.set_len(volume_bytes);
        resized.map_err(|source| self.write_failed(0..volume_bytes, source))?;
        self.volume_bytes.store(volume_bytes, Relaxed);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), TargetError> {
        let end = offset + bytes.len() as u64;
        assert!(
            end <= self.volume_bytes.load(Relaxed),
            "a write ends within the volume"
        );
        self.written_end.fetch_max(end, Relaxed);
        self.handles
            .write_at(bytes, offset)
            .map_err(|source| self.write_failed(offset..end, source))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), TargetError> {
        let range = offset..offset + buffer.len() as u64;
        let read = self.handles.read_at(buffer, offset);
        read.map_err(|source| TargetError::Read {
            location: self.location(),
            range,
            source,
        })
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, TargetError> {
        let bytes = self.volume_bytes.load(Relaxed);
        let found = source::next_data(&self.handles.cached, offset, bytes);
        found.map_err(|source| TargetError::Read {
            location: self.location(),
            range: offset..bytes,
            source,
        })
    }

    fn zero(&self, range: Range<u64>) -> Result<(), TargetError> {
        assert!(
            range.end <= self.volume_bytes.load(Relaxed),
            "a range ends within the volume"
        );
        if range.is_empty() || range.start >= self.written_end.load(Relaxed) {
            return Ok(());
        }
        self.handles
            .zero(&range, false)
            .map_err(|source| self.write_failed(range, source))
    }

    fn finish(&self) -> Result<(), TargetError> {
        let failed = |source| TargetError::Finish {
            location: self.location(),
            source,
        };
        let permissions = Permissions::from_mode(MODE);
        let cached = &self.handles.cached;
        cached.set_permissions(permissions).map_err(failed)?;
        cached.sync_all().map_err(failed)?;
        self.whole.store(true, Relaxed);
        self.rename()?;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

impl FileTarget {
    fn write_failed(&self, range: Range<u64>, source: io::Error) -> TargetError {
        TargetError::Write {
            location: self.partial.display().to_string(),
            range,
            source,
        }
    }
}

/// An unfinished file is of no use: the next restore would begin again.
impl Drop for FileTarget {
    fn drop(&mut self) {
        if self.whole.load(Relaxed) {
            return;
        }
        // What somebody put in its place is not ours to remove.
        if !is_at(&self.handles.cached, &self.partial) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.partial) {
            warn!(path = %self.partial.display(), %error, "cannot remove an unfinished restore; delete it");
        }
    }
}

/// The name is free, or belongs to an empty file.
fn check_free(path: &Path) -> Result<(), TargetError> {
    let kind = |found, remedy| {
        Err(TargetError::Kind {
            path: path.to_path_buf(),
            found,
            remedy,
        })
    };
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(_) if fs::symlink_metadata(path).is_ok() => {
            return kind(
                "a symbolic link to nothing",
                "give the name of the file itself",
            );
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(TargetError::Open {
                path: path.to_path_buf(),
                source,
            });
        }
    };
    if found.file_type().is_block_device() {
        kind("a block device", "write into it with --in-place")
    } else if found.is_dir() {
        kind("a folder", "give the name of a file")
    } else if !found.is_file() {
        kind("not a regular file", "give the name of a new file")
    } else if found.len() > 0 {
        Err(TargetError::NotEmpty {
            path: path.to_path_buf(),
        })
    } else if fs::symlink_metadata(path).is_ok_and(|link| link.is_symlink()) {
        kind("a symbolic link", "give the name of the file itself")
    } else {
        Ok(())
    }
}

fn partial_path(path: &Path) -> Result<PathBuf, TargetError> {
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(TargetError::Kind {
            path: path.to_path_buf(),
            found: "no folder that exists",
            remedy: "make it, or leave the slash out",
        });
    }
    let Some(name) = path.file_name() else {
        let (found, remedy) = ("no name of a file", "give one");
        return Err(TargetError::Kind {
            path: path.to_path_buf(),
            found,
            remedy,
        });
    };
    let mut partial: OsString = name.to_owned();
    partial.push(PARTIAL_SUFFIX);
    Ok(path.with_file_name(partial))
}

/// Removes what an interrupted restore left, and nothing else: whatever only has the name may be precious, be another
/// name of something that is, or be laid there by somebody who wants to read the volume.
fn remove_left(path: &Path, partial: &Path) -> Result<(), TargetError> {
    let refused = |found| TargetError::Kind {
        path: partial.to_path_buf(),
        found,
        remedy: "a restore would write to this name; move or remove it",
    };
    let failed = |source| TargetError::Open {
        path: partial.to_path_buf(),
        source,
    };
    let found = match fs::symlink_metadata(partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    if !is_left(&found) {
        return Err(refused("not what an interrupted restore leaves"));
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = options.open(partial).map_err(failed)?;
    lock(&file, path, partial)?;
    // It may have been finished, or replaced, between looking and locking.
    if !is_left(&file.metadata().map_err(failed)?) || !is_at(&file, partial) {
        return Err(in_use(path));
    }
    fs::remove_file(partial).map_err(failed)
}

/// Whether a file bears the mark of an unfinished restore of this user, and has no other name.
fn is_left(found: &fs::Metadata) -> bool {
    let mode = found.permissions().mode() & 0o7777;
    let ours = found.uid() == geteuid().as_raw() && found.nlink() == 1;
    found.is_file() && ours && mode == MODE | MARK
}

/// Makes the unfinished file for this restore alone.
fn make_partial(path: &Path, partial: &Path) -> Result<File, TargetError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(MODE | MARK);
    let file = options.open(partial).map_err(|source| {
        let missing = source.kind() == io::ErrorKind::NotFound;
        let path = match path.parent() {
            _ if source.kind() == io::ErrorKind::AlreadyExists => return in_use(path),
            Some(folder) if missing => folder.to_path_buf(),
            Some(_) | None => partial.to_path_buf(),
        };
        TargetError::Open { path, source }
    })?;
    lock(&file, path, partial)?;
    // Another restore may have taken it for one that nobody writes, before it was locked.
    if is_at(&file, partial) {
        Ok(file)
    } else {
        Err(in_use(path))
    }
}

fn lock(file: &File, path: &Path, partial: &Path) -> Result<(), TargetError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        // A file system without locks: two restores to one name at once are then not noticed.
        Err(TryLockError::Error(error)) => {
            warn!(path = %partial.display(), %error, "cannot lock a file");
            Ok(())
        }
    }
}

fn in_use(path: &Path) -> TargetError {
    TargetError::InUse {
        path: path.to_path_buf(),
        usage: "is being written by another restore".to_owned(),
    }
}

/// Whether a name stands for an open file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let there = fs::symlink_metadata(path).map(identity);
    let ours = file.metadata().map(identity);
    matches!((there, ours), (Ok(there), Ok(ours)) if there == ours)
}
