//! A file that becomes an object, whole or not at all.

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat2},
    sys::stat::{FileStat, Mode, fstat, fstatat},
    unistd::{UnlinkatFlags, fsync, linkat, unlinkat},
};

use super::{
    failure::Failure,
    folder::{Root, sync_folder},
    listing,
};
use crate::id::Nonce;

/// Where files are until they are objects. No object's name starts with a dot.
pub(super) const TEMPORARY: &str = ".tmp";

/// A writer that has not finished an object of 16 MiB after a day is dead.
const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A file under `.tmp/` that is deleted when this is dropped, be it because it has its name or because it was given up.
#[derive(Debug)]
pub(super) struct Temporary {
    folder: OwnedFd,
    name: String,
    file: File,
}

impl Temporary {
    pub(super) fn create(root: &Root) -> Result<Self, Failure> {
        let folder = root.make_folder(TEMPORARY)?;
        let name = Nonce::draw().to_string();
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = File::from(openat(
            &folder,
            name.as_str(),
            flags,
            Mode::S_IRUSR | Mode::S_IWUSR,
        )?);
        let temporary = Self { folder, name, file };
        if root.must_sweep() {
            temporary.sweep_others();
        }
        Ok(temporary)
    }

    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), Failure> {
        Ok(self.file.write_all(piece)?)
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

    fn rename(&self, folder: impl AsFd, name: &str) -> nix::Result<()> {
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
