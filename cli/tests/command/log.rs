//! What the log says to whoever asks for it.

use serde_json::Value;

use crate::support::{Home, Ran};

const MIB: u64 = 1 << 20;

fn home() -> Home {
    let home = Home::with_repository();
    home.image("db.img", 4 * MIB, 1);
    home
}

#[track_caller]
fn assert_says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is missing: {ran:#?}");
    }
}

#[test]
fn a_verbose_job_says_what_changed() {
    let home = home();
    let quiet = home.sluice(&["backup", "db.img"]).done();
    assert_eq!(quiet.stderr, "");
    let ran = home.sluice(&["backup", "db.img", "-v"]).done();
    assert_says(
        &ran,
        &[
            "session begun session=",
            "recovery point committed point=",
            "volume_bytes=4194304",
            "uploaded_bytes=",
        ],
    );
    let ran = home.sluice(&["restore", "latest", "new", "-v"]).done();
    assert_says(
        &ran,
        &["recovery point restored point=", "written_bytes=4194304"],
    );
    let ran = home.sluice(&["verify", "-v"]).done();
    assert_says(&ran, &["verify begun", "verify finished points=2"]);
}

#[test]
fn fallbacks_and_limits_are_told_with_their_reason() {
    let home = home();
    home.backup(&["db.img"]);
    std::fs::write(home.path("changes"), "").unwrap();
    let list = ["--changed-extents", "changes", "--base", "snap-1"];
    let ran = home
        .sluice(
            &[
                &["backup", "db.img", "-v", "--limit-upload", "1G"],
                &list[..],
            ]
            .concat(),
        )
        .done();
    assert_says(
        &ran,
        &[
            "no better way to find changes",
            "reason=",
            "`snap-1`",
            "rate changed limit=\"upload\" per_second=1073741824",
        ],
    );
}

#[test]
fn each_line_of_a_json_log_is_an_object() {
    let home = home();
    let arguments = ["backup", "db.img", "--log", "info", "--log-format", "json"];
    let ran = home.sluice(&arguments).done();
    let events: Vec<Value> = ran
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let committed = events
        .iter()
        .find(|event| event["fields"]["message"] == "recovery point committed")
        .unwrap_or_else(|| panic!("{ran:#?}"));
    assert_eq!(committed["level"], "INFO");
    assert_eq!(committed["fields"]["volume_bytes"], 4 * MIB);
    assert!(committed["fields"]["point"].is_string(), "{committed}");
    assert!(
        !ran.stderr.contains("db.img"),
        "no names of files: {ran:#?}"
    );
}
