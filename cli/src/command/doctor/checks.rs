//! What can be checked about a location, and what to do about each finding.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use nix::sys::statvfs::statvfs;
use repository::{
    RepositoryError,
    store::{ErrorKind, probe::ProbeReport},
};

use super::Check;
use crate::output::{size::Size, time};

/// A clock that is further off may be refused by S3, which allows 15 minutes.
const SKEW_FAILED: Duration = Duration::from_secs(5 * 60);
/// A clock that is further off deserves a look.
const SKEW_WARNED: Duration = Duration::from_secs(5);
/// Below this a folder is nearly full: less than two minutes of a fast disk.
const FREE_WARNED: u64 = 10 << 30;

const SET_CLOCK: &str = "set the clock: `timedatectl set-ntp true`";

/// What an error of a store asks people to do.
pub(super) fn remedy(error: &RepositoryError) -> &'static str {
    const REMEDIES: &[(ErrorKind, &str)] = &[
        (
            ErrorKind::Denied,
            "check the credentials, and that they may list the bucket and get, put and delete objects in it",
        ),
        (
            ErrorKind::NoContainer,
            "`sluice init` makes a folder; a bucket must be made before",
        ),
        (
            ErrorKind::Certificate,
            "name the CA that signed it, `ca-file=/path/ca.pem` in the address or AWS_CA_BUNDLE; the certificate itself must be one \
             of that CA, name this host and be valid today",
        ),
        (ErrorKind::Clock, SET_CLOCK),
        (
            ErrorKind::Unreachable,
            "check the endpoint, the name server, the proxy and the firewall",
        ),
        (ErrorKind::Full, "make room, or raise the quota"),
        (ErrorKind::ReadOnly, "mount it for writing, or restore only"),
        (
            ErrorKind::Throttled,
            "ask again later, or lower --limit-upload",
        ),
        (ErrorKind::Unsupported, "use a server that conforms to S3"),
    ];
    let RepositoryError::Store(error) = error else {
        return "";
    };
    let known = REMEDIES.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or("", |(_, remedy)| remedy)
}

/// What a probe saw, guarantee by guarantee.
pub(super) fn of_probe(report: &ProbeReport, accepted_without: bool) -> Vec<Check> {
    let seen = |name: &'static str, holds: bool, what: &str, without: &'static str| match holds {
        true => Check::ok(name, what),
        false => Check::failed(name, "not as it must be", without),
    };
    let write_once = match (report.write_once, accepted_without) {
        (true, _) => Check::ok(
            "write-once",
            "of several writers of one name exactly one wins",
        ),
        (false, true) => Check::warned(
            "write-once",
            "not enforced, which was accepted at init",
            "never run two writers at a time",
        ),
        (false, false) => Check::failed(
            "write-once",
            "not enforced: two writers could destroy each other's points",
            "use a store that honours `If-None-Match: *`",
        ),
    };
    let mut checks = vec![
        write_once,
        seen(
            "read-after-write",
            report.read_after_write,
            "what was written is read at once",
            "go past caches and proxies, straight to the server",
        ),
        seen(
            "listing",
            report.list_after_write,
            "what was written is listed at once",
            "go past caches and proxies; on NFS mount with lookupcache=none,acdirmax=0",
        ),
        seen(
            "ranges",
            report.ranges,
            "parts of objects are read exactly",
            "use a server that conforms to S3",
        ),
        if report.deletes {
            Check::ok("delete", "what was written was deleted again")
        } else {
            let remedy = "fine for a role that only backs up; forget and prune need another one";
            Check::warned("delete", "not allowed", remedy)
        },
    ];
    checks.extend(report.clock_skew.map(clock));
    checks.push(Check::ok(
        "round trip",
        &format!(
            "1 KiB there and back in {}",
            milliseconds(report.round_trip)
        ),
    ));
    for violation in &report.violations {
        checks.push(Check::warned("seen", violation, ""));
    }
    checks
}

fn clock(skew: Duration) -> Check {
    let detail = format!(
        "differs from the store's by {} at least",
        time::duration(skew)
    );
    match skew {
        skew if skew >= SKEW_FAILED => Check::failed("clock", &detail, SET_CLOCK),
        skew if skew >= SKEW_WARNED => Check::warned("clock", &detail, SET_CLOCK),
        _ => Check::ok("clock", "agrees with the store's"),
    }
}

/// Room in the file system of a folder.
pub(super) fn free_space(folder: &Path) -> Check {
    let found = match statvfs(folder) {
        Ok(found) => found,
        Err(error) => {
            return Check::failed(
                "free space",
                &error.to_string(),
                "check that the folder is mounted",
            );
        }
    };
    let total = found.blocks().saturating_mul(found.fragment_size());
    let free = found
        .blocks_available()
        .saturating_mul(found.fragment_size());
    let detail = format!("{} of {}", Size(free), Size(total));
    // File systems without a table of inodes say that they have none.
    let no_names_left = found.files() > 0 && found.files_available() == 0;
    match (free, no_names_left) {
        (0, _) => Check::failed("free space", &detail, "make room"),
        (_, true) => Check::failed("free space", "no inodes left", "make room"),
        (free, _) if free < FREE_WARNED => Check::warned("free space", &detail, "make room soon"),
        _ => Check::ok("free space", &detail),
    }
}

/// Who can read a key file.
pub(super) fn key_file(path: &Path) -> Option<Check> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        let detail = format!(
            "`{}` can be read by everybody on this machine",
            path.display()
        );
        Check::warned("key file", &detail, "chmod 600 it")
    })
}

/// Plain HTTP hides nothing from the network but what the repository encrypts itself.
pub(super) fn transport(location: &str) -> Option<Check> {
    if !location.starts_with("s3://") {
        return None;
    }
    let plain = location.contains("endpoint=http:") || location.contains("endpoint=http%3A");
    Some(if plain {
        let remedy = "fine on a trusted network: contents are encrypted, names and sizes are not; else use https";
        Check::warned("certificate", "none: plain HTTP", remedy)
    } else {
        Check::ok("certificate", "trusted")
    })
}

/// A short time.
pub(super) fn milliseconds(time: Duration) -> String {
    let micros = time.as_micros();
    format!("{}.{} ms", micros / 1000, micros / 100 % 10)
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    fn probe() -> ProbeReport {
        ProbeReport {
            write_once: true,
            read_after_write: true,
            list_after_write: true,
            ranges: true,
            deletes: true,
            round_trip: Duration::from_micros(12_340),
            clock_skew: Some(Duration::ZERO),
            violations: Vec::new(),
        }
    }

    fn worst(report: &ProbeReport, accepted_without: bool) -> Status {
        of_probe(report, accepted_without)
            .into_iter()
            .map(|check| check.status)
            .max()
            .expect("there are some")
    }

    #[test]
    fn a_good_store_passes() {
        assert_eq!(worst(&probe(), false), Status::Ok);
    }

    #[test]
    fn each_broken_promise_is_found() {
        let broken = |change: fn(&mut ProbeReport)| {
            let mut report = probe();
            change(&mut report);
            report
        };
        for (report, status) in [
            (broken(|report| report.write_once = false), Status::Failed),
            (
                broken(|report| report.read_after_write = false),
                Status::Failed,
            ),
            (
                broken(|report| report.list_after_write = false),
                Status::Failed,
            ),
            (broken(|report| report.ranges = false), Status::Failed),
            (broken(|report| report.deletes = false), Status::Warned),
            (
                broken(|report| report.clock_skew = Some(Duration::from_secs(6))),
                Status::Warned,
            ),
            (
                broken(|report| report.clock_skew = Some(Duration::from_secs(301))),
                Status::Failed,
            ),
        ] {
            assert_eq!(worst(&report, false), status, "{report:?}");
        }
        assert_eq!(
            worst(&broken(|report| report.write_once = false), true),
            Status::Warned
        );
    }

    #[test]
    fn plain_http_is_named() {
        assert_eq!(transport("/backup").map(|check| check.status), None);
        assert_eq!(
            transport("s3://b/p").map(|check| check.status),
            Some(Status::Ok)
        );
        let plain = transport("s3://b/p?endpoint=http://h:9000").map(|check| check.status);
        assert_eq!(plain, Some(Status::Warned));
    }
}
