//! A store in a folder: local disks, NFS and other mounted file systems.
//!
//! An object is a file of the same name. It is written under `.tmp/`, made durable, and then linked to its name, which
//! fails when the name is taken; so it appears whole or not at all, once, on NFS too. A crash leaves at most a file
//! under `.tmp/`, which a later writer sweeps.
//!
//! Symbolic links inside the folder are never followed, and files with names that no object may have are not ours.
//!
//! Other machines that mount the same NFS export see deletions and listings as late as their attribute cache allows:
//! mount it with `lookupcache=none,acdirmax=0` where several machines write to one repository.

mod buffer;
mod failure;
mod folder;
mod listing;
mod read;
mod temporary;

use std::{
    ops::Range,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sys::stat::fstatat,
    unistd::{UnlinkatFlags, unlinkat},
};
use tokio::task::spawn_blocking;

use self::{
    failure::Failure,
    folder::{Root, sync_folder},
    temporary::Temporary,
};
use crate::store::{
    ErrorKind, PACE_FRAME_BYTES, Pace, Page, Result, Store, StoreError, Unpaced, name,
};

/// Bytes that are written at a time: what is written for nothing at most when a put is given up.
const PIECE_BYTES: usize = 1024 * 1024;

/// Objects as files in a folder.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    path: PathBuf,
    root: Arc<Root>,
    pace: Arc<dyn Pace>,
}

impl DirectoryStore {
    /// Opens a folder that exists. Nothing is written to it until the first object is.
    ///
    /// # Errors
    /// [`ErrorKind::NoContainer`] when there is no such folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let root = match Root::open(&path) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(Failure::Contract(ErrorKind::NoContainer)),
            result => result.map_err(Failure::from),
        };
        let root = root.map_err(|failure| failure.at("open", path.display().to_string()))?;
        Ok(Self {
            path,
            root: Arc::new(root),
            pace: Arc::new(Unpaced),
        })
    }

    /// Opens a folder, after creating it and the folders above it where they are missing.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        folder::create(path)
            .map_err(|error| Failure::from(error).at("create", path.display().to_string()))?;
        Self::open(path)
    }

    /// Asks `pace` before bytes are written.
    #[must_use]
    pub fn with_pace(mut self, pace: Arc<dyn Pace>) -> Self {
        self.pace = pace;
        self
    }

    /// Waits until `bytes` more may be written.
    async fn wait_for_pace(&self, mut bytes: usize) {
        while bytes > 0 {
            let frame = bytes.min(PACE_FRAME_BYTES);
            self.pace.upload(frame as u64).await;
            bytes -= frame;
        }
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        name: &str,
        work: impl FnOnce(&Root, &str) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let (root, owned) = (Arc::clone(&self.root), name.to_owned());
        let done = spawn_blocking(move || {
            work(&root, &owned).map_err(|failure| {
                let missing = failure == Failure::System(Errno::ENOENT);
                if missing && root.is_gone() {
                    Failure::Contract(ErrorKind::NoContainer)
                } else {
                    failure
                }
            })
        });
        match done.await {
            Ok(result) => result.map_err(|failure| failure.at(operation, name)),
            Err(error) => Err(StoreError::new(operation, name, ErrorKind::Other).because(error)),
        }
    }
}

#[async_trait]
impl Store for DirectoryStore {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    async fn put_new(&self, name: &str, body: Bytes) -> Result<()> {
        name::check("put", name)?;
        self.pace.request().await;
        let bytes = body.len();
        let mut writing = self
            .blocking("put", name, move |root, name| {
                Writing::begin(root, name, bytes)
            })
            .await?;
        for start in (0..bytes).step_by(PIECE_BYTES) {
            let piece = body.slice(start..bytes.min(start + PIECE_BYTES));
            self.wait_for_pace(piece.len()).await;
            // Given up between two pieces, the temporary file goes with the future.
            writing = self
                .blocking("put", name, move |_, _| {
                    writing.temporary.append(&piece)?;
                    Ok(writing)
                })
                .await?;
        }
        self.blocking("put", name, move |_, name| {
            writing
                .temporary
                .publish(&writing.folder, last_segment(name))
        })
        .await
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Bytes> {
        name::check("get", name)?;
        self.pace.request().await;
        self.blocking("get", name, move |root, name| {
            let (file, bytes) = read::open(root, name)?;
            if bytes > bytes_max {
                return Err(Failure::Contract(ErrorKind::TooLarge));
            }
            read::part(&root.buffers, &file, 0..bytes)
        })
        .await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        name::check("get", name)?;
        self.pace.request().await;
        self.blocking("get", name, move |root, name| {
            let (file, bytes) = read::open(root, name)?;
            if range.start > range.end || range.end > bytes {
                return Err(Failure::Contract(ErrorKind::Short));
            }
            read::part(&root.buffers, &file, range)
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page> {
        self.pace.request().await;
        let after = after.unwrap_or_default().to_owned();
        self.blocking("list", prefix, move |root, prefix| {
            Ok(listing::page(root, prefix, &after)?)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        name::check("delete", name)?;
        self.pace.request().await;
        self.blocking("delete", name, delete).await
    }
}

/// An object that is being written.
struct Writing {
    folder: OwnedFd,
    temporary: Temporary,
}

impl Writing {
    fn begin(root: &Root, name: &str, bytes: usize) -> std::result::Result<Self, Failure> {
        let folder = root.make_folder(name.rsplit_once('/').map_or("", |(folders, _)| folders))?;
        // Tells a loser before it has written anything; the link decides.
        match fstatat(&folder, last_segment(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => {
                sync_folder(&folder)?;
                return Err(Failure::Contract(ErrorKind::Exists));
            }
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            folder,
            temporary: Temporary::create(root, bytes)?,
        })
    }
}

fn last_segment(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, segment)| segment)
}

fn delete(root: &Root, name: &str) -> std::result::Result<(), Failure> {
    let (folders, segment) = name.rsplit_once('/').unwrap_or(("", name));
    let folder = match root.open_inside(folders, folder::FOLDER) {
        Err(Errno::ENOENT | Errno::ENOTDIR) if !root.is_gone() => return Ok(()),
        result => result?,
    };
    match unlinkat(&folder, segment, UnlinkatFlags::NoRemoveDir) {
        // An earlier attempt may have ended before it was durable; the folders stay, since writers may be in them.
        Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => Ok(sync_folder(&folder)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
