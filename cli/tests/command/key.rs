//! `sluice key`, and whoever sits at a terminal.

use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
};

use crate::support::{Home, Ran, SLUICE, text};

#[test]
fn keys_are_added_and_removed() {
    let home = Home::with_repository();
    let added = home
        .sluice(&[
            "key",
            "add",
            "--new-key",
            "second",
            "--label",
            "ci",
            "--json",
        ])
        .done()
        .json();
    home.sluice(&["points", "--key-file", "second"]).done();
    let slots = home.sluice(&["key", "list"]).done();
    let mut labels: Vec<&str> = slots.rows().iter().map(|row| row[4]).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["ci", "first"]);
    let removed = home
        .sluice(&["key", "remove", &text(&added, "added")[..6]])
        .done();
    assert!(removed.stderr.contains("not encrypted anew"), "{removed:?}");
    home.sluice(&["points", "--key-file", "second"])
        .fails(12, &["wrong key file"]);
    let last = home.sluice(&["key", "list", "--json"]).done().json();
    home.sluice(&["key", "remove", text(&last[0], "slot")])
        .fails(1, &["opened the repository just now", "key change"]);
    home.sluice(&["key", "remove", "ffff"])
        .fails(1, &["ffff", "sluice key list"]);
}

#[test]
fn a_change_adds_first_and_removes_then() {
    let home = Home::with_repository();
    fs::write(home.path("passphrase"), "correct horse").unwrap();
    home.sluice(&["key", "change", "--new-passphrase-file", "passphrase"])
        .done();
    home.sluice(&["points"]).fails(12, &["wrong key file"]);
    home.sluice(&["points", "--passphrase-file", "passphrase"])
        .done();
    assert_eq!(
        home.sluice(&["key", "list", "--passphrase-file", "passphrase"])
            .done()
            .rows()
            .len(),
        1
    );
}

#[test]
fn a_change_replaces_the_key_that_is_used_or_the_one_that_is_named() {
    let home = Home::with_repository();
    home.sluice(&["key", "add", "--new-key", "second"]).done();
    home.sluice(&["key", "change", "--new-key", "third"]).done();
    home.sluice(&["points"]).fails(12, &["wrong key file"]);
    home.sluice(&["points", "--key-file", "second"]).done();
    home.sluice(&["points", "--key-file", "third"]).done();
}

/// Whoever can write to the store can plant slots that open for nobody.
#[test]
fn a_planted_slot_does_not_pass_for_one_that_opens() {
    let home = Home::with_repository();
    let own = home.objects("keys/slot").remove(0);
    let planted = own.with_file_name("0123456789abcdef");
    fs::copy(&own, &planted).unwrap();
    fs::write(own.with_file_name("README"), "not a slot").unwrap();
    fs::write(
        own.parent()
            .unwrap()
            .with_file_name("default")
            .join("README"),
        "no keyring",
    )
    .unwrap();
    let slot = own.file_name().unwrap().to_str().unwrap();
    home.sluice(&["key", "remove", slot])
        .fails(1, &["opened the repository just now"]);
    home.sluice(&["points"]).done();
    home.sluice(&["key", "remove", "0123456789abcdef"]).done();
    home.sluice(&["points"]).done();
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let home = Home::with_repository();
    home.sluice(&["key", "add"])
        .fails(2, &["--new-key", "--new-passphrase-file"]);
}

/// Runs the command on a terminal of its own; types a line whenever it is asked.
fn typed(home: &Home, arguments: &str, lines: &[&str]) -> Ran {
    let mut command = home.command("script");
    let run = format!("{SLUICE} {arguments}");
    command.args(["--quiet", "--return", "--command", &run, "/dev/null"]);
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    answer(
        &mut command,
        &lines.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// Runs a command on a terminal, and answers its first questions.
fn answer(command: &mut Command, answers: &[&str]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start script");
    let mut keyboard = child.stdin.take().expect("it was piped");
    let mut screen = child.stdout.take().expect("it was piped");
    let (mut shown, mut asked) = (Vec::new(), 0);
    let mut byte = [0];
    while screen.read(&mut byte).expect("read the screen") == 1 {
        shown.push(byte[0]);
        // Every question ends so; so may what is said afterwards.
        if asked < answers.len() && shown.ends_with(b": ") {
            keyboard.write_all(answers[asked].as_bytes()).expect("type");
            asked += 1;
        }
    }
    assert_eq!(asked, answers.len(), "{}", String::from_utf8_lossy(&shown));
    let code = child.wait().expect("wait for it").code();
    Ran {
        code,
        stdout: String::from_utf8_lossy(&shown).into_owned(),
        stderr: String::new(),
    }
}

#[test]
fn a_passphrase_is_asked_for_without_echo() {
    let mut home = Home::empty();
    home.set("SLUICE_KEY_FILE", "");
    let made = typed(&home, "init", &["correct horse", "correct horse"]).done();
    assert!(
        made.stdout.contains("Passphrase of") && made.stdout.contains("Once more"),
        "{made:?}"
    );
    assert!(!made.stdout.contains("correct horse"), "{made:?}");
    let listed = typed(&home, "points", &["correct horse"]).done();
    assert!(
        !listed.stdout.contains("Once more") && !listed.stdout.contains("correct horse"),
        "{listed:?}"
    );
    let wrong = typed(&home, "points", &["battery staple"]);
    assert_eq!(wrong.code, Some(12), "{wrong:?}");
}

#[test]
fn two_different_new_passphrases_are_refused() {
    let mut home = Home::empty();
    home.set("SLUICE_KEY_FILE", "");
    let ran = typed(&home, "init", &["correct horse", "correct house"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stdout.contains("differ") && home.objects("").is_empty(),
        "{ran:?}"
    );
}

#[test]
fn an_interrupt_while_asked_leaves_the_terminal_as_it_was() {
    let mut home = Home::empty();
    home.set("SLUICE_KEY_FILE", "");
    let script = format!("sh -c 'trap : INT; {SLUICE} init; echo code $?; stty -a'");
    let mut command = home.command("script");
    command.args(["--quiet", "--command", &script, "/dev/null"]);
    let ran = answer(&mut command, &["\u{3}"]);
    assert!(
        ran.stdout.contains("interrupted") && ran.stdout.contains("code 130"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains(" echo "), "{ran:?}");
}

#[test]
fn more_slots_than_are_looked_at_are_told_in_time() {
    let home = Home::with_repository();
    for number in 0..70 {
        let name = format!("repository/keys/slot/ffffffffffff{number:04x}");
        fs::write(home.path(&name), "planted").unwrap();
    }
    let ran = home.sluice(&["key", "list"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("71 objects"), "{ran:?}");
    let ran = home.sluice(&["doctor"]);
    assert!(ran.stdout.contains("71, of which 64"), "{ran:?}");
}
