//! `sluice init`.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::Home;

#[test]
fn a_new_key_is_private_and_opens_the_repository() {
    let home = Home::empty();
    let made = home.sluice(&["init", "--new-key", "key", "--json"]).done();
    assert!(
        made.stderr.contains("keep a copy of the key file"),
        "{made:?}"
    );
    let made = made.json();
    assert_eq!(made["write_once"], true);
    assert_eq!(made["id"].as_str().map(str::len), Some(32));
    let mode = fs::metadata(home.path("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(home.sluice(&["points"]).done().stdout, "");
}

#[test]
fn a_key_file_is_never_overwritten() {
    let home = Home::empty();
    fs::write(home.path("key"), "something else").unwrap();
    home.sluice(&["init", "--new-key", "key"])
        .fails(1, &["key", "not overwritten"]);
    assert_eq!(
        fs::read_to_string(home.path("key")).unwrap(),
        "something else"
    );
    assert!(home.objects("").is_empty());
}

#[test]
fn a_second_init_changes_nothing_and_leaves_no_key() {
    let home = Home::with_repository();
    let before = home.objects("");
    home.sluice(&["init", "--new-key", "other"])
        .fails(1, &["already holds a repository"]);
    assert!(!home.path("other").exists());
    assert_eq!(home.objects(""), before);
}

#[test]
fn a_passphrase_comes_from_a_file_a_command_or_the_environment() {
    let mut home = Home::empty();
    home.set("SLUICE_KEY_FILE", "");
    fs::write(home.path("passphrase"), "correct horse\n").unwrap();
    home.sluice(&["init", "--passphrase-file", "passphrase"])
        .done();
    home.sluice(&["points", "--passphrase-command", "cat passphrase"])
        .done();
    home.set("SLUICE_PASSPHRASE", "correct horse");
    home.sluice(&["points"]).done();
    home.set("SLUICE_PASSPHRASE", "battery staple");
    home.sluice(&["points"]).fails(12, &["wrong passphrase"]);
    // An option wins over the environment, whatever the environment says.
    home.set("SLUICE_KEY_FILE", "nowhere");
    home.sluice(&["points", "--passphrase-file", "passphrase"])
        .done();
    home.sluice(&["points"]).fails(12, &["nowhere"]);
}

#[test]
fn without_a_secret_every_way_to_give_one_is_named() {
    let mut home = Home::empty();
    home.set("SLUICE_KEY_FILE", "");
    let words = [
        "--key-file",
        "--passphrase-file",
        "--passphrase-command",
        "SLUICE_PASSPHRASE",
        "--new-key",
    ];
    home.sluice(&["init"]).fails(12, &words);
    home.set("SLUICE_REPOSITORY", "");
    home.sluice(&["init"])
        .fails(2, &["--repository", "SLUICE_REPOSITORY"]);
}

#[test]
fn a_key_inside_the_repository_is_warned_about() {
    let home = Home::empty();
    fs::create_dir(home.path("repository")).unwrap();
    let made = home.sluice(&["init", "--new-key", "repository/key"]).done();
    assert!(
        made.stderr
            .contains("warning: the key file is inside the repository"),
        "{made:?}"
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let mut home = Home::empty();
    home.set("SLUICE_KEY_FILE", "");
    home.set("SLUICE_PASSPHRASE", "tell-nobody");
    home.set("SLUICE_LOG", "trace");
    let shown = |ran: crate::support::Ran| {
        assert!(!format!("{ran:?}").contains("tell-nobody"), "{ran:?}");
        ran
    };
    shown(home.sluice(&["init"])).done();
    shown(home.sluice(&["doctor", "-vvv"])).done();
    home.set("SLUICE_PASSPHRASE", "");
    home.set("SLUICE_PASSPHRASE_COMMAND", "echo tell-nobody-else; exit 1");
    shown(home.sluice(&["points"])).fails(1, &["passphrase command"]);
    shown(home.sluice(&["points", "--help"])).done();
}

#[test]
fn a_place_that_refuses_leaves_no_key_and_is_no_damage() {
    let home = Home::empty();
    // Nobody, not even root, makes files there.
    for place in ["/proc/nope", "/sys/kernel"] {
        home.sluice(&["init", "-r", place, "--new-key", "key"])
            .fails(1, &[place]);
        assert!(!home.path("key").exists(), "{place}");
    }
    fs::write(home.path("file"), "").unwrap();
    home.sluice(&["init", "-r", "file", "--new-key", "key"])
        .fails(1, &["`file` is not a folder"]);
    assert!(!home.path("key").exists());
}

#[test]
fn an_option_wins_over_a_variable_that_cannot_be_right() {
    let mut home = Home::with_repository();
    home.set("SLUICE_REPOSITORY", "s3://x");
    home.sluice(&["points", "-r", "repository"]).done();
    home.sluice(&["-r", "repository", "points"]).done();
    home.sluice(&["points"]).fails(2, &["--repository"]);
}

#[test]
fn what_is_no_key_file_ends_with_the_code_of_keys() {
    let home = Home::with_repository();
    fs::write(home.path("binary"), [0xff, 0xfe, 0, 1]).unwrap();
    for option in ["--key-file", "--passphrase-file"] {
        home.sluice(&["points", option, "binary"])
            .fails(12, &["binary", "not text"]);
    }
}
