//! A block device or an image file, read by position.

use std::{
    cmp::min,
    fs::{self, File, Metadata, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise},
};

use super::{
    SourceError, Volume, VolumeFacts,
    holes::{next_data, size},
    usage::{self, Usage},
};
use crate::buffer::{Buffer, DIRECT_ALIGN};

/// The same alignment for offsets.
const ALIGN: u64 = DIRECT_ALIGN as u64;

/// Failing blocks that are tried after the first one: a dying disk may take seconds for each.
const NARROW_BLOCKS_MAX: u64 = 16;

/// How a source is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenSource {
    /// Read it even while somebody may write to it; what is read may then be torn.
    pub live: bool,
    /// Read past the page cache where the file system allows it.
    pub direct: bool,
}

impl Default for OpenSource {
    fn default() -> Self {
        Self {
            live: false,
            direct: true,
        }
    }
}

/// A volume in a block device or an image file.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    file: File,
    opened: Metadata,
    bytes: u64,
    direct: bool,
    /// Others may write to it.
    allow_live: bool,
    /// Somebody did, or could.
    live: AtomicBool,
    notes: Vec<String>,
    /// Why it could not be found out whether somebody could.
    unchecked: Option<String>,
}

impl FileSource {
    /// Opens a source for reading only.
    ///
    /// # Errors
    /// When it is neither a block device nor a regular file, cannot be opened, or when somebody may write to it and
    /// `live` does not allow that.
    pub fn open(path: impl AsRef<Path>, options: OpenSource) -> Result<Self, SourceError> {
        let path = path.as_ref().to_path_buf();
        let failed = |source| SourceError::Open {
            path: path.clone(),
            source,
        };
        // Looked at first: only opening a pipe or a tape would already do something.
        check_kind(&path, &fs::metadata(&path).map_err(failed)?)?;
        let mut notes = Vec::new();
        let (file, direct) = open_file(&path, options.direct, &mut notes).map_err(failed)?;
        let opened = file.metadata().map_err(failed)?;
        check_kind(&path, &opened)?;
        let bytes = size(&file).map_err(failed)?;
        if bytes == 0 && opened.file_type().is_block_device() {
            return Err(failed(Errno::ENOMEDIUM.into()));
        }
        let source = Self {
            path,
            file,
            opened,
            bytes,
            direct,
            allow_live: options.live,
            live: AtomicBool::new(false),
            notes,
            unchecked: None,
        };
        let unchecked = source.check_usage()?;
        Ok(Self {
            unchecked,
            ..source
        })
    }

    /// What a user should know about how this source is read, a sentence each; [`Volume::facts`] says whether it could be
    /// found out who writes to it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Looks for others who may write; what cannot be found out is a note.
    fn check_usage(&self) -> Result<Option<String>, SourceError> {
        match usage::of(&self.path, &self.file, &self.opened) {
            Usage::Unused => Ok(None),
            Usage::Unknown(note) => Ok(Some(note)),
            Usage::Written(_) if self.allow_live => {
                self.live.store(true, Relaxed);
                Ok(None)
            }
            Usage::Written(usage) => Err(SourceError::InUse {
                path: self.path.clone(),
                usage,
            }),
        }
    }

    /// Reads until `buffer` is full or the source ends; returns how much it read.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let read = match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            done += read;
            let partial = done % DIRECT_ALIGN;
            if read == 0 || (self.direct && partial > 0 && read < DIRECT_ALIGN) {
                break;
            }
            // A direct read goes on only at an aligned offset, so the last partial block is read again.
            if self.direct && done < buffer.len() {
                done -= partial;
            }
        }
        Ok(done)
    }

    /// What a failed read means: the range is narrowed to the blocks that really fail.
    fn read_failed(&self, error: io::Error, range: Range<u64>) -> SourceError {
        let gone = [Errno::ENXIO, Errno::ENODEV, Errno::ENOMEDIUM, Errno::ESTALE];
        let errno = error.raw_os_error().map(Errno::from_raw);
        if errno.is_some_and(|errno| gone.contains(&errno))
            || size(&self.file).is_ok_and(|bytes| bytes == 0)
        {
            return self.vanished(&range);
        }
        let range = if errno == Some(Errno::EIO) {
            self.narrow(range)
        } else {
            range
        };
        SourceError::Read {
            path: self.path.clone(),
            range,
            source: error,
        }
    }

    /// The first blocks of `range` that fail, or all of it when reading it again works.
    fn narrow(&self, range: Range<u64>) -> Range<u64> {
        let mut block = Buffer::new(DIRECT_ALIGN);
        let mut fails = |start: &u64| self.fill(&mut block, *start).is_err();
        let blocks = || (range.start - range.start % ALIGN..range.end).step_by(DIRECT_ALIGN);
        let Some(first) = blocks().find(&mut fails) else {
            return range;
        };
        let limit = first.saturating_add(NARROW_BLOCKS_MAX * ALIGN);
        let end = blocks()
            .skip_while(|start| *start <= first)
            .take_while(|start| *start < limit && fails(start));
        let end = end.last().unwrap_or(first) + ALIGN;
        first..min(end, self.bytes)
    }

    fn vanished(&self, range: &Range<u64>) -> SourceError {
        let place = format!("at bytes {} to {}", range.start, range.end);
        SourceError::Vanished {
            path: self.path.clone(),
            place,
        }
    }

    fn shrank(&self, range: Range<u64>) -> SourceError {
        SourceError::Shrank {
            path: self.path.clone(),
            range,
        }
    }
}

impl Volume for FileSource {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, SourceError> {
        if self.opened.file_type().is_block_device() {
            return Ok((offset < self.bytes).then_some(offset..self.bytes));
        }
        let failed = |error| self.read_failed(error, offset..self.bytes);
        let data = next_data(&self.file, offset, self.bytes).map_err(failed)?;
        if data.is_none() {
            // A file that was cut off looks like one that ends with a hole.
            let bytes = size(&self.file).map_err(failed)?;
            if bytes < self.bytes {
                return Err(self.shrank(bytes..self.bytes));
            }
        }
        Ok(data)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), SourceError> {
        let wanted = min(buffer.len() as u64, self.bytes.saturating_sub(offset));
        let aligned = offset.is_multiple_of(ALIGN)
            && buffer.len().is_multiple_of(DIRECT_ALIGN)
            && buffer.as_ptr().addr().is_multiple_of(DIRECT_ALIGN);
        if self.direct && !aligned {
            let start = offset - offset % ALIGN;
            let end = (offset + wanted).next_multiple_of(ALIGN);
            let mut whole = Buffer::new(index(end - start));
            self.read_at(&mut whole, start)?;
            let (data, rest) = buffer.split_at_mut(index(wanted));
            data.copy_from_slice(&whole[index(offset - start)..][..data.len()]);
            rest.fill(0);
            return Ok(());
        }
        let range = offset..offset + wanted;
        // A direct read must ask for whole blocks, at the end of the source too.
        let length = if self.direct {
            wanted.next_multiple_of(ALIGN)
        } else {
            wanted
        };
        let read = self.fill(&mut buffer[..index(length)], offset);
        let read = read.map_err(|error| self.read_failed(error, range.clone()))? as u64;
        if read < wanted {
            let bytes = size(&self.file).unwrap_or(0);
            return Err(if bytes == 0 {
                self.vanished(&range)
            } else {
                self.shrank(offset + read..self.bytes)
            });
        }
        buffer[index(wanted)..].fill(0);
        if !self.direct {
            // Keeps a backup from pushing everybody else out of memory. Advice: nothing is lost when it is refused.
            let (start, length) = (signed(range.start), signed(wanted));
            posix_fadvise(
                &self.file,
                start,
                length,
                PosixFadviseAdvice::POSIX_FADV_DONTNEED,
            )
            .ok();
        }
        Ok(())
    }

    fn check(&self) -> Result<(), SourceError> {
        let path = || self.path.clone();
        let replaced = |place: &str| SourceError::Vanished {
            path: path(),
            place: place.to_owned(),
        };
        let there = fs::metadata(&self.path).map_err(|_| replaced("it is gone from its place"))?;
        if (there.dev(), there.ino(), there.rdev())
            != (self.opened.dev(), self.opened.ino(), self.opened.rdev())
        {
            return Err(replaced("something else is in its place"));
        }
        let now = self.file.metadata().map_err(|source| SourceError::Open {
            path: path(),
            source,
        })?;
        let bytes = size(&self.file).map_err(|source| SourceError::Open {
            path: path(),
            source,
        })?;
        if bytes < self.bytes {
            return Err(self.shrank(bytes..self.bytes));
        }
        let written = |metadata: &Metadata| (metadata.mtime(), metadata.mtime_nsec());
        // A device has no such time: only its size and its users tell something.
        let file = now.file_type().is_file();
        if file && (bytes != self.bytes || written(&now) != written(&self.opened)) {
            if !self.allow_live {
                return Err(SourceError::Modified { path: path() });
            }
            self.live.store(true, Relaxed);
        }
        self.check_usage().map(drop)
    }

    fn facts(&self) -> VolumeFacts {
        let kind = if self.opened.file_type().is_block_device() {
            "block-device"
        } else {
            "image-file"
        };
        VolumeFacts {
            path: self.path.display().to_string(),
            kind: kind.to_owned(),
            live: self.live.load(Relaxed),
            unchecked: self.unchecked.clone(),
        }
    }
}

/// Opens for reading, past the page cache where that works; says so where it does not.
fn open_file(path: &Path, direct: bool, notes: &mut Vec<String>) -> io::Result<(File, bool)> {
    if direct {
        match open_direct(path) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                notes.push(
                    "read through the page cache: this file system has no direct reads".to_owned(),
                );
            }
            opened => return Ok((opened?, true)),
        }
    }
    let file = OpenOptions::new().read(true).open(path)?;
    // Larger read-ahead. Advice: nothing is lost when it is refused.
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL).ok();
    Ok((file, false))
}

/// Some file systems take the flag and then refuse to read, so the first block is tried.
fn open_direct(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_DIRECT.bits())
        .open(path)?;
    match file.read_at(&mut Buffer::new(DIRECT_ALIGN), 0) {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Err(error),
        // What else fails is told with the range it concerns, when it is read.
        Ok(_) | Err(_) => Ok(file),
    }
}

fn check_kind(path: &Path, metadata: &Metadata) -> Result<(), SourceError> {
    let kind = metadata.file_type();
    let found = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_fifo() {
        "a pipe"
    } else {
        "a socket"
    };
    Err(SourceError::Kind {
        path: path.to_path_buf(),
        found,
    })
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn index(length: u64) -> usize {
    usize::try_from(length).expect("a length within a buffer fits in memory")
}
