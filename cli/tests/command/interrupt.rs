//! Stopping, and going on.

use std::{
    io::{BufRead, BufReader, Read},
    process::Child,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Home, Ran, assert_same, number, wait_for};

const MIB: u64 = 1 << 20;

/// Starts a backup that takes a while, and waits until a pack is stored.
fn started(home: &Home, rate: &str) -> Child {
    let arguments = ["backup", "db.img", "--memory", "48M", "--limit-read", rate];
    let child = home.start(&[&arguments[..], &["--result", "result"]].concat());
    wait_for("a pack and its table", || {
        !home.objects("d/default/i/L0").is_empty()
    });
    child
}

/// Starts a backup whose upload would take minutes, and waits until a pack is on its way.
fn crawling(home: &Home, rate: &str) -> Child {
    let arguments = [
        "backup",
        "db.img",
        "--memory",
        "48M",
        "--limit-upload",
        rate,
    ];
    let child = home.start(&[&arguments[..], &["--result", "result"]].concat());
    // Small objects are there for a moment only, a pack stays.
    let (mut seen, mut times) = (Vec::new(), 0);
    wait_for("an upload", || {
        let now = home.objects(".tmp");
        times = if now == seen && !now.is_empty() {
            times + 1
        } else {
            0
        };
        seen = now;
        times > 40
    });
    child
}

fn send(child: &Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(id, signal).unwrap();
}

#[test]
fn the_next_run_goes_on_from_where_one_was_stopped() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let home = Home::with_repository();
        let image = home.image("db.img", 40 * MIB, 1);
        let child = started(&home, "8M");
        send(&child, signal);
        let ran = Ran::of(&child.wait_with_output().unwrap());
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
fn a_later_signal_ends_it_at_once_but_not_an_echo_of_the_first() {
    let home = Home::with_repository();
    home.image("db.img", 60 * MIB, 1);
    // Ending it politely takes long.
    let mut child = crawling(&home, "256");
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    send(&child, Signal::SIGINT);
    send(&child, Signal::SIGINT);
    let mut said = String::new();
    lines.read_line(&mut said).unwrap();
    assert!(said.contains("interrupt again"), "{said}");
    assert_eq!(
        child.try_wait().unwrap(),
        None,
        "the echo is the same signal"
    );
    wait_for("the end", || {
        send(&child, Signal::SIGTERM);
        child.try_wait().unwrap().is_some()
    });
    lines.read_to_string(&mut said).unwrap();
    assert!(
        said.ends_with("interrupted\n") && said.lines().count() == 2,
        "{said}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!home.path("result").exists(), "it did not end by itself");
}

#[test]
fn a_second_writer_of_a_series_is_refused_and_others_are_not() {
    let home = Home::with_repository();
    home.image("db.img", 60 * MIB, 1);
    home.image("other.img", MIB, 2);
    let mut first = started(&home, "2M");
    home.sluice(&["backup", "db.img"])
        .fails(11, &["another writer", "--force"]);
    home.backup(&["other.img"]);
    send(&first, Signal::SIGKILL);
    first.wait().unwrap();
    home.backup(&["db.img"]);
}

/// Waits for the end of a run that would take minutes more if it did not stop.
fn stopped(child: Child) -> Ran {
    let mut child = child;
    wait_for("the end", || child.try_wait().unwrap().is_some());
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
fn an_upload_that_crawls_is_given_up_and_nothing_is_committed() {
    let home = Home::with_repository();
    let image = home.image("db.img", 40 * MIB, 1);
    // Everything is read and sealed soon; sending it would take five minutes.
    let child = crawling(&home, "128K");
    send(&child, Signal::SIGTERM);
    let ran = stopped(child);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains("stopping:"), "{ran:?}");
    let result = std::fs::read_to_string(home.path("result")).unwrap();
    assert!(result.contains("\"interrupted\""), "{result}");
    assert!(home.sluice(&["points"]).done().stdout.is_empty());
    home.backup(&["db.img"]);
    home.sluice(&["restore", "latest", "restored"]).done();
    assert_same(&home.path("restored"), &image);
}

#[test]
fn a_restore_that_is_stopped_leaves_nothing() {
    let home = Home::with_repository();
    home.image("db.img", 40 * MIB, 1);
    home.backup(&["db.img"]);
    let slow = ["--memory", "48M", "--limit-read", "128K"];
    let child = home.start(&[&["restore", "latest", "new"], &slow[..]].concat());
    wait_for("the file", || home.path("new.partial").exists());
    wait_for("its size", || {
        std::fs::metadata(home.path("new.partial")).is_ok_and(|file| file.len() > 0)
    });
    send(&child, Signal::SIGINT);
    let ran = stopped(child);
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains("nothing stays"), "{ran:?}");
    assert!(!home.path("new").exists() && !home.path("new.partial").exists());
}

#[test]
fn a_verify_that_crawls_is_given_up() {
    let home = Home::with_repository();
    home.image("db.img", 40 * MIB, 1);
    home.backup(&["db.img"]);
    let slow = ["--memory", "48M", "--limit-read", "128K"];
    let mut child = home.start(&[&["verify", "--read-data", "100%", "-v"], &slow[..]].concat());
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("verify begun") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    send(&child, Signal::SIGINT);
    wait_for("the end", || child.try_wait().unwrap().is_some());
    lines.read_to_string(&mut said).unwrap();
    assert!(said.contains("nothing is recorded"), "{said}");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
}
