//! Stopping, and going on.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Home, Ran, assert_same, number, wait_for};

const MIB: u64 = 1 << 20;

/// Starts a backup that takes seconds, stops it when a pack is stored, and returns how it ended.
fn stopped(home: &Home, signals: &[Signal]) -> Ran {
    let arguments = [
        "backup",
        "db.img",
        "--memory",
        "48M",
        "--limit-read",
        "8M",
        "--result",
        "result",
    ];
    let child = home.start(&arguments);
    wait_for("a pack and its table", || {
        !home.objects("d/default/i/L0").is_empty()
    });
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
    signals.iter().for_each(|signal| kill(id, *signal).unwrap());
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn the_next_run_goes_on_from_where_one_was_stopped() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let home = Home::with_repository();
        let image = home.image("db.img", 40 * MIB, 1);
        let ran = stopped(&home, &[signal]);
        if signal == Signal::SIGKILL {
            assert_eq!(ran.code, None, "{ran:?}");
        } else {
            assert_eq!(ran.code, Some(130), "{ran:?}");
            assert!(
                ran.stderr
                    .contains("stopping: the next run goes on from here"),
                "{ran:?}"
            );
            let result = std::fs::read_to_string(home.path("result")).unwrap();
            assert!(result.contains("\"interrupted\""), "{result}");
        }
        assert!(home.sluice(&["points"]).done().stdout.is_empty());
        let done = home.backup(&["db.img"]);
        assert!(number(&done, "adopted_bytes") >= MIB, "{signal}: {done}");
        home.sluice(&["restore", "latest", "restored"]).done();
        assert_same(&home.path("restored"), &image);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let home = Home::with_repository();
    home.image("db.img", 40 * MIB, 1);
    let ran = stopped(&home, &[Signal::SIGINT, Signal::SIGTERM]);
    assert_eq!(ran.code, Some(130), "{ran:?}");
}
