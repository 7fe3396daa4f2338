//! Which process a session is, so that the next one on the same host knows at once that it is gone.

use std::fs;

use minicbor::{Decode, Encode};

/// A process, named so that no other is mistaken for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Process {
    /// Host name, for people.
    #[n(0)]
    pub(crate) host: String,
    /// The kernel's boot id: another after each start of the host.
    #[n(1)]
    boot: String,
    /// The namespace that process ids count in.
    #[n(2)]
    namespace: String,
    #[n(3)]
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot: process ids are used again.
    #[n(4)]
    started: u64,
}

impl Process {
    /// This process.
    pub(crate) fn current() -> Self {
        let pid = std::process::id();
        let text = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        Self {
            host: text("/proc/sys/kernel/hostname"),
            boot: text("/proc/sys/kernel/random/boot_id"),
            namespace: namespace(),
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }

    /// Whether it has certainly ended. A process of another kernel, or in another namespace, may well run.
    pub(crate) fn is_gone(&self) -> bool {
        let here = Self::current();
        let comparable = !self.boot.is_empty()
            && self.boot == here.boot
            && !self.namespace.is_empty()
            && self.namespace == here.namespace;
        comparable && started(self.pid) != Some(self.started)
    }
}

fn namespace() -> String {
    fs::read_link("/proc/self/ns/pid")
        .map(|link| link.display().to_string())
        .unwrap_or_default()
}

/// Field 22 of `/proc/PID/stat`; the name before it may hold spaces and parentheses. None for one that has ended and only
/// waits for its parent to hear of it, which in a container may be never.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_nobody_waited_for_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            stat.contains(") Z ")
        };
        while !ended() {
            std::thread::yield_now();
        }
        assert_eq!(started(child.id()), None);
        child.wait().unwrap();
    }

    #[test]
    fn this_process_runs_and_one_that_started_at_another_time_does_not() {
        let current = Process::current();
        assert!(!current.is_gone());
        assert!(
            Process {
                started: current.started + 1,
                ..current.clone()
            }
            .is_gone()
        );
        let started = current.started + 1;
        assert!(
            !Process {
                started,
                namespace: "pid:[1]".to_owned(),
                ..current.clone()
            }
            .is_gone()
        );
        assert!(
            !Process {
                started,
                boot: "another".to_owned(),
                ..current
            }
            .is_gone()
        );
    }
}
