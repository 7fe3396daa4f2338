//! The mounts that the kernel lists in `mountinfo`: pure.

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Major and minor number of its device; some file systems (btrfs) show one of their own.
    pub(crate) device: (u64, u64),
    /// Where it is mounted.
    pub(crate) point: String,
    /// What it was mounted from: a path for those that have a device.
    pub(crate) source: String,
    /// Its superblock is writable: it may be written through this mount or another one.
    pub(crate) writable: bool,
}

/// Reads the lines of `/proc/PID/mountinfo`; skips those that are not understood.
pub(crate) fn parse(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/vdb rw,errors=continue`: the number of optional fields
/// before the dash differs.
fn parse_line(line: &str) -> Option<Mount> {
    let (mount, superblock) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    let (major, minor) = mount.nth(2)?.split_once(':')?;
    let point = mount.nth(1)?;
    let mut superblock = superblock.split(' ').skip(1);
    let (source, options) = (superblock.next()?, superblock.next()?);
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        point: unescape(point),
        source: unescape(source),
        writable: options.split(',').any(|option| option == "rw"),
    })
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, device: (u64, u64), point: &str, source: &str, writable: bool) {
        let expected = Mount {
            device,
            point: point.to_owned(),
            source: source.to_owned(),
            writable,
        };
        assert_eq!(parse(line), [expected], "{line}");
    }

    #[test]
    fn lines_are_read() {
        check(
            "36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
            (98, 0),
            "/mnt",
            "/dev/root",
            true,
        );
        check(
            "36 35 8:17 / /mnt rw - ext4 /dev/sdb1 ro,relatime",
            (8, 17),
            "/mnt",
            "/dev/sdb1",
            false,
        );
        check(
            "36 35 8:17 / /mnt ro shared:1 master:2 propagate_from:3 - xfs /dev/sdb1 rw",
            (8, 17),
            "/mnt",
            "/dev/sdb1",
            true,
        );
        check(
            r"1 2 0:40 /@ /a\040b\134c rw - btrfs /dev/vdb rw,space_cache",
            (0, 40),
            r"/a b\c",
            "/dev/vdb",
            true,
        );
        check(
            "1 2 0:5 / /dev rw - devtmpfs none rw,size=1k",
            (0, 5),
            "/dev",
            "none",
            true,
        );
    }

    #[test]
    fn other_lines_are_skipped() {
        for line in [
            "",
            "x",
            "1 2 3 4 5 - a b c",
            "1 2 8:x / / rw - ext4 /dev/a rw",
            "1 2 8:1 / / rw ext4 /dev/a rw",
            "1 2 8:1 / / rw - ext4",
        ] {
            assert_eq!(parse(line), [], "{line}");
        }
    }

    #[test]
    fn the_mounts_of_this_machine_are_read() {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = parse(&text);
        assert_eq!(mounts.len(), text.lines().count());
        assert!(mounts.iter().any(|mount| mount.point == "/proc"));
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in ".*") {
            parse(&text);
            unescape(&text);
        }
    }
}
