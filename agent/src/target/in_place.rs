//! An existing file or device, of which a restore writes only what differs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    ops::Range,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{errno::Errno, fcntl::OFlag};
use tracing::warn;

use super::{Target, TargetError, TargetKind, handles::Handles};
use crate::source::{
    self,
    usage::{self, Usage},
};

/// An existing file or block device, opened for this restore alone.
#[derive(Debug)]
pub struct InPlaceTarget {
    path: PathBuf,
    handles: Handles,
    bytes: u64,
    device: bool,
}

impl InPlaceTarget {
    /// Opens a file or device that nobody else uses.
    ///
    /// # Errors
    /// When it is in use: a device mounted or held by the kernel, a file open for writing or behind a loop device.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TargetError> {
        let path = path.as_ref().to_path_buf();
        let failed = |source| TargetError::Open {
            path: path.clone(),
            source,
        };
        let found = fs::metadata(&path).map_err(failed)?;
        let device = found.file_type().is_block_device();
        if !device && !found.is_file() {
            let (found, remedy) = ("neither a file nor a block device", "give one of these");
            return Err(TargetError::Kind {
                path,
                found,
                remedy,
            });
        }
        // Before it is opened for writing here, as that would count.
        let reader = File::open(&path).map_err(failed)?;
        let usage = usage::of(&path, &reader, &reader.metadata().map_err(failed)?);
        drop(reader);
        match (usage, usage::loop_device(&path)) {
            (Usage::Written(usage), _) => return Err(TargetError::InUse { path, usage }),
            (_, Some(found)) => {
                let usage = format!("is attached to `{}`", found.name);
                return Err(TargetError::InUse { path, usage });
            }
            (Usage::Unknown(reason), None) => {
                warn!(path = %path.display(), reason, "restoring in place");
            }
            (Usage::Unused, None) => {}
        }
        let file = open_alone(&path, device)?;
        let bytes = source::size(&file).map_err(failed)?;
        // The name of a link is not followed when it is opened again.
        let real = fs::canonicalize(&path).map_err(failed)?;
        Ok(Self {
            handles: Handles::new(file, &real),
            path,
            bytes,
            device,
        })
    }

    fn write_failed(&self, range: Range<u64>, source: io::Error) -> TargetError {
        TargetError::Write {
            location: self.location(),
            range,
            source,
        }
    }

    fn read_failed(&self, range: Range<u64>, source: io::Error) -> TargetError {
        TargetError::Read {
            location: self.location(),
            range,
            source,
        }
    }
}

impl Target for InPlaceTarget {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn kind(&self) -> TargetKind {
        TargetKind::InPlace
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.bytes)
    }

    fn prepare(&self, volume_bytes: u64) -> Result<(), TargetError> {
        if self.bytes < volume_bytes {
            return Err(TargetError::TooSmall {
                path: self.path.clone(),
                bytes: self.bytes,
                volume_bytes,
            });
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), TargetError> {
        let range = offset..offset + bytes.len() as u64;
        assert!(range.end <= self.bytes, "a write ends within the target");
        self.handles
            .write_at(bytes, offset)
            .map_err(|source| self.write_failed(range, source))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), TargetError> {
        let range = offset..offset + buffer.len() as u64;
        self.handles
            .read_at(buffer, offset)
            .map_err(|source| self.read_failed(range, source))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, TargetError> {
        if self.device {
            return Ok((offset < self.bytes).then_some(offset..self.bytes));
        }
        let found = source::next_data(&self.handles.cached, offset, self.bytes);
        found.map_err(|source| self.read_failed(offset..self.bytes, source))
    }

    /// Only what is not zero already is zeroed on a device. It may promise zeros and return something else, and so
    /// that is read back; the holes of a file are holes.
    fn zero(&self, range: Range<u64>) -> Result<(), TargetError> {
        assert!(range.end <= self.bytes, "a range ends within the target");
        let zero = |range: &Range<u64>| {
            let zeroed = self.handles.zero(range, self.device);
            zeroed.map_err(|source| self.write_failed(range.clone(), source))
        };
        let find = |range: &Range<u64>| {
            let found = self.handles.find_not_zero(range);
            found.map_err(|source| self.read_failed(range.clone(), source))
        };
        if !self.device {
            zero(&range)?;
        }
        let mut offset = range.start;
        while let Some(data) = self
            .next_data(offset)?
            .filter(|data| data.start < range.end)
        {
            let data = data.start..data.end.min(range.end);
            offset = data.end;
            let Some(found) = find(&data)? else { continue };
            if self.device {
                zero(&found)?;
            }
            if let Some(range) = find(&found)? {
                return Err(TargetError::NotZeroed {
                    path: self.path.clone(),
                    range,
                });
            }
            offset = found.end;
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), TargetError> {
        let durable = self.handles.cached.sync_all();
        durable.map_err(|source| TargetError::Finish {
            location: self.location(),
            source,
        })
    }
}

/// Opens for reading and writing. The kernel gives a device to one such opener, and to none while it is mounted;
/// for files there is a lock among restores.
fn open_alone(path: &Path, device: bool) -> Result<File, TargetError> {
    let in_use = |usage: &str| TargetError::InUse {
        path: path.to_path_buf(),
        usage: usage.to_owned(),
    };
    let flags = if device {
        OFlag::O_EXCL
    } else {
        OFlag::empty()
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits())
        .open(path);
    let file = file.map_err(|source| match source.raw_os_error() {
        Some(errno) if errno == Errno::EBUSY as i32 => in_use("is mounted or otherwise in use"),
        Some(_) | None => TargetError::Open {
            path: path.to_path_buf(),
            source,
        },
    })?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(in_use("is being written by another restore")),
        // A file system without locks: two restores to one file at once are then not noticed.
        Err(TryLockError::Error(error)) => {
            warn!(path = %path.display(), %error, "cannot lock a file");
        }
        Ok(()) => {}
    }
    Ok(file)
}
