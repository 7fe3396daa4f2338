//! A file that becomes an object, whole or not at all.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, FcntlArg, OFlag, RenameFlags, fcntl, openat, renameat2},
    sys::stat::{FileStat, Mode, fstat, fstatat},
    unistd::{UnlinkatFlags, fsync, linkat, unlinkat},
};

use super::{
    buffer::{BLOCK_BYTES, Buffers},
    failure::Failure,
    folder::{Root, sync_folder},
    listing,
};
use crate::id::Nonce;

/// Where files are until they are objects. No object's name starts with a dot.
pub(super) const TEMPORARY: &str = ".tmp";

/// A writer that has not finished an object of 16 MiB after a day is dead.
const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// From here on bodies bypass the page cache. Nobody reads a pack soon after it was written, and copying it through
/// the cache costs far more than writing it: measured on ext4 on a virtual disk, packs of 16 MiB cost 2.4 CPU seconds
/// per GiB with `write` and `fsync` and 0.2 with direct writes of 1 MiB, 0.1 of them the copy to an aligned buffer;
/// packs of 4 MiB 0.4 to 2.1 and 0.2 to 0.3; objects of 1 MiB 0.4 to 1.0 and 0.3 to 1.1, most of it `fsync` and `link`.
const DIRECT_BYTES_MIN: usize = 1024 * 1024;

/// A file under `.tmp/` that is deleted when this is dropped, be it because it has its name or because it was given up.
#[derive(Debug)]
pub(super) struct Temporary {
    folder: OwnedFd,
    name: String,
    file: File,
    bytes: u64,
    /// Whether it bypasses the page cache.
    direct: bool,
    buffers: Arc<Buffers>,
}

impl Temporary {
    /// Creates one for a body of `bytes`.
    pub(super) fn create(root: &Root, bytes: usize) -> Result<Self, Failure> {
        let folder = root.make_folder(TEMPORARY)?;
        let name = Nonce::draw().to_string();
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = File::from(openat(&folder, name.as_str(), flags, mode)?);
        // File systems that cannot do it say so here.
        let direct =
            bytes >= DIRECT_BYTES_MIN && fcntl(&file, FcntlArg::F_SETFL(OFlag::O_DIRECT)).is_ok();
        let buffers = Arc::clone(&root.buffers);
        let temporary = Self {
            folder,
            name,
            file,
            bytes: 0,
            direct,
            buffers,
        };
        if root.must_sweep() {
            temporary.sweep_others();
        }
        Ok(temporary)
    }

    /// Writes the next piece. Only the last may have a length that is no multiple of [`BLOCK_BYTES`].
    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let mut done = 0;
        if self.direct {
            let blocks = piece.len() / BLOCK_BYTES * BLOCK_BYTES;
            match self.append_blocks(&piece[..blocks]) {
                Ok(()) => done = blocks,
                // Larger sectors than we know of: the piece is written again below, in the same place.
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
                Err(error) => return Err(error.into()),
            }
            if done < piece.len() {
                self.direct = false;
                fcntl(&self.file, FcntlArg::F_SETFL(OFlag::empty()))?;
            }
        }
        self.file
            .write_all_at(&piece[done..], self.bytes + done as u64)?;
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// Writes whole blocks, from where they are if they are aligned.
    fn append_blocks(&self, blocks: &[u8]) -> io::Result<()> {
        if blocks.as_ptr().align_offset(BLOCK_BYTES) == 0 {
            return self.file.write_all_at(blocks, self.bytes);
        }
        let mut buffer = self.buffers.take(blocks.len());
        buffer.as_mut().copy_from_slice(blocks);
        self.file.write_all_at(buffer.as_ref(), self.bytes)
    }

    /// Makes it durable and gives it its name, which must be free.
    pub(super) fn publish(self, folder: impl AsFd, name: &str) -> Result<(), Failure> {
        fsync(&self.file)?;
        let result = match self.link(folder.as_fd(), name) {
            // The name is ours if it is our file: then the reply to an earlier request was lost.
            Err(error @ (Errno::EEXIST | Errno::ENOENT)) => {
                if self.has_name(folder.as_fd(), name)? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            result => result,
        };
        // Whoever is told that the name is taken relies on that just as much.
        if matches!(result, Ok(()) | Err(Errno::EEXIST)) {
            sync_folder(folder)?;
        }
        Ok(result?)
    }

    fn link(&self, folder: impl AsFd, name: &str) -> nix::Result<()> {
        match linkat(
            &self.folder,
            self.name.as_str(),
            folder.as_fd(),
            name,
            AtFlags::empty(),
        ) {
            // No hard links here.
            Err(Errno::EPERM | Errno::ENOTSUP | Errno::EMLINK | Errno::ENOSYS) => {
                self.rename(folder, name)
            }
            result => result,
        }
    }

    pub(super) fn rename(&self, folder: impl AsFd, name: &str) -> nix::Result<()> {
        renameat2(
            &self.folder,
            self.name.as_str(),
            folder,
            name,
            RenameFlags::RENAME_NOREPLACE,
        )
    }

    /// Whether the object of this name is this file.
    fn has_name(&self, folder: impl AsFd, name: &str) -> nix::Result<bool> {
        let ours = fstat(&self.file)?;
        let theirs = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(false),
            result => result?,
        };
        Ok((ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino))
    }

    /// Deletes what dead writers left. Their age is measured against this file, so that only one clock counts.
    fn sweep_others(&self) {
        let Ok(now) = fstat(&self.file).map(|stat| listing::modified(&stat)) else {
            return;
        };
        let Ok(names) = listing::names(&self.folder) else {
            return;
        };
        for name in names {
            let is_old = |stat: FileStat| {
                now.duration_since(listing::modified(&stat))
                    .is_ok_and(|age| age > TEMPORARY_AGE_MAX)
            };
            if fstatat(&self.folder, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(is_old)
            {
                // Another writer may sweep at the same time, and a leftover harms nobody.
                unlinkat(&self.folder, name.as_str(), UnlinkatFlags::NoRemoveDir).ok();
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone; what cannot be deleted now is swept later.
        unlinkat(&self.folder, self.name.as_str(), UnlinkatFlags::NoRemoveDir).ok();
    }
}
