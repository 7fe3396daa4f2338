//! Where a file has data, and where it ends.

use std::{cmp::min, fs::File, io, ops::Range, os::unix::fs::FileTypeExt};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};

use crate::kernel::device_bytes;

/// The size of a file or a block device.
pub(crate) fn size(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.file_type().is_block_device() {
        device_bytes(file)
    } else {
        Ok(metadata.len())
    }
}

/// The first range of a file of `bytes` at or after `offset` that may hold data; everything where the file system
/// cannot tell.
pub(crate) fn next_data(file: &File, offset: u64, bytes: u64) -> io::Result<Option<Range<u64>>> {
    if offset >= bytes {
        return Ok(None);
    }
    let start = match seek(file, offset, Whence::SeekData) {
        Ok(start) => start,
        // No more data, or no more file.
        Err(Errno::ENXIO) => return Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(Some(offset..bytes)),
        Err(errno) => return Err(errno.into()),
    };
    if start >= bytes {
        return Ok(None);
    }
    match seek(file, start, Whence::SeekHole) {
        Ok(end) => Ok(Some(start..min(end, bytes))),
        // It was cut off in between.
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The position of a descriptor means nothing here: everything is read and written by position.
fn seek(file: &File, offset: u64, whence: Whence) -> nix::Result<u64> {
    let position = lseek(
        file,
        i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?,
        whence,
    )?;
    u64::try_from(position).map_err(|_| Errno::EOVERFLOW)
}
