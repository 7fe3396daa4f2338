//! Reads objects, whole and in parts.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};

use super::{
    buffer::{BLOCK_BYTES, Buffers},
    failure::Failure,
    folder::Root,
};
use crate::store::ErrorKind;

/// From here on reads bypass the page cache, into buffers that are used again: what a restore or a verify reads once
/// is not worth a copy. Measured on ext4 on a virtual disk, per GiB: 0.7 to 0.9 CPU seconds through the cache into new
/// memory, 0.4 directly into new memory, 0.05 directly into used memory. Smaller reads gain from reading ahead.
const DIRECT_BYTES_MIN: usize = 1024 * 1024;

/// Opens an object; returns its length with it.
pub(super) fn open(root: &Root, name: &str) -> Result<(File, u64), Failure> {
    let file = match root.open_inside(name, OFlag::O_RDONLY) {
        // One of its folders is an object.
        Err(Errno::ENOTDIR) => return Err(Failure::Contract(ErrorKind::NotFound)),
        result => File::from(result?),
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Failure::Contract(ErrorKind::NotFound));
    }
    if !metadata.is_file() {
        return Err(Failure::Foreign("it is not a regular file"));
    }
    Ok((file, metadata.len()))
}

/// Reads bytes that the file had when it was opened.
pub(super) fn part(
    buffers: &Arc<Buffers>,
    file: &File,
    range: Range<u64>,
) -> Result<Bytes, Failure> {
    let too_large = |_| Failure::Contract(ErrorKind::TooLarge);
    let bytes = usize::try_from(range.end - range.start).map_err(too_large)?;
    // File systems that cannot do it say so here.
    if bytes >= DIRECT_BYTES_MIN && fcntl(file, FcntlArg::F_SETFL(OFlag::O_DIRECT)).is_ok() {
        match direct(buffers, file, &range) {
            // Larger sectors than we know of.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                fcntl(file, FcntlArg::F_SETFL(OFlag::empty()))?;
            }
            result => return Ok(result?),
        }
    }
    let mut body = vec![0; bytes];
    file.read_exact_at(&mut body, range.start)?;
    Ok(body.into())
}

/// Reads whole blocks and returns the part of them that was asked for.
fn direct(buffers: &Arc<Buffers>, file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let start = range.start - range.start % BLOCK_BYTES as u64;
    let length = |end: u64| usize::try_from(end - start).map_err(io::Error::other);
    let wanted = length(range.start)?..length(range.end)?;
    let mut buffer = buffers.take(wanted.end.next_multiple_of(BLOCK_BYTES));
    let mut filled = 0;
    // The last block of a file ends early.
    while filled < wanted.end {
        match file.read_at(&mut buffer.as_mut()[filled..], start + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Bytes::from_owner(buffer).slice(wanted))
}
