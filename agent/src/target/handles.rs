//! An open file or device that is written through the page cache or past it, whichever costs less.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, OFlag, fallocate},
};

use crate::buffer::{Buffer, DIRECT_ALIGN};

/// Writes of at least so many bytes go past the page cache when they are aligned.
///
/// Measured on ext4, 1 GiB into a sparse file with fsync, CPU seconds cached and direct (least of four): 64 KiB 0.31
/// and 0.70; 256 KiB 0.25 and 0.18 (median 0.31 and 0.25, but 1.4 times as long); 512 KiB 0.22 and 0.11; 1 MiB 0.33
/// and 0.09.
pub const DIRECT_WRITE_BYTES_MIN: usize = 512 * 1024;

/// Zeros that are written or read at once where nothing better works.
const ZERO_BYTES: usize = 1 << 20;

/// One file, open twice.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) cached: File,
    direct: Option<File>,
}

impl Handles {
    /// Opens `path`, which is open as `cached`, a second time for direct writes where the file system allows that.
    pub(super) fn new(cached: File, path: &Path) -> Self {
        let flags = (OFlag::O_DIRECT | OFlag::O_NOFOLLOW).bits();
        let direct = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path);
        let identity = |file: &File| file.metadata().map(|file| (file.dev(), file.ino())).ok();
        let direct = direct
            .ok()
            .filter(|direct| identity(direct) == identity(&cached));
        Self { cached, direct }
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let aligned = bytes.len() - bytes.len() % DIRECT_ALIGN;
        let possible = bytes.as_ptr().addr().is_multiple_of(DIRECT_ALIGN)
            && offset.is_multiple_of(DIRECT_ALIGN as u64);
        let (large, rest) = bytes.split_at(if possible { aligned } else { 0 });
        match &self.direct {
            Some(direct) if large.len() >= DIRECT_WRITE_BYTES_MIN => {
                match direct.write_all_at(large, offset) {
                    // Accepted when opened and refused now: so does FUSE.
                    Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                        self.cached.write_all_at(large, offset)?;
                    }
                    written => written?,
                }
                self.cached.write_all_at(rest, offset + large.len() as u64)
            }
            Some(_) | None => self.cached.write_all_at(bytes, offset),
        }
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let possible = buffer.as_ptr().addr().is_multiple_of(DIRECT_ALIGN)
            && buffer.len().is_multiple_of(DIRECT_ALIGN)
            && offset.is_multiple_of(DIRECT_ALIGN as u64);
        if let (Some(direct), true) = (&self.direct, possible) {
            // At the end of a file that is not aligned, and wherever this fails, the cache reads the rest.
            if direct.read_exact_at(buffer, offset).is_ok() {
                return Ok(());
            }
        }
        self.cached.read_exact_at(buffer, offset)
    }

    /// Makes a range read as zeros: a hole, the device's own zeroing, or zeros that are written.
    pub(super) fn zero(&self, range: &Range<u64>, device: bool) -> io::Result<()> {
        let (start, length) = (signed(range.start)?, signed(range.end - range.start)?);
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let zeros = FallocateFlags::FALLOC_FL_ZERO_RANGE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let mut ways = [Some(hole), device.then_some(zeros)].into_iter().flatten();
        let done = ways.find_map(|way| match fallocate(&self.cached, way, start, length) {
            Ok(()) => Some(Ok(())),
            // Not supported, or not for a range that is not aligned to the device's blocks.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENODEV | Errno::EINVAL) => None,
            Err(errno) => Some(Err(errno.into())),
        });
        done.unwrap_or_else(|| self.write_zeros(range))
    }

    fn write_zeros(&self, range: &Range<u64>) -> io::Result<()> {
        let zeros = Buffer::new(ZERO_BYTES);
        pieces(range).try_for_each(|piece| {
            let length = usize::try_from(piece.end - piece.start).map_err(io::Error::other)?;
            self.write_at(&zeros[..length], piece.start)
        })
    }

    /// Reads a range; returns the first piece of it that is not all zeros.
    pub(super) fn find_not_zero(&self, range: &Range<u64>) -> io::Result<Option<Range<u64>>> {
        let mut buffer = Buffer::new(
            ZERO_BYTES.min(usize::try_from(range.end - range.start).unwrap_or(ZERO_BYTES)),
        );
        for piece in pieces(range) {
            let length = usize::try_from(piece.end - piece.start).map_err(io::Error::other)?;
            self.read_at(&mut buffer[..length], piece.start)?;
            if !is_zero(&buffer[..length]) {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

/// The first byte is zero, and each is like the one before: one comparison of memory, faster than a loop over bytes.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|&first| first == 0)
        && bytes
            .get(1..)
            .is_none_or(|rest| rest == &bytes[..rest.len()])
}

/// A range in pieces that fit the zero buffer.
fn pieces(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range
        .clone()
        .step_by(ZERO_BYTES)
        .map(move |start| start..end.min(start + ZERO_BYTES as u64))
}

fn signed(value: u64) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| Errno::EFBIG.into())
}
