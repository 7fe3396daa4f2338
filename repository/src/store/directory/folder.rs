//! The folder of a store: opens what is in it without ever leaving it, and makes new folders durable.

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{self, Path},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::{Mode, fstat, mkdirat},
    unistd::fsync,
};

use super::buffer::Buffers;
use crate::store::name;

/// Names of folders that are remembered as durable: two sessions' shards of 256, several times over.
const DURABLE_FOLDERS_MAX: usize = 4096;

/// What is in it is nobody else's business.
const FOLDER_MODE: Mode = Mode::S_IRWXU;

/// An open folder. Holding it open keeps its file system mounted, so that no write lands below an empty mount point.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
    /// Folders that this process made durable.
    durable: Mutex<BTreeSet<String>>,
    swept: AtomicBool,
    pub(super) buffers: Arc<Buffers>,
}

impl Root {
    pub(super) fn open(path: &Path) -> nix::Result<Self> {
        // Links are followed here: where a repository is, its user says.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = nix::fcntl::open(path, flags, Mode::empty())?;
        Ok(Self {
            folder,
            durable: Mutex::default(),
            swept: AtomicBool::new(false),
            buffers: Arc::default(),
        })
    }

    /// Whether the folder itself was deleted since it was opened.
    pub(super) fn is_gone(&self) -> bool {
        fstat(&self.folder).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Whether it is still to be swept: true once.
    pub(super) fn must_sweep(&self) -> bool {
        !self.swept.swap(true, Ordering::Relaxed)
    }

    /// Opens what is at `path`, which is relative; an empty one is the root itself. Follows no link.
    pub(super) fn open_inside(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        // A pipe in the place of an object must not block us.
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        match openat2(
            &self.folder,
            path,
            OpenHow::new().flags(flags).resolve(resolve),
        ) {
            // Sandboxes that do not know the call say one or the other.
            Err(Errno::ENOSYS | Errno::EPERM) => self.open_stepwise(path, flags),
            result => result,
        }
    }

    /// The same, one segment at a time.
    pub(super) fn open_stepwise(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        let (folders, last) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = openat(&self.folder, ".", STEP, Mode::empty())?;
        for segment in folders.split('/').filter(|segment| !segment.is_empty()) {
            folder = openat(&folder, segment, STEP, Mode::empty())?;
        }
        openat(&folder, last, flags, Mode::empty())
    }

    /// Opens a folder, after creating it and those above it where they are missing; all are durable then.
    pub(super) fn make_folder(&self, path: &str) -> nix::Result<OwnedFd> {
        if path.is_empty() || self.is_durable(path) {
            match self.open_inside(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                Err(Errno::ENOENT) if !path.is_empty() => self.forget_durable(),
                result => return result,
            }
        }
        let mut folder = openat(&self.folder, ".", FOLDER, Mode::empty())?;
        for so_far in name::folders(path).chain([path]) {
            let segment = so_far
                .rsplit_once('/')
                .map_or(so_far, |(_, segment)| segment);
            match mkdirat(&folder, segment, FOLDER_MODE) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
            let inner = openat(&folder, segment, FOLDER, Mode::empty())?;
            // One that exists may be another writer's, who has not come to make it durable yet.
            if !self.is_durable(so_far) {
                sync_folder(&inner)?;
                sync_folder(&folder)?;
                self.remember_durable(so_far);
            }
            folder = inner;
        }
        Ok(folder)
    }

    fn is_durable(&self, path: &str) -> bool {
        self.durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(path)
    }

    fn remember_durable(&self, path: &str) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() >= DURABLE_FOLDERS_MAX {
            durable.clear();
        }
        durable.insert(path.to_owned());
    }

    fn forget_durable(&self) {
        self.durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// How folders are opened.
pub(super) const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const STEP: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Makes the entries of a folder durable.
pub(super) fn sync_folder(folder: impl AsFd) -> nix::Result<()> {
    match fsync(folder) {
        // CIFS and some FUSE file systems have no such thing; their servers decide.
        Err(Errno::EINVAL | Errno::ENOTSUP) => Ok(()),
        result => result,
    }
}

/// Creates the folder of a store and those above it, durably.
pub(super) fn create(path: &Path) -> io::Result<()> {
    let path = path::absolute(path)?;
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE.bits())
        .create(&path)?;
    for folder in missing {
        sync_folder(File::open(folder)?)?;
        if let Some(parent) = folder.parent() {
            // A folder in which we may create but not list cannot be opened; nothing more can be done there.
            if let Ok(parent) = File::open(parent) {
                sync_folder(parent)?;
            }
        }
    }
    Ok(())
}
