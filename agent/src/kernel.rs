//! What `nix` lacks of the kernel's interface: three calls, the only unsafe code of this crate.

#![expect(
    unsafe_code,
    reason = "nix wraps neither leases, FIEMAP nor the size of a device"
)]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, RawFd},
};

use nix::{errno::Errno, libc};

/// Extents that one [`fiemap`] call returns at most: 14 KiB.
const FIEMAP_EXTENTS: usize = 256;

/// The number of `FS_IOC_FIEMAP`; its size is that of the structure without extents.
const FS_IOC_FIEMAP: libc::c_ulong = nix::request_code_readwrite!(b'f', 11, 32);

/// The number of `BLKGETSIZE64`, of `linux/fs.h`.
const BLKGETSIZE64: libc::c_ulong = nix::request_code_read!(0x12, 114, size_of::<u64>());

/// The command that chooses the signal of a lease, from `asm-generic/fcntl.h`; libc lacks it.
const F_SETSIG: libc::c_int = 10;

/// Writes dirty pages first, so that every extent has its place.
const FIEMAP_FLAG_SYNC: u32 = 1;

/// `struct fiemap_extent` of `linux/fiemap.h`: where bytes of a file are on its device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FiemapExtent {
    pub(crate) logical: u64,
    pub(crate) physical: u64,
    pub(crate) length: u64,
    pub(crate) reserved64: [u64; 2],
    pub(crate) flags: u32,
    pub(crate) reserved: [u32; 3],
}

/// `struct fiemap`.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; FIEMAP_EXTENTS],
}

/// The size of a block device in bytes.
pub(crate) fn device_bytes(device: &File) -> io::Result<u64> {
    let mut bytes = 0_u64;
    // SAFETY: the descriptor is open while `device` is borrowed, and the kernel writes eight bytes into `bytes`.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, &raw mut bytes) };
    Errno::result(result)?;
    Ok(bytes)
}

/// The next extents of a file that end after `start`; none when there are no more.
pub(crate) fn fiemap(file: &File, start: u64) -> io::Result<Vec<FiemapExtent>> {
    let mut map = Fiemap {
        start,
        length: u64::MAX - start,
        flags: FIEMAP_FLAG_SYNC,
        mapped_extents: 0,
        extent_count: u32::try_from(FIEMAP_EXTENTS).expect("256 fits in 32 bits"),
        reserved: 0,
        extents: [FiemapExtent::default(); FIEMAP_EXTENTS],
    };
    // SAFETY: the descriptor is open while `file` is borrowed, and the kernel writes only into `map`, which has the
    // layout of `struct fiemap` and room for the `extent_count` extents that it announces.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut map) };
    Errno::result(result)?;
    let mapped = usize::try_from(map.mapped_extents)
        .map_or(FIEMAP_EXTENTS, |mapped| mapped.min(FIEMAP_EXTENTS));
    Ok(map.extents[..mapped].to_vec())
}

/// Whether any process, or the kernel for a loop device, has this regular file open for writing.
///
/// The kernel grants a lease for reading only while nobody has; it is given back at once. `file` must be open for
/// reading only.
///
/// # Errors
/// When the file system has no leases, or this process may not take one: the file is another user's.
pub(crate) fn is_open_for_writing(file: &File) -> io::Result<bool> {
    // Whoever opens the file for writing in the next microseconds makes the kernel send a signal. By default that is
    // SIGIO, which would end this process; SIGURG is ignored.
    fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG)?;
    match fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
        Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A command of fcntl whose argument is a number.
fn fcntl(descriptor: RawFd, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: the commands used here take a number and touch no memory of this process.
    let result = unsafe { libc::fcntl(descriptor, command, argument) };
    Ok(Errno::result(result).map(drop)?)
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, mem::offset_of};

    use super::*;

    #[test]
    fn structures_have_the_layout_of_the_kernel() {
        assert_eq!(size_of::<FiemapExtent>(), 56);
        assert_eq!(offset_of!(FiemapExtent, flags), 40);
        assert_eq!(offset_of!(Fiemap, extents), 32);
        assert_eq!(FS_IOC_FIEMAP, 0xc020_660b);
    }

    #[test]
    fn writers_are_seen_readers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(is_open_for_writing(&reader).unwrap());
        drop(writer);
        let other = File::open(&path).unwrap();
        assert!(!is_open_for_writing(&reader).unwrap());
        // Nothing of the lease is left: opening for writing does not wait.
        let appender = OpenOptions::new().append(true).open(&path).unwrap();
        assert!(is_open_for_writing(&other).unwrap());
        drop(appender);
        assert!(!is_open_for_writing(&other).unwrap());
    }
}
