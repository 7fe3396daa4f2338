//! What a dying process leaves.

use std::{
    io::{self, Write as _},
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Home, SLUICE, wait_for};

const MIB: u64 = 1 << 20;

/// A shell that allows core files, and then becomes something else.
fn allowing_cores(home: &Home, then: &str) -> Command {
    let mut command = home.command("sh");
    command.args(["-c", &format!("ulimit -c unlimited && {then}")]);
    command
}

#[test]
fn memory_with_keys_is_never_dumped() {
    let home = Home::with_repository();
    home.image("db.img", 8 * MIB, 1);
    let dumped = |status: ExitStatus| status.core_dumped();
    let status = allowing_cores(&home, "kill -ABRT $$").status().unwrap();
    if !dumped(status) {
        // Past the harness, which keeps what a test that passes prints.
        let line =
            "\nSKIPPED memory_with_keys_is_never_dumped: this machine writes no core files\n";
        io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    }
    let backup = format!("exec {SLUICE} backup db.img --limit-read 64K --no-progress");
    let mut child = allowing_cores(&home, &backup).spawn().unwrap();
    wait_for("a session", || !home.objects("d/default/s").is_empty());
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(id, Signal::SIGABRT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
    assert!(!dumped(status), "{status}");
}
