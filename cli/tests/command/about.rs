//! Help, version, completions and man pages.

use std::fs;

use crate::support::Home;

const COMMANDS: [&str; 15] = [
    "init",
    "backup",
    "restore",
    "points",
    "show",
    "ls",
    "diff",
    "stats",
    "verify",
    "forget",
    "key",
    "doctor",
    "version",
    "completions",
    "man",
];

#[test]
fn help_names_every_command_and_exit_code() {
    let home = Home::empty();
    let help = home.sluice(&["--help"]).done().stdout;
    for command in COMMANDS {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{command}"
        );
        home.sluice(&[command, "--help"]).done();
    }
    for code in [
        "  0  ", "  1  ", "  2  ", "  3  ", " 10  ", " 11  ", " 12  ", "130  ",
    ] {
        assert!(help.contains(code), "{code}");
    }
    let short = home.sluice(&["-h"]).done().stdout;
    assert!(
        short.lines().count() < 60 && short.lines().all(|line| line.chars().count() <= 100),
        "{short}"
    );
}

#[test]
fn a_mistyped_command_is_corrected() {
    let home = Home::empty();
    let ran = home.sluice(&["bakup"]).fails(2, &["bakup"]);
    assert!(ran.stderr.contains("'backup'"), "{ran:?}");
    assert_eq!(home.sluice(&[]).code, Some(2));
}

#[test]
fn versions_agree() {
    let home = Home::empty();
    let version = home.sluice(&["version", "--json"]).done().json();
    let number = version["version"].as_str().unwrap();
    assert!(home.sluice(&["--version"]).done().stdout.contains(number));
    assert!(home.sluice(&["version"]).done().stdout.contains(number));
}

#[test]
fn every_shell_has_completions() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.sluice(&["completions", shell]).done().stdout;
        assert!(script.contains("changed-extents"), "{shell}");
    }
}

#[test]
fn every_command_has_a_man_page_with_the_codes() {
    let home = Home::empty();
    home.sluice(&["man", "pages"]).done();
    for command in COMMANDS {
        assert!(
            home.path(&format!("pages/sluice-{command}.1")).exists(),
            "{command}"
        );
    }
    let page = fs::read_to_string(home.path("pages/sluice.1")).unwrap();
    assert!(
        page.contains("another writer is at work") && page.contains("SLUICE_REPOSITORY"),
        "{page}"
    );
}
