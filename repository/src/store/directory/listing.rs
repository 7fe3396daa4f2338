//! Names in byte order, a page at a time, holding no more than the folders on the way to it.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, openat},
    sys::stat::{FileStat, Mode, SFlag, fstatat},
};

use super::folder::{FOLDER, Root};
use crate::store::{
    Entry, LIST_PAGE_ENTRIES, Page,
    name::{self, NAME_BYTES_MAX},
};

/// Lists a page of names that start with `prefix` and sort after `after`.
pub(super) fn page(root: &Root, prefix: &str, after: &str) -> nix::Result<Page> {
    let mut listing = Listing {
        prefix,
        after,
        page: Page::default(),
    };
    // `path` is empty or ends with a slash.
    let path = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
    let folder = path.strip_suffix('/').unwrap_or(path);
    if !path.is_empty() && !folder.split('/').all(name::segment_is_valid) {
        return Ok(listing.page);
    }
    match root.open_inside(folder, FOLDER) {
        Ok(open) => listing.visit(open, path)?,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
        Err(error) => return Err(error),
    }
    if listing.page.entries.is_empty() && root.is_gone() {
        return Err(Errno::ENOENT);
    }
    Ok(listing.page)
}

/// The names of all files in a folder of ours.
pub(super) fn names(folder: impl AsFd) -> nix::Result<Vec<String>> {
    let mut folder = Dir::openat(folder, ".", FOLDER, Mode::empty())?;
    let mut names = Vec::new();
    each(&mut folder, |segment, kind| {
        if kind == Kind::File {
            names.push(segment.to_owned());
        }
    })?;
    Ok(names)
}

/// When a file was last written.
pub(super) fn modified(stat: &FileStat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

struct Listing<'a> {
    prefix: &'a str,
    after: &'a str,
    page: Page,
}

impl Listing<'_> {
    /// Adds what is in `folder`, whose own name is `path`, until the page is full.
    fn visit(&mut self, folder: OwnedFd, path: &str) -> nix::Result<()> {
        let mut folder = Dir::from_fd(folder)?;
        let mut names = self.wanted(&mut folder, path)?;
        // A folder sorts as what is in it does: with its slash.
        names.sort_unstable();
        for name in names {
            if self.page.more {
                break;
            }
            let segment = &name[path.len()..];
            match segment.strip_suffix('/') {
                Some(segment) => match openat(&folder, segment, FOLDER, Mode::empty()) {
                    Ok(inner) => self.visit(inner, &name)?,
                    // Deleted or replaced since its name was read.
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                    Err(error) => return Err(error),
                },
                None => self.add(&folder, segment, &name)?,
            }
        }
        Ok(())
    }

    /// The full names in a folder that belong to the page or come after it; those of folders with a slash at the end.
    fn wanted(&self, folder: &mut Dir, path: &str) -> nix::Result<Vec<String>> {
        let mut wanted = Vec::new();
        each(folder, |segment, kind| {
            let name = match kind {
                Kind::File => format!("{path}{segment}"),
                Kind::Folder => format!("{path}{segment}/"),
                Kind::Foreign => return,
            };
            // Nothing of ours is so deep; whoever made it so would have us hold a folder open for each level.
            if name.len() > NAME_BYTES_MAX {
                return;
            }
            // A folder is worth a visit when names in it may match, even if it is shorter than the prefix or the
            // name to start after.
            let leads_to = |end: &str| kind == Kind::Folder && end.starts_with(&name);
            let matches = name.starts_with(self.prefix) || leads_to(self.prefix);
            if matches && (name.as_str() > self.after || leads_to(self.after)) {
                wanted.push(name);
            }
        })?;
        Ok(wanted)
    }

    fn add(&mut self, folder: impl AsFd, segment: &str, name: &str) -> nix::Result<()> {
        if self.page.entries.len() == LIST_PAGE_ENTRIES {
            self.page.more = true;
            return Ok(());
        }
        let stat = match fstatat(folder, segment, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()),
            result => result?,
        };
        self.page.entries.push(Entry {
            name: name.to_owned(),
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: modified(&stat),
        });
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    /// Links, devices, pipes.
    Foreign,
}

/// Tells `visit` every name in a folder that may be part of an object's name.
fn each(folder: &mut Dir, mut visit: impl FnMut(&str, Kind)) -> nix::Result<()> {
    let mut unknown = Vec::new();
    for found in folder.iter() {
        let found = found?;
        let Ok(segment) = found.file_name().to_str() else {
            continue;
        };
        if !name::segment_is_valid(segment) {
            continue;
        }
        match found.file_type() {
            Some(Type::File) => visit(segment, Kind::File),
            Some(Type::Directory) => visit(segment, Kind::Folder),
            Some(
                Type::Symlink
                | Type::Fifo
                | Type::Socket
                | Type::CharacterDevice
                | Type::BlockDevice,
            ) => {
                visit(segment, Kind::Foreign);
            }
            None => unknown.push(segment.to_owned()),
        }
    }
    // Some file systems do not say what a name is.
    for segment in unknown {
        match fstatat(&*folder, segment.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => visit(&segment, kind(&stat)),
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Folder,
        _ => Kind::Foreign,
    }
}
